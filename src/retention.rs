//! Everything that deletes text: because somebody asked to forget it, or because it is older than `[store] keep` allows.
//!
//! Text lies in the database and in copies outside it. Of the database, [`crate::store`] lists every table that keeps text. The copies
//! implement [`TextStore`]: the files in `copies`, and whatever thread holds text in memory, the [`TextOwner`]. With a listener
//! that is the thread with the live states, without one the thread that transcribes; both forget by this one implementation.
//!
//! First the database forgets, in one transaction that also notes what the copies must do. Then the copies follow. The note
//! is deleted when all of them have; until then it is carried out at the next start, and for files every hour.

pub(crate) mod age;
mod copies;
mod outcome;

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;
use tracing::{debug, error, info, warn};

use self::copies::{LiveView, Snapshots, TranscriptFile};
pub(crate) use self::outcome::{ForgetReport, RetentionError};
use crate::clock::trusted_clock::TrustedClock;
use crate::config::{Config, Keep};
use crate::listener::ListenerError;
use crate::listener::snapshot_store::{SnapshotPolicy, SnapshotStore};
use crate::live::LiveFeed;
use crate::metrics::Metrics;
use crate::mqtt::topics::Topics;
use crate::store::transcript_jsonl::TranscriptJsonl;
use crate::store::{Forgotten, Store, StoreError};

/// How often text that grew too old is deleted, and files that could not forget are tried again.
pub(crate) const RETENTION_EVERY: Duration = Duration::from_secs(3600);

/// A place outside the database that keeps text, or that holds a state which has read it.
pub(crate) trait TextStore {
    /// What it is called in the log.
    fn name(&self) -> &'static str;

    /// Deletes what the database has deleted. It may be asked again for something that is gone already.
    ///
    /// # Errors
    /// Something may still be there.
    fn forget(&mut self, forgotten: &Forgotten) -> Result<(), RetentionError>;

    /// Deletes what is too old.
    ///
    /// # Errors
    /// Something may still be there.
    fn enforce(&mut self, limit: &AgeLimit) -> Result<(), RetentionError>;
}

/// The thread that holds text in memory. It alone asks [`Retention`] to delete anything.
pub(crate) trait TextOwner: TextStore {
    /// Its connection to the database.
    fn store(&mut self) -> &mut Store;

    /// Deletes rows; where the thread can wait for a disk that takes nothing, it does.
    ///
    /// # Errors
    /// Nothing was deleted.
    fn delete_rows(&mut self, since: Timestamp, from: Option<i64>) -> Result<Forgotten, StoreError> {
        self.store().forget(since, from)
    }
}

/// How old text may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AgeLimit {
    pub(crate) keep: Keep,
    /// Now, by a clock that can be trusted; [`age::YOUNG`] otherwise, when nothing counts as old.
    pub(crate) now: Timestamp,
}

impl AgeLimit {
    /// Text from before this time is too old. Where no text is kept at all, that is not a question of age.
    pub(crate) fn oldest(&self) -> Timestamp {
        match self.keep {
            Keep::Days(days) => age::days_before(self.now, days),
            Keep::Forever | Keep::Nothing => Timestamp::MIN,
        }
    }
}

/// Deletes text. A clone is a handle to the same thing.
#[derive(Clone)]
pub(crate) struct Retention {
    keep: Keep,
    clock: Arc<TrustedClock>,
    snapshots: Snapshots,
    transcript: Option<TranscriptFile>,
    live_view: Option<LiveView>,
    metrics: Arc<Metrics>,
    /// What the retained topics begin with that quote speech.
    quoting_topics: [String; 2],
    /// When text that grew too old is deleted next.
    due: Arc<Mutex<Instant>>,
}

impl Retention {
    /// `transcript` is none where no text is kept, `live_feed` where nobody is shown anything.
    pub(crate) fn new(
        config: &Config,
        clock: Arc<TrustedClock>,
        snapshots: SnapshotStore,
        transcript: Option<Arc<Mutex<TranscriptJsonl>>>,
        live_feed: Option<Arc<LiveFeed>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let topics = Topics::new(&config.mqtt, &config.node);
        let policy = SnapshotPolicy::new(&config.listener, config.store.keep);
        Self {
            keep: config.store.keep,
            clock,
            snapshots: Snapshots { store: snapshots, policy },
            transcript: transcript.map(TranscriptFile),
            live_view: live_feed.map(LiveView),
            metrics,
            quoting_topics: [topics.summary(), topics.rules()],
            due: Arc::new(Mutex::new(Instant::now())),
        }
    }

