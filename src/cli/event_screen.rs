//! Lines of what happens, as `hearth demo` and `hearth watch` show them: a time, a label, a text; and the speech that has not ended yet,
//! in a line that the next output replaces.

use std::io::Write;

use console::Term;

use super::output::stdout;
use super::terminal::{CLEAR_LINE, DIM, colored, colors, wrap};

/// Text is wrapped to at most this many columns.
const MAX_WIDTH: usize = 100;
/// Narrower terminals break lines themselves.
const MIN_WIDTH: usize = 40;

/// See the module.
pub(crate) struct EventScreen {
    /// Standard output is kept for something else.
    use_stderr: bool,
    colors: bool,
    width: usize,
    /// The cursor is in a line of unfinished speech, which the next output replaces.
    interim_shown: bool,
}

impl EventScreen {
    pub(crate) fn new(use_stderr: bool) -> Self {
        let columns = Term::stdout().size_checked().map_or(MAX_WIDTH, |(_, columns)| columns.into());
        // A terminal without a size says 0.
        let width = if columns == 0 { MAX_WIDTH } else { columns.clamp(MIN_WIDTH, MAX_WIDTH) };
        Self { use_stderr, colors: colors(), width, interim_shown: false }
    }

    /// A time, a label and a text that is wrapped and indented behind them.
    ///
    /// # Errors
    /// Standard output cannot be written; so for every function here.
    pub(crate) fn entry(&mut self, time: &str, color: &str, label: &str, text: &str) -> anyhow::Result<()> {
        let indent = " ".repeat(time.chars().count() + label.chars().count());
        let text = wrap(text, self.width - indent.len().min(self.width / 2)).join(&format!("\n{indent}"));
        self.line(&format!("{time}{}", colored(self.colors, color, &format!("{label}{text}"))))
    }

    /// Shows the end of what is being said, as much as fits into one line.
    pub(crate) fn interim(&mut self, time: &str, committed: &str, tentative: &str) -> anyhow::Result<()> {
        self.clear_interim()?;
        let room = self.width.saturating_sub(time.chars().count() + 1);
        let tentative: String = tentative.chars().take(room).collect();
        let mut columns = room.saturating_sub(tentative.chars().count() + 1);
        let length = committed.chars().count();
        let ellipsis = if length > columns { "…" } else { "" };
        columns -= ellipsis.chars().count().min(columns);
        let committed: String = committed.chars().skip(length.saturating_sub(columns)).collect();
        self.interim_shown = length > 0 || !tentative.is_empty();
        if self.interim_shown {
            let mut out = stdout();
            write!(out, "{time}{ellipsis}{committed} {}", colored(self.colors, DIM, &tentative))?;
            out.flush()?;
        }
        Ok(())
    }

    pub(crate) fn clear_interim(&mut self) -> anyhow::Result<()> {
        if std::mem::take(&mut self.interim_shown) {
            let mut out = stdout();
            write!(out, "{CLEAR_LINE}")?;
            out.flush()?;
        }
        Ok(())
    }

    pub(crate) fn line(&mut self, line: &str) -> anyhow::Result<()> {
        self.clear_interim()?;
        if self.use_stderr {
            eprintln!("{line}");
        } else {
            writeln!(stdout(), "{line}")?;
        }
        Ok(())
    }
}
