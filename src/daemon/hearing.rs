//! From sound to utterances.
//!
//! Owns the joining of voice detector, segmenter, recogniser and guard, on the hearing thread. Refuses to know the store.
//! Invariant: utterances come out in the order they were spoken, each within the segment it was heard in, none twice.

use jiff::{SignedDuration, Timestamp};
use ulid::{Generator, Ulid};

use crate::asr::whisper::{Piece, Whisper};
use crate::asr::{self, guard};
use crate::audio::segmenter::Segmenter;
use crate::audio::vad::Vad;
use crate::clock;
use crate::event::{Audio, AudioGap, FRAME_SAMPLES, Frame, Gap, Segment, Utterance};
use crate::vitals::Vitals;

/// Stream time between two tellings that nothing is said.
const PROGRESS: SignedDuration = SignedDuration::from_secs(1);

/// What came of a stretch of sound.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    Utterance(Utterance),
    Gap(Gap),
    /// Nobody is speaking, and everything up to this moment has come out.
    Progress(Timestamp),
}

/// Hears one stream.
pub struct Hearing {
    whisper: Whisper,
    vad: Vad,
    segmenter: Segmenter,
    room: String,
    ids: Generator,
    told: Timestamp,
}

impl Hearing {
    pub fn new(whisper: Whisper, room: &str) -> Self {
        Self {
            whisper,
            vad: Vad::default(),
            segmenter: Segmenter::default(),
            room: room.into(),
            ids: Generator::new(),
            told: Timestamp::MIN,
        }
    }

    /// Takes what the source delivers, in order.
    pub fn push(&mut self, audio: Audio, vitals: &Vitals) -> Result<Vec<Heard>, asr::Error> {
        vitals.hearing_moved.mark();
        match audio {
            Audio::Frame(frame) => self.frame(&frame, vitals),
            Audio::Gap(gap) => self.gap(gap, vitals),
        }
    }

    /// The end of the stream: what was being said.
    pub fn finish(&mut self, vitals: &Vitals) -> Result<Vec<Heard>, asr::Error> {
        match self.segmenter.flush() {
            Some(segment) => self.decode(&segment, vitals),
            None => Ok(Vec::new()),
        }
    }

    fn frame(&mut self, frame: &Frame, vitals: &Vitals) -> Result<Vec<Heard>, asr::Error> {
        vitals.heard_samples.add(FRAME_SAMPLES as u64);
        let probability = self.vad.probability(frame);
        let mut heard = Vec::new();
        if let Some(segment) = self.segmenter.push(frame, probability) {
            // Loud noise can hold the detector's memory in speech for minutes; afresh, it is heard for what it is.
            self.vad.reset();
            heard = self.decode(&segment, vitals)?;
        }
        // A clock that was set back must not silence the progress until it is where it was.
        let since = frame.time.duration_since(self.told);
        if self.segmenter.is_idle() && (since >= PROGRESS || since.is_negative()) {
            self.told = frame.time;
            heard.push(Heard::Progress(frame.time));
        }
        Ok(heard)
    }

    fn gap(&mut self, gap: AudioGap, vitals: &Vitals) -> Result<Vec<Heard>, asr::Error> {
        let mut heard = self.finish(vitals)?;
        self.vad.reset();
        let AudioGap { from, to, reason } = gap;
        heard.push(Heard::Gap(Gap { id: self.id(), from, to, reason }));
        Ok(heard)
    }

    fn decode(&mut self, segment: &Segment, vitals: &Vitals) -> Result<Vec<Heard>, asr::Error> {
        let refuse = |reason: guard::Rejection, text: &str| {
            vitals.rejected.add(1);
            tracing::debug!(%reason, text, at = %segment.time, "refused");
        };
        if let Err(reason) = guard::hearable(segment.speech_samples) {
            refuse(reason, "");
            return Ok(Vec::new());
        }
        let pieces = self.whisper.decode(&segment.samples, "")?;
        vitals.decoded_samples.add(segment.samples.len() as u64);
        vitals.hearing_moved.mark();
        let words = pieces.iter().map(|piece| piece.text.split_whitespace().count()).sum();
        if let Err(reason) = guard::sayable(words, segment.speech_samples) {
            let text: Vec<&str> = pieces.iter().map(|piece| piece.text.as_str()).collect();
            refuse(reason, &text.join(" "));
            return Ok(Vec::new());
        }
        let mut heard = Vec::new();
        for piece in pieces {
            match guard::believable(&piece.text, piece.mean_logprob, piece.no_speech) {
                Ok(()) => heard.push(Heard::Utterance(self.utterance(segment, piece, vitals))),
                Err(reason) => refuse(reason, &piece.text),
            }
        }
        Ok(heard)
    }

    fn utterance(&mut self, segment: &Segment, piece: Piece, vitals: &Vitals) -> Utterance {
        let length = clock::seconds(segment.samples.len() as i64);
        let start = piece.start_s.clamp(0.0, length);
        let utterance = Utterance {
            id: self.id(),
            start: segment.time_at(start),
            end: segment.time_at(piece.end_s.clamp(start, length)),
            room: self.room.clone(),
            text: piece.text,
            confidence: piece.mean_logprob.exp(),
            no_speech: piece.no_speech,
        };
        vitals.utterances.add(1);
        vitals.words.add(utterance.words() as u64);
        utterance
    }

    fn id(&mut self) -> Ulid {
        // 80 random bits counted up within a millisecond overflow once in 2^80: then the time part moves on.
        self.ids.generate().unwrap_or_else(|overflow| overflow.commit_overflow_increment())
    }
}
