//! The API service: the control socket of `hearth status`, and the web page.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{info, warn};

use super::Context;
use crate::api::web::WebServer;
use crate::api::{Api, DaemonInfo, Holdings, control_socket};
use crate::commands::PendingCommand;
use crate::models;
use crate::supervisor::Supervisor;

pub(crate) const SOCKET: &str = "control socket";
pub(crate) const PAGE: &str = "web page";

/// What only this service needs.
pub(crate) struct ApiInputs {
    /// The broker's URL, for `hearth status`.
    pub(crate) broker: String,
    /// None where the config has no page.
    pub(crate) page: Option<WebServer>,
    /// Where commands go.
    pub(crate) commands: mpsc::Sender<PendingCommand>,
}

/// Starts the tasks of the control socket and of the page. They end when the guard is dropped. hearth runs without the socket,
/// too: only `hearth status` and `hearth forget` need it.
pub(crate) fn spawn(supervisor: &mut Supervisor, context: &Context, inputs: ApiInputs) -> DropGuard {
    let ApiInputs { broker, page, commands } = inputs;
    let about = DaemonInfo {
        node: context.config.node.to_string(),
        broker,
        hears: context.config.has_audio_source(),
        gathers: context.config.source.mqtt.is_some(),
        model: context.config.listener.enabled.then(|| models::title(&context.config.listener.model)),
        page: page.as_ref().map(WebServer::url),
        holds: holdings(context),
    };
    let api =
        Arc::new(Api::new(about, context.metrics.clone(), context.live_feed.clone(), context.redactor(), commands));
    let stop = CancellationToken::new();
    match control_socket::open(&context.state_dir) {
        Ok(listener) => {
            let (api, stop) = (api.clone(), stop.clone());
            supervisor.task(SOCKET, async move {
                stop.run_until_cancelled_owned(control_socket::serve(listener, api)).await;
                Ok(())
            });
        }
        Err(error) => warn!(%error, "the status socket cannot be opened: `hearth status` will find nobody"),
    }
    if let Some(page) = page {
        info!("the page is open; `hearth status` prints its address");
        let stop = stop.clone();
        supervisor.task(PAGE, async move {
            match stop.run_until_cancelled_owned(page.serve(api)).await {
                Some(ended) => Ok(ended?),
                None => Ok(()),
            }
        });
    }
    stop.drop_guard()
}

fn holdings(context: &Context) -> Holdings {
    let microphones = context.config.source.microphone.iter().map(|microphone| microphone.device.clone()).collect();
    let state = std::path::absolute(&context.state_dir).unwrap_or_default();
    Holdings { state, addresses: context.config.listen_addresses(), microphones }
}