    /// Forgets what was said after `since`, everywhere.
    ///
    /// # Errors
    /// The database, or what `owner` holds in memory, cannot forget. What the database has forgotten by then is carried out at the
    /// next start. A file that cannot be changed is no error here: the report names it, and it is tried again.
    pub(crate) fn forget(&self, owner: &mut dyn TextOwner, since: Timestamp) -> Result<ForgetReport, RetentionError> {
        let from = self.first_unknown(since)?;
        let forgotten = owner.delete_rows(since, from)?;
        let utterances = forgotten.utterances;
        info!(kind = "forgotten", %since, utterances, "{utterances} utterances since {since} are forgotten");
        let incomplete = self.carry_out(owner, &forgotten)?;
        Ok(ForgetReport { utterances, said: forgotten.said, incomplete })
    }

    /// Forgets what was said after `since` in the database and in every file, beside a hearth that does not run. Its states
    /// forget at the next start, so the note of that stays.
    ///
    /// # Errors
    /// Something may still be there.
    pub(crate) fn forget_on_disk(&self, store: &mut Store, since: Timestamp) -> Result<u64, RetentionError> {
        let from = self.first_unknown(since)?;
        let forgotten = store.forget(since, from)?;
        self.delete_from_disk(store, &forgotten)?;
        match store.pending_forget()?.unreadable {
            Some(note) => Err(RetentionError::UnreadableNote(note)),
            None => Ok(forgotten.utterances),
        }
    }

    /// Carries out what an earlier run could not complete. To be called once, when `owner` has its states.
    ///
    /// # Errors
    /// As [`Retention::forget`].
    pub(crate) fn resume_pending(&self, owner: &mut dyn TextOwner) -> Result<(), RetentionError> {
        let pending = owner.store().pending_forget()?;
        if let Some(forgotten) = pending.forgotten {
            info!(utterances = forgotten.utterances, "what was to be forgotten is carried through");
            // Whether all of it followed is in the log.
            let _ = self.carry_out(owner, &forgotten)?;
        } else if let Some(note) = pending.unreadable {
            self.incomplete(&RetentionError::UnreadableNote(note));
        }
        Ok(())
    }

    /// Deletes what is too old, of utterances up to the number `read`, in the database and in every copy, and tries again what
    /// could not be deleted on request.
    ///
    /// # Errors
    /// The database is damaged or gone. What a full disk holds up is tried again.
    pub(crate) fn enforce(&self, owner: &mut dyn TextOwner, read: i64) -> Result<(), RetentionError> {
        self.enforce_rows(owner, read)?;
        let limit = self.limit();
        let mut copies = self.on_disk();
        copies.extend(self.live_view.clone().map(|view| Box::new(view) as Box<dyn TextStore>));
        for copy in &mut copies {
            enforce_copy(copy.as_mut(), &limit);
        }
        enforce_copy(owner, &limit);
        let pending = owner.store().pending_forget()?;
        if let Some(forgotten) = pending.forgotten {
            let done = self.delete_from_disk(owner.store(), &forgotten).and_then(|()| self.complete(owner.store()));
            match done {
                Ok(()) => info!("what was forgotten is gone from every file"),
                Err(error) => self.incomplete(&error),
            }
        } else if let Some(note) = pending.unreadable {
            self.incomplete(&RetentionError::UnreadableNote(note));
        }
        Ok(())
    }

    /// To be called when nothing else is to be done: [`Retention::enforce`] every [`RETENTION_EVERY`], and where no text is kept, the
    /// write-ahead log is emptied.
    ///
    /// # Errors
    /// As [`Retention::enforce`].
    pub(crate) fn tick(&self, owner: &mut dyn TextOwner, read: i64) -> Result<(), RetentionError> {
        let is_due = {
            let mut due = self.due.lock();
            let is_due = Instant::now() >= *due;
            if is_due {
                *due = Instant::now() + RETENTION_EVERY;
            }
            is_due
        };
        if is_due {
            self.enforce(owner, read)?;
        }
        if self.keep == Keep::Nothing && !owner.store().is_erased() {
            // What was deleted, or delivered, would stand in the log until that is full. Held by a reader it is tried again.
            let _ = owner.store().erase();
        }
        Ok(())
    }

