//! The machine's limits, and how something is measured beside them.
//!
//! Speed and limits are measured in the same seconds with the same threads, because other work on the machine slows down both. A share
//! compares a speed with the limits right before and right after it.

use std::time::Instant;

use crate::process::total_bytes;
use griffin::kernels::{Kernel, Roofline, RooflineMeasurement};

/// Bytes that are read to measure memory speed: far more than any cache, but at most an eighth of the machine's memory.
const READ_BYTES: usize = 2 << 30;

/// Each speed is measured for so many seconds, and at least [`PASSES`] times; the median counts.
pub(crate) const SECONDS: f64 = 4.0;
pub(crate) const PASSES: usize = 15;

/// Seconds after which the limits are measured again.
const BETWEEN_LIMITS: f64 = 0.5;

/// Measures the machine's limits repeatedly.
pub(crate) struct Machine {
    kernel: Kernel,
    threads: rayon::ThreadPool,
    buffer: Vec<u8>,
}

/// How long something took, and the limits at that time.
pub(crate) struct Speed {
    /// The median.
    pub(crate) seconds: f64,
    rounds: Vec<Round>,
}

/// Some passes between two measurements of the limits.
struct Round {
    /// Mean time of a pass.
    seconds: f64,
    around: [RooflineMeasurement; 2],
}

impl Speed {
    /// What was kept up meanwhile, the median of each: the limits of what takes longer than a moment.
    pub(crate) fn roofs(&self) -> Roofline {
        Roofline::median(&self.looks().map(|look| look.sustained).collect::<Vec<_>>())
    }

    /// The best moment of each.
    pub(crate) fn best(&self) -> Roofline {
        Roofline::highest(&self.looks().map(|look| look.best).collect::<Vec<_>>())
    }

    fn looks(&self) -> impl Iterator<Item = &RooflineMeasurement> {
        self.rounds.iter().flat_map(|round| &round.around)
    }

    /// The share of a limit that was reached, the median of all rounds. `least` gives the seconds that a pass takes at the limit.
    pub(crate) fn share(&self, least: impl Fn(&Roofline) -> f64) -> f64 {
        let least =
            |around: &[RooflineMeasurement; 2]| around.iter().map(|look| least(&look.sustained)).sum::<f64>() / 2.0;
        median(self.rounds.iter().map(|round| least(&round.around) / round.seconds).collect())
    }
}

impl Machine {
    pub(crate) fn new(kernel: Kernel, threads: usize) -> anyhow::Result<Self> {
        let eighth = total_bytes() as usize / 8;
        let threads = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
        Ok(Self { kernel, threads, buffer: vec![1; READ_BYTES.min(eighth)] })
    }

    fn roofs(&self) -> RooflineMeasurement {
        self.threads.install(|| Roofline::measure(self.kernel, &self.buffer))
    }

    /// Measures something for [`SECONDS`], and the limits in turns with it.
    pub(crate) fn measure(&self, mut what: impl FnMut()) -> Speed {
        what();
        let (mut times, mut rounds, mut before) = (Vec::new(), Vec::new(), self.roofs());
        while times.len() < PASSES || times.iter().sum::<f64>() < SECONDS {
            let first = times.len();
            while times[first..].iter().sum::<f64>() < BETWEEN_LIMITS {
                times.push(seconds_of(&mut what));
            }
            let of_round = &times[first..];
            let after = self.roofs();
            let seconds = of_round.iter().sum::<f64>() / of_round.len() as f64;
            rounds.push(Round { seconds, around: [before, after] });
            before = after;
        }
        Speed { seconds: median(times), rounds }
    }
}

pub(crate) fn seconds_of(what: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    what();
    begun.elapsed().as_secs_f64()
}

pub(crate) fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
