//! The long-running parts of hearth: one file for each, with the files only it needs beside it.
//!
//! [`crate::app`] starts them, connects them by channels and ends them in order.

pub(crate) mod api;
pub(crate) mod capture;
pub(crate) mod channels;
pub(crate) mod context;
pub(crate) mod error;
pub(crate) mod ingest;
pub(crate) mod listen;
pub(crate) mod mute_hook;
pub(crate) mod outbox;
pub(crate) mod process_cost;
pub mod publish;
pub(crate) mod restore_live_view;
pub(crate) mod store_retry;
pub(crate) mod transcribe;
pub(crate) mod transcript_writer;
pub(crate) mod webhooks;

pub use context::Context;
pub(crate) use error::ServiceError;
