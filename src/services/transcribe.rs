//! The hearing thread: sound from the sources, utterances into the store.
//!
//! Owns the order "stored, then told". Refuses to know what is done with the text. Invariant: an utterance and the message that
//! tells of it are on disk before the reader is woken.

mod pending_gaps;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::Notify;
use tracing::{debug, info, warn};

use self::pending_gaps::PendingGaps;
use super::Error;
use super::listen::ListenerEvent;
use super::store_retry::retry_until_stored;
use super::transcript_writer::{TranscriptWriter, locked};
use crate::asr_pipeline::{AsrPipeline, PipelineEvent};
use crate::clock;
use crate::clock::trusted_clock::TrustedClock;
use crate::commands::{Command, ListenerCommand, PendingCommand, Reply};
use crate::config::Keep;
use crate::event::{AudioEvent, FRAME_SAMPLES, Gap, RoomAudio, Utterance};
use crate::listener::snapshot_store::SnapshotStore;
use crate::live::{LiveEvent, LiveFeed};
use crate::metrics::Metrics;
use crate::mqtt::payload;
use crate::mqtt::topics::Topics;
use crate::retention::{age, forget};
use crate::store::{Forgotten, PendingForget, Store};

/// How long nothing may come before this looks around.
const IDLE: Duration = Duration::from_secs(1);
/// How often old text is deleted where nobody reads.
const RETENTION_EVERY: Duration = Duration::from_secs(3600);

/// The hearing thread's belongings.
pub struct TranscribeWorker {
    pub pipeline: AsrPipeline,
    pub store: Store,
    /// None where what several machines heard is put in order first: then it waits for that in the inbox.
    pub writing: Option<TranscriptWriter>,
    /// Where the state's snapshots lie, if there are any.
    pub history: SnapshotStore,
    pub keep: Keep,
    pub clock: Arc<TrustedClock>,
    pub topics: Topics,
    pub metrics: Arc<Metrics>,
    pub live_feed: Arc<LiveFeed>,
    pub outgoing: Arc<Notify>,
    /// None where nobody reads.
    pub reader: Option<SyncSender<ListenerEvent>>,
    /// Gaps that the reader had no room for: unlike an utterance it finds none in the store.
    pub untold: PendingGaps,
    pub closing: Arc<AtomicBool>,
    /// Commands that what was heard and is not stored yet must be dropped for.
    pub forget: Receiver<PendingCommand>,
    /// The sources run at the pace of the room, so lag is against the wall clock.
    pub live: bool,
}

impl TranscribeWorker {
    /// Hears until the sources have ended, then what was being said.
    pub fn run(mut self, audio: Receiver<RoomAudio>) -> Result<(), Error> {
        let mut retention_due = Instant::now();
        let mut arrived = (Instant::now(), Timestamp::MIN);
        loop {
            if let Ok(pending) = self.forget.try_recv() {
                self.forget(pending, &audio)?;
            }
            // A source that waits is heard piece by piece; of a live one everything that was said by now is taken first,
            // so that work is chosen knowing all of it.
            let next = match self.pipeline.has_work() {
                true if self.live && self.pipeline.has_capacity() => audio.try_recv(),
                true => Err(TryRecvError::Empty),
                false => audio.recv_timeout(IDLE).map_err(|error| match error {
                    RecvTimeoutError::Timeout => TryRecvError::Empty,
                    RecvTimeoutError::Disconnected => TryRecvError::Disconnected,
                }),
            };
            match next {
                Ok(sound) => {
                    arrived = (Instant::now(), self.listen(sound, arrived.1));
                }
                Err(TryRecvError::Empty) if self.pipeline.has_work() => self.work(arrived)?,
                // Sources may pause as long as they like.
                Err(TryRecvError::Empty) => self.metrics.hearing_heartbeat.beat(),
                Err(TryRecvError::Disconnected) => break,
            }
            if Instant::now() >= retention_due {
                retention_due = Instant::now() + if self.keep == Keep::Nothing { IDLE } else { RETENTION_EVERY };
                self.retain();
            }
            if let Some(writing) = &mut self.writing {
                writing.keep_up();
            }
            // What is behind them waits in the store.
            self.untold.tell(self.reader.as_ref());
        }
        self.pipeline.end_streams();
        while self.pipeline.has_work() {
            self.work((Instant::now(), Timestamp::now()))?;
            self.untold.tell(self.reader.as_ref());
        }
        while let Ok(pending) = self.forget.try_recv() {
            self.forget(pending, &audio)?;
        }
        Ok(())
    }

    /// What was heard and is not stored yet is dropped, then whoever owns the text forgets what is.
    fn forget(&mut self, pending: PendingCommand, audio: &Receiver<RoomAudio>) -> Result<(), Error> {
        while audio.try_recv().is_ok() {}
        self.pipeline.discard_all();
        self.untold.clear();
        if let Some(reader) = &self.reader {
            // This may wait: the reader never waits for us.
            let _ = reader.send(ListenerEvent::Command(pending));
            return Ok(());
        }
        let Command::Listener(ListenerCommand::Forget(command)) = pending.request.command.clone() else {
            return Ok(());
        };
        let since = command.since(Timestamp::now());
        let Self { store, closing, metrics, .. } = self;
        let forgotten = retry_until_stored(closing, metrics, || store.forget(since, None))?;
        let answer = self
            .follow(&forgotten)
            .map_err(|error| format!("{error}; what is left goes within the hour, or at the next start"));
        let answer = answer.map(|()| Reply::Forget(command.reply(since, forgotten.utterances)));
        self.live_feed.publish(LiveEvent::Forgotten(since));
        let message = Vec::from_iter(pending.message(&self.topics, &answer));
        retry_until_stored(&self.closing, &self.metrics, || self.store.enqueue(&message))?;
        self.outgoing.notify_one();
        pending.finish(answer);
        Ok(())
    }

