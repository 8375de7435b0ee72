//! (being built)

pub mod alert;
pub mod digest;
