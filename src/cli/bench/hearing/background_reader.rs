//! A RecurrentGemma model that reads without pause while recordings are transcribed.
//!
//! It runs with the options of the daemon's listener: the same number of threads and the same niceness.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::Context;

use crate::cli::bench::tokens::Tokens;
use crate::listener::reader::NICE;
use crate::models;
use griffin::{CHUNK, Model, Options};

/// The model's thread. It reads until it is stopped.
pub(crate) struct BackgroundReader {
    stop: Arc<AtomicBool>,
    reading: JoinHandle<f64>,
}

impl BackgroundReader {
    /// # Errors
    /// When the model cannot be loaded.
    pub(crate) fn start(model: &Path, threads: usize) -> anyhow::Result<Self> {
        let path = models::find(model, Path::new(""))?;
        let model = Model::load(&path, &Options { threads, nice: NICE, ..Options::default() })
            .with_context(|| format!("cannot load {}", path.display()))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let read = move || {
            let tokens = Tokens::new(&model);
            let mut state = model.state();
            let started = Instant::now();
            while !stopped.load(Ordering::Relaxed) {
                let chunk = tokens.take(state.tokens_read(), CHUNK);
                model.ingest(&chunk, &mut state).expect("the tokens are the model's, and so is the state");
            }
            state.tokens_read() as f64 / started.elapsed().as_secs_f64()
        };
        let reading =
            std::thread::Builder::new().name("background".into()).spawn(read).context("cannot start a thread")?;
        Ok(Self { stop, reading })
    }

    /// Stops reading, and returns how many tokens were read per second.
    pub(crate) fn stop(self) -> f64 {
        self.stop.store(true, Ordering::Relaxed);
        self.reading.join().unwrap_or(0.0)
    }
}
