//! One file per subcommand that is more than a call.

pub mod ask;
pub mod devices;
pub mod generate;
pub mod transcribe;
