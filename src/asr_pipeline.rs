//! From audio to utterances: voice detection, segmenting, decoding, and the filter against hallucinated text.
//!
//! Receiving audio is cheap and never waits, decoding is expensive. So [`AsrPipeline::accept`] only runs voice detection and
//! segmenting, each room in a `RoomStream` of its own, and queues what is to be decoded. [`AsrPipeline::step`] does one piece of
//! the queued work: segments first, in the order in which they ended, whichever room they are from. Where none waits, it decodes
//! a segment that is still in progress (a partial decode), the rooms taking turns.
//!
//! The pipeline neither stores anything nor reads the clock: the caller passes the time. The utterances of a room come out in the
//! order in which they were spoken, each within the segment it was decoded from, and none twice.

mod decode_queue;
mod decoder;
mod filter;
mod pipeline_event;
mod room_stream;
mod utterances;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use ulid::{Generator, Ulid};

use crate::asr::decode_scheduler::{self, DecodeScheduler, InterimMode};
use crate::asr::local_agreement::LocalAgreement;
use crate::asr::whisper::Whisper;
use crate::asr::{self, hallucination_filter};
use crate::clock;
use crate::event::{AudioEvent, AudioGap, FRAME_SAMPLES, Frame, Gap, GapReason, Hypothesis, RoomAudio, Segment};
use crate::metrics::Metrics;
use crate::speakers::VoiceEncoder;

use decode_queue::{DecodeQueue, QueueItem, QueuedSegment};
use decoder::Decoder;
use filter::FilteredText;
pub use pipeline_event::PipelineEvent;
use room_stream::{InterimState, RoomStream};

/// Stream time between two [`PipelineEvent::Progress`].
const PROGRESS: SignedDuration = SignedDuration::from_secs(1);

/// Turns the audio of all rooms into utterances.
pub struct AsrPipeline {
    decoder: Decoder,
    /// The room whose segment in progress was decoded last is at the end.
    streams: Vec<RoomStream>,
    queue: DecodeQueue,
    /// For a live source. None where the source waits: then each segment is decoded once, and none is dropped.
    scheduler: Option<DecodeScheduler>,
    /// Where voices are told apart.
    voices: Option<VoiceEncoder>,
    ids: Generator,
    last_progress: Timestamp,
}

impl AsrPipeline {
    /// A pipeline for sources that wait, such as files: each segment is decoded once, and none is dropped.
    pub fn new(whisper: Whisper) -> Self {
        Self {
            decoder: Decoder::new(whisper),
            streams: Vec::new(),
            queue: DecodeQueue::default(),
            scheduler: None,
            voices: None,
            ids: Generator::new(),
            last_progress: Timestamp::MIN,
        }
    }

    /// For a source that does not wait: segments in progress are decoded too, and under load old segments are dropped.
    pub fn live(mut self, mode: InterimMode) -> Self {
        self.scheduler = Some(DecodeScheduler::new(mode));
        self
    }

    /// Each utterance comes with the voice it was said with.
    pub fn with_voices(mut self, voices: Option<VoiceEncoder>) -> Self {
        self.voices = voices;
        self
    }

    /// Takes what the source delivers, in order, and decodes at once whatever can be decoded. For a source that waits.
    ///
    /// # Errors
    /// Whisper fails.
    pub fn push(&mut self, audio: RoomAudio, metrics: &Metrics) -> Result<Vec<PipelineEvent>, asr::AsrError> {
        self.accept(audio, metrics);
        self.drain(metrics)
    }

    /// The end of the stream: decodes the segments in progress and what is still queued.
    ///
    /// # Errors
    /// Whisper fails.
    pub fn finish(&mut self, metrics: &Metrics) -> Result<Vec<PipelineEvent>, asr::AsrError> {
        self.end_streams(metrics);
        self.drain(metrics)
    }

    /// Takes what a source delivers, in order, without decoding anything.
    pub fn accept(&mut self, RoomAudio { room, event }: RoomAudio, metrics: &Metrics) {
        metrics.hearing_heartbeat.beat();
        match event {
            AudioEvent::Frame(frame) => self.accept_frame(&room, &frame, metrics),
            AudioEvent::Gap(gap) => {
                self.end_stream(&room, metrics);
                self.queue.push(QueueItem::Gap { room, gap });
            }
            AudioEvent::End => self.end_stream(&room, metrics),
        }
    }

    /// All streams have ended: their segments in progress are queued.
    pub(crate) fn end_streams(&mut self, metrics: &Metrics) {
        while let Some(stream) = self.streams.first() {
            let room = stream.room.clone();
            self.end_stream(&room, metrics);
        }
    }

