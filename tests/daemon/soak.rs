//! Memory, handles and lag over a long time: `HEARTH_SOAK_MIN` minutes of sound, 60 by default (`make soak`).

use std::collections::HashSet;
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::harness::{Hearth, samples, transcript};

/// How many times faster than time the sound is played.
const SPEED: f64 = 4.0;
/// Between two samples_taken at the process, in seconds of sound.
const SAMPLE_S: usize = 20;
const RATE: usize = 16_000;

/// What may grow, once the first third is over.
const MIB_PER_HOUR: f64 = 4.0;
const LAG_S: f64 = 10.0;

struct Sample {
    /// Hours of sound since the start.
    hours: f64,
    rss_mib: f64,
    handles: usize,
}

#[test]
#[ignore = "needs an hour: make soak"]
fn memory_handles_and_lag_do_not_grow() {
    let minutes = std::env::var("HEARTH_SOAK_MIN").map_or(60.0, |minutes| minutes.parse::<f64>().expect("a number"));
    let dir = tempfile::tempdir().unwrap();
    let text = "[source.stdin]\n[store]\ndir = \"state\"\n[listener]\nsnapshot_min = 0.5\n[mqtt]\nlisten = \"127.0.0.1:0\"\n[log]\nlevel = \"warn\"\n";
    let mut hearth = Hearth::run_with(dir.path(), text, Stdio::piped());
    let mut stdin = hearth.stdin();
    let (began, started) = (Timestamp::now(), Instant::now());
    let (mut samples_taken, mut lags, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
    let seconds = (minutes * 60.0) as usize;
    for (second, block) in mixed().chunks(RATE).cycle().take(seconds).enumerate() {
        let bytes: Vec<u8> = block.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        stdin.write_all(&bytes).unwrap();
        std::thread::sleep(Duration::from_secs_f64(second as f64 / SPEED).saturating_sub(started.elapsed()));
        for line in transcript(dir.path()) {
            let end: Timestamp = line["end"].as_str().unwrap().parse().unwrap();
            if seen.insert(line["id"].as_str().unwrap().to_owned()) {
                // The sound of its end was played a quarter as long after the start.
                let played_s = end.duration_since(began).as_secs_f64() / SPEED;
                lags.push(started.elapsed().as_secs_f64() - played_s);
            }
        }
        if second % SAMPLE_S == 0 {
            samples_taken.push(sample(hearth.id(), second as f64 / 3600.0));
        }
    }
    let speed = seconds as f64 / started.elapsed().as_secs_f64();
    drop(stdin);
    let (status, said) = hearth.wait();
    assert!(status.success(), "{said}");

    let warm = &samples_taken[samples_taken.len() / 3..];
    let slope = slope(warm);
    let handles = |samples_taken: &[Sample]| samples_taken.iter().map(|look| look.handles).max().unwrap();
    let (before, after) = (handles(&warm[..warm.len() / 2]), handles(&warm[warm.len() / 2..]));
    let late = |lags: &[f64]| {
        let mut lags = lags.to_vec();
        lags.sort_by(f64::total_cmp);
        lags[lags.len() * 95 / 100]
    };
    let (first, last) = (late(&lags[..lags.len() / 2]), late(&lags[lags.len() / 2..]));
    println!(
        "{minutes} min of sound at {speed:.1} times its pace, {} utterances\n\
         memory   {:.1} MiB, growing by {slope:.2} MiB an hour of sound (at most {MIB_PER_HOUR})\n\
         handles  {before} in the first half, {after} in the second\n\
         lag p95  {first:.1} s in the first half, {last:.1} s in the second (at most {LAG_S} more)",
        seen.len(),
        warm.last().unwrap().rss_mib,
    );
    let grew = [("memory", slope > MIB_PER_HOUR), ("handles", after > before), ("lag", last > first + LAG_S)];
    let grew: Vec<&str> = grew.iter().filter(|(_, grew)| *grew).map(|(what, _)| *what).collect();
    assert!(grew.is_empty(), "what grew: {}", grew.join(", "));
}

/// A household, noise that rises and falls, and silence.
fn mixed() -> Vec<i16> {
    let mut sound = samples(98);
    let mut random = 1u32;
    sound.extend((0..30 * RATE).map(|n| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let loud = 3_000.0 * (n as f64 / RATE as f64 * 0.5).sin().abs();
        (f64::from(random as i32) / f64::from(i32::MAX) * loud) as i16
    }));
    sound.extend([0; 20 * RATE]);
    sound
}

fn sample(pid: u32, hours: f64) -> Sample {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib: f64 = rss.trim().trim_end_matches(" kB").parse().unwrap();
    Sample { hours, rss_mib: kib / 1024.0, handles: std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() }
}

/// MiB an hour, by least squares.
fn slope(samples_taken: &[Sample]) -> f64 {
    let count = samples_taken.len() as f64;
    let mean = |of: fn(&Sample) -> f64| samples_taken.iter().map(of).sum::<f64>() / count;
    let (hours, mib) = (mean(|look| look.hours), mean(|look| look.rss_mib));
    let covariance: f64 = samples_taken.iter().map(|look| (look.hours - hours) * (look.rss_mib - mib)).sum();
    covariance / samples_taken.iter().map(|look| (look.hours - hours).powi(2)).sum::<f64>()
}
