//! Reads a fresh state beside a live one, compares them, and lets it take its place. `listener/renewal.rs` says when.
//!
//! It is done while the house is quiet, in slices: what is said is read first. Until it takes over, the fresh state is in memory alone, and a
//! restart or forgetting drops it. How it takes over is in [`taking_over`].

mod taking_over;

use std::collections::VecDeque;
use std::time::Duration;

use jiff::tz::TimeZone;
use tracing::info;
use ulid::Ulid;

use super::{ListenerWorker, state_at, stopped};
use crate::config::Keep;
use crate::event::Utterance;
use crate::listener::ListenerOutcome;
use crate::listener::candidate::Candidate;
use crate::listener::renewal::{Comparison, FRESH_UTTERANCES, Occasion, Verdict};
use crate::metrics::{RenewalHealth, RenewalStage};
use crate::services::ServiceError;

/// The house is quiet when nothing was said for so long.
const QUIET: Duration = Duration::from_secs(10);
/// A fresh state reads so many digests of what was said before the utterances that it reads.
const DIGESTS: usize = 8;

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
    /// The disk did not take it.
    unsaved: bool,
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
        self.begin_renewal()?;
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
                Some(renewal) if renewal.room == room => {
                    (renewal.occasion, renewal.proved) = (Occasion::Asked, true);
                    (renewal.idle, renewal.not_before) = (false, None);
                }
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

    /// What is to be renewed now. What is only compared may be given up for it, and is begun again later.
    fn next_renewal(&mut self) -> Option<(Option<String>, Occasion)> {
        if self.renewal.as_ref().is_some_and(|renewal| renewal.proved) {
            return None;
        }
        if let Some(room) = self.renewals_asked.pop_front() {
            return Some((room, Occasion::Asked));
        }
        if !self.live || self.config.store.keep == Keep::Nothing || !self.is_quiet(Occasion::Regular) {
            return None;
        }
        let now = self.context.clock.now();
        let local = now.map(|now| (now, now.to_zoned_datetime(TimeZone::system()).hour()));
        let due = self.listeners.renewal_due(self.config.listener.renew, local);
        // A state that is suspected does not wait for a regular comparison, which takes as long as somebody must talk in that room.
        let waits = |renewal: &Renewal| {
            let Some((room, occasion)) = &due else { return true };
            *occasion != Occasion::Suspected || renewal.occasion != Occasion::Regular || *room == renewal.room
        };
        if self.renewal.as_ref().is_some_and(waits) { None } else { due }
    }

    fn begin_renewal(&mut self) -> Result<(), ServiceError> {
        let Some((room, occasion)) = self.next_renewal() else { return Ok(()) };
        self.drop_renewal();
        let (of_room, apart) = (room.as_deref(), self.listeners.rooms());
        let read = self.store.back_from_in(self.processed.min(self.read), FRESH_UTTERANCES, of_room, &apart)?;
        let digests = match self.store.utterances_after(read, 1)?.first() {
            Some((_, said)) => self.store.digests_before(said.start, of_room, DIGESTS)?,
            None => Vec::new(),
        };
        info!(kind = "renewal", room, reason = occasion.name(), "a fresh state is read beside the live one");
        self.renewal = Some(Renewal {
            candidate: self.listeners.candidate(of_room),
            digests: digests.into_iter().map(|digest| digest.text).collect(),
            read,
            next: VecDeque::new(),
            reading: None,
            comparison: None,
            proved: !occasion.compares(),
            idle: false,
            not_before: None,
            unsaved: false,
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
            return Ok(renewal.candidate.begin(&text, room.unwrap_or_default(), None, false)?);
        }
        if renewal.next.is_empty() {
            renewal.next = store.utterances_after(renewal.read, state_at::BATCH)?.into();
        }
        if renewal.next.front().is_none_or(|(seq, _)| *seq > until) {
            return self.caught_up();
        }
        // Other states read what was said in other rooms.
        while let Some((seq, said)) = renewal.next.pop_front_if(|(seq, _)| *seq <= until) {
            renewal.read = seq;
            if listeners.reads(room, &said) {
                renewal.reading = Some(said.id);
                return Ok(renewal.candidate.begin(
                    &said.text,
                    &said.room,
                    said.speaker.as_ref(),
                    renewal.comparison.is_some(),
                )?);
            }
        }
        Ok(())
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

    /// How far the renewal is, for health.
    pub(super) fn renewal_health(&self) -> RenewalHealth {
        let (room, stage, compared) = match &self.renewal {
            None => (None, None, None),
            Some(Renewal { room, unsaved: true, .. }) => (room.clone(), Some(RenewalStage::Unsaved), None),
            Some(Renewal { room, comparison: None, .. }) => (room.clone(), Some(RenewalStage::Reading), None),
            Some(Renewal { room, comparison, .. }) => (room.clone(), Some(RenewalStage::Comparing), *comparison),
        };
        let compared_tokens = compared.map_or(0, |comparison| comparison.tokens() as u64);
        RenewalHealth { stage, room, compared_tokens, ..self.listeners.renewals() }
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
