//! A day on a simulated clock: it is the clock, and the source of events, of the daemon's own listener.
//!
//! The listener's work takes the processor time that it took, divided by the share of the processor; or what a token is said to cost.
//! While an utterance is recognized nothing else is computed, as speech recognition goes first. Time in which nothing is to be done is skipped.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::TryRecvError;
use ulid::Ulid;

use super::log::{DayLog, DayWork};
use super::talk::DayUtterance;
use crate::clock;
use crate::event::{AlertPhase, Utterance};
use crate::listener::pace::{Work, WorkClock};
use crate::live::LiveEvent;
use crate::process::cpu_seconds;
use crate::services::Context;
use crate::services::listen::{ListenerEvent, ListenerEvents};
use crate::store::{Store, StoreError};

/// The day begins at this second of the wall clock.
const ORIGIN_S: i64 = 1_767_225_600;
/// While nobody speaks, the listener is told so often how far the stream has come.
const PROGRESS_S: f64 = 1.0;

/// What the machine can do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct SimulatedMachine {
    /// Cores that hearth gets, or the share of one.
    pub(super) cpu: f64,
    /// Processor seconds that recognizing a second of speech takes.
    pub(super) whisper: f64,
    /// What a token costs; by default it is measured.
    pub(super) cost: Option<TokenSeconds>,
}

/// Processor seconds for a token, where they are given and not measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct TokenSeconds {
    /// For one that is read together with others.
    pub(super) read: f64,
    /// For one that is written: reading all weights from memory once. No pass takes less.
    pub(super) write: f64,
}

/// See the module.
pub(super) struct SimulatedDay(Mutex<DayState>);

struct DayState {
    machine: SimulatedMachine,
    talk: Vec<DayUtterance>,
    /// When each utterance is recognized.
    known: Vec<f64>,
    /// When something is being recognized, from and to; what is over is removed.
    recognizing: VecDeque<(f64, f64)>,
    end: f64,
    now: f64,
    /// Processor time that was taken into account.
    cpu_s: f64,
    store: Store,
    /// How many utterances are in the store, and of how many the listener was told.
    stored: usize,
    told: usize,
    /// How far the listener knows that the stream has come.
    reached: f64,
    results: broadcast::Receiver<Arc<LiveEvent>>,
    log: DayLog,
}

impl SimulatedDay {
    /// A day of `hours` in which `talk` is said. The listener's results come from the context's live feed.
    ///
    /// # Errors
    /// The store cannot be opened.
    pub(super) fn new(
        machine: SimulatedMachine,
        talk: Vec<DayUtterance>,
        hours: f64,
        context: &Context,
    ) -> anyhow::Result<Self> {
        let recognizing = recognized(&talk, &machine);
        Ok(Self(Mutex::new(DayState {
            known: recognizing.iter().map(|(_, end)| *end).collect(),
            recognizing: recognizing.into(),
            end: hours * 3600.0,
            now: 0.0,
            cpu_s: cpu_seconds(),
            store: context.open_store()?,
            stored: 0,
            told: 0,
            reached: 0.0,
            results: context.live_feed.subscribe().1,
            log: DayLog::new(&talk, &context.config.rules),
            machine,
            talk,
        })))
    }

    /// How many utterances the rules were asked about.
    pub(super) fn asked_about(&self) -> usize {
        self.0.lock().log.asked_about()
    }

    /// What was seen, and the second at which all was done.
    pub(super) fn finish(&self) -> (DayLog, f64) {
        let mut day = self.0.lock();
        day.settle(DayWork::Other, 0);
        day.observe();
        (std::mem::take(&mut day.log), day.now)
    }
}

/// From when to when each utterance is recognized, one after the other.
fn recognized(talk: &[DayUtterance], machine: &SimulatedMachine) -> Vec<(f64, f64)> {
    let mut free = 0.0;
    let one = |said: &DayUtterance| {
        let from = said.end.max(free);
        free = from + (said.end - said.start) * machine.whisper / machine.cpu;
        (from, free)
    };
    talk.iter().map(one).collect()
}

/// When work of `takes` seconds that begins at `now` is done, if it stands still while something is `recognizing`.
fn done_at(mut now: f64, mut takes: f64, recognizing: &mut VecDeque<(f64, f64)>) -> f64 {
    while let Some(&(from, to)) = recognizing.front() {
        if now + takes <= from {
            break;
        }
        takes -= (from - now).max(0.0);
        now = now.max(to);
        recognizing.pop_front();
    }
    now + takes
}

impl DayState {
    /// Takes what was computed since the last call as work of that kind.
    fn settle(&mut self, work: DayWork, tokens: usize) {
        let cpu_s = cpu_seconds();
        let used = match self.machine.cost {
            None => cpu_s - self.cpu_s,
            Some(_) if tokens == 0 => 0.0,
            Some(TokenSeconds { read, write }) => write.max(read * tokens as f64),
        };
        self.cpu_s = cpu_s;
        self.log.worked(work, tokens, used);
        self.now = done_at(self.now, used / self.machine.cpu, &mut self.recognizing);
    }

