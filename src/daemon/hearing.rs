//! From sound to utterances.
//!
//! Owns the joining of voice detector, segmenter, recogniser and guard, on the hearing thread. Refuses to know the store and
//! the time of day: whoever calls says what time it is. Invariant: the utterances of a room come out in the order they were
//! spoken, each within the segment it was heard in, none twice.
//!
//! Listening is cheap and never waits; decoding is dear. So sound goes in by [`Hearing::listen`], each room's into an ear of its
//! own, and what is to be decoded waits until [`Hearing::work`] has time for it: segments in the order in which they ended,
//! whichever room they are from, and looks for each room in turn.

mod ear;
mod judging;
mod passes;
mod waiting;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use ulid::{Generator, Ulid};

use crate::asr::agreement::Agreement;
use crate::asr::pace::{self, Looks, Pace};
use crate::asr::whisper::Whisper;
use crate::asr::{self, Word, guard};
use crate::clock;
use crate::event::{Audio, AudioGap, FRAME_SAMPLES, Frame, Gap, GapReason, Hypothesis, Segment, Sound, Utterance};
use crate::metrics::Metrics;

use ear::{Ear, Live};
use judging::{Judged, joined};
use passes::Passes;
use waiting::{Queue, Waiting};

/// Stream time between two tellings that nothing is said.
const PROGRESS: SignedDuration = SignedDuration::from_secs(1);

/// What came of a stretch of sound.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    Utterance(Utterance),
    Gap(Gap),
    /// What is being said at the moment; without words when it is over.
    Hypothesis(Hypothesis),
    /// Nobody is speaking in any room, and everything up to this moment has come out.
    Progress(Timestamp),
}

/// Hears every room.
pub struct Hearing {
    passes: Passes,
    /// The one that was looked at last stands at the end.
    ears: Vec<Ear>,
    waiting: Queue,
    /// How the recogniser's time is spent; None where there is no hurry: each segment is decoded once.
    pace: Option<Pace>,
    ids: Generator,
    told: Timestamp,
}

impl Hearing {
    pub fn new(whisper: Whisper) -> Self {
        Self {
            passes: Passes::new(whisper),
            ears: Vec::new(),
            waiting: Queue::default(),
            pace: None,
            ids: Generator::new(),
            told: Timestamp::MIN,
        }
    }

    /// For a source that does not wait: looks at what is being said, and gives up what there is no time for.
    pub fn live(mut self, looks: Looks) -> Self {
        self.pace = Some(Pace::new(looks));
        self
    }

    /// Takes what the source delivers, in order, and does at once whatever there is to do: for a source that can wait.
    pub fn push(&mut self, sound: Sound, metrics: &Metrics) -> Result<Vec<Heard>, asr::Error> {
        self.listen(sound, metrics);
        self.work_off(metrics)
    }

    /// The end of the stream: what was being said, and what still waited.
    pub fn finish(&mut self, metrics: &Metrics) -> Result<Vec<Heard>, asr::Error> {
        self.end();
        self.work_off(metrics)
    }

    /// Takes what a source delivers, in order.
    pub fn listen(&mut self, Sound { room, audio }: Sound, metrics: &Metrics) {
        metrics.hearing_heartbeat.beat();
        match audio {
            Audio::Frame(frame) => self.frame(&room, &frame, metrics),
            Audio::Gap(gap) => {
                self.end_of(&room);
                self.waiting.0.push_back(Waiting::Gap(room, gap));
            }
            Audio::End => self.end_of(&room),
        }
    }

    /// All streams have ended: what was being said is whole.
    pub fn end(&mut self) {
        while let Some(ear) = self.ears.first() {
            let room = ear.room.clone();
            self.end_of(&room);
        }
    }

    /// A stream has ended, or does not go on where it was: what was being said is whole, and what comes is heard afresh.
    fn end_of(&mut self, room: &str) {
        let Some(at) = self.ears.iter().position(|ear| &*ear.room == room) else { return };
        let mut ear = self.ears.remove(at);
        if let Some((segment, live)) = ear.flush() {
            let heard_to = segment.time_at(segment.seconds());
            self.waiting.0.push_back(Waiting::Segment(ear.room, segment, live, heard_to));
        }
    }

    /// What was heard and has not come out is dropped, what is being said too.
    pub fn drop_all(&mut self) {
        self.waiting.0.clear();
        self.ears.clear();
    }