    /// To be called when utterances up to the number `read` need not be kept any longer: where no text is kept they are deleted.
    ///
    /// # Errors
    /// The database is damaged or gone.
    pub(crate) fn was_read(&self, owner: &mut dyn TextOwner, read: i64) -> Result<(), RetentionError> {
        if self.keep == Keep::Nothing { self.enforce_rows(owner, read) } else { Ok(()) }
    }

    /// How old text may be now.
    pub(crate) fn limit(&self) -> AgeLimit {
        AgeLimit { keep: self.keep, now: self.clock.now().unwrap_or(age::YOUNG) }
    }

    fn enforce_rows(&self, owner: &mut dyn TextOwner, read: i64) -> Result<(), RetentionError> {
        let store = owner.store();
        // The broker keeps the last summary and what the rules quote; a disk that keeps nothing does not.
        let topics: &[String] = if self.keep == Keep::Nothing { &self.quoting_topics } else { &[] };
        let cleared = topics.iter().try_for_each(|prefix| store.forget_retained(prefix).map(drop));
        match cleared.and_then(|()| age::enforce(store, &self.clock, self.keep, read)) {
            Ok(rows) => debug!(rows, "old text is deleted"),
            // Deleting can wait for the disk; reading need not.
            Err(error) if error.may_pass() => warn!(%error, "old text could not be deleted; it will be tried again"),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Where no text is kept, only the snapshots tell when an utterance was heard: all behind the last of them that is older than
    /// `since` may have been later.
    fn first_unknown(&self, since: Timestamp) -> Result<Option<i64>, RetentionError> {
        if self.keep != Keep::Nothing {
            return Ok(None);
        }
        let last = self.snapshots.last_read(since).map_err(ListenerError::from)?;
        Ok(Some(last.unwrap_or(0) + 1))
    }

    /// The copies follow the database. Returns why something is left on the disk, if anything is.
    fn carry_out(
        &self,
        owner: &mut dyn TextOwner,
        forgotten: &Forgotten,
    ) -> Result<Option<RetentionError>, RetentionError> {
        let on_disk = self.delete_from_disk(owner.store(), forgotten);
        owner.forget(forgotten)?;
        if let Some(view) = &self.live_view {
            view.clone().forget(forgotten)?;
        }
        let left = on_disk.and_then(|()| self.complete(owner.store())).err();
        if let Some(error) = &left {
            self.incomplete(error);
        }
        Ok(left)
    }

    /// Every file follows, whatever became of the others; the first error is returned.
    fn delete_from_disk(&self, store: &mut Store, forgotten: &Forgotten) -> Result<(), RetentionError> {
        let mut first = store.erase().map_err(RetentionError::from);
        for copy in &mut self.on_disk() {
            if let Err(error) = copy.forget(forgotten) {
                debug!(%error, "{} has not forgotten yet", copy.name());
                first = first.and(Err(error));
            }
        }
        first
    }

    /// All copies have forgotten what is noted, but for a note that cannot be read.
    fn complete(&self, store: &mut Store) -> Result<(), RetentionError> {
        store.forget_is_complete()?;
        if let Some(note) = store.pending_forget()?.unreadable {
            return Err(RetentionError::UnreadableNote(note));
        }
        self.metrics.forget_incomplete.set(false);
        Ok(())
    }

    fn incomplete(&self, error: &RetentionError) {
        self.metrics.forget_incomplete.set(true);
        match error {
            RetentionError::UnreadableNote(_) => error!(%error, "it is not known what must still be forgotten"),
            _ => warn!(%error, "what was forgotten is not gone from every file yet; it is tried again within the hour"),
        }
    }

    /// The copies on the disk.
    fn on_disk(&self) -> Vec<Box<dyn TextStore>> {
        let mut copies: Vec<Box<dyn TextStore>> = vec![Box::new(self.snapshots.clone())];
        copies.extend(self.transcript.clone().map(|file| Box::new(file) as Box<dyn TextStore>));
        copies
    }
}

fn enforce_copy(copy: &mut dyn TextStore, limit: &AgeLimit) {
    if let Err(error) = copy.enforce(limit) {
        warn!(%error, "{} holds text that is too old; it is tried again", copy.name());
    }
}
