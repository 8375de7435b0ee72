//! Texts that come with a model's weights: files beside them, or values in their GGUF file.

use std::path::{Path, PathBuf};

use super::gguf::{self, Gguf, GgufError};
use crate::Error;

/// Whether a model is one file rather than a directory.
pub(super) fn is_file(path: &Path) -> bool {
    path.is_file() || (!path.is_dir() && path.extension().is_some_and(|extension| extension == "gguf"))
}

/// A text that belongs to a model, such as `tokenizer.json`.
#[derive(Debug)]
pub struct Sidecar {
    /// What errors call it.
    pub path: PathBuf,
    /// The whole text.
    pub text: String,
}

/// Reads the text of a file that lies beside a model's weights, or in them if they are a GGUF file: `config.json`,
/// `tokenizer.json`, `prompt.json`, `calibration.json`. None if there is no such file.
///
/// # Errors
/// [`Error::Read`], [`Error::Gguf`].
pub fn sidecar(model: &Path, name: &str) -> Result<Option<Sidecar>, Error> {
    let path = model.join(name);
    if is_file(model) {
        let key = match name {
            "config.json" => gguf::CONFIG_KEY,
            "tokenizer.json" => gguf::TOKENIZER_KEY,
            "calibration.json" => gguf::CALIBRATION_KEY,
            _ => gguf::PROMPT_KEY,
        };
        let text = Gguf::open(model)?.text(key)?.map(str::to_string);
        return Ok(text.map(|text| Sidecar { path, text }));
    }
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(Sidecar { path, text })),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Read { path, source }),
    }
}

/// The same for a text without which no model can be read.
pub(crate) fn required(model: &Path, name: &str) -> Result<Sidecar, Error> {
    let found = sidecar(model, name)?;
    found.ok_or_else(|| {
        if is_file(model) {
            let problem = GgufError::Missing { what: format!("a {name}") };
            return Error::Gguf { path: model.into(), problem };
        }
        let source = std::io::Error::new(std::io::ErrorKind::NotFound, "it is not there");
        Error::Read { path: model.join(name), source }
    })
}