    fn time(seconds: f64) -> Timestamp {
        clock::after(Timestamp::from_second(ORIGIN_S).expect("it is a time"), SignedDuration::from_secs_f64(seconds))
    }

    fn seconds(time: Timestamp) -> f64 {
        time.duration_since(Self::time(0.0)).as_secs_f64()
    }

    /// Notes what the listener has published until now.
    fn observe(&mut self) {
        loop {
            match self.results.try_recv().as_deref() {
                Ok(LiveEvent::Reading(reading)) => {
                    self.log.reading(&reading.rule, Self::seconds(reading.time), self.now);
                }
                Ok(LiveEvent::Alert(alert)) if alert.phase == AlertPhase::New => self.log.alert(&alert.rule, self.now),
                Ok(LiveEvent::Digest(digest)) => self.log.digest(Self::seconds(digest.time), self.now),
                Ok(_) | Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    /// Stores what was recognized by now.
    fn store_recognized(&mut self) -> Result<(), StoreError> {
        while self.known.get(self.stored).is_some_and(|known| *known <= self.now) {
            let said = &self.talk[self.stored];
            let utterance = Utterance {
                id: Ulid::generate(),
                start: Self::time(said.start),
                end: Self::time(said.end),
                room: "bench".into(),
                text: said.text.clone(),
                confidence: 0.9,
                no_speech: 0.0,
                speaker: None,
            };
            self.store.record_utterance(&utterance, &[])?;
            self.stored += 1;
        }
        self.log.waiting(self.stored);
        Ok(())
    }

    /// Nobody is speaking, and all that was said is in the store.
    fn is_quiet(&self) -> bool {
        self.talk.get(self.stored).is_none_or(|next| next.start > self.now)
    }

    fn next(&mut self, wait: f64) -> Result<ListenerEvent, RecvTimeoutError> {
        self.settle(DayWork::Other, 0);
        self.observe();
        let until = self.now + wait;
        loop {
            // As with the service that hears, a store that cannot be written ends the day.
            if self.store_recognized().is_err() {
                return Err(RecvTimeoutError::Disconnected);
            }
            if self.told < self.stored {
                self.told = self.stored;
                return Ok(ListenerEvent::UtteranceStored);
            }
            if self.stored == self.talk.len() && self.now >= self.end {
                return Err(RecvTimeoutError::Disconnected);
            }
            if self.is_quiet() && self.now >= self.reached + PROGRESS_S {
                self.reached = self.now;
                return Ok(ListenerEvent::StreamReached(Self::time(self.now)));
            }
            if self.now >= until {
                return Err(RecvTimeoutError::Timeout);
            }
            let known = self.known.get(self.stored).copied().unwrap_or(f64::INFINITY);
            let progress = (self.reached + PROGRESS_S).max(self.now);
            let next = if self.is_quiet() { known.min(progress) } else { known };
            self.now = self.now.max(next.min(until));
        }
    }
}

impl WorkClock for SimulatedDay {
    fn now(&self) -> Duration {
        let mut day = self.0.lock();
        day.settle(DayWork::Other, 0);
        Duration::from_secs_f64(day.now)
    }

    fn slice_begins(&self) {
        let mut day = self.0.lock();
        day.settle(DayWork::Other, 0);
        day.observe();
        // What fails here is tried again when the listener waits for events.
        let _ = day.store_recognized();
    }

    fn slice_ends(&self, work: Work, tokens: usize) {
        self.0.lock().settle(work.into(), tokens);
    }
}

/// The events of a simulated day.
pub(super) struct DayEvents(pub(super) Arc<SimulatedDay>);

impl ListenerEvents for DayEvents {
    fn next(&mut self, wait: Duration) -> Result<ListenerEvent, RecvTimeoutError> {
        self.0.0.lock().next(wait.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_stands_still_while_something_is_recognized() {
        let done = |now, takes| done_at(now, takes, &mut VecDeque::from([(10.0, 12.0), (12.5, 13.0), (20.0, 21.0)]));
        for (now, takes, expected) in [
            (0.0, 10.0, 10.0),
            (0.0, 10.2, 12.2),
            (9.0, 1.6, 13.1),
            (11.0, 0.1, 12.1),
            (12.0, 0.0, 12.0),
            (15.0, 10.0, 26.0),
            (30.0, 1.0, 31.0),
        ] {
            assert!((done(now, takes) - expected).abs() < 1e-9, "{now} {takes}: {}", done(now, takes));
        }
    }

    #[test]
    fn utterances_are_recognized_one_after_the_other() {
        let said = |start, end| DayUtterance { start, end, text: String::new(), alarm: None };
        let machine = SimulatedMachine { cpu: 0.5, whisper: 0.25, cost: None };
        let talk = [said(0.0, 4.0), said(4.0, 4.5), said(8.0, 9.0)];
        assert_eq!(recognized(&talk, &machine), [(4.0, 6.0), (6.0, 6.25), (9.0, 9.5)]);
    }
}
