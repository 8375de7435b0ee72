//! The machine's own limits, and how something is measured beside them.
//!
//! Owns what a measurement is: the median of some passes, in turns with the limits. Refuses to know what is measured. Invariant:
//! speed and limits are of the same seconds with the same threads, for other work on a machine takes from both.

use std::time::Instant;

use crate::griffin::kernel::{Kernel, Measured, Roofs};
use crate::process::total_bytes;

/// Memory that is read to measure how fast memory is read, far more than any cache holds; but no more than an eighth of all.
const READ_BYTES: usize = 2 << 30;

/// Each speed is measured for so long, and at least [`PASSES`] times; the median counts.
pub const SECONDS: f64 = 4.0;
pub const PASSES: usize = 9;

/// After so long the limits are measured again.
const BETWEEN_LIMITS: f64 = 0.5;

/// What the machine can do at most, to be asked again and again.
pub struct Machine {
    kernel: Kernel,
    threads: rayon::ThreadPool,
    buffer: Vec<u8>,
}

/// How long something took, the median, and the limits meanwhile.
pub struct Speed {
    pub seconds: f64,
    roofs: Vec<Measured>,
}

impl Speed {
    /// What was kept up meanwhile, the median of each: the limits of what takes longer than a moment.
    pub fn roofs(&self) -> Roofs {
        Roofs::median(&self.roofs.iter().map(|roofs| roofs.sustained).collect::<Vec<_>>())
    }

    /// The best moment of each.
    pub fn best(&self) -> Roofs {
        Roofs::highest(&self.roofs.iter().map(|roofs| roofs.best).collect::<Vec<_>>())
    }
}

impl Machine {
    pub fn new(kernel: Kernel, threads: usize) -> anyhow::Result<Self> {
        let eighth = total_bytes() as usize / 8;
        let threads = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
        Ok(Self { kernel, threads, buffer: vec![1; READ_BYTES.min(eighth)] })
    }

    fn roofs(&self) -> Measured {
        self.threads.install(|| Roofs::measure(self.kernel, &self.buffer))
    }

    /// Measures something for [`SECONDS`], and the limits in turns with it.
    pub fn measure(&self, mut what: impl FnMut()) -> Speed {
        what();
        let (mut roofs, mut times, mut since) = (vec![self.roofs()], Vec::new(), 0.0);
        while times.len() < PASSES || times.iter().sum::<f64>() < SECONDS {
            let seconds = seconds_of(&mut what);
            times.push(seconds);
            since += seconds;
            if since >= BETWEEN_LIMITS {
                roofs.push(self.roofs());
                since = 0.0;
            }
        }
        Speed { seconds: median(times), roofs }
    }
}

pub fn seconds_of(what: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    what();
    begun.elapsed().as_secs_f64()
}

pub fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
