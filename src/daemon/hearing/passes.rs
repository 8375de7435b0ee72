//! Passes of the recogniser.
//!
//! Owns the one recogniser, and what is known of the language that is spoken in each room. Refuses to judge what it writes.
//! Invariant: every pass is counted, with what it encoded and wrote.

use crate::asr::Error;
use crate::asr::language::Conversation;
use crate::asr::whisper::{Piece, Whisper};
use crate::event::Segment;
use crate::metrics::Metrics;

pub(super) struct Passes {
    whisper: Whisper,
    /// Of rooms in which somebody spoke lately.
    conversations: Vec<(String, Conversation)>,
}

impl Passes {
    pub(super) fn new(whisper: Whisper) -> Self {
        Self { whisper, conversations: Vec::new() }
    }

    /// Over a segment, or what was heard of it.
    pub(super) fn over(&mut self, room: &str, segment: &Segment, metrics: &Metrics) -> Result<Vec<Piece>, Error> {
        self.in_its_language(room, segment, metrics)?;
        let pieces = self.whisper.decode(&segment.samples)?;
        metrics.passes.add(1);
        metrics.encoded_samples.add(self.whisper.encoded_samples(segment.samples.len()) as u64);
        metrics.written_tokens.add(pieces.iter().map(|piece| piece.tokens as u64).sum());
        Ok(pieces)
    }

    fn in_its_language(&mut self, room: &str, segment: &Segment, metrics: &Metrics) -> Result<(), Error> {
        if !self.whisper.detects() {
            return Ok(());
        }
        let at = self.conversations.iter().position(|(of, _)| of == room).unwrap_or_else(|| {
            self.conversations.retain(|(_, conversation)| !conversation.is_over(segment.time));
            self.conversations.push((room.to_owned(), Conversation::default()));
            self.conversations.len() - 1
        });
        let conversation = &mut self.conversations[at].1;
        let language = match conversation.speaks(segment.time, segment.time_at(segment.seconds())) {
            Some(language) => language,
            None => {
                let (language, probability) = self.whisper.detect(&segment.samples)?;
                metrics.encoded_samples.add(self.whisper.encoded_samples(segment.samples.len()) as u64);
                tracing::debug!(room, language, probability, "a language was detected");
                let speech_s = crate::clock::seconds(segment.speech_samples as i64);
                conversation.detected(language, probability, speech_s);
                language
            }
        };
        self.whisper.speak(language);
        Ok(())
    }
}
