//! What is deleted: text that somebody asked to forget, and text that grew older than `[store] keep` allows.

pub mod age;
pub mod forget;

/// Why text could not be deleted everywhere.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Listener(#[from] crate::listener::ListenerError),
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
}
