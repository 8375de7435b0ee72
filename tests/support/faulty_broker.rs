//! A broker that does what no good broker does, one fault a connection, and writes down what it got.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use bytes::BytesMut;
use rumqttc::mqttbytes::v4::{
    ConnAck, ConnectReturnCode, Packet, PingResp, PubAck, Publish, SubAck, SubscribeReasonCode,
};
use rumqttc::mqttbytes::{Error, Protocol, QoS};

/// How a connection goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Conduct {
    /// Refuses the client.
    Refuses,
    /// Says that it has a session though a clean one was asked for, acknowledges late and newest first, and goes away when it
    /// has `after` messages, the last of them not acknowledged.
    LateAndReversed { after: usize },
    /// Acknowledges packets that were never sent.
    Invents { after: usize },
    /// Hears and says nothing more when it has `after` messages, and keeps the connection: a machine that lost its power.
    HalfOpen { after: usize },
    /// Forgets to acknowledge each fifth message, and lives.
    Forgets,
    /// Takes everything and acknowledges in pairs, newest first.
    Pairs,
    /// As that, but closes the connection on a message whose packet is longer.
    ShortPackets { bytes: usize },
}

impl Conduct {
    fn is_silent(self, taken: usize) -> bool {
        matches!(self, Self::HalfOpen { after } if taken > after)
    }

    fn refuses(self, publish: &Publish) -> bool {
        let mut packet = BytesMut::new();
        matches!(self, Self::ShortPackets { bytes } if publish.write(&mut packet).unwrap() > bytes)
    }
}

/// What it got, in order: topic and payload.
pub(crate) type Got = Arc<Mutex<Vec<(String, String)>>>;

/// Starts one; the last conduct is that of every later connection.
pub(crate) fn start(conducts: Vec<Conduct>) -> (SocketAddr, Got) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let got = Got::default();
    let writes = got.clone();
    thread::spawn(move || {
        let mut n = 0;
        for stream in listener.incoming().map_while(Result::ok) {
            // That a connection ends with an error is what it is for.
            let served = serve(stream, conducts[n.min(conducts.len() - 1)], &writes);
            // A client that asked by MQTT 5 for the broker's limit got no answer.
            n += usize::from(!matches!(served, Ok(Served::Refused)));
        }
    });
    (address, got)
}

enum Served {
    Refused,
    Ended,
}

/// It speaks MQTT 3.1.1 alone.
fn serve(mut stream: TcpStream, conduct: Conduct, got: &Got) -> std::io::Result<Served> {
    let (mut buffer, mut owed, mut taken) = (BytesMut::new(), Vec::new(), 0);
    loop {
        let packet = loop {
            match Packet::read(&mut buffer, 1 << 21) {
                Ok(packet) => break packet,
                Err(Error::InsufficientBytes(_)) => {
                    let mut bytes = [0; 4096];
                    let n = stream.read(&mut bytes)?;
                    if n == 0 {
                        return Ok(Served::Ended);
                    }
                    buffer.extend_from_slice(&bytes[..n]);
                }
                Err(error) => panic!("hearth sends no MQTT: {error}"),
            }
        };
        let mut out = BytesMut::new();
        match packet {
            Packet::Connect(connect) if connect.protocol == Protocol::V5 => {
                ConnAck::new(ConnectReturnCode::RefusedProtocolVersion, false).write(&mut out).unwrap();
                return stream.write_all(&out).map(|()| Served::Refused);
            }
            Packet::Connect(_) if conduct == Conduct::Refuses => {
                ConnAck::new(ConnectReturnCode::BadUserNamePassword, false).write(&mut out).unwrap();
                return stream.write_all(&out).map(|()| Served::Ended);
            }
            Packet::Connect(_) => {
                let session = matches!(conduct, Conduct::LateAndReversed { .. });
                ConnAck::new(ConnectReturnCode::Success, session).write(&mut out).unwrap();
            }
            Packet::Subscribe(ask) => {
                let codes = vec![SubscribeReasonCode::Success(QoS::AtLeastOnce); ask.filters.len()];
                SubAck::new(ask.pkid, codes).write(&mut out).unwrap();
            }
            Packet::PingReq if conduct.is_silent(taken) => {}
            Packet::PingReq => drop(PingResp.write(&mut out).unwrap()),
            Packet::Publish(publish) if conduct.refuses(&publish) => return Ok(Served::Ended),
            Packet::Publish(publish) => {
                let payload = String::from_utf8_lossy(&publish.payload).into_owned();
                got.lock().unwrap().push((publish.topic, payload));
                taken += 1;
                if conduct != Conduct::Forgets || taken % 5 > 0 {
                    owed.push(publish.pkid);
                }
                match conduct {
                    _ if conduct.is_silent(taken) => {}
                    Conduct::LateAndReversed { after } | Conduct::Invents { after } if taken > after => {
                        return Ok(Served::Ended);
                    }
                    Conduct::Invents { .. } if taken % 7 == 0 => PubAck::new(31).write(&mut out).map(drop).unwrap(),
                    Conduct::LateAndReversed { .. } if owed.len() == 5 => acknowledge(&mut owed, &mut out),
                    // Fewer than the window: a lone last one must not wait for ever.
                    Conduct::Pairs | Conduct::Forgets | Conduct::HalfOpen { .. } | Conduct::ShortPackets { .. }
                        if owed.len() == 2 || buffer.is_empty() =>
                    {
                        acknowledge(&mut owed, &mut out)
                    }
                    _ => {}
                }
            }
            _ => {}
        }
        stream.write_all(&out)?;
    }
}

fn acknowledge(owed: &mut Vec<u16>, out: &mut BytesMut) {
    while let Some(packet) = owed.pop() {
        PubAck::new(packet).write(out).unwrap();
    }
}
