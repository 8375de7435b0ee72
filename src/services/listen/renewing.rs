//! Reads a fresh state beside a live one, compares them, and lets it take its place. `listener/renewal.rs` says when.
//!
//! It is done while the house is quiet, in slices: what is said is read first. Until it takes over, the fresh state is in memory alone, and a
//! restart or forgetting drops it. Taking over has four steps, and hearth may be killed after each: what is about to be is noted; the fresh
//! state is saved as a snapshot; what came of it is stored together with the message that tells of it; the note is deleted. At the next
//! start the note and the snapshot together say that the state was renewed and that this was not told yet.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};
use ulid::Ulid;

use super::{ListenerWorker, settings_store, state_at, stopped};
use crate::config::Keep;
use crate::event::{Message, Utterance};
use crate::listener::ListenerOutcome;
use crate::listener::candidate::Candidate;
use crate::listener::renewal::{Comparison, FRESH_UTTERANCES, Occasion, Renewals, Verdict};
use crate::listener::snapshot::ReadPosition;
use crate::metrics::RenewalStage;
use crate::mqtt::payload::{self, MessageHeader, RenewedState};
use crate::services::ServiceError;
use crate::store::StoreError;

/// The house is quiet when nothing was said for so long.
const QUIET: Duration = Duration::from_secs(10);
/// A fresh state reads so many digests of what was said before the utterances that it reads.
const DIGESTS: usize = 8;
/// Where the disk takes no second state, it is tried again after so long.
const AGAIN: Duration = Duration::from_secs(60);
/// And after so long where the live state has read what is not stored yet.
const UNSTORED: Duration = Duration::from_secs(1);
/// The key of the note.
const NOTE: &str = "renewing";

/// A renewal that is going on.
pub(super) struct Renewal {
    room: Option<String>,
    occasion: Occasion,
    candidate: Candidate,
    /// Digests that it reads before the first utterance.
    digests: VecDeque<String>,
    /// The number of the last utterance that it has begun to read, and those that come next.
    read: i64,
    next: VecDeque<(i64, Utterance)>,
    /// The utterance that it is reading.
    reading: Option<Ulid>,
    /// Set while the two are compared.
    comparison: Option<Comparison>,
    /// It is to take over as soon as it has read all.
    proved: bool,
    /// Nothing is left to read until more is said.
    idle: bool,
    /// By the worker's clock.
    not_before: Option<Duration>,
}

/// What is noted while a fresh state takes over.
#[derive(Debug, Serialize, Deserialize)]
struct TakeOver {
    room: Option<String>,
    occasion: Occasion,
    tokens: u64,
    renewals: Renewals,
    /// Nats a token of the fresh state, and by how many the former one was worse.
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
    /// Whether a fresh state has something to read now.
    pub(super) fn is_renewing(&self) -> bool {
        let now = self.clock.now();
        let works = |renewal: &Renewal| !renewal.idle && renewal.not_before.is_none_or(|time| now >= time);
        self.renewal.as_ref().is_some_and(|renewal| works(renewal) && self.is_quiet(renewal.occasion))
    }

    fn is_quiet(&self, occasion: Occasion) -> bool {
        let quiet = occasion == Occasion::Asked || self.clock.now() - self.last_heard >= QUIET;
        quiet && !self.stopped && !self.context.is_closing() && !self.listeners.is_writing()
    }

    /// Goes on with a renewal by a slice, or begins one that is due.
    pub(super) fn renew(&mut self) -> Result<(), ServiceError> {
        if self.renewal.is_none() {
            self.begin_renewal()?;
        }
        if self.is_renewing() {
            // During a shutdown it is given up.
            stopped(self.renew_slice())?;
        }
        Ok(())
    }

    /// Takes note of states that somebody wants renewed.
    pub(super) fn ask_renewal(&mut self, rooms: Vec<Option<String>>) -> Result<(), String> {
        if self.config.store.keep == Keep::Nothing {
            return Err("[store] keep = \"nothing\": there is no text from which a fresh state could be read".into());
        }
        for room in rooms {
            match &mut self.renewal {
                Some(renewal) if renewal.room == room => (renewal.occasion, renewal.proved) = (Occasion::Asked, true),
                _ if !self.renewals_asked.contains(&room) => self.renewals_asked.push_back(room),
                _ => {}
            }
        }
        Ok(())
    }

