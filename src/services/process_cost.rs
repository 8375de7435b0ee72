//! Processor time and memory of this process, for the health message.

use std::time::Instant;

use crate::mqtt::payload::ProcessUsage;
use crate::process::{cpu_seconds, resident_bytes};

/// Measures from one reading to the next.
pub(crate) struct ProcessMeter {
    started: Instant,
    last: Instant,
    last_cpu_s: f64,
}

impl Default for ProcessMeter {
    fn default() -> Self {
        Self { started: Instant::now(), last: Instant::now(), last_cpu_s: cpu_seconds() }
    }
}

impl ProcessMeter {
    pub(crate) fn read(&mut self) -> ProcessUsage {
        let (now, cpu_s) = (Instant::now(), cpu_seconds());
        let elapsed = now.duration_since(self.last).as_secs_f64();
        let cpu_percent = if elapsed > 0.0 { 100.0 * (cpu_s - self.last_cpu_s) / elapsed } else { 0.0 };
        (self.last, self.last_cpu_s) = (now, cpu_s);
        ProcessUsage {
            cpu_percent,
            memory_mib: resident_bytes() as f64 / f64::from(1 << 20),
            uptime_s: now.duration_since(self.started).as_secs_f64(),
        }
    }
}
