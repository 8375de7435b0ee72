//! Takes packets out of what the broker sends. A message that is too long is dropped while it arrives: its topic and its length are kept.
//!
//! rumqttc 0.25 ends the connection at such a message, and takes it again at the next connection if it is retained or was to be
//! acknowledged; with a larger limit it holds all of it in memory, up to 256 MiB.

use bytes::{Buf, BytesMut};
use rumqttc::mqttbytes::v4::{Packet, Publish};
use rumqttc::mqttbytes::{Error as PacketError, FixedHeader, QoS};

use super::MAX_PACKET;

/// What arrived.
#[derive(Debug, PartialEq)]
pub(super) enum Received {
    Packet(Packet),
    /// A message whose payload, of so many bytes, was dropped.
    TooLong(Publish, usize),
}

/// Takes packets out of a stream of bytes.
#[derive(Debug, Default)]
pub(super) struct PacketReader {
    /// A message that is too long, its length, and how much of it has not arrived.
    dropping: Option<(Publish, usize, usize)>,
}

impl PacketReader {
    /// The payload of a message that is too long is arriving.
    pub(super) fn is_dropping(&self) -> bool {
        self.dropping.is_some()
    }

    /// The next packet in `bytes`, which is removed from there; none when not all of it has arrived.
    ///
    /// # Errors
    /// The broker sent something that is not MQTT 3.1.1.
    pub(super) fn next(&mut self, bytes: &mut BytesMut) -> Result<Option<Received>, PacketError> {
        if self.dropping.is_none() {
            match Packet::read(bytes, MAX_PACKET) {
                Ok(packet) => return Ok(Some(Received::Packet(packet))),
                Err(PacketError::InsufficientBytes(_)) => return Ok(None),
                Err(PacketError::PayloadSizeLimitExceeded(length)) => self.dropping = beginning(bytes, length)?,
                Err(error) => return Err(error),
            }
        }
        let Some((publish, length, mut missing)) = self.dropping.take() else { return Ok(None) };
        let arrived = missing.min(bytes.len());
        bytes.advance(arrived);
        missing -= arrived;
        if missing == 0 {
            return Ok(Some(Received::TooLong(publish, length)));
        }
        self.dropping = Some((publish, length, missing));
        Ok(None)
    }
}

/// Removes the beginning, up to the payload, of a packet from `bytes`. Returns the message without its payload, and the payload's
/// length twice; none when not all of the beginning has arrived. `length` is the packet's, without its fixed header.
fn beginning(bytes: &mut BytesMut, length: usize) -> Result<Option<(Publish, usize, usize)>, PacketError> {
    const PUBLISH: u8 = 3;
    if bytes[0] >> 4 != PUBLISH {
        return Err(PacketError::PayloadSizeLimitExceeded(length));
    }
    let fixed = 2 + bytes[1..].iter().take_while(|byte| **byte & 0x80 != 0).count();
    let Some(topic) = bytes.get(fixed..fixed + 2) else { return Ok(None) };
    let topic = usize::from(u16::from_be_bytes([topic[0], topic[1]]));
    let at_most_once = bytes[0] & 0b0110 == (QoS::AtMostOnce as u8) << 1;
    let variable = 2 + topic + if at_most_once { 0 } else { 2 };
    if bytes.len() < fixed + variable {
        return Ok(None);
    }
    let header = FixedHeader::new(bytes[0], fixed - 1, variable);
    let publish = Publish::read(header, bytes.split_to(fixed + variable).freeze())?;
    // `length` is more than MAX_PACKET, and `variable` at most 65,539.
    Ok(Some((publish, length - variable, length - variable)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rumqttc::mqttbytes::v4::{PubAck, SubAck, SubscribeReasonCode};

    use super::*;

    fn message(qos: QoS, bytes: usize) -> Publish {
        let mut publish = Publish::new("hearth/kitchen/utterance", qos, vec![b'x'; bytes]);
        publish.pkid = if qos == QoS::AtMostOnce { 0 } else { 300 };
        publish.retain = bytes % 2 == 1;
        publish
    }

    /// What is read when the bytes arrive in pieces of these lengths, again and again, and the most bytes that were kept.
    fn read(stream: &[u8], pieces: &[usize]) -> (Vec<Received>, usize) {
        let (mut reader, mut kept, mut most, mut received) = (PacketReader::default(), BytesMut::new(), 0, Vec::new());
        let mut rest = stream;
        for length in pieces.iter().cycle() {
            let (piece, after) = rest.split_at((*length).min(rest.len()));
            kept.extend_from_slice(piece);
            rest = after;
            while let Some(packet) = reader.next(&mut kept).unwrap() {
                received.push(packet);
            }
            most = most.max(kept.len());
            if rest.is_empty() {
                break;
            }
        }
        assert!(kept.is_empty());
        (received, most)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn packets_are_the_same_in_whatever_pieces_they_arrive(
            pieces in prop::collection::vec(1_usize..40_000, 1..8),
            longer_by in 0_usize..100_000,
        ) {
            let (mut stream, mut expected) = (BytesMut::new(), Vec::new());
            for qos in [QoS::AtLeastOnce, QoS::AtMostOnce, QoS::ExactlyOnce] {
                for packet in [
                    Packet::PubAck(PubAck::new(7)),
                    Packet::Publish(message(qos, 1_000)),
                    Packet::SubAck(SubAck::new(1, vec![SubscribeReasonCode::Failure])),
                    Packet::PingResp,
                ] {
                    packet.write(&mut stream, MAX_PACKET).unwrap();
                    expected.push(Received::Packet(packet));
                }
                let long = message(qos, MAX_PACKET + longer_by);
                long.write(&mut stream).unwrap();
                expected.push(Received::TooLong(Publish { payload: Default::default(), ..long }, MAX_PACKET + longer_by));
            }
            let (received, most) = read(&stream, &pieces);
            prop_assert_eq!(received, expected);
            prop_assert!(most < 45_000, "{} bytes were kept", most);
        }
    }

    #[test]
    fn what_is_not_mqtt_is_an_error() {
        let read = |bytes: &[u8]| PacketReader::default().next(&mut BytesMut::from(bytes));
        // A SUBACK of 256 MiB; a message without a packet id, or whose topic is not UTF-8; a length of five bytes.
        assert!(read(&[0x90, 0xff, 0xff, 0xff, 0x7f]).is_err());
        assert!(read(&[0x32, 0xff, 0xff, 0xff, 0x7f, 0, 1, b'a', 0, 0]).is_err());
        assert!(read(&[0x30, 0xff, 0xff, 0xff, 0x7f, 0, 1, 0xff]).is_err());
        assert!(read(&[0x30, 0xff, 0xff, 0xff, 0xff, 0x01]).is_err());
        assert_eq!(read(&[0x30, 0xff, 0xff, 0xff]).unwrap(), None, "its length has not arrived");
        assert_eq!(read(&[0x30, 0xff, 0xff, 0xff, 0x7f, 0]).unwrap(), None, "its topic has not arrived");
    }
}
