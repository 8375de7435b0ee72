//! What can be wrong with a model's files, its tokens, or a state. Each message names its file, tensor or token and says what to do.

use std::path::PathBuf;

/// Why a model could not be loaded or could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("{} cannot be read; is the model's directory complete and readable?", path.display())]
    Read { path: PathBuf, source: std::io::Error },

    #[error("{} is not valid JSON; download the file again", path.display())]
    Json { path: PathBuf, source: serde_json::Error },

    #[error("{}: {key} is missing; a RecurrentGemma config.json has it", path.display())]
    MissingKey { path: PathBuf, key: &'static str },

    #[error("{}: {key} is {found}, expected {expected}", path.display())]
    BadKey { path: PathBuf, key: &'static str, found: String, expected: String },

    #[error("{} describes {found}, and only RecurrentGemma is read; choose a recurrentgemma checkpoint", path.display())]
    Architecture { path: PathBuf, found: String },

    #[error("{} holds no model.safetensors, index or shards; download the checkpoint in Hugging Face layout", dir.display())]
    NoWeights { dir: PathBuf },

    #[error("{} is missing: the checkpoint has it as one of its shards; download it into the same directory", path.display())]
    MissingShard { path: PathBuf },

    #[error("{} is not a whole safetensors file ({reason}); download it again", path.display())]
    Safetensors { path: PathBuf, reason: String },

    #[error("{} cannot be read as a model: {problem}", path.display())]
    Gguf {
        path: PathBuf,
        #[source]
        problem: crate::formats::gguf::GgufError,
    },

    #[error("{}: {tensor} holds a value that is infinite or no number; fetch or quantize the model again", path.display())]
    NotFinite { path: PathBuf, tensor: String },

    #[error("{} exists already; choose another name, or force its replacement", path.display())]
    Exists { path: PathBuf },

    #[error("{} cannot be written; is there room on the disk, and may you write there?", path.display())]
    Write { path: PathBuf, source: std::io::Error },

    #[error("{} holds no tensor {tensor}; the checkpoint is incomplete or config.json belongs to another", path.display())]
    MissingTensor { path: PathBuf, tensor: String },

    #[error("{}: {tensor} has the shape {found:?}, and config.json makes it {expected:?}; they belong to different models", path.display())]
    Shape { path: PathBuf, tensor: String, expected: Vec<usize>, found: Vec<usize> },

    #[error("{}: {tensor} is stored as {found}, and only F32, F16 and BF16 are read; convert the checkpoint", path.display())]
    Dtype { path: PathBuf, tensor: String, found: String },

    #[error("{} cannot be used as a tokenizer ({reason}); take tokenizer.json from the model's own checkpoint", path.display())]
    Tokenizer { path: PathBuf, reason: String },

    #[error("{} has no token {token}; Gemma's turn tokens are needed, so take the tokenizer.json of this model", path.display())]
    MissingToken { path: PathBuf, token: &'static str },

    #[error("text could not be turned into tokens or back: {reason}")]
    Text { reason: String },

    #[error(
        "token {token} lies outside the model's vocabulary of {vocab}; tokenizer and model belong to different checkpoints"
    )]
    Token { token: u32, vocab: usize },

    #[error("a prediction was asked for after no token at all; give at least one, such as <bos>")]
    NoTokens,

    #[error("the state does not belong to this model ({reason}); begin with a fresh one")]
    State { reason: String },

    #[error("the model's {threads} threads could not be started; set fewer threads")]
    Threads { threads: usize, source: rayon::ThreadPoolBuildError },
}
