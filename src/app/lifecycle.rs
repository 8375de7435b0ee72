//! What the daemon does while it runs: it hands on commands and signals, and learns of the end of each service.

use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;

use tokio::signal::unix::Signal;
use tracing::info;

use super::systemd::SystemdNotifier;
use super::{App, AppError};
use crate::commands::{PendingCommand, Reload};
use crate::mqtt::broker::{self, BrokerError};
use crate::mqtt::client::ClientSettings;
use crate::services::{api, capture, ingest, listen, mute_hook, publish, transcribe, webhooks};
use crate::supervisor::UnitExit;

/// What goes on when there is nothing more to hear and read.
pub(super) const OUTLETS: [&str; 5] = [publish::NAME, webhooks::NAME, mute_hook::NAME, api::SOCKET, api::PAGE];

impl App {
    /// Runs until the daemon is to shut down: because it was asked to, because a service broke, or because the source has ended
    /// and all of it was transcribed and read, however long that takes.
    pub(super) async fn watch(
        &mut self,
        mut shutdown: Pin<&mut impl Future<Output = ()>>,
        hangup: &mut Signal,
    ) -> Result<(), AppError> {
        let mut systemd = SystemdNotifier::new();
        let mut tick = tokio::time::interval(systemd.period());
        let mut own_broker = pin!(broker_death(self.own_broker.clone()));
        loop {
            let pause_over = self.microphone.pause_over();
            tokio::select! {
                () = &mut shutdown => return Ok(()),
                dead = &mut own_broker => return Err(dead.into()),
                ended = self.supervisor.ended() => {
                    self.service_ended(ended)?;
                    if self.supervisor.running().all(|service| OUTLETS.contains(&service)) {
                        return Ok(());
                    }
                }
                true = self.microphone.changed() => self.microphone.apply(&self.context, &mut self.store),
                () = pause_over => self.microphone.check_pause(),
                Some(request) = self.remote_commands.recv() => self.carry_out(PendingCommand::from_broker(request)),
                Some(asked) = self.local_commands.recv() => self.carry_out(asked),
                _ = hangup.recv() => {
                    self.context.reopen_transcript.store(true, Ordering::Relaxed);
                    systemd.reloading();
                    self.carry_out(PendingCommand::from_signal(Reload));
                    systemd.reloaded();
                }
                _ = tick.tick() => {
                    self.microphone.check_pause();
                    self.microphone.store(&self.context, &mut self.store);
                    self.store.check_in_place()?;
                    systemd.notify(&self.context.metrics, self.listener.is_some());
                }
            }
        }
    }

    /// What the end of a service means: the sources may end, and then what is behind them; nothing else ends by itself.
    fn service_ended(&mut self, UnitExit { name, outcome }: UnitExit) -> Result<(), AppError> {
        outcome.map_err(|source| AppError::Part { name, source })?;
        let runs = |service| self.supervisor.running().any(|running| running == service);
        match name {
            capture::NAME => info!("no source is left; what they delivered is transcribed and read"),
            transcribe::NAME if !runs(capture::NAME) => {
                self.transcribe = None;
                // Nobody will send to the listener any more: it ends when it has read everything.
                if !runs(ingest::NAME) {
                    self.listener = None;
                }
            }
            listen::NAME if !runs(transcribe::NAME) && !runs(ingest::NAME) => {}
            _ => return Err(AppError::Unasked(name)),
        }
        Ok(())
    }
}

/// Waits until the embedded broker, if there is one, does not answer any more.
async fn broker_death(own: Option<ClientSettings>) -> BrokerError {
    match own {
        Some(client) => broker::watch(&client).await,
        None => std::future::pending().await,
    }
}
