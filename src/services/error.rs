//! Why the house cannot run, or could not go on.
//!
//! Invariant: an error that another start will not mend is told apart, so that nobody tries again for ever.

use crate::api::web;
use crate::{asr, listener, models, mqtt, retention, store};

/// Why the house cannot run, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Models(#[from] models::ModelError),
    #[error(transparent)]
    Asr(#[from] asr::AsrError),
    #[error(transparent)]
    Listener(#[from] listener::ListenerError),
    #[error(transparent)]
    Store(#[from] store::StoreError),
    #[error(transparent)]
    Retention(#[from] retention::Error),
    #[error(transparent)]
    Mqtt(#[from] mqtt::client::Error),
    #[error(transparent)]
    Broker(#[from] mqtt::broker::Error),
    #[error(transparent)]
    Page(#[from] web::Error),
    #[error("neither $STATE_DIRECTORY nor $HOME is set: say in [store] dir where to keep the transcript")]
    NoStateDirectory,
    #[error("the system gives no thread or signal: {0}")]
    System(#[from] std::io::Error),
    #[error("{name} ended: {source}")]
    Part { name: &'static str, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("{0} ended unasked")]
    Unasked(&'static str),
    #[error("{0} would not stop in time; what it still held was not finished")]
    Stuck(String),
    #[error("loading panicked: {0}")]
    Loading(#[from] tokio::task::JoinError),
}

impl Error {
    /// Starting again will not help: the config, or what it names, must change first.
    pub fn is_config(&self) -> bool {
        matches!(self, Self::Models(_) | Self::Asr(_) | Self::Mqtt(_) | Self::NoStateDirectory)
            || matches!(self, Self::Listener(error) if !matches!(error, listener::ListenerError::Snapshot(_)))
    }
}
