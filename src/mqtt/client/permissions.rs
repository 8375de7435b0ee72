//! What a broker's access list does not allow. A client of MQTT 3.1.1, as hearth is, is not told: a message that may not be published
//! is acknowledged like any other, and then dropped. One of MQTT 5 is told.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason};
use rumqttc::v5::{Event, EventLoop};
use rumqttc::{Outgoing, v5};
use tokio::time::timeout;

use super::packet_limit::connect_v5;
use super::settings::ClientSettings;
use crate::event::Message;

/// The role (suffix of the client id) of the client that asks.
const ROLE: &str = "rights";
/// How long a broker may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What hearth may not do with a topic from which its own messages do not come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MissingPermission {
    /// The broker takes what is published there, so it does not hand it out.
    Read,
    /// The broker says so.
    Write,
    /// The broker does not tell: it does not speak MQTT 5, or does not answer.
    ReadOrWrite,
}

impl MissingPermission {
    fn of(acknowledgement: Option<PubAckReason>) -> Self {
        match acknowledgement {
            Some(PubAckReason::Success | PubAckReason::NoMatchingSubscribers) => Self::Read,
            Some(PubAckReason::NotAuthorized) => Self::Write,
            _ => Self::ReadOrWrite,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::ReadOrWrite => "read and write",
        }
    }
}

/// What the access list must allow, as a sentence goes on after "hearth must be allowed to".
pub(crate) fn described<'a>(missing: impl IntoIterator<Item = (&'a str, MissingPermission)>) -> String {
    let each = missing.into_iter().map(|(topic, permission)| format!("{} {topic}", permission.words()));
    each.collect::<Vec<_>>().join(" and ")
}

/// Publishes `messages`, none of which came back to hearth, over a short connection of MQTT 5. Returns what the access list must allow.
pub(crate) async fn missing_permissions(settings: ClientSettings, messages: Vec<Message>) -> String {
    let mut answers = BTreeMap::new();
    // Without an answer in time, what is known by then counts.
    let _ = timeout(TIMEOUT, publish(&settings, &messages, &mut answers)).await;
    described(messages.iter().enumerate().map(|(at, message)| {
        let permission = MissingPermission::of(answers.get(&at).copied());
        (message.topic.as_str(), permission)
    }))
}

/// Publishes and notes the broker's answer to each, by its number.
async fn publish(
    settings: &ClientSettings,
    messages: &[Message],
    answers: &mut BTreeMap<usize, PubAckReason>,
) -> Result<(), Box<v5::ConnectionError>> {
    let (client, mut events) = connect_v5(settings, ROLE, messages.len() + 1);
    let mut waiting: VecDeque<usize> = VecDeque::new();
    let mut sent = BTreeMap::new();
    while answers.len() < messages.len() {
        match next(&mut events).await? {
            Event::Incoming(Packet::ConnAck(_)) => {
                for (at, message) in messages.iter().enumerate() {
                    // A client that is new has room for these.
                    let queued = client.try_publish(&message.topic, QoS::AtLeastOnce, false, message.payload.clone());
                    waiting.extend(queued.is_ok().then_some(at));
                }
            }
            Event::Outgoing(Outgoing::Publish(packet)) => {
                sent.extend(waiting.pop_front().map(|at| (packet, at)));
            }
            Event::Incoming(Packet::PubAck(ack)) => {
                answers.extend(sent.get(&ack.pkid).map(|at| (*at, ack.reason)));
            }
            _ => {}
        }
    }
    if client.try_disconnect().is_ok() {
        let _ = next(&mut events).await;
    }
    Ok(())
}

async fn next(events: &mut EventLoop) -> Result<Event, Box<v5::ConnectionError>> {
    events.poll().await.map_err(Box::new)
}
