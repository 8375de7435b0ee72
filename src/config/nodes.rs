//! `[source.mqtt]`: other machines whose utterances are read here.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::{Seconds, TopicFilter};

/// Utterances of other machines, received from the broker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct NodesConfig {
    /// The topics of their utterances; may hold wildcards.
    pub(crate) topics: Vec<TopicFilter>,
    /// Utterances that arrive within this time of each other are put in the order in which they were said.
    pub(crate) window_s: Seconds,
}

impl Default for NodesConfig {
    fn default() -> Self {
        Self {
            topics: vec!["hearth/+/utterance".parse().expect("the default filter is valid")],
            window_s: Seconds::try_from(5.0).expect("five seconds are a valid time"),
        }
    }
}

impl NodesConfig {
    /// The same as a duration.
    pub(crate) fn window(&self) -> SignedDuration {
        SignedDuration::from_secs_f64(self.window_s.get())
    }
}
