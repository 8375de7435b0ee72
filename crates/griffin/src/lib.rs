//! RecurrentGemma, as the Griffin paper has it.
//!
//! Owns the model: its files, its arithmetic, its memory, its tokens. Refuses to know of audio, time, prompts or MQTT.
//! Invariants: weights never change once loaded; all mutable memory is in a [`State`] whose size does not depend on what was
//! read; a fork never alters its parent; the same tokens cut otherwise give the same state and logits, to rounding.
//!
//! Sources: Griffin (arXiv 2402.19427, whose sections and equations the files name), RecurrentGemma (arXiv 2404.07839), and
//! Google's reference code, which is right where Hugging Face's differs: a query sees 1 + w keys, the embedding's scale is
//! rounded to bf16.
//!
//! Read in this order: `config`, `layers`, `blocks`, `model`, `state`, `ring`; then what makes them fast, `kernel` and `vector`; then
//! `weights`, `tokenizer`, `sample`.

mod attached;
mod batch;
mod blocks;
mod config;
mod cost;
mod error;
pub mod gguf;
pub mod kernel;
mod layers;
mod map;
mod model;
mod options;
mod perplexity;
mod quantise;
mod ring;
mod sample;
mod state;
mod tokenizer;
mod vector;
mod weights;

pub use attached::{Attached, attached};
pub use config::{Config, Temporal};
pub use cost::{Cost, Work};
pub use error::Error;
pub use model::{CHUNK, Model};
pub use options::{Options, Quantization, RingType};
pub use perplexity::{Perplexity, perplexity};
pub use quantise::{Report, Share, quantise, write_random};
pub use sample::{Logits, Sampler, Sampling};
pub use state::{Leaf, State};
pub use tokenizer::{Decoder, Tokenizer, Turns};
pub use weights::{Content, Group, Progress, Summary, check, summary};
