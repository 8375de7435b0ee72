//! Who speaks: the encoder of voices, and what its embeddings are taken for.
//!
//! Off by default. A name is only given where the voice is like that of one person who was enrolled, and like nobody else's: no name is
//! better than a wrong one. Nothing here keeps anything; embeddings lie in the store, and no sound does.

mod encoder;
pub mod enrollment;
mod mel;
pub mod recognition;

use std::path::PathBuf;

pub use self::encoder::{FILE, VoiceEncoder};
use crate::clock;
use crate::event::{VoiceEmbedding, Voiceprint};
use encoder::WINDOW_SAMPLES;

/// With less sound than this, in seconds, no voice is told from another.
const MIN_SECONDS: f64 = 0.4;

/// Why there are no voices.
#[derive(Debug, thiserror::Error)]
pub enum VoiceError {
    #[error(transparent)]
    Model(#[from] crate::models::ModelError),
    #[error("the voice encoder {path} cannot be read: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} is no voice encoder, or damaged: install hearth again ({source})")]
    Broken { path: PathBuf, source: candle_core::Error },
    #[error("the voice encoder does not work; its file is damaged: install hearth again ({source})")]
    Compute { source: candle_core::Error },
}

impl VoiceEncoder {
    /// The voice of an utterance, from its sound at 16 kHz; none if there is too little.
    ///
    /// # Errors
    /// The weights are damaged.
    pub fn voiceprint(&self, samples: &[f32]) -> Result<Option<Voiceprint>, VoiceError> {
        let seconds = clock::seconds(samples.len() as i64);
        let windows = match samples {
            _ if seconds < MIN_SECONDS => Vec::new(),
            // A window that is half empty is told apart worse than one in which the same is said twice.
            short if short.len() < WINDOW_SAMPLES => {
                let repeated: Vec<f32> = short.iter().copied().cycle().take(WINDOW_SAMPLES).collect();
                self.windows(&repeated)?
            }
            whole => self.windows(whole)?,
        };
        let print = VoiceEmbedding::mean(&windows).map(|embedding| Voiceprint {
            embedding,
            model: self.model().into(),
            seconds: seconds as f32,
            unity: unity(&windows),
        });
        Ok(print)
    }
}

/// How alike the two parts of the sound are that differ most.
fn unity(windows: &[VoiceEmbedding]) -> f32 {
    let alike = |at: usize| {
        let (before, after) = windows.split_at(at);
        VoiceEmbedding::mean(before).zip(VoiceEmbedding::mean(after)).map_or(1.0, |(a, b)| a.similarity(&b))
    };
    (1..windows.len()).map(alike).fold(1.0, f32::min)
}
