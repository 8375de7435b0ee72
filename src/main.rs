//! The `hearth` program. Everything it does is in the library: see `hearth::run_command_line`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    hearth::run_command_line()
}
