//! What depends on who reads the output: colors, the width of lines, local times, and how much is told beside the result.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use jiff::Timestamp;
use jiff::tz::TimeZone;

pub(crate) const DIM: &str = "\x1b[2m";
pub(crate) const CYAN: &str = "\x1b[36m";
pub(crate) const YELLOW: &str = "\x1b[33m";
pub(crate) const BOLD_RED: &str = "\x1b[1;31m";
pub(crate) const RESET: &str = "\x1b[0m";
pub(crate) const CLEAR_LINE: &str = "\r\x1b[2K";

/// How much the whole command tells, as a number of [`Verbosity`].
static TOLD: AtomicU8 = AtomicU8::new(Verbosity::Normal as u8);

/// How much a command tells beside its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verbosity {
    /// Errors only.
    Quiet,
    /// Warnings, and hints to the reader.
    Normal,
    /// What it does.
    Verbose,
    /// Also what is of use to developers alone.
    Debug,
}

impl Verbosity {
    /// Of the options `-q` and `-v`.
    pub(crate) fn new(quiet: bool, verbose: u8) -> Self {
        match (quiet, verbose) {
            (true, _) => Self::Quiet,
            (false, 0) => Self::Normal,
            (false, 1) => Self::Verbose,
            (false, _) => Self::Debug,
        }
    }

    /// Holds for the whole process.
    pub(crate) fn set(self) {
        TOLD.store(self as u8, Relaxed);
    }

    /// The one that was set.
    pub(crate) fn get() -> Self {
        match TOLD.load(Relaxed) {
            0 => Self::Quiet,
            1 => Self::Normal,
            2 => Self::Verbose,
            _ => Self::Debug,
        }
    }

    /// The level of the log of a command that answers on standard output.
    pub(crate) fn log_level(self) -> &'static str {
        match self {
            Self::Quiet => "error",
            Self::Normal => "warn",
            Self::Verbose => "info",
            Self::Debug => "debug",
        }
    }
}

/// Tells the reader something that is no part of the result, on standard error.
pub(crate) fn hint(text: &str) {
    if Verbosity::get() > Verbosity::Quiet {
        eprintln!("{text}");
    }
}

/// Whether standard output takes colors: it is a terminal, and the environment does not say `NO_COLOR`.
pub(crate) fn colors() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A text in a color, where `on` says so.
pub(crate) fn colored(on: bool, color: &str, text: &str) -> String {
    if on && !color.is_empty() { format!("{color}{text}{RESET}") } else { text.into() }
}

/// The local date and time, to the second.
pub(crate) fn local(time: Timestamp) -> String {
    time.to_zoned_datetime(TimeZone::system()).strftime("%F %T").to_string()
}

/// The local time as RFC 3339 has it, with its offset from UTC, to the millisecond.
pub(crate) fn local_rfc3339(time: Timestamp) -> String {
    time.to_zoned_datetime(TimeZone::system()).strftime("%FT%T%.3f%:z").to_string()
}

/// Breaks text at spaces into lines of at most `width` characters; a longer word has a line of its own.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always a line");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.into());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_say_how_much_is_told() {
        let level = |quiet, verbose| Verbosity::new(quiet, verbose).log_level();
        assert_eq!(
            [level(true, 0), level(false, 0), level(false, 1), level(false, 3)],
            ["error", "warn", "info", "debug"]
        );
    }

    #[test]
    fn lines_are_broken_at_spaces() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("extraordinary", 5), ["extraordinary"]);
    }
}
