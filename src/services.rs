//! The long-running parts of hearth: one file for each, with the files only it needs beside it.
//!
//! [`crate::app`] starts them, connects them by channels and ends them in order.

pub mod api;
pub mod capture;
pub mod channels;
pub mod context;
pub mod error;
pub mod ingest;
pub mod listen;
pub mod mute_hook;
pub mod publish;
pub mod restore_live_view;
pub mod store_retry;
pub mod transcribe;
pub mod transcript_writer;

pub use context::Context;
pub use error::ServiceError;
