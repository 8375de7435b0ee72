//! Speech to text.
//!
//! Owns Whisper and the guard that refuses what it makes up. Refuses to know where a segment comes from and where its text
//! goes. Invariant: one decoder state for the life of the process, and nothing of one segment in the next.

pub mod decode_scheduler;
mod ggml_file;
pub mod hallucination_filter;
pub mod language;
pub mod local_agreement;
pub mod whisper;

use std::path::PathBuf;

pub use ggml_file::check as check_model_file;
use thiserror::Error;

/// A word with the times that Whisper gives it: good to a few tenths of a second.
#[derive(Clone, Debug, PartialEq)]
pub struct Word {
    /// As it was written, with its punctuation.
    pub text: String,
    /// Seconds from the first sample that was decoded.
    pub start_s: f64,
    pub end_s: f64,
    /// The least probability of its tokens, 0 … 1, and the mean natural logarithm.
    pub probability: f32,
    pub logprob: f32,
    /// A new piece begins with it: Whisper put a time before it, or began another of its segments.
    pub starts_segment: bool,
}

impl Word {
    pub fn middle_s(&self) -> f64 {
        (self.start_s + self.end_s) / 2.0
    }
}

#[derive(Debug, Error)]
pub enum AsrError {
    #[error("cannot read the Whisper model {path}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} is a folder; a Whisper model is one file in ggml form, such as whisper-tiny.en-q5_1.bin")]
    Folder { path: PathBuf },
    #[error(
        "{path} is no Whisper model in ggml form ({what}); whisper.cpp's convert scripts make one from other forms"
    )]
    NotGgml { path: PathBuf, what: &'static str },
    #[error("the Whisper model {path} is damaged at byte {at}: {what}; fetch it again")]
    Damaged { path: PathBuf, at: u64, what: &'static str },
    #[error("Whisper cannot load {path}; is it a model for whisper.cpp 1.8 or earlier?")]
    Load { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("Whisper knows no language {language:?}; write its ISO 639-1 code, such as \"en\" or \"de\", or \"auto\"")]
    UnknownLanguage { language: String },
    #[error("the Whisper model {path} knows English alone, not {language:?}; take one without \".en\" in its name")]
    EnglishOnly { path: PathBuf, language: String },
    #[error("[asr] hot_words hold a character that is no text (a zero byte)")]
    HotWords { source: Box<dyn std::error::Error + Send + Sync> },
    #[error("Whisper failed on a segment of {seconds:.1} s")]
    Decode { seconds: f64, source: Box<dyn std::error::Error + Send + Sync> },
}
