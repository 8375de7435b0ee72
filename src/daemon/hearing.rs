//! From sound to utterances.
//!
//! Owns the joining of voice detector, segmenter, recogniser and guard, on the hearing thread. Refuses to know the store and
//! the time of day: whoever calls says what time it is. Invariant: utterances come out in the order they were spoken, each
//! within the segment it was heard in, none twice.
//!
//! Listening is cheap and never waits; decoding is dear. So sound goes in by [`Hearing::listen`], and what is to be decoded
//! waits until [`Hearing::work`] has time for it.

use std::collections::VecDeque;

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
    ear: Ear,
    waiting: VecDeque<Waiting>,
    ids: Generator,
    told: Timestamp,
}

/// What belongs to one stream of sound.
struct Ear {
    room: String,
    vad: Vad,
    segmenter: Segmenter,
}

/// What will come out, in this order.
enum Waiting {
    Segment(Segment),
    Gap(Gap),
    Progress(Timestamp),
}

impl Hearing {
    pub fn new(whisper: Whisper, room: &str) -> Self {
        Self {
            whisper,
            ear: Ear { room: room.into(), vad: Vad::default(), segmenter: Segmenter::default() },
            waiting: VecDeque::new(),
            ids: Generator::new(),
            told: Timestamp::MIN,
        }
    }

    /// Takes what the source delivers, in order, and does at once whatever there is to do: for a source that can wait.
    pub fn push(&mut self, audio: Audio, vitals: &Vitals) -> Result<Vec<Heard>, asr::Error> {
        self.listen(audio, vitals);
        self.work_off(vitals)
    }

    /// The end of the stream: what was being said, and what still waited.
    pub fn finish(&mut self, vitals: &Vitals) -> Result<Vec<Heard>, asr::Error> {
        self.end();
        self.work_off(vitals)
    }

    /// Takes what the source delivers, in order.
    pub fn listen(&mut self, audio: Audio, vitals: &Vitals) {
        vitals.hearing_moved.mark();
        match audio {
            Audio::Frame(frame) => self.frame(&frame, vitals),
            Audio::Gap(gap) => self.gap(gap),
        }
    }

    /// The stream has ended, or does not go on where it was: what was being said is whole.
    pub fn end(&mut self) {
        self.waiting.extend(self.ear.segmenter.flush().map(Waiting::Segment));
    }

    /// There is something to do.
    pub fn has_work(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Does one piece of work, at most one decode.
    pub fn work(&mut self, vitals: &Vitals) -> Result<Vec<Heard>, asr::Error> {
        match self.waiting.pop_front() {
            Some(Waiting::Segment(segment)) => self.decode(&segment, vitals),
            Some(Waiting::Gap(gap)) => Ok(vec![Heard::Gap(gap)]),
            Some(Waiting::Progress(time)) => Ok(vec![Heard::Progress(time)]),
            None => Ok(Vec::new()),
        }
    }

    fn work_off(&mut self, vitals: &Vitals) -> Result<Vec<Heard>, asr::Error> {
        let mut heard = Vec::new();
        while self.has_work() {
            heard.extend(self.work(vitals)?);
        }
        Ok(heard)
    }

    fn frame(&mut self, frame: &Frame, vitals: &Vitals) {
        vitals.heard_samples.add(FRAME_SAMPLES as u64);
        let probability = self.ear.vad.probability(frame);
        if let Some(segment) = self.ear.segmenter.push(frame, probability) {
            // Loud noise can hold the detector's memory in speech for minutes; afresh, it is heard for what it is.
            self.ear.vad.reset();
            self.waiting.push_back(Waiting::Segment(segment));
        }
        // A clock that was set back must not silence the progress until it is where it was.
        let since = frame.time.duration_since(self.told);
        if self.ear.segmenter.is_idle() && (since >= PROGRESS || since.is_negative()) {
            self.told = frame.time;
            self.waiting.push_back(Waiting::Progress(frame.time));
        }
    }

    fn gap(&mut self, gap: AudioGap) {
        self.end();
        self.ear.vad.reset();
        let AudioGap { from, to, reason } = gap;
        let gap = Gap { id: self.id(), from, to, reason };
        self.waiting.push_back(Waiting::Gap(gap));
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
        vitals.passes.add(1);
        vitals.written_tokens.add(pieces.iter().map(|piece| piece.tokens as u64).sum());
        vitals.decoded_samples.add(segment.samples.len() as u64);
        vitals.hearing_moved.mark();
        let mut believed = Vec::new();
        for piece in pieces {
            match guard::believable(&piece.text, piece.mean_logprob, piece.no_speech) {
                Ok(()) => believed.push(piece),
                Err(reason) => refuse(reason, &piece.text),
            }
        }
        let text: Vec<&str> = believed.iter().map(|piece| piece.text.as_str()).collect();
        let text = text.join(" ");
        if let Err(reason) = guard::sayable(&text, segment.speech_samples) {
            refuse(reason, &text);
            return Ok(Vec::new());
        }
        Ok(believed.into_iter().map(|piece| Heard::Utterance(self.utterance(segment, piece, vitals))).collect())
    }

    fn utterance(&mut self, segment: &Segment, piece: Piece, vitals: &Vitals) -> Utterance {
        let length = clock::seconds(segment.samples.len() as i64);
        let start = piece.start_s.clamp(0.0, length);
        let utterance = Utterance {
            id: self.id(),
            start: segment.time_at(start),
            end: segment.time_at(piece.end_s.clamp(start, length)),
            room: self.ear.room.clone(),
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
