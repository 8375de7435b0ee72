//! The one Whisper instance, shared by all rooms, and the language spoken in each of them.

use super::filter;
use crate::asr::AsrError;
use crate::asr::language::LanguageTracker;
use crate::asr::whisper::{TextSegment, Whisper, WhisperPass};
use crate::clock;
use crate::event::Segment;
use crate::metrics::Metrics;

/// A segment with less speech than this, 0.3 s, is decoded with the full window: Whisper mishears such a word more often with a short one.
const SHORT_SPEECH: usize = clock::SAMPLE_RATE as usize * 3 / 10;

/// In a whole segment up to this length, 2.5 s with the silence around it, words that are called out are likelier as the first word.
const CALLED_OUT: usize = clock::SAMPLE_RATE as usize * 5 / 2;

pub(super) struct Decoder {
    whisper: Whisper,
    /// Rooms in which somebody spoke lately, with their language.
    languages: Vec<(String, LanguageTracker)>,
}

impl Decoder {
    pub(super) fn new(whisper: Whisper) -> Self {
        Self { whisper, languages: Vec::new() }
    }

    /// Decodes a whole segment, and counts the passes. Where the text is doubtful or something sounds like a hot word, there is a second one.
    pub(super) fn decode_whole(
        &mut self,
        room: &str,
        segment: &Segment,
        metrics: &Metrics,
    ) -> Result<Vec<TextSegment>, AsrError> {
        self.decode(room, segment, true, metrics)
    }

    /// The segment is so short that it may be a word that is called out.
    pub(super) fn may_be_called_out(segment: &Segment) -> bool {
        segment.samples.len() <= CALLED_OUT
    }

    /// The same for the part of a segment that was received so far.
    pub(super) fn decode_part(
        &mut self,
        room: &str,
        segment: &Segment,
        metrics: &Metrics,
    ) -> Result<Vec<TextSegment>, AsrError> {
        self.decode(room, segment, false, metrics)
    }

    fn decode(
        &mut self,
        room: &str,
        segment: &Segment,
        whole: bool,
        metrics: &Metrics,
    ) -> Result<Vec<TextSegment>, AsrError> {
        let detected = self.select_language(room, segment, whole, metrics)?;
        let called_out = whole && Self::may_be_called_out(segment);
        let full_window = segment.speech_samples < SHORT_SPEECH;
        let mut pass = WhisperPass { full_window, prompted: false, called_out };
        let mut decoded = self.pass(segment, pass, metrics)?;
        let speech_s = clock::seconds(segment.speech_samples as i64);
        let is_doubtful =
            |decoded: &[TextSegment]| filter::apply(decoded, segment.speech_samples).is_doubtful(speech_s);
        // It may be doubtful because it is in another language.
        if self.whisper.detects_language() && whole && !detected && is_doubtful(&decoded) {
            let before = self.whisper.language();
            self.detect_language(room, segment, metrics)?;
            if self.whisper.language() != before {
                decoded = self.pass(segment, pass, metrics)?;
            }
        }
        let doubtful = !pass.full_window && is_doubtful(&decoded);
        if doubtful {
            pass.full_window = true;
            let again = self.pass(segment, pass, metrics)?;
            if is_better(&again, &decoded, segment.speech_samples) {
                decoded = again;
            }
        }
        let text = text(&decoded);
        if !self.whisper.hot_words().may_be_in(&text) {
            return Ok(decoded);
        }
        pass.prompted = true;
        let prompted = self.pass(segment, pass, metrics)?;
        let passes_filter = filter::apply(&prompted, segment.speech_samples).rejected.is_empty();
        let improved = passes_filter && self.whisper.hot_words().improve(&text, &self::text(&prompted));
        Ok(if improved { prompted } else { decoded })
    }

    fn pass(&mut self, segment: &Segment, pass: WhisperPass, metrics: &Metrics) -> Result<Vec<TextSegment>, AsrError> {
        let decoded = self.whisper.decode_as(&segment.samples, pass)?;
        metrics.passes.add(1);
        metrics.encoded_samples.add(self.whisper.encoded_samples(segment.samples.len(), pass) as u64);
        metrics.written_tokens.add(decoded.iter().map(|part| part.tokens as u64).sum());
        let (text, logprob) = (text(&decoded), mean_logprob(&decoded));
        let speech_s = clock::seconds(segment.speech_samples as i64);
        tracing::debug!(at = %segment.time, text, logprob, speech_s, full_window = pass.full_window, prompted = pass.prompted, called_out = pass.called_out, "decoded");
        Ok(decoded)
    }

    /// With `language = "auto"`, sets the room's language. Returns whether it was detected in this segment.
    fn select_language(
        &mut self,
        room: &str,
        segment: &Segment,
        whole: bool,
        metrics: &Metrics,
    ) -> Result<bool, AsrError> {
        if !self.whisper.detects_language() {
            return Ok(false);
        }
        let tracker = self.tracker(room, segment);
        let language = tracker.on_speech(segment.time, segment.time_at(segment.seconds()));
        let due = whole && tracker.is_due(clock::seconds(segment.speech_samples as i64));
        match language {
            Some(language) => self.whisper.set_language(language),
            None => return self.detect_language(room, segment, metrics).map(|()| true),
        }
        if due {
            self.detect_language(room, segment, metrics)?;
        }
        Ok(due)
    }

    /// Detects the language of a segment, and sets the one that its room has then.
    fn detect_language(&mut self, room: &str, segment: &Segment, metrics: &Metrics) -> Result<(), AsrError> {
        let (language, probability) = self.whisper.detect_language(&segment.samples)?;
        metrics.encoded_samples.add(self.whisper.encoded_samples(segment.samples.len(), WhisperPass::default()) as u64);
        let tracker = self.tracker(room, segment);
        tracker.on_detected(segment.time, language, probability, clock::seconds(segment.speech_samples as i64));
        let kept = tracker.language();
        tracing::debug!(room, language, probability, kept, "a language was detected");
        self.whisper.set_language(kept.unwrap_or(language));
        Ok(())
    }

    fn tracker(&mut self, room: &str, segment: &Segment) -> &mut LanguageTracker {
        let at = self.languages.iter().position(|(known, _)| known == room).unwrap_or_else(|| {
            self.languages.retain(|(_, tracker)| !tracker.is_expired(segment.time));
            self.languages.push((room.to_owned(), LanguageTracker::default()));
            self.languages.len() - 1
        });
        &mut self.languages[at].1
    }
}

fn text(decoded: &[TextSegment]) -> String {
    decoded.iter().map(|part| part.text.as_str()).collect::<Vec<_>>().join(" ")
}

/// Whether a second pass over a segment is better than the first: no loop, or Whisper is surer of it.
fn is_better(second: &[TextSegment], first: &[TextSegment], speech_samples: usize) -> bool {
    if second.is_empty() {
        return false;
    }
    let looped = |decoded: &[TextSegment]| filter::apply(decoded, speech_samples).is_loop();
    match (looped(second), looped(first)) {
        (false, true) => true,
        (true, false) => false,
        _ => mean_logprob(second) > mean_logprob(first),
    }
}

fn mean_logprob(decoded: &[TextSegment]) -> f32 {
    let tokens = decoded.iter().map(|part| part.tokens).sum::<usize>() as f32;
    decoded.iter().map(|part| part.mean_logprob * part.tokens as f32).sum::<f32>() / tokens
}
