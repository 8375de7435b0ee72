//! How much the model computes at a time.
//!
//! Reading, asking and writing go in slices, so that a slow machine can do something else between two of them. Before each slice whoever owns
//! the listener is asked whether to go on, and learns that there is progress.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use griffin::CHUNK;

use super::ListenerError;

/// A slice in which a text is written: with the last token of it, less than a second.
pub(crate) const WRITING_SLICE: Duration = Duration::from_millis(500);
/// A slice in which is read or asked. A longer one reads faster: the weights come from memory once for all of its tokens.
const READING_SLICE: Duration = Duration::from_secs(3);
/// Tokens of a slice while no time is known, and at the least.
const UNMEASURED: usize = 16;
const FEWEST: usize = 4;
/// Slices of fewer tokens say nothing of how long a token takes.
const TELLING: usize = 8;

/// What the model is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Reading,
    Asking,
    Writing,
}

/// How time passes for the listener's work: by the machine's clock, or as `hearth bench day` simulates it.
pub(crate) trait WorkClock: Send + Sync {
    /// The time since some moment. It never goes back.
    fn now(&self) -> Duration;
    /// A slice is about to begin.
    fn slice_begins(&self) {}
    /// A slice in which so many tokens were read or written has ended.
    fn slice_ends(&self, _work: Work, _tokens: usize) {}
}

/// The machine's own clock.
pub(crate) struct MachineClock(Instant);

impl Default for MachineClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl WorkClock for MachineClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// See the module.
pub(crate) struct Pace {
    go_on: Box<dyn Fn(Work) -> bool + Send + Sync>,
    clock: Arc<dyn WorkClock>,
    /// Slices are as short as this machine needs; else as long as the model takes at once.
    limited: bool,
    /// Nanoseconds that a token takes which is read with others; 0 before the first.
    token_ns: AtomicU64,
}

impl Default for Pace {
    fn default() -> Self {
        Self::new(false, |_| true)
    }
}

impl Pace {
    /// `go_on` is called before each slice; when it returns false, what is under way ends with [`ListenerError::Stopped`].
    pub(crate) fn new(limited: bool, go_on: impl Fn(Work) -> bool + Send + Sync + 'static) -> Self {
        let clock = Arc::new(MachineClock::default());
        Self { go_on: Box::new(go_on), clock, limited, token_ns: AtomicU64::new(0) }
    }

    /// Goes by another clock.
    pub(crate) fn with_clock(self, clock: Arc<dyn WorkClock>) -> Self {
        Self { clock, ..self }
    }

    /// The time on the clock that the work goes by.
    pub(super) fn now(&self) -> Duration {
        self.clock.now()
    }

    /// The most tokens of the next slice.
    pub(super) fn tokens(&self, work: Work) -> usize {
        let slice = if work == Work::Writing { WRITING_SLICE } else { READING_SLICE };
        match (self.limited, self.token_time()) {
            (false, _) => CHUNK,
            (true, None) => UNMEASURED,
            (true, Some(token)) => ((slice.as_nanos() / token.as_nanos().max(1)) as usize).clamp(FEWEST, CHUNK),
        }
    }

    /// How long a token takes that is read with others; none before the first slice.
    pub(crate) fn token_time(&self) -> Option<Duration> {
        Some(self.token_ns.load(Relaxed)).filter(|ns| *ns > 0).map(Duration::from_nanos)
    }

    #[cfg(test)]
    pub(super) fn set_token_time(&self, time: Duration) {
        self.token_ns.store(time.as_nanos() as u64, Relaxed);
    }

    /// Reads `tokens` in a slice.
    pub(super) fn slice<T>(
        &self,
        work: Work,
        tokens: usize,
        act: impl FnOnce() -> Result<T, griffin::Error>,
    ) -> Result<T, ListenerError> {
        if !(self.go_on)(work) {
            return Err(ListenerError::Stopped);
        }
        self.clock.slice_begins();
        let began = self.now();
        let done = act()?;
        self.clock.slice_ends(work, tokens);
        if tokens >= TELLING {
            let ns = ((self.now() - began).as_nanos() / tokens as u128) as u64;
            let before = self.token_ns.load(Relaxed);
            // The mean of the last few: what else the machine does changes.
            self.token_ns.store(if before == 0 { ns.max(1) } else { (3 * before + ns) / 4 }, Relaxed);
        }
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_as_long_as_the_machine_allows() {
        let pace = Pace::new(true, |_| true);
        assert_eq!((pace.token_time(), pace.tokens(Work::Writing)), (None, UNMEASURED));
        let (reading, writing) = (|pace: &Pace| pace.tokens(Work::Reading), |pace: &Pace| pace.tokens(Work::Writing));
        // A Raspberry Pi of which others take most; a fast machine; one that stood still.
        for (ms, expected) in [(50, (60, 10)), (1, (64, 64)), (10_000, (4, 4))] {
            pace.token_ns.store(ms * 1_000_000, Relaxed);
            assert_eq!((reading(&pace), writing(&pace)), expected);
            assert_eq!(writing(&Pace { limited: false, ..Pace::new(true, |_| true) }), CHUNK);
        }
    }

    #[test]
    fn a_slice_is_measured_unless_it_is_short_and_none_begins_after_the_end() {
        let pace = Pace::new(true, |work| work != Work::Reading);
        pace.slice(Work::Asking, TELLING - 1, || Ok(())).unwrap();
        assert_eq!(pace.token_time(), None);
        pace.slice(Work::Asking, TELLING, || Ok(())).unwrap();
        assert!(pace.token_time().is_some());
        assert!(matches!(
            pace.slice(Work::Reading, 1, || -> Result<(), _> { panic!("it began") }),
            Err(ListenerError::Stopped)
        ));
    }
}
