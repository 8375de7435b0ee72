//! The thread that transcribes: sound from the sources, utterances into the store.
//!
//! An utterance and the message that tells of it are on disk before the listener is woken. Without a listener this thread is the one
//! that lets [`Retention`] delete text.

mod heard_until;
mod pending_gaps;
mod speakers;
mod storing;
mod unstored;

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tracing::debug;

use self::heard_until::HeardUntil;
use self::pending_gaps::PendingGaps;
use self::speakers::SpeakerNames;
use self::unstored::{Heard, UnstoredEvents};
use super::listen::ListenerEvent;
use super::store_retry::{StoreOutage, retry_until_stored};
use super::transcript_writer::TranscriptWriter;
use super::{Context, ServiceError, channels};
use crate::asr_pipeline::{AsrPipeline, PipelineEvent};
use crate::clock;
use crate::commands::{Command, ListenerCommand, PendingCommand, Reply};
use crate::event::{AudioEvent, FRAME_SAMPLES, RoomAudio, Utterance};
use crate::live::LiveEvent;
use crate::retention::{self, AgeLimit, Retention, TextOwner, TextStore};
use crate::store::{Forgotten, Store, StoreError};
use crate::supervisor::Supervisor;

/// How long the thread waits for audio before it does something else.
const IDLE: Duration = Duration::from_secs(1);

pub(crate) const NAME: &str = "transcribe";

/// What only this service needs.
pub(crate) struct TranscribeInputs {
    pub(crate) pipeline: AsrPipeline,
    pub(crate) audio: Receiver<RoomAudio>,
    /// None where utterances of several machines are put in order first: then they wait for that in the inbox.
    pub(crate) transcript: Option<TranscriptWriter>,
    /// None on a machine without a listener.
    pub(crate) listener: Option<SyncSender<ListenerEvent>>,
}

/// Starts the thread. It ends when the sources have ended and everything they sent is transcribed. Returns where it takes the
/// command to forget.
///
/// # Errors
/// The store cannot be opened, or the system refuses a new thread.
pub(crate) fn spawn(
    supervisor: &mut Supervisor,
    context: &Context,
    inputs: TranscribeInputs,
) -> Result<SyncSender<PendingCommand>, ServiceError> {
    let TranscribeInputs { pipeline, audio, transcript, listener } = inputs;
    let live = context.config.source.is_live();
    let mut store = context.open_store()?;
    store.hears_live(live);
    let (forget, forgets) = sync_channel(channels::COMMANDS);
    let worker = TranscribeWorker {
        context: context.clone(),
        pipeline,
        heard_until: HeardUntil::load(context, &store)?,
        store,
        retention: listener.is_none().then(|| context.retention()),
        transcript,
        listener,
        pending_gaps: PendingGaps::default(),
        speakers: SpeakerNames::new(context.config.numbers_unknown_voices()),
        unstored: UnstoredEvents::default(),
        store_outage: StoreOutage::default(),
        forget: forgets,
        live,
    };
    supervisor.thread(NAME, move || Ok(worker.run(audio)?))?;
    Ok(forget)
}

/// The thread that transcribes.
struct TranscribeWorker {
    context: Context,
    /// None where the listener has it.
    retention: Option<Retention>,
    pipeline: AsrPipeline,
    store: Store,
    transcript: Option<TranscriptWriter>,
    listener: Option<SyncSender<ListenerEvent>>,
    /// Gaps that the listener's channel had no place for: unlike an utterance it finds none in the store.
    pending_gaps: PendingGaps,
    heard_until: HeardUntil,
    speakers: SpeakerNames,
    unstored: UnstoredEvents,
    store_outage: StoreOutage,
    /// Commands to forget: what was heard and is not stored yet must be dropped first.
    forget: Receiver<PendingCommand>,
    /// The sources run in real time, so lag is measured against the wall clock.
    live: bool,
}

