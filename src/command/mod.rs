//! (being built)

pub mod generate;
