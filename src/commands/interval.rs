//! `interval/set`: how often a summary is made.
//!
//! What was asked for outlives a restart, until `[digest] every_min` changes in the config.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Body, CommandError, Definition, Done, ListenerPart};
use crate::mqtt::discovery::{Entity, Needs};
use crate::mqtt::payload::{self, MessageHeader};
use crate::mqtt::topics::Topics;
use crate::store::{self, Store};

/// The longest interval: a day.
const MAX_MINUTES: f64 = 1_440.0;
/// Where it is stored.
const NOTE: &str = "interval";

/// Minutes between summaries; 0 is never.
#[derive(Clone, Debug, PartialEq)]
pub struct Interval {
    pub minutes: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IntervalReply {
    pub(crate) minutes: f64,
}

impl Definition for Interval {
    const PATH: &'static str = "interval/set";
    const DOCUMENTATION: &'static str =
        "minutes between summaries, 0 to 1440; 0 is never; kept over restarts until `[digest] every_min` changes";
    type Reply = IntervalReply;

    fn parse(body: &Body) -> Result<Self, String> {
        Ok(Self { minutes: body.minutes(MAX_MINUTES)? })
    }

    fn entities(topics: &Topics) -> Vec<Entity> {
        let number = json!({
            "p": "number", "name": "Summary interval", "ent_cat": "config", "ic": "mdi:timer-outline",
            "stat_t": topics.interval(), "val_tpl": "{{ value_json.minutes }}", "cmd_t": topics.command(Self::PATH),
            "min": 0, "max": MAX_MINUTES as u32, "step": 1, "mode": "box", "unit_of_meas": "min",
        });
        vec![Entity { key: "interval", needs: Needs::Listener, config: number }]
    }
}

impl Interval {
    pub(super) fn run<L: ListenerPart>(&self, listener: &mut L) -> Result<Done<IntervalReply>, CommandError<L::Error>> {
        listener.listeners().set_interval(self.minutes);
        let configured = listener.config().digest.every_min;
        listener.with_store(|store| store_interval(store, self.minutes, configured))?;
        let message = payload::interval(listener.topics(), MessageHeader::now(), self.minutes);
        Ok(Done { messages: vec![message], ..Done::new(IntervalReply { minutes: self.minutes }) })
    }
}

/// The interval that was asked for, and what the config said then.
#[derive(Serialize, Deserialize)]
struct StoredInterval {
    minutes: f64,
    instead_of: f64,
}

/// Minutes between summaries: `configured`, unless somebody asked for something else since that was written.
///
/// # Errors
/// The store cannot be read.
pub(crate) fn stored_interval(store: &Store, configured: f64) -> Result<f64, store::StoreError> {
    let stored: Option<StoredInterval> = store.note(NOTE)?.and_then(|note| serde_json::from_str(&note).ok());
    Ok(stored.filter(|stored| stored.instead_of == configured).map_or(configured, |stored| stored.minutes))
}

fn store_interval(store: &mut Store, minutes: f64, configured: f64) -> Result<(), store::StoreError> {
    let stored = StoredInterval { minutes, instead_of: configured };
    store.set_note(NOTE, &serde_json::to_string(&stored).expect("numbers are JSON"))
}
