//! Reading a config: every problem at once, each with its line and column.

/// (being built)
#[derive(Debug)]
pub struct Problem;
#[derive(Debug)]
pub struct Error;
/// (being built)
pub fn load(_: &std::path::Path) -> Result<super::Config, Error> {
    Err(Error)
}
/// (being built)
pub fn from_text(_: &str) -> Result<super::Config, Vec<Problem>> {
    Ok(super::Config::default())
}
