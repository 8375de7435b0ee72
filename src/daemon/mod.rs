//! (being built)

pub mod publishing;
