//! The pipeline from sound to utterances, until it has a module of its own.

pub mod hearing;
