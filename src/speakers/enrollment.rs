//! Whether sound is fit to know a person by. Pure.

use super::recognition::{KnownVoice, ranked};
use crate::event::{VoiceEmbedding, Voiceprint};

/// So many seconds of speech are needed.
pub const MIN_SECONDS: f32 = 5.0;
/// Each piece of speech of one person is more alike than this to the mean of the others; music and several people are not.
const ONE_PERSON: f32 = 0.70;
/// Shorter pieces, in seconds, are too uncertain to judge by.
const JUDGED_SECONDS: f32 = 1.6;
/// So alike are voices of one person at least, also with another microphone.
const SAME: f32 = 0.70;
/// So alike are two people seldom.
const TOO_ALIKE: f32 = 0.82;

/// Why voices are not enrolled.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum EnrollmentError {
    #[error(
        "only {seconds:.1} s of speech were heard, and {MIN_SECONDS:.0} s are needed: read a few sentences aloud, near the microphone"
    )]
    TooLittle { seconds: f32 },
    #[error(
        "this does not sound like one person ({similarity:.2} where {ONE_PERSON} is needed): several people speak, or it is music or noise"
    )]
    Several { similarity: f32 },
    #[error(
        "this does not sound like the {name} who is enrolled (alike to {similarity:.2}): if it is somebody else of that name, enroll \
         them as \"{name} B.\" or so; if it is the same person, --force adds the voice"
    )]
    AnotherPerson { name: String, similarity: f32 },
    #[error(
        "this sounds like {name}, who is enrolled (alike to {similarity:.2}), so neither would be told from the other: add it to {name}, or \
         --force it"
    )]
    TooAlike { name: String, similarity: f32 },
}

/// Whether the voices are of one person, and enough.
///
/// # Errors
/// What is wrong.
pub fn check_sound(voices: &[Voiceprint]) -> Result<VoiceEmbedding, EnrollmentError> {
    let seconds = voices.iter().fold(0.0, |sum, voice| sum + voice.seconds);
    let mean = VoiceEmbedding::mean(voices.iter().map(|voice| &voice.embedding));
    let Some(mean) = mean.filter(|_| seconds >= MIN_SECONDS) else {
        return Err(EnrollmentError::TooLittle { seconds });
    };
    let unity = voices.iter().map(|voice| voice.seconds * voice.unity).sum::<f32>() / seconds;
    let similarity = (0..voices.len()).filter_map(|at| alike_to_others(voices, at)).fold(unity, f32::min);
    if similarity < ONE_PERSON { Err(EnrollmentError::Several { similarity }) } else { Ok(mean) }
}

/// How alike a piece is to the mean of the others; none if it is too short, or alone.
fn alike_to_others(voices: &[Voiceprint], at: usize) -> Option<f32> {
    let others = voices.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, voice)| &voice.embedding);
    let judged = &voices[at];
    Some(VoiceEmbedding::mean(others)?.similarity(&judged.embedding)).filter(|_| judged.seconds >= JUDGED_SECONDS)
}

/// Whether a voice may be enrolled under a name beside those who are known.
///
/// # Errors
/// The name has another voice, or another name this one.
pub fn check_name(name: &str, voice: &VoiceEmbedding, known: &[KnownVoice]) -> Result<(), EnrollmentError> {
    let ranked = ranked(voice, known);
    let is_name = |known: &str| known.to_lowercase() == name.to_lowercase();
    let own = ranked.iter().find(|(known, _)| is_name(known));
    if let Some((name, similarity)) = own.filter(|(_, similarity)| *similarity < SAME) {
        return Err(EnrollmentError::AnotherPerson { name: (*name).into(), similarity: *similarity });
    }
    let other = ranked.iter().find(|(known, _)| !is_name(known));
    match other.filter(|(_, similarity)| *similarity >= TOO_ALIKE && own.is_none_or(|(_, own)| own < similarity)) {
        Some((name, similarity)) => Err(EnrollmentError::TooAlike { name: (*name).into(), similarity: *similarity }),
        None => Ok(()),
    }
}
