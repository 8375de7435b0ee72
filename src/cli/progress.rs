//! Progress of a long operation: a bar on a terminal, otherwise a line on standard error every few seconds.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};

/// Between two lines, where there is no terminal.
const BETWEEN_LINES: Duration = Duration::from_secs(5);

/// Runs `work`, which reports how many `units` of how many are done.
pub(crate) fn show<T>(doing: &str, units: &str, work: impl FnOnce(&mut (dyn FnMut(u64, u64) + Send)) -> T) -> T {
    if !std::io::stderr().is_terminal() {
        let mut last = Instant::now();
        return work(&mut |done, total| {
            if last.elapsed() >= BETWEEN_LINES {
                last = Instant::now();
                let percent = 100 * done / total.max(1);
                eprintln!("{doing}: {percent} % of {} {units}", HumanCount(total));
            }
        });
    }
    let template = "{msg} {bar:40} {percent:>3} % of {human_len} {prefix}, {eta} left";
    let style = ProgressStyle::with_template(template).expect("the template is valid");
    let bar = ProgressBar::new(0).with_style(style).with_message(doing.to_string()).with_prefix(units.to_string());
    let done = work(&mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    done
}