    fn follow(&mut self, forgotten: &Forgotten) -> Result<(), Error> {
        let lines = self.writing.as_ref().and_then(TranscriptWriter::lines);
        let mut lines = lines.as_deref().map(locked);
        forget::follow(&mut self.store, forgotten, lines.as_deref_mut(), &self.history)?;
        Ok(self.store.forget_is_complete()?)
    }

    /// Returns how far the stream has come; `before` is how far the last one had.
    fn listen(&mut self, sound: RoomAudio, before: Timestamp) -> Timestamp {
        let reached = match &sound.event {
            AudioEvent::Frame(frame) => clock::after(frame.time, clock::duration(FRAME_SAMPLES as i64)),
            AudioEvent::Gap(gap) => gap.to,
            AudioEvent::End => before,
        };
        if self.metrics.heard_since.get().is_none() {
            self.metrics.heard_since.set(reached);
        }
        self.pipeline.accept(sound, &self.metrics);
        reached
    }

    fn work(&mut self, (arrived, reached): (Instant, Timestamp)) -> Result<(), Error> {
        let (began, passes) = (Instant::now(), self.metrics.passes.get());
        let now = if self.live { Timestamp::now() } else { reached };
        let heard = self.pipeline.step(now, &self.metrics)?;
        if self.metrics.passes.get() > passes {
            self.pipeline.record_pass(began.elapsed().as_secs_f64());
        }
        self.keep(heard, arrived, reached)
    }

    fn keep(&mut self, heard: Vec<PipelineEvent>, arrived: Instant, reached: Timestamp) -> Result<(), Error> {
        for heard in heard {
            match heard {
                PipelineEvent::Utterance(utterance) => {
                    self.utterance(&utterance)?;
                    self.lag(&utterance, arrived, reached);
                    self.wake(ListenerEvent::UtteranceStored);
                    self.live_feed.publish(LiveEvent::Utterance(utterance));
                }
                PipelineEvent::Gap(gap) => {
                    self.gap(&gap)?;
                    self.live_feed.publish(LiveEvent::Gap(gap.clone()));
                    self.untold.push(gap);
                }
                PipelineEvent::Hypothesis(said) => {
                    if !said.is_over() {
                        let (committed, tentative) = (said.committed.join(" "), &said.tentative);
                        let room = &said.room;
                        debug!(kind = "hypothesis", room, committed, tentative, "{committed} … {tentative}");
                    }
                    self.live_feed.publish(LiveEvent::Hypothesis(said));
                }
                // Where others are waited for, time has not passed as long as they may come.
                PipelineEvent::Progress(time) if self.writing.is_some() => {
                    self.wake(ListenerEvent::StreamReached(time))
                }
                PipelineEvent::Progress(_) => {}
            }
        }
        Ok(())
    }

    fn utterance(&mut self, utterance: &Utterance) -> Result<(), Error> {
        let messages = [payload::utterance(&self.topics, utterance)];
        retry_until_stored(&self.closing, &self.metrics, || match self.writing {
            Some(_) => self.store.record_utterance(utterance, &messages).map(drop),
            None => self.store.stage(utterance, &messages),
        })?;
        self.outgoing.notify_one();
        if let Some(writing) = &mut self.writing {
            writing.follow(&self.store);
        }
        if self.keep == Keep::Nothing {
            self.retain();
        }
        Ok(())
    }

    fn gap(&mut self, gap: &Gap) -> Result<(), Error> {
        let messages = [payload::gap(&self.topics, gap)];
        retry_until_stored(&self.closing, &self.metrics, || self.store.record_gap(gap, &messages))?;
        self.outgoing.notify_one();
        let seconds = gap.to.duration_since(gap.from).as_secs_f64();
        let Gap { room, reason, .. } = gap;
        info!(kind = "gap", room, %reason, seconds, "nothing was heard in {room} for {seconds:.1} s: {reason}");
        Ok(())
    }

    /// Where nobody reads, nobody else forgets what grew old.
    fn retain(&mut self) {
        if self.reader.is_some() {
            return;
        }
        if let Ok(PendingForget { forgotten: Some(forgotten), .. }) = self.store.pending_forget()
            && let Err(error) = self.follow(&forgotten)
        {
            warn!(%error, "what was forgotten is not gone from every file yet; it is tried again");
        }
        let newest = self.store.newest();
        let forgotten = newest.and_then(|newest| age::enforce(&mut self.store, &self.clock, self.keep, newest));
        let erased = forgotten.and_then(|_| match self.keep {
            Keep::Nothing if !self.store.is_erased() => self.store.erase(),
            _ => Ok(()),
        });
        if let Err(error) = erased {
            debug!(%error, "old text could not be deleted; it will be tried again");
        }
    }

    fn lag(&self, utterance: &Utterance, arrived: Instant, reached: Timestamp) {
        let lag_ms = if self.live {
            Timestamp::now().duration_since(utterance.end).as_millis()
        } else {
            // Played fast: what the segmenter waited for on the stream's clock, and what we took on ours.
            reached.duration_since(utterance.end).as_millis() + arrived.elapsed().as_millis() as i128
        };
        self.metrics.lag.add_ms(u64::try_from(lag_ms).unwrap_or(0));
    }

    /// A full channel drops the wake: the text is in the store, and whatever wakes the reader next finds it there.
    fn wake(&self, wake: ListenerEvent) {
        if let Some(reader) = &self.reader {
            let _ = reader.try_send(wake);
        }
    }
}