    /// There is something to do.
    pub fn has_work(&self) -> bool {
        !self.waiting.0.is_empty() || self.looks_at().is_some()
    }

    /// The ear that is worth a look.
    fn looks_at(&self) -> Option<usize> {
        let pace = self.pace.as_ref()?;
        self.ears.iter().position(|ear| pace.looks(ear.said()))
    }

    /// Less than a minute of speech waits: there is room for more.
    pub fn has_room(&self) -> bool {
        self.waiting.has_room()
    }

    /// Does one piece of work at `now`, at most one pass of the recogniser. Tell [`Hearing::took`] how long it took.
    pub fn work(&mut self, now: Timestamp, metrics: &Metrics) -> Result<Vec<Heard>, asr::Error> {
        let (segments, waited_s) = self.waiting.segments_waiting(now);
        if let Some(pace) = &mut self.pace {
            pace.observe(waited_s, segments);
        }
        match self.waiting.0.pop_front() {
            Some(Waiting::Segment(room, segment, live, _)) => {
                let untouched = live.agreement.committed().is_empty();
                if self.pace.is_some() && untouched && pace::gives_up(waited_s, segments) {
                    return Ok(vec![self.give_up(&room, &segment, metrics)]);
                }
                self.decode(&room, &segment, live, metrics)
            }
            Some(Waiting::Gap(room, AudioGap { from, to, reason })) => {
                Ok(vec![Heard::Gap(Gap { id: self.id(), room: room.to_string(), from, to, reason })])
            }
            Some(Waiting::Progress(time)) => Ok(vec![Heard::Progress(time)]),
            None => match self.looks_at() {
                Some(at) => self.look(at, metrics),
                None => Ok(Vec::new()),
            },
        }
    }

    /// A piece of work with a pass of the recogniser took so long.
    pub fn took(&mut self, seconds: f64) {
        if let Some(pace) = &mut self.pace {
            pace.took(seconds);
        }
    }

    fn work_off(&mut self, metrics: &Metrics) -> Result<Vec<Heard>, asr::Error> {
        let mut heard = Vec::new();
        // Whoever waits for the end has time: nothing is late.
        while let Some(now) = self.waiting.0.front().map(Waiting::time) {
            heard.extend(self.work(now, metrics)?);
        }
        Ok(heard)
    }

    fn frame(&mut self, room: &Arc<str>, frame: &Frame, metrics: &Metrics) {
        metrics.heard_samples.add(FRAME_SAMPLES as u64);
        let at = self.ears.iter().position(|ear| ear.room == *room).unwrap_or_else(|| {
            self.ears.push(Ear::new(room.clone()));
            self.ears.len() - 1
        });
        if let Some((segment, live)) = self.ears[at].hear(frame) {
            let heard_to = clock::after(frame.time, clock::duration(FRAME_SAMPLES as i64));
            self.waiting.0.push_back(Waiting::Segment(room.clone(), segment, live, heard_to));
        }
        // A clock that was set back must not silence the progress until it is where it was.
        let since = frame.time.duration_since(self.told);
        if self.ears.iter().all(Ear::is_idle) && (since >= PROGRESS || since.is_negative()) {
            self.told = frame.time;
            self.waiting.0.push_back(Waiting::Progress(frame.time));
        }
    }

    /// There is no time for a segment: it is told as a gap.
    fn give_up(&mut self, room: &str, segment: &Segment, metrics: &Metrics) -> Heard {
        metrics.dropped_samples.add(segment.samples.len() as u64);
        let (from, to) = (segment.time, segment.time_at(segment.seconds()));
        tracing::warn!(
            room,
            seconds = segment.seconds(),
            "hearing is too slow for what is said; a segment was given up"
        );
        Heard::Gap(Gap { id: self.id(), room: room.into(), from, to, reason: GapReason::Overload })
    }

