//! How a model is held and run.
//!
//! Owns the settings, the threads that they ask for, and how these wait. Refuses to know what is computed.

use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::kernels::Kernel;

/// Parameters up to which a model computes faster on one thread than it could wake others.
const SMALL: u64 = 50_000_000;

/// How a model is held and run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Of a checkpoint in Hugging Face layout; a GGUF file has its own.
    pub weights: Quantization,
    /// By default f32 when the weights are, else i16.
    pub kv_cache: Option<KvCacheType>,
    /// Threads that compute; 0: one per core, and a single one for a small model, which gains nothing from more.
    pub threads: usize,
    /// By default the fastest that this processor has.
    pub kernel: Option<Kernel>,
    /// Added to the niceness of the threads that compute, 0 to 19: how much they yield to others on a busy machine.
    pub nice: u8,
}

/// The form of the large matrices in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantization {
    /// f32 below 500 million parameters, q8_0 above.
    #[default]
    Auto,
    F32,
    #[serde(rename = "q8_0")]
    Q8_0,
    #[serde(rename = "q4_k")]
    Q4K,
}

/// The type that keys and values are kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvCacheType {
    F32,
    /// Fixed point: 12 bits a number, one exponent for each key and each value.
    I16,
}

impl Options {
    /// The threads of a model of so many parameters.
    pub(crate) fn start_threads(&self, parameters: u64) -> Result<rayon::ThreadPool, Error> {
        let count = if self.threads == 0 && parameters < SMALL { 1 } else { self.threads };
        let nice = self.nice;
        rayon::ThreadPoolBuilder::new()
            .num_threads(count)
            .thread_name(|i| format!("griffin-{i}"))
            .start_handler(move |_| yield_to_others(nice))
            .build()
            .map_err(|source| Error::Threads { threads: count, source })
    }
}

/// Makes the calling thread nicer. Linux keeps niceness by thread; that it could not be changed costs no more than speed.
fn yield_to_others(nice: u8) {
    if nice > 0 {
        let _ = rustix::process::nice(i32::from(nice));
    }
}

/// Runs `work` while the pool's other threads look for their part of it without pause: a pass hands out work hundreds of times,
/// and a thread that went to sleep in between takes a tenth of a millisecond to wake.
pub(crate) fn with_threads_awake(work: impl FnOnce() + Send) {
    let done = AtomicBool::new(false);
    let done = &done;
    rayon::scope(|scope| {
        for _ in 1..rayon::current_num_threads() {
            scope.spawn(|_| {
                while !done.load(Ordering::Relaxed) {
                    if rayon::yield_now() != Some(rayon::Yield::Executed) {
                        std::hint::spin_loop();
                    }
                }
            });
        }
        work();
        done.store(true, Ordering::Relaxed);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_threads_compute_as_were_asked_for_and_they_are_as_nice() {
        let own = rustix::process::nice(0).unwrap();
        for (threads, parameters, expected) in [(1, 2 * SMALL, 1), (3, 2 * SMALL, 3), (2, 1, 2), (0, 1, 1)] {
            let pool = Options { threads, nice: 10, ..Options::default() }.start_threads(parameters).unwrap();
            let niceness = pool.broadcast(|_| rustix::process::nice(0).unwrap());
            assert_eq!(niceness, vec![(own + 10).min(19); expected]);
        }
        assert_eq!(rustix::process::nice(0).unwrap(), own, "the caller stays as it was");
    }
}
