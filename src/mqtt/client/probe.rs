//! Connections that are made once, to see whether the broker takes hearth in and passes commands on.

use std::time::Duration;

use super::permissions::missing_permissions;
use super::{BrokerEvent, ClientError, ClientSettings, Connection, MqttSender, PERSISTENT_ROLE, observe};
use crate::mqtt::command_probe::{CommandProbe, PROBE_TIMEOUT};
use crate::mqtt::topics::Topics;

/// The role (suffix of the client id) of `hearth check`.
const CHECK_ROLE: &str = "check";

/// Connects once, as `hearth check` does, without disturbing a running hearth.
///
/// # Errors
/// The broker does not accept the connection within `timeout`.
pub async fn probe(settings: &ClientSettings, timeout: Duration) -> Result<(), ClientError> {
    once(settings, CHECK_ROLE, timeout).await
}

/// Connects once, subscribes to the commands, and sends itself a message on a topic of each kind, as a running hearth does.
///
/// # Errors
/// The broker does not accept the connection within `timeout`, or what was sent does not come back.
pub(crate) async fn probe_commands(
    settings: &ClientSettings,
    topics: &Topics,
    timeout: Duration,
) -> Result<(), ClientError> {
    probe(settings, timeout).await?;
    let mut probe = CommandProbe::new(topics);
    let (sender, mut connection) = observe(settings.clone(), CHECK_ROLE);
    let came = async {
        while !probe.is_complete() {
            match connection.poll().await {
                // A client that is new has room for these.
                BrokerEvent::Connected { .. } => {
                    let _ = sender.subscribe(topics.commands());
                }
                BrokerEvent::Subscribed | BrokerEvent::SubscriptionRefused => {
                    for message in probe.missing() {
                        let _ = sender.try_publish(message);
                    }
                }
                BrokerEvent::Message { topic, payload, .. } => probe.received(&topic, &payload),
                BrokerEvent::Lost(error) => return Err(error),
                BrokerEvent::Sent(_)
                | BrokerEvent::Acknowledged(_)
                | BrokerEvent::PacketLimit(_)
                | BrokerEvent::TooLong { .. }
                | BrokerEvent::Dropping => {}
            }
        }
        Ok(())
    };
    let came = tokio::time::timeout(PROBE_TIMEOUT, came).await;
    leave(&sender, &mut connection, timeout).await;
    match came {
        Ok(came) => came,
        Err(_) => {
            let needed = missing_permissions(settings.clone(), probe.missing().to_vec()).await;
            Err(ClientError::CommandsBlocked { url: settings.url.clone(), needed, seconds: PROBE_TIMEOUT.as_secs() })
        }
    }
}

/// Connects once to the broker of this process, to see whether it answers.
///
/// # Errors
/// The broker does not accept the connection within `timeout`.
pub(crate) async fn probe_own(settings: &ClientSettings, timeout: Duration) -> Result<(), ClientError> {
    once(settings, "probe", timeout).await
}

/// Ends the persistent session: the broker deletes what it keeps for a client of `persistent_session`.
///
/// # Errors
/// The broker does not accept the connection within `timeout`.
pub(crate) async fn end_persistent_session(settings: &ClientSettings, timeout: Duration) -> Result<(), ClientError> {
    once(settings, PERSISTENT_ROLE, timeout).await
}

async fn once(settings: &ClientSettings, role: &str, timeout: Duration) -> Result<(), ClientError> {
    let (sender, mut connection) = observe(settings.clone(), role);
    match tokio::time::timeout(timeout, connection.poll()).await {
        Err(_) => Err(ClientError::Silent { url: settings.url.clone(), seconds: timeout.as_secs() }),
        Ok(BrokerEvent::Lost(error)) => Err(error),
        Ok(_) => {
            leave(&sender, &mut connection, timeout).await;
            Ok(())
        }
    }
}

/// Disconnects. Whether the DISCONNECT arrives does not matter.
async fn leave(sender: &MqttSender, connection: &mut Connection, timeout: Duration) {
    if sender.disconnect().is_ok() {
        let gone = async { while !matches!(connection.poll().await, BrokerEvent::Lost(_)) {} };
        let _ = tokio::time::timeout(timeout, gone).await;
    }
}