    /// Looks at what is being said.
    fn look(&mut self, at: usize, metrics: &Metrics) -> Result<Vec<Heard>, asr::Error> {
        self.ears[at..].rotate_left(1);
        let Some(ear) = self.ears.last_mut() else { return Ok(Vec::new()) };
        let Some(segment) = ear.segmenter.so_far() else { return Ok(Vec::new()) };
        let live = &mut ear.live;
        (live.since_samples, live.news_samples) = (0, 0);
        let pieces = self.passes.over(&ear.room, &segment, metrics)?;
        // What nobody said must not be committed because it was written twice.
        let Judged { words, refused, .. } = judging::judge(&pieces, segment.speech_samples);
        let believed = guard::hearable(segment.speech_samples).is_ok() && refused.is_empty() && !words.is_empty();
        live.seen = Some(pieces);
        if !believed {
            return Ok(Vec::new());
        }
        let silence_s = clock::seconds(ear.segmenter.silence() as i64);
        let open = if self.pace.as_ref().is_some_and(Pace::weighs_words) {
            live.agreement.see(&words, segment.seconds(), silence_s)
        } else {
            live.agreement.see_plainly(&words)
        };
        live.shown = true;
        Ok(vec![Heard::Hypothesis(Hypothesis {
            start: segment.time,
            room: ear.room.to_string(),
            committed: live.agreement.committed().iter().map(|word| word.text.clone()).collect(),
            tentative: joined(open),
        })])
    }

    /// What goes on where a segment was cut, if anything is said there.
    fn following(&mut self, room: &str, segment: &Segment) -> Option<&mut Live> {
        let goes_on = |ear: &&mut Ear| {
            let said = ear.segmenter.so_far();
            *ear.room == *room && said.is_some_and(|said| said.start == segment.end() && said.speech_samples > 0)
        };
        let ears = &mut self.ears;
        self.waiting.behind(room, segment).or_else(|| ears.iter_mut().find(goes_on).map(|ear| &mut ear.live))
    }

    fn decode(
        &mut self,
        room: &str,
        segment: &Segment,
        live: Live,
        metrics: &Metrics,
    ) -> Result<Vec<Heard>, asr::Error> {
        let Live { mut agreement, news_samples, seen, shown, goes_on, .. } = live;
        metrics.decoded_samples.add(segment.samples.len() as u64);
        let hearable = guard::hearable(segment.speech_samples);
        let pieces = match seen {
            _ if hearable.is_err() => Vec::new(),
            // Nothing was said since the last look: it saw all of it.
            Some(seen) if news_samples == 0 => seen,
            _ => self.passes.over(room, segment, metrics)?,
        };
        metrics.hearing_heartbeat.beat();
        let Judged { words, no_speech, refused } = judging::judge(&pieces, segment.speech_samples);
        let unheard = hearable.err().map(|reason| (reason, String::new()));
        for (reason, text) in unheard.into_iter().chain(refused) {
            judging::refuse(reason, &text, segment, metrics);
        }
        let mut goes_on_there = false;
        if goes_on && let Some(next) = self.following(room, segment) {
            let behind = agreement.split_off(&words, segment.seconds());
            goes_on_there = !behind.is_empty();
            if goes_on_there {
                next.shown = shown;
                next.agreement = Agreement::after(behind);
            }
        }
        // What was committed stands, whatever is thought of the rest. Nothing comes before what lies behind the cut.
        let rest = if goes_on_there { &[] } else { agreement.rest(&words) };
        let mut heard = self.utterances(room, segment, [agreement.committed(), rest].concat(), no_speech, metrics);
        // What is shown is not over as long as words of it are to come.
        if shown && !goes_on_there {
            heard.push(Heard::Hypothesis(Hypothesis::over(room, segment.time)));
        }
        Ok(heard)
    }

    /// One for each piece that Whisper made.
    fn utterances(
        &mut self,
        room: &str,
        segment: &Segment,
        words: Vec<Word>,
        no_speech: f32,
        metrics: &Metrics,
    ) -> Vec<Heard> {
        let length = segment.seconds();
        // Words of several looks: their times do not always follow on each other.
        let mut end = 0.0;
        let utterance = |words: &[Word]| {
            let start = words[0].start_s.clamp(end, length);
            end = words[words.len() - 1].end_s.clamp(start, length);
            let utterance = Utterance {
                id: self.id(),
                start: segment.time_at(start),
                end: segment.time_at(end),
                room: room.into(),
                text: joined(words),
                confidence: (words.iter().map(|word| word.logprob).sum::<f32>() / words.len() as f32).exp(),
                no_speech,
            };
            metrics.utterances.add(1);
            metrics.words.add(utterance.words() as u64);
            Heard::Utterance(utterance)
        };
        words.chunk_by(|_, next| !next.begins).map(utterance).collect()
    }

    fn id(&mut self) -> Ulid {
        // 80 random bits counted up within a millisecond overflow once in 2^80: then the time part moves on.
        self.ids.generate().unwrap_or_else(|overflow| overflow.commit_overflow_increment())
    }
}
