//! Named threads and tasks (units) of the daemon, and how they end.
//!
//! The end of each unit that was started here is reported exactly once, also when it panicked. Some parts start helpers of their
//! own, which end with them: capture, the connections of the API, the embedded broker, the thread pool of the model.

use std::any::Any;
use std::collections::BTreeSet;
use std::error::Error;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// The most units at once. The channel has room for the end of each, so reporting never blocks.
const MAX_UNITS: usize = 32;

/// The result of a unit. The error is boxed: the supervisor reports it and does not depend on its type.
pub(crate) type UnitResult = Result<(), Box<dyn Error + Send + Sync>>;

/// The end of a unit.
#[derive(Debug)]
pub(crate) struct UnitExit {
    pub(crate) name: &'static str,
    pub(crate) outcome: UnitResult,
}

/// Starts units and reports their ends.
pub(crate) struct Supervisor {
    exits_sender: mpsc::Sender<UnitExit>,
    exits: mpsc::Receiver<UnitExit>,
    running: BTreeSet<&'static str>,
}

impl Default for Supervisor {
    fn default() -> Self {
        let (exits_sender, exits) = mpsc::channel(MAX_UNITS);
        Self { exits_sender, exits, running: BTreeSet::new() }
    }
}

impl Supervisor {
    /// Starts a named thread.
    ///
    /// # Errors
    /// The system refuses a new thread.
    pub(crate) fn thread<F>(&mut self, name: &'static str, body: F) -> std::io::Result<()>
    where
        F: FnOnce() -> UnitResult + Send + 'static,
    {
        let exits = self.exits_sender.clone();
        std::thread::Builder::new().name(name.into()).spawn(move || {
            let outcome = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(panic_text(&panic).into()));
            // The receiver is dropped only with the supervisor; then nobody needs the report.
            let _ = exits.try_send(UnitExit { name, outcome });
        })?;
        self.started(name);
        Ok(())
    }

    /// Starts a named task on the runtime this is called on.
    pub(crate) fn task<F>(&mut self, name: &'static str, body: F)
    where
        F: Future<Output = UnitResult> + Send + 'static,
    {
        let exits = self.exits_sender.clone();
        #[expect(clippy::disallowed_methods, reason = "the supervisor is where tasks start")]
        let task = tokio::spawn(body);
        #[expect(clippy::disallowed_methods, reason = "the supervisor is where tasks start")]
        tokio::spawn(async move {
            let outcome = match task.await {
                Ok(outcome) => outcome,
                Err(error) if error.is_panic() => Err(panic_text(&error.into_panic()).into()),
                Err(error) => Err(error.into()),
            };
            let _ = exits.try_send(UnitExit { name, outcome });
        });
        self.started(name);
    }

    fn started(&mut self, name: &'static str) {
        assert!(self.running.insert(name), "two units are named {name}");
        assert!(self.running.len() <= MAX_UNITS, "more than {MAX_UNITS} units");
    }

    /// Waits for the next unit to end; pending while none runs. Cancel-safe.
    pub(crate) async fn ended(&mut self) -> UnitExit {
        let ended = self.exits.recv().await.expect("the supervisor itself holds a sender");
        self.running.remove(ended.name);
        ended
    }

    /// Waits until `name` has ended, or `deadline`, and returns whether it ended. Other ends are passed to `also`.
    pub(crate) async fn ended_by(&mut self, name: &str, deadline: Instant, mut also: impl FnMut(UnitExit)) -> bool {
        while self.running.contains(name) {
            match timeout_at(deadline, self.ended()).await {
                Ok(ended) => also(ended),
                Err(_) => return false,
            }
        }
        true
    }

    /// The names of the units that have not ended.
    pub(crate) fn running(&self) -> impl Iterator<Item = &'static str> {
        self.running.iter().copied()
    }
}

fn panic_text(panic: &Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panicked: {}", text.unwrap_or_else(|| "without a message".into()))
}

/// A deadline `grace` from now.
pub(crate) fn deadline(grace: Duration) -> Instant {
    Instant::now() + grace
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ends_errors_and_panics_are_reported_with_names() {
        let mut supervisor = Supervisor::default();
        supervisor.thread("fine", || Ok(())).unwrap();
        supervisor.thread("broken", || Err("no such thing".into())).unwrap();
        supervisor.thread("panicking", || panic!("at {}", "once")).unwrap();
        supervisor.task("task", async { panic!("in a task") });
        let mut reports = Vec::new();
        for _ in 0..4 {
            let UnitExit { name, outcome } = supervisor.ended().await;
            reports.push(format!("{name}: {:?}", outcome.map_err(|e| e.to_string())));
        }
        reports.sort();
        assert_eq!(
            reports,
            [
                "broken: Err(\"no such thing\")",
                "fine: Ok(())",
                "panicking: Err(\"panicked: at once\")",
                "task: Err(\"panicked: in a task\")"
            ]
        );
        assert_eq!(supervisor.running().count(), 0);
    }

    #[tokio::test]
    async fn a_unit_that_does_not_stop_is_named() {
        let mut supervisor = Supervisor::default();
        let (release, held) = std::sync::mpsc::sync_channel::<()>(1);
        supervisor
            .thread("stubborn", move || {
                let _ = held.recv();
                Ok(())
            })
            .unwrap();
        supervisor.thread("willing", || Ok(())).unwrap();
        let mut others = Vec::new();
        let stopped =
            supervisor.ended_by("stubborn", deadline(Duration::from_millis(20)), |e| others.push(e.name)).await;
        assert!(!stopped);
        assert_eq!(supervisor.running().collect::<Vec<_>>(), ["stubborn"]);
        drop(release);
        assert!(supervisor.ended_by("stubborn", deadline(Duration::from_secs(60)), |_| ()).await);
    }
}
