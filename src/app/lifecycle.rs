//! What the house does while it runs, and how it closes.
//!
//! Owns the meaning of a part's end, and the order of closing. Refuses to know how the parts were started. Invariant: closing runs
//! downstream, and ends within its grace whatever hangs.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::time::Instant;
use tracing::{error, info};

use super::systemd::SystemdNotifier;
use super::{App, BEHIND, Error, GATHERING, GRACE, HEARING, PUBLISHING, PUBLISHING_GRACE, READING, SOURCE};
use crate::commands::{PendingCommand, Reload};
use crate::supervisor::{UnitExit, deadline};

impl App {
    /// Watches over the house until it is to close: asked to, because a part broke, or because the source has ended and all of
    /// it was heard and read, however long that takes.
    pub(super) async fn watch(
        &mut self,
        mut shutdown: Pin<&mut impl Future<Output = ()>>,
        hangup: &mut Signal,
    ) -> Result<(), Error> {
        let mut service = SystemdNotifier::new();
        let mut pulse = tokio::time::interval(service.period());
        loop {
            tokio::select! {
                () = &mut shutdown => return Ok(()),
                ended = self.supervisor.ended() => {
                    self.went(ended)?;
                    if self.supervisor.running().all(|part| BEHIND.contains(&part)) {
                        return Ok(());
                    }
                }
                Ok(()) = self.listening.changed() => self.apply_listening(),
                Some(request) = self.requests.recv() => self.carry_out(PendingCommand::from_broker(request)),
                Some(asked) = self.asked.recv() => self.carry_out(asked),
                _ = hangup.recv() => {
                    self.reopen.store(true, Ordering::Relaxed);
                    service.reloading();
                    self.carry_out(PendingCommand::from_signal(Reload));
                    service.reloaded();
                }
                _ = pulse.tick() => service.tell(&self.metrics, self.reader.is_some()),
            }
        }
    }

    /// What the end of a part means: a source may end, and then what is behind it; nothing else ends unasked.
    fn went(&mut self, UnitExit { name, outcome }: UnitExit) -> Result<(), Error> {
        let runs = |part| self.supervisor.running().any(|name| name == part);
        match (name, outcome) {
            (name, Err(source)) => return Err(Error::Part { name, source }),
            (SOURCE, Ok(())) => info!("no source is left; what is left of them is heard and read"),
            // Nobody will wake the reader any more: it ends when it has read everything.
            (HEARING, Ok(())) if !runs(SOURCE) && !runs(GATHERING) => self.reader = None,
            (HEARING, Ok(())) if !runs(SOURCE) => {}
            (READING, Ok(())) if !runs(HEARING) && !runs(GATHERING) => {}
            (name, Ok(())) => return Err(Error::Unasked(name)),
        }
        Ok(())
    }

    /// Closes everything in the order of the flow.
    pub(super) async fn drain(&mut self) -> Result<(), Error> {
        info!("closing: what was heard is finished first");
        SystemdNotifier::stopping();
        let until = deadline(GRACE);
        let before_publishing = until - PUBLISHING_GRACE - Duration::from_secs(1);
        self.closing.store(true, Ordering::Relaxed);
        self.control.stop();
        self.end(SOURCE, before_publishing).await;
        self.end(HEARING, before_publishing).await;
        drop(self.drain_gathering.take());
        self.end(GATHERING, before_publishing).await;
        self.reader = None;
        self.end(READING, before_publishing).await;
        drop((self.close_doors.take(), self.drain_publishing.take()));
        self.end(PUBLISHING, until).await;
        // A wish that came while the house closed holds for the next start.
        if *self.listening.borrow() != self.control.listening() {
            self.apply_listening();
        }
        drop(self.wishes.take());
        for part in BEHIND {
            self.end(part, until).await;
        }
        let stuck: Vec<_> = self.supervisor.running().collect();
        if !stuck.is_empty() {
            return Err(Error::Stuck(stuck.join(", ")));
        }
        info!("closed");
        Ok(())
    }

    async fn end(&mut self, name: &'static str, deadline: Instant) {
        let told = |ended: UnitExit| {
            if let Err(error) = ended.outcome {
                error!(part = ended.name, %error, "failed while closing");
            }
        };
        self.supervisor.ended_by(name, deadline, told).await;
    }
}
