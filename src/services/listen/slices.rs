//! How the listener's work is cut up, so that what is said is read and asked about while a text is written, and a shutdown need not wait.
//!
//! Sentences of alerts come first, then answers to commands, then digests. After each slice everything that was said meanwhile is read, and the rules
//! are asked. A recording that is played fast is not heard live, and its texts are written at once.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::ListenerWorker;
use super::state_at::PastReading;
use crate::listener::draft::Draft;
use crate::listener::pace::{Pace, WRITING_SLICE, Work, WorkClock};
use crate::listener::{ListenerError, ListenerOutcome};
use crate::services::{Context, ServiceError};

/// How long is read, written and asked while hearth shuts down. What is not done then waits for the next start.
pub(super) const READ_WHILE_CLOSING: Duration = Duration::from_secs(4);
const WRITE_WHILE_CLOSING: Duration = Duration::from_secs(5);
const ASK_WHILE_CLOSING: Duration = Duration::from_secs(6);

/// How the listener computes: each slice is progress for the watchdog, and none begins late in a shutdown.
pub(super) fn pace(context: &Context, live: bool, clock: Arc<dyn WorkClock>) -> Pace {
    let context = context.clone();
    Pace::new(live, move |work| {
        context.metrics.reading_heartbeat.beat();
        let most = match work {
            Work::Reading => READ_WHILE_CLOSING,
            Work::Writing => WRITE_WHILE_CLOSING,
            Work::Asking => ASK_WHILE_CLOSING,
        };
        context.closing_for().is_none_or(|closing| closing < most)
    })
    .with_clock(clock)
}

/// None where work was stopped by a shutdown.
pub(super) fn stopped<T>(done: Result<T, ServiceError>) -> Result<Option<T>, ServiceError> {
    match done {
        Ok(done) => Ok(Some(done)),
        Err(ServiceError::Listener(ListenerError::Stopped)) => Ok(None),
        Err(error) => Err(error),
    }
}

impl ListenerWorker {
    /// None where work was stopped by a shutdown. Nothing that depends on it is stored from then on: after the next start it is done again.
    pub(super) fn unless_stopped<T>(&mut self, done: Result<T, ServiceError>) -> Result<Option<T>, ServiceError> {
        let done = stopped(done)?;
        self.stopped |= done.is_none();
        Ok(done)
    }

    /// Says how fast this machine is, and what cannot work.
    pub(super) fn tell_speed(&mut self) -> Result<(), ServiceError> {
        let measured = self.listeners.measure().map_err(ServiceError::from);
        if let Some(speed) = stopped(measured)? {
            info!(kind = "speed", "{speed}");
            speed.warnings(&self.config.digest).iter().for_each(|warning| warn!(kind = "speed", "{warning}"));
        }
        Ok(())
    }

    /// Asks the rules about what was read. When several utterances have `waited` and asking takes long, not every rule is asked.
    pub(super) fn evaluate(&mut self, waited: bool) -> Result<ListenerOutcome, ServiceError> {
        let Self { listeners, now, .. } = self;
        Ok(if self.live { listeners.evaluate(*now, waited)? } else { listeners.consider(*now)? })
    }

    /// Time has passed.
    pub(super) fn pass_time(&mut self) -> Result<ListenerOutcome, ServiceError> {
        let Self { listeners, now, .. } = self;
        Ok(if self.live { listeners.pass_time(*now)? } else { listeners.tick(*now)? })
    }

    /// Whether anything is to be written, and there is time for it.
    pub(super) fn is_writing(&self) -> bool {
        self.may_write() && self.listeners.is_writing()
    }

    fn may_write(&self) -> bool {
        !self.stopped && self.context.closing_for().is_none_or(|closing| closing < WRITE_WHILE_CLOSING)
    }

    /// Writes for a slice: the sentences of alerts, then digests.
    pub(super) fn write_slice(&mut self) -> Result<(), ServiceError> {
        if !self.is_writing() {
            return Ok(());
        }
        let written = self.listeners.write(WRITING_SLICE).map_err(ServiceError::from);
        // What was stopped stays pending.
        let Some(outcome) = stopped(written)? else { return Ok(()) };
        self.update_metrics()?;
        if outcome == ListenerOutcome::default() { Ok(()) } else { Ok(self.record(outcome, Vec::new())?) }
    }

    /// Sentences of alerts come before a text that somebody waits for.
    fn write_sentences(&mut self) -> Result<(), ServiceError> {
        while self.may_write() && self.listeners.has_sentences() {
            self.write_slice()?;
            self.catch_up()?;
        }
        Ok(())
    }

    /// Reads a state of the past up to its time.
    ///
    /// # Errors
    /// [`ListenerError::Stopped`] if hearth shuts down meanwhile.
    pub(super) fn read_past(&mut self, mut reading: PastReading) -> Result<PastReading, ServiceError> {
        loop {
            self.write_sentences()?;
            let began = self.clock.now();
            while self.clock.now() - began < WRITING_SLICE {
                if !reading.advance(&self.store)? {
                    return Ok(reading);
                }
            }
            self.catch_up()?;
            self.retry_record()?;
        }
    }

    /// Writes the text of a command to its end; false if hearth shuts down meanwhile.
    pub(super) fn write_draft(&mut self, draft: &mut Draft) -> Result<bool, ServiceError> {
        loop {
            self.write_sentences()?;
            if !self.may_write() {
                return Ok(false);
            }
            match stopped(draft.advance_for(WRITING_SLICE).map_err(ServiceError::from))? {
                None => return Ok(false),
                Some(false) => return Ok(true),
                Some(true) => {}
            }
            self.catch_up()?;
            self.retry_record()?;
        }
    }

    /// The stream has ended: what is left is written, as far as there is time, and the last digest of all. Where there is none, the words stay pending.
    pub(super) fn write_the_rest(&mut self) -> Result<(), ServiceError> {
        while self.is_writing() {
            self.write_slice()?;
        }
        if self.may_write() {
            let begun = self.listeners.begin_closing_digests(self.now).map_err(ServiceError::from);
            self.unless_stopped(begun)?;
        }
        while self.is_writing() {
            self.write_slice()?;
        }
        if self.listeners.is_writing() {
            info!("the digest that is not finished is made after the next start");
        }
        Ok(())
    }
}
