//! Checks at each connection, and every ten minutes, whether commands reach hearth: see [`CommandProbe`]. Where they do not, the broker is
//! asked what its access list lacks.

use std::pin::Pin;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::{info, warn};

use super::outbox_sender::{OutboxSender, OutgoingKind};
use crate::mqtt::client::{self, ClientSettings};
use crate::mqtt::command_probe::{CommandProbe, PROBE_TIMEOUT};
use crate::mqtt::retry::OutageLog;
use crate::mqtt::topics::Topics;

/// How often it is checked while commands come through. An access list can change while hearth is connected.
const INTERVAL: Duration = Duration::from_secs(600);
/// How often while they do not.
const RETRY: Duration = Duration::from_secs(60);

/// The question to the broker what its access list lacks.
type Diagnosis = Pin<Box<dyn Future<Output = String> + Send>>;

/// The probe of this connection.
pub(super) struct CommandCheck {
    client: ClientSettings,
    /// The newest. It counts also when it comes late.
    probe: Option<CommandProbe>,
    /// When the probe is late, or, after that or when it came, when the next is sent.
    at: Option<Instant>,
    is_late: bool,
    diagnosis: Option<Diagnosis>,
    outage: OutageLog,
}

impl CommandCheck {
    pub(super) fn new(client: ClientSettings) -> Self {
        Self { client, probe: None, at: None, is_late: false, diagnosis: None, outage: OutageLog::default() }
    }

    /// Sends a new probe. The broker has answered the subscription.
    pub(super) fn begin(&mut self, outbox: &mut OutboxSender, topics: &Topics) {
        let probe = CommandProbe::new(topics);
        outbox.announce(probe.missing().iter().map(|message| (OutgoingKind::Announcement, message.clone())));
        self.probe = Some(probe);
        self.at = Some(Instant::now() + PROBE_TIMEOUT);
        self.is_late = false;
    }

    /// A message came on the topic of a probe. Returns whether commands come through, as far as this shows it.
    pub(super) fn received(&mut self, topic: &str, payload: &[u8]) -> bool {
        let Some(probe) = self.probe.as_mut().filter(|probe| !probe.is_complete()) else { return false };
        probe.received(topic, payload);
        if !probe.is_complete() {
            return false;
        }
        self.at = Some(Instant::now() + INTERVAL);
        self.diagnosis = None;
        if self.outage.ended() {
            info!("commands come through");
        }
        true
    }

    /// The broker cannot send the probe now: the time for that begins again.
    pub(super) fn wait_longer(&mut self) {
        if !self.is_late && self.probe.as_ref().is_some_and(|probe| !probe.is_complete()) {
            self.at = Some(Instant::now() + PROBE_TIMEOUT);
        }
    }

    /// There is no connection any more.
    pub(super) fn lost(&mut self) {
        self.probe = None;
        self.at = None;
        self.diagnosis = None;
    }

    /// Waits until it is known what the access list lacks, and says so; for ever where that is not asked.
    pub(super) async fn diagnosed(&mut self) -> String {
        let needed = match &mut self.diagnosis {
            Some(diagnosis) => diagnosis.await,
            None => std::future::pending().await,
        };
        self.diagnosis = None;
        let reason = format!(
            "commands over MQTT do not come through: what hearth sent itself did not come back within {} s; the broker's access list \
             must let hearth {needed}, see docs/mqtt.md",
            PROBE_TIMEOUT.as_secs()
        );
        if self.outage.is_new_failure(&reason, Timestamp::now()) {
            warn!("{reason}");
        }
        needed
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.at
    }

    /// It is `now`. Returns whether the probe has just become late: commands do not come through.
    pub(super) fn deadline_passed(&mut self, now: Instant, outbox: &mut OutboxSender, topics: &Topics) -> bool {
        if self.at.is_none_or(|at| at > now) {
            return false;
        }
        match &self.probe {
            Some(probe) if !probe.is_complete() && !self.is_late => {
                self.is_late = true;
                self.at = Some(now + RETRY);
                let unheard = probe.missing().to_vec();
                self.diagnosis = Some(Box::pin(client::missing_permissions(self.client.clone(), unheard)));
                true
            }
            _ => {
                self.begin(outbox, topics);
                false
            }
        }
    }
}
