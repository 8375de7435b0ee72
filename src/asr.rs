//! Speech to text: Whisper, and the rules around it. When to decode what is still being said, which words of it can be relied on,
//! which language is spoken, and which text Whisper made up.
//!
//! There is one decoder state for the life of the process, and nothing of one decode influences the next.

pub mod decode_scheduler;
mod ggml_file;
pub(crate) mod hallucination_filter;
pub(crate) mod hot_words;
pub(crate) mod language;
pub(crate) mod local_agreement;
pub mod whisper;

use std::path::PathBuf;

pub(crate) use ggml_file::check as check_model_file;
use thiserror::Error;

/// A word that Whisper wrote.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Word {
    /// As Whisper wrote it, with its punctuation.
    pub(crate) text: String,
    /// Seconds from the first sample that was decoded. Whisper's times are good to a few tenths of a second.
    pub(crate) start_s: f64,
    pub(crate) end_s: f64,
    /// The lowest probability of its tokens, 0 … 1.
    pub(crate) probability: f32,
    /// The mean natural logarithm of the probabilities of its tokens.
    pub(crate) logprob: f32,
    /// A new piece of text begins with it: Whisper wrote a timestamp before it, or began another of its segments.
    pub(crate) starts_segment: bool,
    /// The mean of what was added to the logits of its tokens, in nats, because it is often called out. `probability` and `logprob` are
    /// without it.
    pub(crate) bonus: f32,
}

impl Word {
    pub(crate) fn middle_s(&self) -> f64 {
        (self.start_s + self.end_s) / 2.0
    }
}

/// Why a model cannot be loaded or a segment cannot be decoded.
#[derive(Debug, Error)]
pub enum AsrError {
    #[error("cannot read the Whisper model {path}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} is a folder; a Whisper model is one file in ggml format, such as whisper-tiny.en-q5_1.bin")]
    Folder { path: PathBuf },
    #[error(
        "{path} is not a Whisper model in ggml format ({what}); whisper.cpp's convert scripts make one from other formats"
    )]
    NotGgml { path: PathBuf, what: &'static str },
    #[error("the Whisper model {path} is damaged at byte {at}: {what}; fetch it again")]
    Damaged { path: PathBuf, at: u64, what: &'static str },
    #[error("Whisper cannot load {path}; is it a model for whisper.cpp 1.8 or earlier?")]
    Load { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("Whisper knows no language {language:?}; write its ISO 639-1 code, such as \"en\" or \"de\", or \"auto\"")]
    UnknownLanguage { language: String },
    #[error(
        "the Whisper model {path} knows English only, not {language:?}; `hearth models fetch whisper-base-q5_1` has one of many languages"
    )]
    EnglishOnly { path: PathBuf, language: String },
    #[error(
        "[asr] language = \"auto\" needs a model of several languages, and {path} knows English only; set language = \"en\", or \
         fetch a model of many languages (`hearth models fetch whisper-base-q5_1`) and name it in [asr] model"
    )]
    NothingToDetect { path: PathBuf },
    #[error(
        "the Whisper model {path} does not know the language {language:?}; take it out of [asr] language or languages"
    )]
    LacksLanguage { path: PathBuf, language: String },
    #[error("[asr] hot_words contain a zero byte")]
    HotWords { source: Box<dyn std::error::Error + Send + Sync> },
    #[error("[asr] called_out or hot_words contain a zero byte")]
    CalledOut { source: Box<dyn std::error::Error + Send + Sync> },
    #[error("Whisper failed on a segment of {seconds:.1} s")]
    Decode { seconds: f64, source: Box<dyn std::error::Error + Send + Sync> },
}
