//! Other machines whose text is read here.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::{Seconds, TopicFilter};

/// Text that other machines heard, taken from the broker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct NodesConfig {
    /// Where they tell their utterances; may hold wildcards.
    pub(crate) topics: Vec<TopicFilter>,
    /// What arrives within this time of each other is put in the order in which it was said.
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
    pub(crate) fn window(&self) -> SignedDuration {
        SignedDuration::from_secs_f64(self.window_s.get())
    }
}
