//! What the publisher does when something happens on the connection.

use jiff::Timestamp;
use tracing::{error, info, warn};

use super::outbox_sender::OutgoingKind;
use super::shutdown::PublishPhase;
use super::{Publisher, SETTLE, discovery_state};
use crate::mqtt::client::{self, BrokerEvent};
use crate::store;

impl Publisher {
    pub(super) fn handle(&mut self, event: BrokerEvent) -> Result<(), store::StoreError> {
        self.context.metrics.publishing_heartbeat.beat();
        match event {
            BrokerEvent::Connected { .. } => self.connected(),
            BrokerEvent::Sent(packet) => {
                self.outbox.sent(packet);
                Ok(())
            }
            BrokerEvent::Acknowledged(packet) => self.acknowledged(packet),
            BrokerEvent::Message { topic, payload, retain, .. } => self.message(&topic, &payload, retain),
            BrokerEvent::TooLong { topic, bytes, retain, .. } => self.too_long(&topic, bytes, retain),
            BrokerEvent::Dropping => {
                self.outbox.wait_longer();
                self.command_check.wait_longer();
                Ok(())
            }
            BrokerEvent::Subscribed => {
                self.command_check.begin(&mut self.outbox, &self.context.topics);
                self.queue_health()
            }
            BrokerEvent::SubscriptionRefused => {
                // It may be Home Assistant's topic that was refused. Whether commands come is seen.
                self.command_check.begin(&mut self.outbox, &self.context.topics);
                let refusal = "the broker refuses a subscription: to commands, or to Home Assistant's start; check its access rules";
                if self.outage.is_new_failure(refusal, Timestamp::now()) {
                    warn!(url = self.url, "{refusal}");
                }
                Ok(())
            }
            BrokerEvent::PacketLimit(told) => self.outbox.packet_limit_told(told),
            BrokerEvent::Lost(error) => self.lost(&error),
        }
    }

    fn connected(&mut self) -> Result<(), store::StoreError> {
        self.context.metrics.connected.set(true);
        if self.was_connected && self.phase == PublishPhase::Running {
            self.outbox.hold(SETTLE);
        }
        if self.outage.ended() || !self.was_connected {
            self.was_connected = true;
            info!(url = self.url, "connected to the broker");
        }
        self.outbox.connected();
        // All that could be a command, so that a mistyped one is answered too.
        let topics = &self.context.topics;
        if self.outbox.subscribe(topics.commands().into_iter().chain(topics.home_assistant())).is_err() {
            error!("the client takes no subscription: commands are not heard until the next connection");
        }
        self.announce_everything()
    }

    fn acknowledged(&mut self, packet: u16) -> Result<(), store::StoreError> {
        match self.outbox.acknowledged(packet) {
            Some(OutgoingKind::Discovery(number)) => match self.discovery.acknowledged(number) {
                Some(note) => self.outbox.write(|store| discovery_state::remember(store, &note)).map(drop),
                None => Ok(()),
            },
            Some(OutgoingKind::Offline) => {
                self.offline_acknowledged = true;
                self.phase = PublishPhase::Done;
                Ok(())
            }
            Some(OutgoingKind::OutboxRow(_) | OutgoingKind::FromMemory(_) | OutgoingKind::Announcement) | None => {
                Ok(())
            }
        }
    }

    fn lost(&mut self, error: &client::ClientError) -> Result<(), store::StoreError> {
        self.context.metrics.connected.set(false);
        self.context.metrics.commands_ok.set(false);
        self.context.metrics.commands_needed.set(None);
        self.command_check.lost();
        self.incoming.lost();
        let mut reason = error.to_string();
        if let Some(suspect) = self.outbox.lost(error.is_closed_by_broker())? {
            reason += &format!("; {suspect}");
        }
        if self.outage.is_new_failure(&reason, Timestamp::now()) {
            warn!(url = self.url, "{reason}; messages wait in the outbox");
        }
        self.announce_at = None;
        if self.phase != PublishPhase::Running {
            // The outbox is on disk, and the broker publishes "offline" for us.
            self.phase = PublishPhase::Done;
        }
        Ok(())
    }
}