impl TranscribeWorker {
    /// Runs until the sources have ended, and transcribes what they left.
    fn run(mut self, audio: Receiver<RoomAudio>) -> Result<(), ServiceError> {
        if let Some(retention) = self.retention.clone() {
            retention.resume_pending(&mut self)?;
        }
        let mut arrived = (Instant::now(), Timestamp::MIN);
        loop {
            if let Ok(pending) = self.forget.try_recv() {
                self.carry_out_forget(pending, &audio)?;
            }
            // Audio of a source that can wait is taken piece by piece. Of a live one everything that has come by now is taken
            // first, so that the work is chosen knowing all of it.
            let next = match self.pipeline.has_work() {
                true if self.live && self.pipeline.has_capacity() => audio.try_recv(),
                true => Err(TryRecvError::Empty),
                false => audio.try_recv().or_else(|error| self.wait_for_sound(error, &audio)),
            };
            match next {
                Ok(sound) => {
                    self.report_gap_before(&sound)?;
                    arrived = (Instant::now(), self.accept(sound, arrived.1));
                }
                Err(TryRecvError::Empty) if self.pipeline.has_work() => self.work(arrived)?,
                // Sources may pause as long as they like.
                Err(TryRecvError::Empty) => self.context.metrics.hearing_heartbeat.beat(),
                Err(TryRecvError::Disconnected) => break,
            }
            if let Some(retention) = self.retention.clone() {
                let newest = self.store.newest()?;
                retention.tick(&mut self, newest)?;
            }
            if let Some(transcript) = &mut self.transcript {
                transcript.keep_up();
            }
            self.store_heard()?;
            self.note_heard_until(false)?;
            // Utterances after these gaps wait in the store.
            self.pending_gaps.send(self.listener.as_ref());
        }
        self.pipeline.end_streams(&self.context.metrics);
        while self.pipeline.has_work() {
            self.work((Instant::now(), Timestamp::now()))?;
            self.pending_gaps.send(self.listener.as_ref());
        }
        while let Ok(pending) = self.forget.try_recv() {
            self.carry_out_forget(pending, &audio)?;
        }
        let context = self.context.clone();
        while !self.unstored.is_empty() {
            retry_until_stored(&context, || self.store_oldest())?;
            self.oldest_is_stored()?;
        }
        self.pending_gaps.send(self.listener.as_ref());
        if !self.context.is_closing() {
            self.heard_until.ended();
        }
        self.note_heard_until(true)
    }

    /// Stores and publishes the gap before the first sound of a room after a start.
    fn report_gap_before(&mut self, sound: &RoomAudio) -> Result<(), ServiceError> {
        match self.heard_until.accept(sound, &self.context) {
            Some(gap) => self.handle(vec![PipelineEvent::Gap(gap)], Instant::now(), Timestamp::MIN),
            None => Ok(()),
        }
    }

    fn note_heard_until(&mut self, at_once: bool) -> Result<(), ServiceError> {
        if let Some(note) = self.heard_until.take_note(at_once) {
            let Self { context, store_outage, heard_until, store, .. } = self;
            store_outage.attempt(context, || heard_until.note(store, note))?;
        }
        Ok(())
    }

    /// Everything that came was transcribed: waits for more.
    fn wait_for_sound(&mut self, error: TryRecvError, audio: &Receiver<RoomAudio>) -> Result<RoomAudio, TryRecvError> {
        if error == TryRecvError::Disconnected {
            return Err(error);
        }
        self.store_outage.caught_up();
        audio.recv_timeout(IDLE).map_err(|error| match error {
            RecvTimeoutError::Timeout => TryRecvError::Empty,
            RecvTimeoutError::Disconnected => TryRecvError::Disconnected,
        })
    }

    /// Drops what was heard and is not stored yet; then the listener, or this thread where there is none, forgets what is stored.
    fn carry_out_forget(&mut self, pending: PendingCommand, audio: &Receiver<RoomAudio>) -> Result<(), ServiceError> {
        while audio.try_recv().is_ok() {}
        if let Command::Listener(ListenerCommand::Forget(command)) = &pending.request.command {
            self.drop_unstored(command.since(Timestamp::now()));
        }
        if let Some(listener) = &self.listener {
            // This may wait: the listener never waits for this thread.
            let _ = listener.send(ListenerEvent::Command(pending));
            return Ok(());
        }
        let (Command::Listener(ListenerCommand::Forget(command)), Some(retention)) =
            (pending.request.command.clone(), self.retention.clone())
        else {
            return Ok(());
        };
        let since = command.since(Timestamp::now());
        let report = retention.forget(self, since)?;
        let answer = match report.reason() {
            None => Ok(Reply::Forget(command.reply(since, report.utterances, report.said))),
            Some(reason) => Err(reason),
        };
        let message = Vec::from_iter(pending.message(&self.context.topics, &answer));
        retry_until_stored(&self.context, || self.store.enqueue(&message))?;
        self.context.notify_outbox();
        pending.finish(answer);
        Ok(())
    }

    /// Audio, and words that are not in the store.
    fn drop_unstored(&mut self, since: Timestamp) {
        self.pipeline.discard_all();
        self.pending_gaps.clear();
        self.unstored.forget(since);
    }

