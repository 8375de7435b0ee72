//! Standard output of the subcommands.
//!
//! A reader may stop early, as in `hearth status | head -1`. That is no failure of hearth: such an error is marked here, and
//! `main` then ends with exit code 0.

use std::io::{self, ErrorKind, Write};

/// Whoever read standard output has closed it.
#[derive(Debug, thiserror::Error)]
#[error("standard output was closed by its reader")]
struct ReaderGone;

/// Standard output, whose errors say what could not be written.
pub(crate) fn stdout() -> CommandOutput {
    CommandOutput(io::stdout())
}

/// See [`stdout`].
pub(crate) struct CommandOutput(io::Stdout);

impl Write for CommandOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(explain)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(explain)
    }
}

fn explain(error: io::Error) -> io::Error {
    match error.kind() {
        // `write_all` retries on this kind.
        ErrorKind::Interrupted => error,
        ErrorKind::BrokenPipe => io::Error::new(ErrorKind::BrokenPipe, ReaderGone),
        kind => io::Error::new(kind, format!("cannot write to standard output: {error}")),
    }
}

/// Whether a command ended because the reader of its standard output closed it.
pub(crate) fn reader_is_gone(error: &anyhow::Error) -> bool {
    let mut io_errors = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    io_errors.any(|error| error.get_ref().is_some_and(|inner| inner.is::<ReaderGone>()))
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn only_a_closed_standard_output_ends_a_command_without_an_error() {
        let closed = anyhow::Error::from(explain(ErrorKind::BrokenPipe.into())).context("while listing");
        assert!(reader_is_gone(&closed));
        let socket: anyhow::Result<()> = Err(io::Error::from(ErrorKind::BrokenPipe)).context("the daemon went away");
        assert!(!reader_is_gone(&socket.unwrap_err()));
        assert!(!reader_is_gone(&explain(ErrorKind::StorageFull.into()).into()));
    }
}
