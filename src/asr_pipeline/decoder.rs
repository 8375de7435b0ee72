//! The one Whisper instance, shared by all rooms, and the language spoken in each of them.

use super::filter;
use crate::asr::AsrError;
use crate::asr::language::LanguageTracker;
use crate::asr::whisper::{TextSegment, Whisper};
use crate::clock;
use crate::event::Segment;
use crate::metrics::Metrics;

pub(super) struct Decoder {
    whisper: Whisper,
    /// Rooms in which somebody spoke lately, with their language.
    languages: Vec<(String, LanguageTracker)>,
}

impl Decoder {
    pub(super) fn new(whisper: Whisper) -> Self {
        Self { whisper, languages: Vec::new() }
    }

    /// Decodes a segment, or the part of it that was received so far, and counts the pass. Where something sounds like a hot word, there
    /// is a second one.
    pub(super) fn decode(
        &mut self,
        room: &str,
        segment: &Segment,
        metrics: &Metrics,
    ) -> Result<Vec<TextSegment>, AsrError> {
        self.select_language(room, segment, metrics)?;
        let decoded = self.whisper.decode(&segment.samples)?;
        self.count_pass(segment, &decoded, metrics);
        let text = text(&decoded);
        if !self.whisper.hot_words().may_be_in(&text) {
            return Ok(decoded);
        }
        let prompted = self.whisper.decode_prompted(&segment.samples)?;
        self.count_pass(segment, &prompted, metrics);
        let passes_filter = filter::apply(&prompted, segment.speech_samples).rejected.is_empty();
        let improved = passes_filter && self.whisper.hot_words().improve(&text, &self::text(&prompted));
        Ok(if improved { prompted } else { decoded })
    }

    fn count_pass(&self, segment: &Segment, decoded: &[TextSegment], metrics: &Metrics) {
        metrics.passes.add(1);
        metrics.encoded_samples.add(self.whisper.encoded_samples(segment.samples.len()) as u64);
        metrics.written_tokens.add(decoded.iter().map(|part| part.tokens as u64).sum());
    }

    /// With `language = "auto"`, sets the room's language. It is detected where the room has none yet.
    fn select_language(&mut self, room: &str, segment: &Segment, metrics: &Metrics) -> Result<(), AsrError> {
        if !self.whisper.detects_language() {
            return Ok(());
        }
        let at = self.languages.iter().position(|(known, _)| known == room).unwrap_or_else(|| {
            self.languages.retain(|(_, tracker)| !tracker.is_expired(segment.time));
            self.languages.push((room.to_owned(), LanguageTracker::default()));
            self.languages.len() - 1
        });
        let tracker = &mut self.languages[at].1;
        let language = match tracker.on_speech(segment.time, segment.time_at(segment.seconds())) {
            Some(language) => language,
            None => {
                let (language, probability) = self.whisper.detect_language(&segment.samples)?;
                metrics.encoded_samples.add(self.whisper.encoded_samples(segment.samples.len()) as u64);
                tracing::debug!(room, language, probability, "a language was detected");
                tracker.on_detected(language, probability, clock::seconds(segment.speech_samples as i64));
                language
            }
        };
        self.whisper.set_language(language);
        Ok(())
    }
}

fn text(decoded: &[TextSegment]) -> String {
    decoded.iter().map(|part| part.text.as_str()).collect::<Vec<_>>().join(" ")
}