    /// A room's stream has ended or is interrupted: its segment in progress is queued, and what follows is a new stream.
    fn end_stream(&mut self, room: &str, metrics: &Metrics) {
        let Some(at) = self.streams.iter().position(|stream| &*stream.room == room) else { return };
        let mut stream = self.streams.remove(at);
        if let Some((segment, interim)) = stream.flush(metrics) {
            let received_until = segment.time_at(segment.seconds());
            self.queue.push(QueueItem::Segment(QueuedSegment { room: stream.room, segment, interim, received_until }));
        }
    }

    /// Discards everything that was received and has not come out, segments in progress too.
    pub fn discard_all(&mut self) {
        self.queue.clear();
        self.streams.clear();
    }

    /// [`AsrPipeline::step`] has something to do.
    pub fn has_work(&self) -> bool {
        !self.queue.is_empty() || self.partial_decode_due().is_some()
    }

    /// The room whose segment in progress is worth a partial decode now.
    fn partial_decode_due(&self) -> Option<usize> {
        let scheduler = self.scheduler.as_ref()?;
        self.streams.iter().position(|stream| scheduler.wants_partial_decode(stream.progress()))
    }

    /// Less than a minute of speech is queued.
    pub(crate) fn has_capacity(&self) -> bool {
        self.queue.has_capacity()
    }

    /// Does one piece of work at `now`: at most one segment is decoded. If there was one, tell [`AsrPipeline::record_pass`] how
    /// long it took.
    ///
    /// # Errors
    /// Whisper fails.
    pub fn step(&mut self, now: Timestamp, metrics: &Metrics) -> Result<Vec<PipelineEvent>, asr::AsrError> {
        let backlog = self.queue.backlog(now);
        if let Some(scheduler) = &mut self.scheduler {
            scheduler.update_load(backlog.waited_s, backlog.segments);
        }
        match self.queue.pop() {
            Some(QueueItem::Segment(queued)) => {
                // A segment of which words were committed is never dropped: they are shown already.
                let droppable = self.scheduler.is_some() && queued.interim.agreement.committed().is_empty();
                if droppable && decode_scheduler::should_drop(backlog.waited_s, backlog.segments) {
                    return Ok(vec![self.drop_segment(&queued, metrics)]);
                }
                self.final_decode(queued, metrics)
            }
            Some(QueueItem::Gap { room, gap: AudioGap { from, to, reason } }) => {
                Ok(vec![PipelineEvent::Gap(Gap { id: self.next_id(), room: room.to_string(), from, to, reason })])
            }
            Some(QueueItem::Progress(time)) => Ok(vec![PipelineEvent::Progress(time)]),
            None => match self.partial_decode_due() {
                Some(at) => self.partial_decode(at, metrics),
                None => Ok(Vec::new()),
            },
        }
    }

    /// The last step, which included a pass of Whisper, took so long.
    pub fn record_pass(&mut self, seconds: f64) {
        if let Some(scheduler) = &mut self.scheduler {
            scheduler.record_pass(seconds);
        }
    }

    fn drain(&mut self, metrics: &Metrics) -> Result<Vec<PipelineEvent>, asr::AsrError> {
        let mut events = Vec::new();
        // Nothing is late for a caller that waits for the result, so "now" is the time that the work is about.
        while let Some(now) = self.queue.front().map(QueueItem::time) {
            events.extend(self.step(now, metrics)?);
        }
        Ok(events)
    }

    fn accept_frame(&mut self, room: &Arc<str>, frame: &Frame, metrics: &Metrics) {
        metrics.heard_samples.add(FRAME_SAMPLES as u64);
        let at = self.streams.iter().position(|stream| stream.room == *room).unwrap_or_else(|| {
            self.streams.push(RoomStream::new(room.clone()));
            self.streams.len() - 1
        });
        if let Some((segment, interim)) = self.streams[at].push(frame, metrics) {
            let received_until = clock::after(frame.time, clock::duration(FRAME_SAMPLES as i64));
            let room = room.clone();
            self.queue.push(QueueItem::Segment(QueuedSegment { room, segment, interim, received_until }));
        }
        // After a clock that was set back, progress must not stay silent until the old time is reached again.
        let since = frame.time.duration_since(self.last_progress);
        if self.streams.iter().all(RoomStream::is_idle) && (since >= PROGRESS || since.is_negative()) {
            self.last_progress = frame.time;
            self.queue.push(QueueItem::Progress(frame.time));
        }
    }

    /// There is no time to decode a segment: a gap takes its place.
    fn drop_segment(&mut self, queued: &QueuedSegment, metrics: &Metrics) -> PipelineEvent {
        let QueuedSegment { room, segment, .. } = queued;
        metrics.dropped_samples.add(segment.samples.len() as u64);
        tracing::warn!(
            room = &**room,
            seconds = segment.seconds(),
            "speech recognition is too slow for what is said; a segment was dropped"
        );
        PipelineEvent::Gap(Gap {
            id: self.next_id(),
            room: room.to_string(),
            from: segment.time,
            to: segment.time_at(segment.seconds()),
            reason: GapReason::Overload,
        })
    }

