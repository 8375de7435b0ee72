//! `listening/set`: opens or closes the microphone.
//!
//! It is never one command too many: see [`super::limiter`].

use serde::Serialize;
use serde_json::json;

use super::microphone::MicrophoneState;
use super::{AppPart, Body, Definition};
use crate::mqtt::discovery::{Entity, Needs};
use crate::mqtt::topics::Topics;

/// Open (`on`) or close the microphone.
#[derive(Clone, Debug, PartialEq)]
pub struct Listening {
    pub on: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ListeningReply {
    pub(crate) listening: bool,
}

impl Definition for Listening {
    const PATH: &'static str = "listening/set";
    const DOCUMENTATION: &'static str =
        "`ON` or `OFF`: opens or closes the microphone; kept over restarts, and ends a pause";
    type Reply = ListeningReply;

    fn parse(body: &Body) -> Result<Self, String> {
        Ok(Self { on: body.on_or_off()? })
    }

    fn entities(topics: &Topics) -> Vec<Entity> {
        let switch = json!({
            "p": "switch", "name": "Listening", "ic": "mdi:microphone", "stat_t": topics.listening(),
            "val_tpl": "{{ value_json.state }}", "cmd_t": topics.command(Self::PATH),
        });
        vec![Entity { key: "listening", needs: Needs::Microphone, config: switch }]
    }
}

impl Listening {
    pub(super) fn run(&self, app: &mut impl AppPart) -> Result<ListeningReply, String> {
        app.change_microphone(|_| self.state());
        Ok(self.reply())
    }

    /// What is asked for. It ends a pause.
    pub(crate) fn state(&self) -> MicrophoneState {
        if self.on { MicrophoneState::Open } else { MicrophoneState::Muted }
    }

    /// What is replied when it is carried out.
    pub(crate) fn reply(&self) -> ListeningReply {
        ListeningReply { listening: self.on }
    }
}
