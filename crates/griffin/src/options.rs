//! How a model is held and run: its settings, and the threads which they ask for.

use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::kernels::Kernel;

/// Parameters up to which a model computes faster on one thread than it could wake others.
const SMALL: u64 = 50_000_000;

/// How a model is held and run. The default suits most: see each field.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// How a checkpoint in Hugging Face layout is held; the weights of a GGUF file are held as they are.
    pub weights: Quantization,
    /// How keys and values are kept; by default f32 when the weights are, else i16.
    pub kv_cache: Option<KvCacheType>,
    /// Threads that compute; 0: one per core, and a single one for a small model, which gains nothing from more.
    pub threads: usize,
    /// By default the fastest that this processor has.
    pub kernel: Option<Kernel>,
    /// Added to the niceness of the threads that compute, 0 to 19: how much they yield to others on a busy machine.
    pub nice: u8,
}

/// How the large matrices are quantized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantization {
    /// f32 below 500 million parameters, q8_0 above.
    #[default]
    Auto,
    /// 32 bits a weight.
    F32,
    /// 8.5 bits a weight.
    #[serde(rename = "q8_0")]
    Q8_0,
    /// 4.5 bits a weight, but for gates, keys and values, which take q8_0.
    #[serde(rename = "q4_k")]
    Q4K,
}

/// The type of keys and values in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvCacheType {
    /// 32 bits a number.
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

/// Makes the calling thread nicer. Linux keeps niceness by thread; a failure costs others speed, so it is not reported.
fn yield_to_others(nice: u8) {
    if nice > 0 {
        let _ = rustix::process::nice(i32::from(nice));
    }
}

/// Runs `work` while the pool's other threads poll for their part of it: a pass hands out work hundreds of times, and a thread
/// that went to sleep in between takes a tenth of a millisecond to wake.
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
