//! Messages that hearth sends to itself, to see whether commands reach it.
//!
//! That a broker accepted the subscription does not show it: mosquitto 2.0 accepts a subscription that its access list forbids, and
//! drops a message that its list forbids, without a word.

use std::time::Duration;

use super::payload::{self, MessageHeader};
use super::topics::Topics;
use crate::event::Message;

/// How long a probe may take to come back.
pub(crate) const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// One message on a topic of each kind of command, and which of them have not come back.
#[derive(Debug)]
pub(crate) struct CommandProbe {
    missing: Vec<Message>,
}

impl CommandProbe {
    /// A probe that is to be sent, with an id of its own: another hearth may share the topics.
    pub(crate) fn new(topics: &Topics) -> Self {
        Self { missing: payload::command_probes(topics, MessageHeader::now()).into() }
    }

    /// What has not come back. At first this is what must be sent.
    pub(crate) fn missing(&self) -> &[Message] {
        &self.missing
    }

    /// A message came. It is one of this probe only if it has its id too.
    pub(crate) fn received(&mut self, topic: &str, payload: &[u8]) {
        self.missing.retain(|message| message.topic != topic || message.payload.as_bytes() != payload);
    }

    /// All of it has come back.
    pub(crate) fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }
}
