//! Reads what is in the store and not yet in the states.
//!
//! All that waits is read first; then the rules are asked about it once, because their questions are about now. How far the listener has read
//! is stored together with the results, after the rules were asked about the utterances. So what was read but not asked about before a crash
//! is read and asked about again. During a shutdown it reads for some seconds more; the rest waits in the store for the next start.

use std::time::Duration;

use tracing::info;

use super::{ListenerWorker, READ_WHILE_CLOSING, state_at, stopped};
use crate::clock;
use crate::event::Utterance;
use crate::listener::ListenerOutcome;
use crate::services::ServiceError;
use crate::services::store_retry::retry_until_stored;

/// The rules are asked at the latest after this many utterances, and after reading for so long, however many more wait.
const TURN: Duration = Duration::from_secs(20);
const TURN_UTTERANCES: usize = state_at::BATCH;
/// A recording that is played fast is not heard live: its rules are asked after each utterance, until more than this many wait.
const PLAYED_BEHIND: u64 = 16;

/// Utterances that were read and that the rules were not asked about yet.
struct UnaskedTurn {
    /// When the first of them was about to be read.
    began: Duration,
    utterances: usize,
    outcome: ListenerOutcome,
}

impl UnaskedTurn {
    fn beginning(now: Duration) -> Self {
        Self { began: now, utterances: 0, outcome: ListenerOutcome::default() }
    }
}

impl ListenerWorker {
    /// Reads what is in the store and not yet in the state.
    pub(super) fn catch_up(&mut self) -> Result<(), ServiceError> {
        let mut turn = UnaskedTurn::beginning(self.clock.now());
        while self.may_read() {
            self.context.metrics.reading_heartbeat.beat();
            let batch = retry_until_stored(&self.context, || self.store.utterances_after(self.read, state_at::BATCH))?;
            if batch.is_empty() {
                break;
            }
            let alone = !self.live && self.store.count_after(self.read)? <= PLAYED_BEHIND;
            let (processed, new): (Vec<_>, Vec<_>) = batch.into_iter().partition(|(seq, _)| *seq <= self.processed);
            self.read_again(&processed)?;
            for (seq, utterance) in &new {
                if !self.may_read() {
                    break;
                }
                self.spot_ahead()?;
                self.read_new(*seq, utterance, &mut turn)?;
                let long = turn.utterances >= TURN_UTTERANCES || self.clock.now() - turn.began >= TURN;
                if alone || long {
                    self.ask_rules(&mut turn)?;
                }
            }
            if turn.utterances == 0 {
                self.save_if_due();
            }
        }
        self.ask_rules(&mut turn)?;
        let read = self.processed.min(self.read);
        self.retention.clone().was_read(self, read)?;
        self.update_metrics()
    }

    /// On a slow machine, words that are enough for an alert raise it before anything else is read or asked.
    fn spot_ahead(&mut self) -> Result<(), ServiceError> {
        if !self.live || !self.listeners.is_slow() {
            return Ok(());
        }
        let after = self.spotted.max(self.read).max(self.processed);
        let mut outcome = ListenerOutcome::default();
        for (seq, utterance) in self.store.utterances_after(after, state_at::BATCH)? {
            self.spotted = seq;
            if !self.read_ahead.contains(&utterance.id) {
                outcome.add(self.listeners.spot(&utterance));
            }
        }
        if outcome == ListenerOutcome::default() { Ok(()) } else { Ok(self.record(outcome, Vec::new())?) }
    }

    /// Whether nothing is left to read. What is left is logged.
    pub(super) fn has_read_everything(&mut self) -> Result<bool, ServiceError> {
        let unread = retry_until_stored(&self.context, || self.store.count_after(self.processed.min(self.read)))?;
        if unread > 0 {
            info!(unread, "utterances that were not read yet are left for the next start: {unread}");
        }
        Ok(unread == 0)
    }

    /// Whether there is time to read more.
    fn may_read(&mut self) -> bool {
        !self.stopped && self.context.closing_for().is_none_or(|closing| closing < READ_WHILE_CLOSING)
    }

    /// Reads utterances whose alerts and digests are stored already.
    fn read_again(&mut self, processed: &[(i64, Utterance)]) -> Result<(), ServiceError> {
        for one in processed {
            if !self.may_read() {
                break;
            }
            let read = self.measured(|listeners| listeners.replay(std::slice::from_ref(one)));
            if stopped(read)?.is_none() {
                break;
            }
            self.now = clock::forward(self.now, one.1.end);
            self.read = one.0;
            self.update_metrics()?;
        }
        Ok(())
    }

    /// Reads a new utterance. It counts as processed when the rules were asked.
    fn read_new(&mut self, seq: i64, utterance: &Utterance, turn: &mut UnaskedTurn) -> Result<(), ServiceError> {
        // The silence before it may have ended a conversation: its digest is of the state before the next one begins.
        self.now = clock::forward(self.now, utterance.start);
        let passed = self.pass_time();
        let Some(outcome) = self.unless_stopped(passed)? else { return Ok(()) };
        if self.read_ahead.remove(&utterance.id) {
            self.listeners.mark_read(seq, &utterance.room);
        } else {
            let read = self.measured(|listeners| listeners.hear(seq, utterance));
            if self.unless_stopped(read)?.is_none() {
                return Ok(());
            }
        }
        self.note_heard();
        turn.outcome.add(outcome);
        turn.utterances += 1;
        self.now = clock::forward(self.now, utterance.end);
        self.read = seq;
        self.update_metrics()
    }

    /// Asks the rules about all that was read. Only after that it counts as processed.
    fn ask_rules(&mut self, turn: &mut UnaskedTurn) -> Result<(), ServiceError> {
        let UnaskedTurn { utterances, mut outcome, .. } =
            std::mem::replace(turn, UnaskedTurn::beginning(self.clock.now()));
        if utterances == 0 || self.stopped {
            return Ok(());
        }
        let asked = self.evaluate(utterances > 1);
        let Some(found) = self.unless_stopped(asked)? else { return Ok(()) };
        outcome.add(found);
        self.processed = self.read;
        Ok(self.record(outcome, Vec::new())?)
    }
}
