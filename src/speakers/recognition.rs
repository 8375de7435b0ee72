//! What a voice is taken for. Pure: embeddings in, a name or none out.
//!
//! The constants were chosen on the part "choose" of the pieces that `tools/voice_pieces.py` makes, so that no more than one name in a
//! hundred is wrong in any condition; docs/speakers.md has what `hearth bench speakers` tells of the other part.

use std::collections::BTreeMap;

use crate::event::{Speaker, StoredVoice, VoiceEmbedding, Voiceprint};

/// What an utterance of some length must reach to be given a name.
struct Bar {
    /// It counts for utterances of at least so many seconds.
    from_s: f32,
    /// How alike the voice must be to that of the name …
    similarity: f32,
    /// … and how much more alike than to any other.
    margin: f32,
}

/// The longest first. Shorter utterances than the last get no name.
const BARS: [Bar; 3] = [
    Bar { from_s: 3.0, similarity: 0.82, margin: 0.06 },
    Bar { from_s: 1.6, similarity: 0.80, margin: 0.08 },
    Bar { from_s: 0.9, similarity: 0.75, margin: 0.08 },
];
/// The parts of an utterance are more alike than this, or two people speak in it.
const ONE_VOICE: f32 = 0.66;
/// A voice without a name is told again from this similarity on, and one that is less like any other than this is new.
const SAME_UNNAMED: f32 = 0.80;
const NEW_UNNAMED: f32 = 0.70;
/// Only so many seconds of sound are enough for a new voice.
const NEW_SECONDS: f32 = 2.0;
/// The logistic curve from similarity to the probability that the name is right: where it is a half, and how steep it is.
const HALF: f32 = 0.655;
const STEEPNESS: f32 = 17.0;

/// A person, or somebody without a name: the mean of what is stored.
#[derive(Clone, Debug)]
pub struct KnownVoice {
    pub name: String,
    mean: VoiceEmbedding,
}

impl KnownVoice {
    pub fn mean(&self) -> &VoiceEmbedding {
        &self.mean
    }
}

/// Whom a voice is of.
#[derive(Clone, Debug, PartialEq)]
pub enum Recognized {
    /// A name, or the number of somebody without one.
    Known(Speaker),
    /// Somebody who was not heard before.
    New,
    /// It cannot be told.
    Nobody,
}

/// Puts together what is stored by name; and the names of which there is something that cannot be used, because it is damaged or
/// another model made it.
pub fn known(voices: &[StoredVoice], model: &str) -> (Vec<KnownVoice>, Vec<String>) {
    let mut usable: BTreeMap<&str, Vec<&VoiceEmbedding>> = BTreeMap::new();
    let mut refused = Vec::new();
    for voice in voices {
        let Some(name) = &voice.speaker else { continue };
        match &voice.embedding {
            Some(embedding) if voice.model == model => usable.entry(name).or_default().push(embedding),
            _ => refused.push(name.clone()),
        }
    }
    refused.dedup();
    let mean = |(name, voices): (&str, Vec<&VoiceEmbedding>)| {
        VoiceEmbedding::mean(voices).map(|mean| KnownVoice { name: name.into(), mean })
    };
    (usable.into_iter().filter_map(mean).collect(), refused)
}

/// How alike a voice is to each that is known, the most alike first.
pub fn ranked<'a>(voice: &VoiceEmbedding, known: &'a [KnownVoice]) -> Vec<(&'a str, f32)> {
    let mut ranked: Vec<_> = known.iter().map(|known| (&*known.name, known.mean.similarity(voice))).collect();
    ranked.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    ranked
}

/// Whom a voice is of: one of the people who are enrolled, or somebody without a name.
pub fn recognize(voice: &Voiceprint, enrolled: &[KnownVoice], unnamed: &[KnownVoice]) -> Recognized {
    if voice.unity < ONE_VOICE {
        return Recognized::Nobody;
    }
    let people = ranked(&voice.embedding, enrolled);
    if let Some(speaker) = named(voice.seconds, &people) {
        return Recognized::Known(speaker);
    }
    let nearest = people.first().map_or(0.0, |(_, similarity)| *similarity);
    let others = ranked(&voice.embedding, unnamed);
    match others.first() {
        Some((name, similarity)) if *similarity >= SAME_UNNAMED && *similarity > nearest => {
            let speaker = Speaker { name: (*name).into(), confidence: confidence(*similarity) };
            if voice.seconds >= BARS[BARS.len() - 1].from_s { Recognized::Known(speaker) } else { Recognized::Nobody }
        }
        Some((_, similarity)) if *similarity >= NEW_UNNAMED => Recognized::Nobody,
        _ if voice.seconds >= NEW_SECONDS && nearest < NEW_UNNAMED => Recognized::New,
        _ => Recognized::Nobody,
    }
}

/// The name of the first of these, if that is beyond doubt.
fn named(seconds: f32, people: &[(&str, f32)]) -> Option<Speaker> {
    let bar = BARS.iter().find(|bar| seconds >= bar.from_s)?;
    let (name, similarity) = people.first()?;
    let second = people.get(1).map_or(0.0, |(_, similarity)| *similarity);
    let clear = *similarity >= bar.similarity && similarity - second >= bar.margin;
    clear.then(|| Speaker { name: (*name).into(), confidence: confidence(*similarity) })
}

fn confidence(similarity: f32) -> f32 {
    1.0 / (1.0 + (-STEEPNESS * (similarity - HALF)).exp())
}
