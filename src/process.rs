//! Processor time and memory of this process and memory of the machine. What cannot be read is 0.

use rustix::time::{ClockId, clock_gettime};

/// Seconds of processor time of all threads so far.
pub(crate) fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Bytes in memory now, mapped files included.
pub(crate) fn resident_bytes() -> u64 {
    bytes_of("/proc/self/status", "VmRSS:")
}

/// The most bytes that were in memory at any time.
#[cfg(feature = "bench")]
pub(crate) fn peak_resident_bytes() -> u64 {
    bytes_of("/proc/self/status", "VmHWM:")
}

/// Bytes of memory of the machine.
#[cfg(feature = "bench")]
pub(crate) fn total_bytes() -> u64 {
    bytes_of("/proc/meminfo", "MemTotal:")
}

fn bytes_of(file: &str, key: &str) -> u64 {
    let all = std::fs::read_to_string(file).unwrap_or_default();
    let line = all.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()).map_or(0, |kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_used_time_and_memory() {
        // Other tests run in this process, so only a lower bound holds.
        let held = vec![1u8; 64 << 20];
        assert!(resident_bytes() >= 64 << 20, "{} bytes are held", held.len());
        assert!(peak_resident_bytes() >= 64 << 20 && cpu_seconds() > 0.0);
        assert!(total_bytes() > peak_resident_bytes());
    }
}
