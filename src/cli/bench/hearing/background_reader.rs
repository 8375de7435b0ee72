//! A model that reads on and on while others hear.
//!
//! Owns the thread that keeps it busy. Refuses to know what is heard. Invariant: it computes as the daemon's listener does, with as
//! many threads and as nice.

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

/// Reads until it is stopped.
pub struct BackgroundReader {
    stop: Arc<AtomicBool>,
    reading: JoinHandle<f64>,
}

impl BackgroundReader {
    /// # Errors
    /// When the model cannot be loaded.
    pub fn start(model: &Path, threads: usize) -> anyhow::Result<Self> {
        let path = models::find(model, Path::new(""))?;
        let model = Model::load(&path, &Options { threads, nice: NICE, ..Options::default() })
            .with_context(|| format!("cannot load {}", path.display()))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let read = move || {
            let (tokens, mut state) = (Tokens::new(&model), model.state());
            let started = Instant::now();
            while !stopped.load(Ordering::Relaxed) {
                let chunk = tokens.take(state.tokens_read(), CHUNK);
                model.ingest(&chunk, &mut state).expect("the tokens are the model's, and so is the state");
            }
            state.tokens_read() as f64 / started.elapsed().as_secs_f64()
        };
        let reading = std::thread::Builder::new().name("beside".into()).spawn(read).context("cannot start a thread")?;
        Ok(Self { stop, reading })
    }

    /// The tokens a second that were read.
    pub fn stop(self) -> f64 {
        self.stop.store(true, Ordering::Relaxed);
        self.reading.join().unwrap_or(0.0)
    }
}
