//! `request/pause`: closes the microphone for some minutes; it opens again by itself.
//!
//! Kept over a restart: see [`MicrophoneState`]. `listening/set` ends a pause: `ON` opens the microphone, `OFF` keeps it closed.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::microphone::{MicrophonePause, MicrophoneState};
use super::{AppPart, Body, Definition, NO_MICROPHONE};
use crate::clock;
use crate::mqtt::discovery::{Entity, Needs};
use crate::mqtt::topics::Topics;

/// The longest pause: a day.
const MAX_MINUTES: f64 = 1_440.0;

/// Close the microphone for some minutes; 0 ends a pause.
#[derive(Clone, Debug, PartialEq)]
pub struct Pause {
    pub minutes: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PauseReply {
    pub(crate) minutes: f64,
    /// When the microphone opens again; none where no pause is on.
    pub(crate) paused_until: Option<Timestamp>,
}

impl Definition for Pause {
    const PATH: &'static str = "request/pause";
    const DOCUMENTATION: &'static str = "minutes, 0 to 1440: closes the microphone, which opens again by itself after that time; \
        meanwhile `listening` is `OFF` and has `paused_until`, as has the answer. 0 ends the pause, and so does `listening/set`: `ON` \
        opens the microphone, `OFF` keeps it closed. A microphone that is closed already is not paused. Kept over restarts; by a clock \
        that jumped meanwhile the pause begins anew";
    type Reply = PauseReply;

    fn parse(body: &Body) -> Result<Self, String> {
        Ok(Self { minutes: body.minutes(MAX_MINUTES)? })
    }

    fn entities(topics: &Topics) -> Vec<Entity> {
        let topic = topics.command(Self::PATH);
        let button =
            Entity::button("pause", "Pause for an hour", "mdi:microphone-off", topic.clone(), "60", Needs::Microphone);
        let until = json!({
            "p": "sensor", "name": "Paused until", "dev_cla": "timestamp", "ic": "mdi:timer-pause-outline",
            "stat_t": topics.listening(), "val_tpl": "{{ value_json.get('paused_until') }}",
        });
        // The minutes that a pause has left when it is published; Home Assistant refuses a number beyond the bounds.
        let left = "((as_timestamp(value_json.paused_until) - now().timestamp()) / 60) | round(0)";
        let number = json!({
            "p": "number", "name": "Pause", "ic": "mdi:timer-pause-outline", "stat_t": topics.listening(),
            "val_tpl": format!("{{{{ [[{left}, 0] | max, 1440] | min if value_json.paused_until is defined else 0 }}}}"),
            "cmd_t": topic, "min": 0, "max": MAX_MINUTES as u32, "step": 1, "mode": "box", "unit_of_meas": "min",
        });
        vec![
            button,
            Entity { key: "pause_minutes", needs: Needs::Microphone, config: number },
            Entity { key: "paused_until", needs: Needs::Microphone, config: until },
        ]
    }
}

impl Pause {
    pub(super) fn run(&self, app: &mut impl AppPart) -> Result<PauseReply, String> {
        if !app.has_microphone() {
            return Err(NO_MICROPHONE.into());
        }
        let pause = if self.minutes > 0.0 {
            Some(MicrophonePause::new(self.minutes, Timestamp::now(), clock::since_boot()))
        } else {
            None
        };
        let state = app.change_microphone(|state| state.after_pause_request(pause));
        if state == MicrophoneState::Muted && pause.is_some() {
            return Err("the microphone is closed already and stays so: open it first to pause it".into());
        }
        Ok(PauseReply { minutes: self.minutes, paused_until: state.paused_until() })
    }
}