    /// Decodes the segment in progress of one room, and commits the words that can be relied on.
    fn partial_decode(&mut self, at: usize, metrics: &Metrics) -> Result<Vec<PipelineEvent>, asr::AsrError> {
        // The rooms take turns: the next search begins behind this one.
        self.streams[at..].rotate_left(1);
        let Some(stream) = self.streams.last_mut() else { return Ok(Vec::new()) };
        let Some(segment) = stream.segmenter.so_far() else { return Ok(Vec::new()) };
        let interim = &mut stream.interim;
        interim.new_samples = 0;
        interim.new_speech_samples = 0;
        let decoded = self.decoder.decode_part(&stream.room, &segment, metrics)?;
        // A hallucination must not be committed just because Whisper wrote it twice.
        let FilteredText { words, rejected, .. } = filter::apply(&decoded, segment.speech_samples);
        let long_enough = hallucination_filter::check_speech_length(segment.speech_samples).is_ok();
        interim.last_decode = Some(decoded);
        if !long_enough || !rejected.is_empty() || words.is_empty() {
            return Ok(Vec::new());
        }
        let silence_s = clock::seconds(stream.segmenter.silence() as i64);
        let tentative = if self.scheduler.as_ref().is_some_and(DecodeScheduler::weighs_confidence) {
            interim.agreement.update(&words, segment.seconds(), silence_s)
        } else {
            interim.agreement.update_unweighted(&words)
        };
        interim.published = true;
        Ok(vec![PipelineEvent::Hypothesis(Hypothesis {
            start: segment.time,
            room: stream.room.to_string(),
            committed: interim.agreement.committed().iter().map(|word| word.text.clone()).collect(),
            tentative: filter::join(tentative),
        })])
    }

    /// Where a segment was cut in the middle of speech: the state of the segment that continues it, queued or in progress.
    fn continuation(&mut self, room: &str, cut: &Segment) -> Option<&mut InterimState> {
        let continues = |stream: &&mut RoomStream| {
            let next = stream.segmenter.so_far();
            *stream.room == *room && next.is_some_and(|next| next.start == cut.end() && next.speech_samples > 0)
        };
        let streams = &mut self.streams;
        let queued = self.queue.continuation(room, cut);
        queued.or_else(|| streams.iter_mut().find(continues).map(|stream| &mut stream.interim))
    }

    /// Decodes a whole segment and turns it into utterances.
    fn final_decode(&mut self, queued: QueuedSegment, metrics: &Metrics) -> Result<Vec<PipelineEvent>, asr::AsrError> {
        let QueuedSegment { room, segment, interim, .. } = queued;
        let InterimState { mut agreement, new_speech_samples, last_decode, published, cut_mid_speech, .. } = interim;
        metrics.decoded_samples.add(segment.samples.len() as u64);
        let length = hallucination_filter::check_speech_length(segment.speech_samples);
        let decoded = match last_decode {
            _ if length.is_err() => Vec::new(),
            // Nothing was said since the last partial decode: it covered all speech of the segment.
            Some(decoded) if new_speech_samples == 0 && !Decoder::may_be_called_out(&segment) => decoded,
            _ => self.decoder.decode_whole(&room, &segment, metrics)?,
        };
        metrics.hearing_heartbeat.beat();
        let FilteredText { words, no_speech, rejected, .. } = filter::apply(&decoded, segment.speech_samples);
        if let Err(reason) = length {
            filter::count_rejection(reason, "", &segment, metrics);
        }
        for (reason, text) in rejected {
            filter::count_rejection(reason, &text, &segment, metrics);
        }
        let mut continued = false;
        if cut_mid_speech && let Some(next) = self.continuation(&room, &segment) {
            let behind_cut = agreement.split_off(&words, segment.seconds());
            continued = !behind_cut.is_empty();
            if continued {
                next.published = published;
                next.agreement = LocalAgreement::continuing(behind_cut);
            }
        }
        // Committed words stay, whatever the filter rejected. If some of them belong to the next segment, nothing uncommitted
        // may come out before them.
        let rest = if continued { &[] } else { agreement.uncommitted(&words) };
        let words = [agreement.committed(), rest].concat();
        let mut events = self.utterances(&room, &segment, &words, no_speech, metrics);
        // The hypothesis on display is not over as long as words of it are to come.
        if published && !continued {
            events.push(PipelineEvent::Hypothesis(Hypothesis::over(&room, segment.time)));
        }
        Ok(events)
    }

    fn next_id(&mut self) -> Ulid {
        // The 80 random bits, counted up within a millisecond, overflow once in 2^80. Then the time part is increased.
        self.ids.generate().unwrap_or_else(|overflow| overflow.commit_overflow_increment())
    }
}
