//! Sources: Griffin (arXiv 2402.19427, whose sections and equations the files name), RecurrentGemma (arXiv 2404.07839), and
//! Google's reference code. Read the code in this order: `config`, `layers`, `model`, `state`; then what makes it fast, `kernels`;
//! then `formats`, `tokenizer`, `sampler`.
//!
#![doc = include_str!("../README.md")]
#![warn(unreachable_pub)]

mod config;
mod cost;
mod error;
mod formats;
mod generation;
pub mod kernels;
mod layers;
mod model;
mod options;
#[cfg(feature = "tokenizer")]
mod perplexity;
mod quantize;
mod rounds;
mod sampler;
mod scratch;
mod state;
#[cfg(feature = "tokenizer")]
mod tokenizer;

pub use config::{BlockType, Config};
pub use cost::{TokenCost, Work};
pub use error::Error;
pub use formats::gguf;
pub use formats::{GroupSummary, ModelSummary, Progress, Sidecar, TensorGroup, sidecar, summary, verify};
pub use generation::Generation;
pub use model::{CHUNK, Model};
pub use options::{KvCacheType, Options, Quantization};
#[cfg(feature = "tokenizer")]
pub use perplexity::{Perplexity, perplexity};
pub use quantize::{QuantizeReport, QuantizeStats, quantize, write_random};
pub use sampler::{Logits, Sampler, Sampling};
pub use state::{State, StateTensor};
#[cfg(feature = "tokenizer")]
pub use tokenizer::{Decoder, SpecialTokens, Tokenizer};
