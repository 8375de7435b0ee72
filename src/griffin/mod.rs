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
//! Read in this order: `config`, `layers`, `blocks`, `model`, `state`; then `weights`, `tokenizer`, `sample`.

mod blocks;
mod config;
mod error;
mod layers;
mod model;
mod sample;
mod state;
mod tensor;
mod tokenizer;
mod weights;

pub use config::{Config, Temporal};
pub use error::Error;
pub use model::{Model, Options, Ring};
pub use sample::{Logits, Sampler, Sampling};
pub use state::{Leaf, State};
pub use tokenizer::{Decoder, Tokenizer, Turns};
pub use weights::Progress;

use model::Forms;
