//! How long a packet a broker takes. A broker says so to a client of MQTT 5, and to one of MQTT 3.1.1, as hearth is, it does not: it
//! closes the connection on a packet that is longer.

use std::time::Duration;

use rumqttc::v5::{AsyncClient, Event, EventLoop, Incoming, MqttOptions};
use rumqttc::{TlsConfiguration, Transport};
use tokio::time::timeout;

use super::settings::ClientSettings;
use crate::event::Message;

/// The role (suffix of the client id) of the client that asks.
const ROLE: &str = "limit";
/// How long a broker may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Packet type, topic length and packet id of a message.
const OVERHEAD: usize = 1 + 2 + 2;
/// The longest number in which the rest of a packet is counted, in bytes.
const LONGEST_COUNT: usize = 4;

/// rumqttc panics on less.
const SHORTEST_KEEP_ALIVE: Duration = Duration::from_secs(5);

/// What a broker says about the longest packet it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketLimit {
    Bytes(usize),
    Unlimited,
    /// It does not say: it does not speak MQTT 5, or does not answer.
    NotTold,
}

/// A client of MQTT 5 beside hearth's own, which connects when it is polled.
pub(super) fn connect_v5(settings: &ClientSettings, role: &str, capacity: usize) -> (AsyncClient, EventLoop) {
    let mut options = MqttOptions::new(settings.id_for_role(role), &settings.host, settings.port);
    options.set_keep_alive(settings.keep_alive.max(SHORTEST_KEEP_ALIVE)).set_clean_start(true);
    if let Some((user, password)) = &settings.credentials {
        options.set_credentials(user, password);
    }
    if let Some(tls) = &settings.tls {
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(tls.clone())));
    }
    AsyncClient::new(options, capacity)
}

/// Asks the broker how long a packet it takes, with a short connection of MQTT 5.
pub async fn ask_packet_limit(settings: &ClientSettings) -> PacketLimit {
    let (client, mut events) = connect_v5(settings, ROLE, 1);
    let Ok(Ok(Event::Incoming(Incoming::ConnAck(answer)))) = timeout(TIMEOUT, events.poll()).await else {
        return PacketLimit::NotTold;
    };
    if client.try_disconnect().is_ok() {
        // Whether the DISCONNECT arrives does not matter.
        let _ = timeout(TIMEOUT, events.poll()).await;
    }
    match answer.properties.and_then(|properties| properties.max_packet_size) {
        Some(bytes) => PacketLimit::Bytes(bytes as usize),
        None => PacketLimit::Unlimited,
    }
}

/// The length of the packet in which a message with QoS 1 is sent.
pub fn packet_bytes(message: &Message) -> usize {
    let rest = OVERHEAD - 1 + message.topic.len() + message.payload.len();
    let count = (1..LONGEST_COUNT).find(|digits| rest >> (7 * digits) == 0).unwrap_or(LONGEST_COUNT);
    1 + count + rest
}

/// The longest payload that a packet of so many bytes can hold beside the topic; none where not even the topic fits.
pub(crate) fn longest_payload(topic: &str, packet: usize) -> Option<usize> {
    packet.checked_sub(OVERHEAD + LONGEST_COUNT + topic.len())
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use rumqttc::QoS;
    use rumqttc::mqttbytes::v4::Publish;

    use super::*;

    #[test]
    fn a_packet_is_as_long_as_the_library_makes_it() {
        for length in [0, 1, 115, 116, 117, 118, 16_370, 16_371, 16_372, 16_373, 16_374, 100_000] {
            let (topic, payload) = ("hearth/x".to_string(), "x".repeat(length));
            let mut publish = Publish::new(&topic, QoS::AtLeastOnce, payload.as_bytes());
            publish.pkid = 1;
            let mut packet = BytesMut::new();
            publish.write(&mut packet).unwrap();
            let message = Message::plain(topic, payload, false);
            assert_eq!(packet_bytes(&message), packet.len(), "a payload of {length} bytes");
            let fits = longest_payload(&message.topic, packet.len()).unwrap_or_default();
            assert!((length.saturating_sub(3)..=length).contains(&fits), "{fits} for a payload of {length} bytes");
        }
    }
}