    /// The fresh state is dropped: it may have read what is forgotten.
    pub(super) fn drop_renewal(&mut self) {
        if let Some(renewal) = self.renewal.take() {
            self.listeners.compare(renewal.room.as_deref(), false);
        }
    }

    fn begin_renewal(&mut self) -> Result<(), ServiceError> {
        let due = match self.renewals_asked.pop_front() {
            Some(room) => Some((room, Occasion::Asked)),
            None if !self.live || self.config.store.keep == Keep::Nothing || !self.is_quiet(Occasion::Regular) => None,
            None => {
                let now = self.context.clock.now();
                let local = now.map(|now| (now, now.to_zoned_datetime(TimeZone::system()).hour()));
                self.listeners.renewal_due(self.config.listener.renew, local)
            }
        };
        let Some((room, occasion)) = due else { return Ok(()) };
        let read = self.store.back_from(self.processed.min(self.read), FRESH_UTTERANCES)?;
        let first = self.store.utterances_after(read, 1)?.first().map(|(_, said)| said.start);
        let digests = self.store.last_digests(DIGESTS)?.into_iter();
        let digests = digests.filter(|digest| digest.room == room && first.is_some_and(|first| digest.to <= first));
        info!(kind = "renewal", room, reason = occasion.name(), "a fresh state is read beside the live one");
        self.renewal = Some(Renewal {
            candidate: self.listeners.candidate(room.as_deref()),
            digests: digests.map(|digest| digest.text).collect(),
            read,
            next: VecDeque::new(),
            reading: None,
            comparison: None,
            proved: !occasion.compares(),
            idle: false,
            not_before: None,
            room,
            occasion,
        });
        Ok(())
    }

    /// Reads a slice, begins the next text, or ends the renewal.
    fn renew_slice(&mut self) -> Result<(), ServiceError> {
        let until = self.processed.min(self.read);
        let Self { renewal: Some(renewal), listeners, store, .. } = self else { return Ok(()) };
        let room = renewal.room.as_deref();
        if renewal.candidate.is_reading() {
            let measured = renewal.candidate.advance()?;
            let pair = measured.zip(renewal.reading.and_then(|id| listeners.measured(room, id)));
            if let Some((comparison, (fresh, live))) = renewal.comparison.as_mut().zip(pair) {
                comparison.add(live, fresh);
                return self.judge();
            }
            return Ok(());
        }
        if let Some(text) = renewal.digests.pop_front() {
            return Ok(renewal.candidate.begin(&text, room.unwrap_or_default(), false)?);
        }
        if renewal.next.is_empty() {
            renewal.next = store.utterances_after(renewal.read, state_at::BATCH)?.into();
        }
        match renewal.next.pop_front().filter(|(seq, _)| *seq <= until) {
            Some((seq, said)) => {
                renewal.read = seq;
                if listeners.reads(room, &said) {
                    renewal.reading = Some(said.id);
                    renewal.candidate.begin(&said.text, &said.room, renewal.comparison.is_some())?;
                }
                Ok(())
            }
            None => self.caught_up(),
        }
    }

    /// The fresh state has read all that the live one has.
    fn caught_up(&mut self) -> Result<(), ServiceError> {
        let Some(renewal) = &mut self.renewal else { return Ok(()) };
        renewal.next.clear();
        renewal.idle = true;
        if renewal.proved {
            return self.take_over();
        }
        if renewal.comparison.is_none() {
            renewal.comparison = Some(Comparison::default());
            self.listeners.compare(renewal.room.as_deref(), true);
        }
        Ok(())
    }

