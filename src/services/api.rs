//! The socket of `hearth status` and the page, as parts of the house.
//!
//! Owns their start. Refuses to know what is shown. Invariant: a house whose socket cannot be opened lives as well.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;
use tracing::{info, warn};

use crate::api::web::WebServer;
use crate::api::{Api, control_socket};
use crate::supervisor::Supervisor;

pub const SOCKET: &str = "socket";
pub const PAGE: &str = "page";

/// Opens the socket and the page. Without a socket the house lives as well: only `hearth status` does not.
pub fn open(
    supervisor: &mut Supervisor,
    dir: &Path,
    page: Option<WebServer>,
    api: &Arc<Api>,
    closed: &watch::Receiver<()>,
) {
    match control_socket::open(dir) {
        Ok(listener) => {
            let (api, mut closed) = (api.clone(), closed.clone());
            supervisor.task(SOCKET, async move {
                tokio::select! {
                    () = control_socket::serve(listener, api) => {}
                    _ = closed.changed() => {}
                }
                Ok(())
            });
        }
        Err(error) => warn!(%error, "the status socket cannot be opened: `hearth status` will find nobody"),
    }
    if let Some(page) = page {
        info!("the page is open; `hearth status` prints its address");
        let (api, mut closed) = (api.clone(), closed.clone());
        supervisor.task(PAGE, async move {
            tokio::select! {
                ended = page.serve(api) => Ok(ended?),
                _ = closed.changed() => Ok(()),
            }
        });
    }
}
