//! (being built)
#[derive(Debug, thiserror::Error)]
#[error("(being built)")]
pub struct Error;
