//! (being built)

pub mod snapshot;
