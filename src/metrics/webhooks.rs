//! The metrics of each webhook.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Count, Shared};

/// All webhooks by name.
#[derive(Debug, Default)]
pub struct WebhookMetricsMap(Mutex<BTreeMap<Arc<str>, Arc<WebhookMetrics>>>);

/// The metrics of one webhook.
#[derive(Debug, Default)]
pub struct WebhookMetrics {
    /// Messages that wait.
    pub(crate) waiting: Count,
    /// Messages that it took, and attempts that failed, since the start.
    pub(crate) sent: Count,
    pub(crate) failed: Count,
    /// Messages that were given up: the limits dropped them, or it will never take them.
    pub(crate) dropped: Count,
    /// Why the last attempt failed; none after one that succeeded.
    pub(crate) error: Shared<Option<String>>,
}

impl WebhookMetricsMap {
    /// The webhook of that name, added if it is new.
    pub(crate) fn open(&self, name: &Arc<str>) -> Arc<WebhookMetrics> {
        self.0.lock().entry(name.clone()).or_default().clone()
    }

    /// All webhooks, ordered by name.
    pub(crate) fn each(&self) -> Vec<(Arc<str>, Arc<WebhookMetrics>)> {
        self.0.lock().iter().map(|(name, hook)| (name.clone(), hook.clone())).collect()
    }
}
