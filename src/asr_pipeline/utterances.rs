//! Utterances from the words of a segment, each with the voice it was said with.

use super::filter;
use super::{AsrPipeline, PipelineEvent};
use crate::asr::Word;
use crate::clock;
use crate::event::{Segment, Utterance, Voiceprint};
use crate::metrics::Metrics;
use crate::speakers::VoiceEncoder;

impl AsrPipeline {
    /// One utterance for each text segment that Whisper made.
    pub(super) fn utterances(
        &mut self,
        room: &str,
        segment: &Segment,
        words: &[Word],
        no_speech: f32,
        metrics: &Metrics,
    ) -> Vec<PipelineEvent> {
        let length = segment.seconds();
        // The words come from several decodes, so their times may overlap.
        let mut end = 0.0;
        let utterance = |words: &[Word]| {
            let start = words[0].start_s.clamp(end, length);
            end = words[words.len() - 1].end_s.clamp(start, length);
            let utterance = Utterance {
                id: self.next_id(),
                start: segment.time_at(start),
                end: segment.time_at(end),
                room: room.into(),
                text: filter::join(words),
                confidence: (words.iter().map(|word| word.logprob).sum::<f32>() / words.len() as f32).exp(),
                no_speech,
                speaker: None,
            };
            metrics.utterances.add(1);
            metrics.words.add(utterance.words() as u64);
            PipelineEvent::Utterance(
                utterance,
                self.voices.as_ref().and_then(|voices| voice(voices, segment, start, end)),
            )
        };
        words.chunk_by(|_, next| !next.starts_segment).map(utterance).collect()
    }
}

/// The voice between two times of a segment, in seconds. A voice that cannot be had costs no words.
fn voice(voices: &VoiceEncoder, segment: &Segment, start: f64, end: f64) -> Option<Box<Voiceprint>> {
    let at = |seconds: f64| ((seconds * f64::from(clock::SAMPLE_RATE)) as usize).min(segment.samples.len());
    let voice = voices.voiceprint(&segment.samples[at(start)..at(end)]);
    voice
        .unwrap_or_else(|error| {
            tracing::warn!(%error, "no voice is known");
            None
        })
        .map(Box::new)
}
