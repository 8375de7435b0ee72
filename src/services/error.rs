//! Why a service cannot start, or ended.

use crate::{asr, listener, retention, store};

/// Why a service cannot start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    #[error(transparent)]
    Asr(#[from] asr::AsrError),
    #[error(transparent)]
    Listener(#[from] listener::ListenerError),
    #[error(transparent)]
    Store(#[from] store::StoreError),
    #[error(transparent)]
    Retention(#[from] retention::RetentionError),
    #[error("the system gives no thread: {0}")]
    Thread(#[from] std::io::Error),
}
