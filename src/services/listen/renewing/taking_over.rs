//! The steps in which a fresh state takes the place of the live one, and what the next start makes of a crash between them.
//!
//! What is about to be is noted; the fresh state is saved as a snapshot; what came of it is stored together with the message that tells of it;
//! the note is deleted. At the next start the note says under which position the fresh state was to be saved: if the state was restored from
//! there, it was renewed, and that is told unless it was.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::super::{ListenerWorker, settings_store};
use super::Renewal;
use crate::event::Message;
use crate::listener::ListenerOutcome;
use crate::listener::renewal::{Occasion, Renewals};
use crate::listener::snapshot::ReadPosition;
use crate::mqtt::payload::{self, MessageHeader, RenewedState};
use crate::services::ServiceError;
use crate::store::StoreError;

/// Where the disk takes no second state, it is tried again after so long.
const AGAIN: Duration = Duration::from_secs(60);
/// And after so long where the live state has read what is not stored yet.
const UNSTORED: Duration = Duration::from_secs(1);
/// The key of the note.
pub(super) const NOTE: &str = "renewing";

/// What is noted while a fresh state takes over.
#[derive(Debug, Serialize, Deserialize)]
struct TakeOver {
    room: Option<String>,
    occasion: Occasion,
    tokens: u64,
    renewals: Renewals,
    /// Where its snapshot stands.
    read: i64,
    time: Timestamp,
    /// The median surprise of the fresh state, and by how many nats a token the former one was worse.
    young: Option<f64>,
    worse_by: Option<f64>,
}

impl TakeOver {
    fn message(&self, worker: &ListenerWorker) -> Message {
        let Self { room, occasion, tokens, renewals, worse_by, .. } = self;
        let (room, reason, count) = (room.as_deref(), occasion.name(), renewals.count);
        warn!(kind = "renewal", room, reason, tokens, worse_by, "a fresh state has taken the place of the former one");
        let renewed = RenewedState { room, reason, count, tokens: *tokens, worse_by: *worse_by };
        payload::renewed(&worker.context.topics, MessageHeader::now(), &renewed)
    }
}

impl ListenerWorker {
    /// The fresh state takes the place of the live one. See the module for the steps.
    pub(super) fn take_over(&mut self) -> Result<(), ServiceError> {
        // A snapshot must hold nothing that is not stored.
        let stored = self.read_ahead.is_empty() && self.unrecorded.is_empty() && self.read <= self.processed;
        let Some(renewal) = self.renewal.take() else { return Ok(()) };
        let now = self.clock.now();
        let later = |wait: Duration| Some(now + wait);
        if !stored {
            self.renewal = Some(Renewal { idle: false, not_before: later(UNSTORED), ..renewal });
            return Ok(());
        }
        let taken = match self.save_fresh(&renewal) {
            Ok(taken) => taken,
            Err(error) => {
                warn!(%error, "the fresh state cannot be saved, so the former one stays; it is tried again in a minute");
                self.renewal = Some(Renewal { idle: false, not_before: later(AGAIN), unsaved: true, ..renewal });
                return self.update_metrics();
            }
        };
        let (message, room) = (taken.message(self), renewal.room.as_deref());
        self.listeners.compare(room, false);
        self.listeners.take_over(room, renewal.candidate, taken.renewals);
        self.record(ListenerOutcome::default(), vec![message])?;
        self.renewal_is_told(taken.renewals)?;
        self.update_metrics()
    }

    /// The first two steps. If the second fails and the first cannot be undone, the next start sees that nothing was saved.
    fn save_fresh(&mut self, renewal: &Renewal) -> Result<TakeOver, ServiceError> {
        let room = renewal.room.as_deref();
        let time = if self.now == Timestamp::UNIX_EPOCH { Timestamp::now() } else { self.now };
        let mark = self.listeners.free_position(room, ReadPosition { read: self.read, time })?;
        let before = self.listeners.renewals_of(room);
        let compared = renewal.comparison.filter(|comparison| comparison.tokens() > 0.0);
        let taken = TakeOver {
            room: renewal.room.clone(),
            occasion: renewal.occasion,
            tokens: renewal.candidate.state().tokens_read(),
            renewals: Renewals { count: before.count + 1, last: Some(Timestamp::now()), compared: 0 },
            read: mark.read,
            time: mark.time,
            young: renewal.candidate.young(),
            worse_by: compared.map(|comparison| comparison.difference()),
        };
        let note = serde_json::to_string(&taken).expect("numbers, a time and a name are JSON");
        self.store.set_note(NOTE, &note)?;
        if let Err(error) = self.listeners.save_candidate(room, &renewal.candidate, &mark) {
            self.store.set_note(NOTE, "")?;
            return Err(error.into());
        }
        Ok(taken)
    }

    /// The last step. If it cannot be taken now, the next start sees that all was told.
    fn renewal_is_told(&mut self, renewals: Renewals) -> Result<(), StoreError> {
        let since = renewals.last.unwrap_or_else(Timestamp::now);
        self.context.metrics.state_since.set(since);
        if !self.unrecorded.is_empty() {
            return Ok(());
        }
        let noted = settings_store::set_state_since(&mut self.store, since);
        let done = noted.and_then(|()| self.store.set_note(NOTE, ""));
        match done {
            Err(error) if !error.may_pass() => Err(error),
            _ => Ok(()),
        }
    }

    /// Completes what a crash interrupted. To be called once, when the states are restored.
    pub(in super::super) fn settle_renewal(&mut self) -> Result<(), ServiceError> {
        let Some(note) = self.store.note(NOTE)?.filter(|note| !note.is_empty()) else { return Ok(()) };
        match serde_json::from_str::<TakeOver>(&note) {
            Ok(taken) => {
                let (room, young) = (taken.room.as_deref(), taken.young);
                let mark = ReadPosition { read: taken.read, time: taken.time };
                if self.listeners.settle_renewal(room, &mark, young, taken.renewals) {
                    let message = taken.message(self);
                    self.record(ListenerOutcome::default(), vec![message])?;
                }
                if self.listeners.renewals_of(room).count >= taken.renewals.count {
                    return Ok(self.renewal_is_told(taken.renewals)?);
                }
                info!("a fresh state was about to take over and was not saved; the former one goes on");
            }
            Err(error) => warn!(%error, "what was noted of a renewal cannot be read; the state is as its snapshot is"),
        }
        Ok(self.store.set_note(NOTE, "")?)
    }
}
