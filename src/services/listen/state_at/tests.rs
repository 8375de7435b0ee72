//! A slow machine reads a state of the past while people talk.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::*;
use crate::commands::ListenerPart;
use crate::event::{Alert, AlertPhase};
use crate::listener::pace::{Work, WorkClock};
use crate::services::listen::test_worker::{at, config, said, say, sentences, start_with, tensors};

/// A machine on which a token takes 50 ms, and what happens on it.
#[derive(Default)]
struct SlowClock(Mutex<SlowMachine>);

#[derive(Default)]
struct SlowMachine {
    now: Duration,
    /// Tokens that are read until something is said.
    until_said: usize,
    store: Option<Store>,
}

impl WorkClock for SlowClock {
    fn now(&self) -> Duration {
        self.0.lock().now
    }

    fn slice_ends(&self, _work: Work, tokens: usize) {
        let mut machine = self.0.lock();
        machine.now += Duration::from_millis(50) * tokens as u32;
        machine.until_said = machine.until_said.saturating_sub(tokens);
        if machine.until_said == 0
            && let Some(mut store) = machine.store.take()
        {
            store.record_utterance(&said("home", 90_000, "The kitchen is on fire."), &[]).unwrap();
        }
    }
}

#[test]
fn what_is_said_while_a_state_of_the_past_is_read_raises_its_alert_at_once() {
    let (dir, talk, clock) = (tempfile::tempdir().unwrap(), sentences(), Arc::new(SlowClock::default()));
    let rule =
        "[listener]\nrenew = \"never\"\n[[rule]]\nname = \"fire\"\npattern = \"on fire\"\nconfirm = \"1 of 1\"\n";
    let config = config(rule);
    let rules: Vec<_> =
        config.rules.iter().filter(|rule| rule.name.as_str() == "fire" && rule.question.is_none()).cloned().collect();
    assert_eq!(rules.len(), 1);
    let mut worker = start_with(&dir, &config, &rules, clock.clone());
    say(&mut worker, 0, &talk[..20]);
    worker.save();
    say(&mut worker, 1_000, &talk[20..220]);
    let live = tensors(&mut worker);
    let until = worker.with_state_at(None, at(1_990), |listener, _| Ok(listener.state().tensors())).unwrap().unwrap();
    assert_eq!(worker.processed, 220);
    // The same again; after some tokens of it something is said.
    let began = {
        let mut machine = clock.0.lock();
        (machine.until_said, machine.store) = (300, Some(worker.context.open_store().unwrap()));
        machine.now
    };
    let second = worker.context.open_store().unwrap();
    let then = |listener: &mut Listener, reached: Timestamp| {
        let alerts = second.last_alerts(10).unwrap();
        let is_it = |alert: &&Alert| alert.time >= at(90_000) && alert.phase == AlertPhase::New;
        assert_eq!(alerts.iter().filter(is_it).count(), 1, "the alert did not wait until the past was read");
        assert!(reached <= at(1_990));
        Ok(listener.state().tensors())
    };
    let again = worker.with_state_at(None, at(1_990), then).unwrap().unwrap();
    assert_eq!(again, until, "nothing that was said meanwhile is in it");
    assert_eq!(worker.processed, 221);
    assert!(clock.0.lock().now > began + Duration::from_secs(30), "the past took longer than that");
    assert_ne!(tensors(&mut worker), live, "the live state has read it");
    assert!(matches!(
        worker.with_state_at(None, at(-5), |_, _| -> Result<(), _> { panic!("it is too old") }),
        Ok(None)
    ));
}
