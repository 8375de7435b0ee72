//! The metrics of each room.
//!
//! A room is in the list from the start of its source until its end; only network microphones come and go while hearth runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use parking_lot::{Mutex, MutexGuard};

use super::{Count, Flag, Heartbeat};

/// All rooms by name.
#[derive(Debug, Default)]
pub struct RoomMetricsMap(Mutex<BTreeMap<Arc<str>, Arc<RoomMetrics>>>);

/// The metrics of one room.
#[derive(Debug, Default)]
pub struct RoomMetrics {
    /// Its source is open and delivers.
    pub(crate) delivers: Flag,
    /// The last activity of the source, for the watchdog.
    pub(crate) heartbeat: Heartbeat,
    /// Root mean square of the last second.
    pub level: AtomicDecibels,
    /// Samples (at 16 kHz) at full scale.
    pub clipped_samples: Count,
    /// All samples were equal for ten seconds: the microphone is dead, or muted by its own switch. A quiet room has noise.
    pub dead: Flag,
}

impl RoomMetrics {
    /// Nothing is heard from now on.
    pub(crate) fn silence(&self) {
        self.level.set(0.0);
        self.dead.set(false);
    }
}

/// A level in decibels of full scale.
#[derive(Debug)]
pub struct AtomicDecibels(AtomicU32);

/// The lowest level: the resolution of 20 bits.
const FLOOR_DB: f32 = -120.0;

impl Default for AtomicDecibels {
    fn default() -> Self {
        Self(AtomicU32::new(FLOOR_DB.to_bits()))
    }
}

impl AtomicDecibels {
    /// Sets the level of a root mean square `rms` of 0 … 1.
    pub(crate) fn set(&self, rms: f32) {
        self.0.store((20.0 * rms.log10()).max(FLOOR_DB).to_bits(), Relaxed);
    }

    pub fn db(&self) -> f32 {
        f32::from_bits(self.0.load(Relaxed))
    }
}

impl RoomMetricsMap {
    /// The room of that name, added if it is new.
    pub fn open(&self, name: &Arc<str>) -> Arc<RoomMetrics> {
        self.list().entry(name.clone()).or_default().clone()
    }

    pub(crate) fn close(&self, name: &str) {
        self.list().remove(name);
    }

    /// All rooms, ordered by name.
    pub fn each(&self) -> Vec<(Arc<str>, Arc<RoomMetrics>)> {
        self.list().iter().map(|(name, room)| (name.clone(), room.clone())).collect()
    }

    /// Every source is open and delivers.
    pub(crate) fn all_deliver(&self) -> bool {
        self.list().values().all(|room| room.delivers.get())
    }

    fn list(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Arc<RoomMetrics>>> {
        self.0.lock()
    }
}
