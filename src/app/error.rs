//! Why the daemon cannot run, or could not go on.

use crate::api::web;
use crate::mqtt::broker::BrokerError;
use crate::services;
use crate::speakers::VoiceError;
use crate::{asr, listener, models, mqtt, store, webhook};

/// Why the daemon cannot run, or could not go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppError {
    #[error(transparent)]
    Models(#[from] models::ModelError),
    #[error(transparent)]
    Asr(#[from] asr::AsrError),
    #[error(transparent)]
    Voices(#[from] VoiceError),
    #[error(transparent)]
    Listener(#[from] listener::ListenerError),
    #[error(transparent)]
    Store(#[from] store::StoreError),
    #[error(transparent)]
    Mqtt(#[from] mqtt::client::ClientError),
    #[error(transparent)]
    Webhook(#[from] webhook::WebhookError),
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error(transparent)]
    Page(#[from] web::WebError),
    #[error(transparent)]
    Service(#[from] services::ServiceError),
    #[error("neither $STATE_DIRECTORY nor $HOME is set: say in [store] dir where to keep the transcript")]
    NoStateDirectory,
    #[error("the system gives no signal: {0}")]
    System(#[from] std::io::Error),
    #[error("{name} ended: {source}")]
    Part { name: &'static str, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("{0} ended unasked")]
    Unasked(&'static str),
    #[error("{0} would not stop in time; what it still held was not finished")]
    Stuck(String),
    #[error("closing was not complete: {0}")]
    Closing(String),
    #[error("loading panicked: {0}")]
    Loading(#[from] tokio::task::JoinError),
}

impl AppError {
    /// Starting again will not help: the config, or what it names, must change first.
    pub(crate) fn is_config(&self) -> bool {
        match self {
            Self::Broker(BrokerError::NotBuiltIn | BrokerError::Unprotected(_)) => true,
            Self::Models(_) | Self::Asr(_) | Self::Voices(_) | Self::Mqtt(_) => true,
            Self::Webhook(_) | Self::NoStateDirectory => true,
            Self::Listener(error) | Self::Service(services::ServiceError::Listener(error)) => {
                !matches!(error, listener::ListenerError::Snapshot(_))
            }
            _ => false,
        }
    }
}
