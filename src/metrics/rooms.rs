//! The rooms that are heard, and how each is heard at the moment.
//!
//! Owns the list of rooms. Invariant: a room stands in it from when its source began until it ended; only a network microphone
//! comes and goes while the house runs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Count, Flag, Heartbeat};

/// Every room, by its name.
#[derive(Debug, Default)]
pub struct RoomMetricsMap(Mutex<BTreeMap<Arc<str>, Arc<RoomMetrics>>>);

/// How a room is heard.
#[derive(Debug, Default)]
pub struct RoomMetrics {
    /// Its source is open and delivers.
    pub delivers: Flag,
    /// When the source last moved, for the watchdog.
    pub heartbeat: Heartbeat,
    /// Root mean square of the last second.
    pub level: AtomicDecibels,
    /// Samples at 16 kHz at the end of the scale.
    pub clipped_samples: Count,
    /// For ten seconds nothing but the same number came: a microphone that is dead, or muted at itself. A quiet room hums.
    pub dead: Flag,
}

/// Decibels of full scale.
#[derive(Debug)]
pub struct AtomicDecibels(AtomicU32);

/// What no level lies below: the step of 20 bits.
const FLOOR_DB: f32 = -120.0;

impl Default for AtomicDecibels {
    fn default() -> Self {
        Self(AtomicU32::new(FLOOR_DB.to_bits()))
    }
}

impl AtomicDecibels {
    /// Keeps the level of a root mean square of 0 … 1.
    pub fn set(&self, rms: f32) {
        self.0.store((20.0 * rms.log10()).max(FLOOR_DB).to_bits(), Relaxed);
    }

    pub fn db(&self) -> f32 {
        f32::from_bits(self.0.load(Relaxed))
    }
}

impl RoomMetricsMap {
    /// The room of that name, from now on in the list.
    pub fn open(&self, name: &Arc<str>) -> Arc<RoomMetrics> {
        self.list().entry(name.clone()).or_default().clone()
    }

    pub fn close(&self, name: &str) {
        self.list().remove(name);
    }

    /// All of them at the moment, in the order of their names.
    pub fn each(&self) -> Vec<(Arc<str>, Arc<RoomMetrics>)> {
        self.list().iter().map(|(name, room)| (name.clone(), room.clone())).collect()
    }

    /// Every source is open and delivers.
    pub fn all_deliver(&self) -> bool {
        self.list().values().all(|room| room.delivers.get())
    }

    fn list(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Arc<RoomMetrics>>> {
        // Nothing in it can be left half done by a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
