//! Voices: what the sound of an utterance tells of who spoke.

use serde::{Deserialize, Serialize};

/// Numbers of an embedding.
pub const VOICE_DIMENSIONS: usize = 256;
/// The longest name of a person, in characters.
const MAX_NAME: usize = 40;

/// Who said something, as far as the voice tells. As JSON two fields of the utterance, which an utterance of nobody known lacks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Speaker {
    /// The name that was enrolled, or "voice 3" of somebody who has no name yet.
    #[serde(rename = "speaker")]
    pub name: String,
    /// The probability that it is right, 0 … 1.
    #[serde(rename = "speaker_confidence")]
    pub confidence: f32,
}

impl Speaker {
    /// The number in the name of a voice that has no name yet.
    pub(crate) fn unnamed(name: &str) -> Option<u64> {
        let number = name.strip_prefix("voice ")?;
        number.parse().ok().filter(|parsed: &u64| parsed.to_string() == number)
    }
}

/// A text after the name of who said it, if that is known.
pub(crate) fn said_by(speaker: Option<&Speaker>, text: &str) -> String {
    speaker.map_or_else(|| text.into(), |Speaker { name, .. }| format!("{name}: {text}"))
}

/// The direction of a voice: [`VOICE_DIMENSIONS`] numbers, none negative, of length 1.
#[derive(Clone, Debug, PartialEq)]
pub struct VoiceEmbedding(Vec<f32>);

impl VoiceEmbedding {
    /// Scales the numbers to length 1; none if they are not as many as there must be, or have no direction.
    pub fn new(mut numbers: Vec<f32>) -> Option<Self> {
        let length = numbers.iter().map(|x| x * x).sum::<f32>().sqrt();
        let fits = numbers.len() == VOICE_DIMENSIONS && length.is_normal() && numbers.iter().all(|x| *x >= 0.0);
        numbers.iter_mut().for_each(|x| *x /= length);
        fits.then_some(Self(numbers))
    }

    /// The direction of the mean; none of none.
    pub fn mean<'a>(all: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        let mut sum = vec![0.0; VOICE_DIMENSIONS];
        all.into_iter().for_each(|one| sum.iter_mut().zip(&one.0).for_each(|(sum, x)| *sum += x));
        Self::new(sum)
    }

    /// The cosine of the angle between the two, 0 … 1.
    pub fn similarity(&self, other: &Self) -> f32 {
        self.0.iter().zip(&other.0).map(|(a, b)| a * b).sum::<f32>().clamp(0.0, 1.0)
    }

    /// The numbers.
    pub fn numbers(&self) -> &[f32] {
        &self.0
    }
}

/// A voice as it was stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredVoice {
    /// A name, or "voice 3" of somebody without one; none of an utterance of nobody known.
    pub speaker: Option<String>,
    /// The file of the encoder that made it.
    pub model: String,
    /// None if it is damaged.
    pub embedding: Option<VoiceEmbedding>,
    pub seconds: f32,
}

/// The voice of an utterance.
#[derive(Clone, Debug, PartialEq)]
pub struct Voiceprint {
    pub embedding: VoiceEmbedding,
    /// The file of the encoder that made it: others cannot be compared with it.
    pub model: String,
    /// Seconds of sound that it was made of.
    pub seconds: f32,
    /// How alike the parts of the sound are that differ most; 1 if it is too short to have parts. Where two people speak, they differ.
    pub unity: f32,
}

impl Speaker {
    /// Whether a person can be called so here.
    ///
    /// # Errors
    /// What is wrong with the name, as a part of a sentence.
    pub fn check_name(name: &str) -> Result<(), String> {
        let length = name.chars().count();
        if length == 0 || length > MAX_NAME || name.trim() != name {
            return Err(format!("it must have 1 to {MAX_NAME} characters, and no space at its ends"));
        }
        if let Some(wrong) = name.chars().find(|c| c.is_control() || "\"[]{}<>:".contains(*c)) {
            return Err(format!("{wrong:?} cannot be part of it"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_voice_has_the_right_length_and_a_direction() {
        assert_eq!(VoiceEmbedding::new(vec![1.0; VOICE_DIMENSIONS - 1]), None);
        for wrong in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert_eq!(VoiceEmbedding::new(vec![wrong; VOICE_DIMENSIONS]), None, "{wrong}");
        }
        let voice = VoiceEmbedding::new(vec![3.0; VOICE_DIMENSIONS]).unwrap();
        assert!((voice.similarity(&voice) - 1.0).abs() < 1e-5);
        assert_eq!(VoiceEmbedding::mean([]), None);
        assert_eq!(VoiceEmbedding::mean([&voice, &voice]).unwrap(), voice);
    }

    #[test]
    fn names_are_short_and_on_one_line() {
        for name in ["Emma", "Mrs. Patel", "Zoë", "O'Neill", "voice 3"] {
            Speaker::check_name(name).unwrap();
        }
        for name in ["", " Emma", "a\nb", "Emma: x", "[hall]", &"x".repeat(41)] {
            Speaker::check_name(name).unwrap_err();
        }
        assert_eq!(["voice 12", "voice 012", "voice", "Voice 1"].map(Speaker::unnamed), [Some(12), None, None, None]);
    }
}
