//! (being built)
pub fn directory(path: &std::path::Path) -> anyhow::Result<std::path::PathBuf> {
    Ok(std::path::Path::new("models").join(path))
}
