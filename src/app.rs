//! The running daemon: which services run, how they are connected, and in which order they end.
//!
//! - `bootstrap` loads what must be there before anything starts: models, store, broker.
//! - `start` starts the services, and connects them by the channels of [`crate::services::channels`].
//! - `lifecycle` watches over them, and says what the end of each means.
//! - `dispatch` hands commands to the service that carries them out.
//! - `microphone` opens and closes the microphone.
//! - `shutdown` ends them in the order in which data flows: the source first, the publisher last.
//! - `systemd` tells the service manager how the daemon is.

pub(crate) mod bootstrap;
mod dispatch;
mod error;
mod lifecycle;
mod microphone;
mod shutdown;
mod start;
mod systemd;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::DropGuard;

use self::bootstrap::Resources;
pub(crate) use self::error::AppError;
use self::microphone::MicrophoneSwitch;
use crate::api::web::WebServer;
use crate::commands::confirmation::ForgetConfirmation;
use crate::commands::microphone::MicrophoneState;
use crate::commands::{PendingCommand, Request};
use crate::config::Config;
use crate::metrics::Metrics;
use crate::mqtt::client::ClientSettings;
use crate::services::Context;
use crate::services::listen::ListenerEvent;
use crate::store::{self, Store};
use crate::supervisor::Supervisor;

/// Runs the daemon until `shutdown` is ready or the source ends; then finishes what was heard. `first` is what the microphone is where
/// no run was before.
///
/// # Errors
/// Something it needs is missing, or a service ended by itself; what was heard until then was finished as far as possible.
pub(crate) async fn run(
    config: Config,
    first: MicrophoneState,
    shutdown: impl Future<Output = ()>,
    metrics: Arc<Metrics>,
) -> Result<(), AppError> {
    let mut shutdown = pin!(shutdown);
    // Handled from the first moment on: it would end a daemon that still loads its models.
    let mut hangup = signal(SignalKind::hangup())?;
    let resources = tokio::select! {
        resources = tokio::task::spawn_blocking(move || Resources::load(config, first, metrics)) => resources??,
        () = &mut shutdown => return Ok(()),
    };
    let page = &resources.context.config.page;
    let page = match page.listen {
        Some(listen) => {
            let limits = (&resources.context.config.store).into();
            Some(WebServer::open(listen, page.trusted.clone(), &resources.context.state_dir, limits).await?)
        }
        None => None,
    };
    let mut app = App::start(resources, page)?;
    let ended = app.watch(shutdown, &mut hangup).await;
    let drained = app.drain().await;
    ended.and(drained)
}

/// Everything that is running.
struct App {
    context: Context,
    supervisor: Supervisor,
    store: Store,
    confirmation: ForgetConfirmation,
    /// How the embedded broker is reached, where it runs.
    own_broker: Option<ClientSettings>,
    /// No other daemon uses the state directory.
    _lock: store::Lock,
    microphone: MicrophoneSwitch,
    /// Commands that came over the broker.
    remote_commands: mpsc::Receiver<Request>,
    /// Commands that came over the socket and the page of this machine.
    local_commands: mpsc::Receiver<PendingCommand>,
    /// Where transcribe takes the command to forget; none without a source.
    transcribe: Option<SyncSender<PendingCommand>>,
    /// The listener's channel; the listener ends when all its senders are dropped. None without a listener.
    listener: Option<SyncSender<ListenerEvent>>,
    ingest: Option<DropGuard>,
    publish: Option<DropGuard>,
    /// None where the config names no webhook.
    webhooks: Option<DropGuard>,
    api: Option<DropGuard>,
}
