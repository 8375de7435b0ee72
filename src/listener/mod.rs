//! (being built)

pub mod alert;
pub mod digest;
pub mod prompt;
