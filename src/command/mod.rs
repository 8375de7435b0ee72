//! One file per subcommand that is more than a call.

pub mod ask;
pub mod generate;