    /// Returns how far the stream has come; `before` is how far the last one had.
    fn accept(&mut self, sound: RoomAudio, before: Timestamp) -> Timestamp {
        let reached = match &sound.event {
            AudioEvent::Frame(frame) => clock::after(frame.time, clock::duration(FRAME_SAMPLES as i64)),
            AudioEvent::Gap(gap) => gap.to,
            AudioEvent::End => before,
        };
        if self.context.metrics.heard_since.get().is_none() {
            self.context.metrics.heard_since.set(reached);
        }
        self.pipeline.accept(sound, &self.context.metrics);
        reached
    }

    /// Lets the pipeline do one piece of work.
    fn work(&mut self, (arrived, reached): (Instant, Timestamp)) -> Result<(), ServiceError> {
        let (began, passes) = (Instant::now(), self.context.metrics.passes.get());
        // Audio that waited for the store is not too old because of that.
        let waited = SignedDuration::try_from(self.store_outage.waited()).unwrap_or_default();
        let now = if self.live { clock::after(Timestamp::now(), -waited) } else { reached };
        let events = self.pipeline.step(now, &self.context.metrics)?;
        if self.context.metrics.passes.get() > passes {
            self.pipeline.record_pass(began.elapsed().as_secs_f64());
        }
        self.handle(events, arrived, reached)
    }

    fn handle(&mut self, events: Vec<PipelineEvent>, arrived: Instant, reached: Timestamp) -> Result<(), ServiceError> {
        for event in events {
            match event {
                PipelineEvent::Utterance(mut utterance, voice) => {
                    let voice = voice.and_then(|voice| self.speakers.name(&mut utterance, voice, &mut self.store));
                    self.unstored.push(Heard::Utterance(utterance.clone(), voice), &self.context);
                    self.store_heard()?;
                    self.lag(&utterance, arrived, reached);
                    self.context.live_feed.publish(LiveEvent::Utterance(utterance));
                }
                PipelineEvent::Gap(gap) => {
                    self.gap(&gap)?;
                    self.context.live_feed.publish(LiveEvent::Gap(gap.clone()));
                    self.pending_gaps.push(gap);
                }
                PipelineEvent::Hypothesis(said) => {
                    if !said.is_over() {
                        let (committed, tentative) = (said.committed.join(" "), &said.tentative);
                        let room = &said.room;
                        debug!(kind = "hypothesis", room, committed, tentative, "{committed} … {tentative}");
                    }
                    self.context.live_feed.publish(LiveEvent::Hypothesis(said));
                }
                PipelineEvent::Progress(time) => {
                    if self.unstored.is_empty() {
                        self.heard_until.progress(time);
                    }
                    // Where other machines' utterances may still come, ingest says how far the stream is.
                    if self.transcript.is_some() {
                        self.send(ListenerEvent::StreamReached(time));
                    }
                }
            }
        }
        Ok(())
    }

    fn lag(&self, utterance: &Utterance, arrived: Instant, reached: Timestamp) {
        let lag_ms = if self.live {
            Timestamp::now().duration_since(utterance.end).as_millis()
        } else {
            // Played fast: what the segmenter waited for on the stream's clock, and what we took on ours.
            reached.duration_since(utterance.end).as_millis() + arrived.elapsed().as_millis() as i128
        };
        self.context.metrics.lag.add_ms(u64::try_from(lag_ms).unwrap_or(0));
    }

    /// A full channel drops the event: the text is in the store, and the listener finds it with the next event.
    fn send(&self, event: ListenerEvent) {
        if let Some(listener) = &self.listener {
            let _ = listener.try_send(event);
        }
    }
}

impl TextStore for TranscribeWorker {
    fn name(&self) -> &'static str {
        "what is being transcribed"
    }

    fn forget(&mut self, forgotten: &Forgotten) -> Result<(), retention::RetentionError> {
        self.drop_unstored(forgotten.since.unwrap_or(Timestamp::MIN));
        Ok(())
    }

    /// It is a minute old at most.
    fn enforce(&mut self, _: &AgeLimit) -> Result<(), retention::RetentionError> {
        Ok(())
    }
}

impl TextOwner for TranscribeWorker {
    fn store(&mut self) -> &mut Store {
        &mut self.store
    }

    fn delete_rows(&mut self, since: Timestamp, from: Option<i64>) -> Result<Forgotten, StoreError> {
        retry_until_stored(&self.context, || self.store.forget(since, from))
    }
}