    fn judge(&mut self) -> Result<(), ServiceError> {
        let Some(renewal) = self.renewal.as_mut().filter(|renewal| !renewal.proved) else { return Ok(()) };
        let comparison = renewal.comparison.unwrap_or_default();
        let (worse_by, error) = (comparison.difference(), comparison.error());
        match comparison.verdict() {
            Verdict::Open => {}
            Verdict::Worse => renewal.proved = true,
            Verdict::Sound => {
                info!(
                    kind = "renewal",
                    worse_by, error, "the state stays: a fresh one predicts no better beyond noise"
                );
                let room = renewal.room.clone();
                self.drop_renewal();
                self.listeners.was_compared(room.as_deref());
                self.record(ListenerOutcome::default(), Vec::new())?;
            }
        }
        Ok(())
    }

    /// The fresh state takes the place of the live one. See the module for the steps.
    fn take_over(&mut self) -> Result<(), ServiceError> {
        // A snapshot must hold nothing that is not stored.
        let stored = self.read_ahead.is_empty() && self.unrecorded.is_empty() && self.read <= self.processed;
        let Some(renewal) = self.renewal.take() else { return Ok(()) };
        let now = self.clock.now();
        let later = |wait: Duration| Some(now + wait);
        if !stored {
            self.renewal = Some(Renewal { idle: false, not_before: later(UNSTORED), ..renewal });
            return Ok(());
        }
        let room = renewal.room.clone();
        let time = if self.now == Timestamp::UNIX_EPOCH { Timestamp::now() } else { self.now };
        let before = self.listeners.renewals_of(room.as_deref());
        let compared = renewal.comparison.filter(|comparison| comparison.tokens() > 0.0);
        let taken = TakeOver {
            room: room.clone(),
            occasion: renewal.occasion,
            tokens: renewal.candidate.state().tokens_read(),
            renewals: Renewals { count: before.count + 1, last: Some(Timestamp::now()), compared: 0 },
            young: compared.map(|comparison| comparison.fresh()),
            worse_by: compared.map(|comparison| comparison.difference()),
        };
        if let Err(error) = self.save_fresh(&renewal, &taken, time) {
            warn!(%error, "the fresh state cannot be saved, so the former one stays; it is tried again in a minute");
            self.renewal = Some(Renewal { idle: false, not_before: later(AGAIN), ..renewal });
            return Ok(());
        }
        let message = taken.message(self);
        self.listeners.compare(room.as_deref(), false);
        self.listeners.take_over(room.as_deref(), renewal.candidate, taken.young, taken.renewals);
        self.record(ListenerOutcome::default(), vec![message])?;
        self.renewal_is_told(taken.renewals)?;
        self.update_metrics()
    }

    /// The first two steps.
    fn save_fresh(&mut self, renewal: &Renewal, taken: &TakeOver, time: Timestamp) -> Result<(), ServiceError> {
        let note = serde_json::to_string(taken).expect("numbers, a time and a name are JSON");
        self.store.set_note(NOTE, &note)?;
        let mark = ReadPosition { read: self.read, time };
        let saved = self.listeners.save_candidate(renewal.room.as_deref(), &renewal.candidate, mark);
        if saved.is_err() {
            self.store.set_note(NOTE, "")?;
        }
        saved.map(drop).map_err(ServiceError::from)
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
    pub(super) fn settle_renewal(&mut self) -> Result<(), ServiceError> {
        let Some(note) = self.store.note(NOTE)?.filter(|note| !note.is_empty()) else { return Ok(()) };
        match serde_json::from_str::<TakeOver>(&note) {
            Ok(taken) => {
                let (room, young) = (taken.room.as_deref(), taken.young);
                if self.listeners.settle_renewal(room, taken.tokens, young, taken.renewals) {
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

    /// How far the renewal is, for health.
    pub(super) fn renewal_stage(&self) -> (Option<RenewalStage>, u64) {
        match &self.renewal {
            None => (None, 0),
            Some(Renewal { comparison: None, .. }) => (Some(RenewalStage::Reading), 0),
            Some(Renewal { comparison: Some(comparison), .. }) => {
                (Some(RenewalStage::Comparing), comparison.tokens() as u64)
            }
        }
    }

    /// Something was said.
    pub(super) fn note_heard(&mut self) {
        self.last_heard = self.clock.now();
        if let Some(renewal) = &mut self.renewal {
            renewal.idle = false;
        }
    }
}

#[cfg(test)]
mod tests;
