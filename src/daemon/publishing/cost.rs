//! What this process costs the machine.
//!
//! Owns the reading of processor time and memory. Invariant: what cannot be read is 0, and never an error.

use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};

use crate::mqtt::payload::Cost;

/// Measures from one reading to the next.
pub(super) struct Meter {
    started: Instant,
    last: Instant,
    last_cpu_s: f64,
}

impl Default for Meter {
    fn default() -> Self {
        Self { started: Instant::now(), last: Instant::now(), last_cpu_s: cpu_seconds() }
    }
}

impl Meter {
    pub(super) fn read(&mut self) -> Cost {
        let (now, cpu_s) = (Instant::now(), cpu_seconds());
        let elapsed = now.duration_since(self.last).as_secs_f64();
        let cpu_percent = if elapsed > 0.0 { 100.0 * (cpu_s - self.last_cpu_s) / elapsed } else { 0.0 };
        (self.last, self.last_cpu_s) = (now, cpu_s);
        Cost { cpu_percent, memory_mib: resident_mib(), uptime_s: now.duration_since(self.started).as_secs_f64() }
    }
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Memory that is really there.
pub fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<f64>().ok()).map_or(0.0, |kib| kib / 1024.0)
}
