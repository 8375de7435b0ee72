//! One connection to the broker, from CONNECT to its end: bytes, packets and pings.
//!
//! Packet ids and acknowledgements are rumqttc's, the bytes are read and written here: its own event loop gives no way to read
//! a message without holding all of it.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::mqttbytes::v4::{ConnAck, Connect, Packet, PingReq};
use rumqttc::tokio_rustls::TlsConnector;
use rumqttc::{ConnectReturnCode, Event, Incoming, MqttState, Outgoing, Publish, Request, StateError};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::packets::{PacketReader, Received};
use super::{BrokerEvent, ClientSettings, INFLIGHT, MAX_PACKET};

/// How long it may take until the broker has accepted the connection.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How much is read at once, in bytes.
const READ: usize = 16 << 10;
/// How often it is told that a long message is arriving.
const DROPPING_TOLD_EVERY: Duration = Duration::from_secs(1);

/// Why a connection could not be made, or ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error("the broker refuses the connection: {0:?}")]
    Refused(ConnectReturnCode),
    #[error("the broker did not answer in time")]
    Silent,
    #[error("the broker answered something else than CONNACK")]
    NoConnack,
    /// The first bytes are those of a TLS record.
    #[error("it speaks TLS")]
    SpeaksTls,
    /// TLS was begun, and the answer was not TLS, or none.
    #[error("it does not speak TLS")]
    NoTls,
    /// While TLS was set up.
    #[error(transparent)]
    Tls(io::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
    /// An unexpected packet, or the end of the connection.
    #[error(transparent)]
    Mqtt(#[from] StateError),
}

/// A socket, with TLS or without.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// One connection.
pub(super) struct Session {
    reader: ReadHalf<Box<dyn Stream>>,
    writer: WriteHalf<Box<dyn Stream>>,
    packets: PacketReader,
    /// Received, and not a whole packet yet.
    received: BytesMut,
    /// To be written.
    outgoing: BytesMut,
    /// Something is to be written or flushed.
    writing: bool,
    state: MqttState,
    keep_alive: Duration,
    ping_at: Instant,
    /// When it was last told that a long message is arriving.
    dropping_told: Instant,
}

impl Session {
    /// Connects. Returns the session, and whether the broker knows this client.
    pub(super) async fn connect(
        settings: &ClientSettings,
        connect: Connect,
        manual_acks: bool,
    ) -> Result<(Self, bool), SessionError> {
        timeout(CONNECT_TIMEOUT, Self::handshake(settings, connect, manual_acks))
            .await
            .unwrap_or(Err(SessionError::Silent))
    }

    async fn handshake(
        settings: &ClientSettings,
        connect: Connect,
        manual_acks: bool,
    ) -> Result<(Self, bool), SessionError> {
        let (reader, writer) = tokio::io::split(open(settings).await?);
        let mut session = Self {
            reader,
            writer,
            packets: PacketReader::default(),
            received: BytesMut::new(),
            outgoing: BytesMut::new(),
            writing: false,
            state: MqttState::new(INFLIGHT, manual_acks),
            keep_alive: settings.keep_alive,
            ping_at: Instant::now() + settings.keep_alive,
            dropping_told: Instant::now(),
        };
        session.write(&Packet::Connect(connect))?;
        push(&mut session.writer, &mut session.outgoing).await?;
        let first = loop {
            read(&mut session.reader, &mut session.received).await?;
            check_first_bytes(&session.received)?;
            if let Some(packet) = session.next_packet()? {
                break packet;
            }
        };
        match first {
            Received::Packet(Packet::ConnAck(ConnAck { code: ConnectReturnCode::Success, session_present })) => {
                Ok((session, session_present))
            }
            Received::Packet(Packet::ConnAck(ack)) => Err(SessionError::Refused(ack.code)),
            _ => Err(SessionError::NoConnack),
        }
    }

    /// Waits for one thing to happen on the connection, and adds what it means to `events`. Safe to cancel.
    ///
    /// # Errors
    /// The connection is lost.
    pub(super) async fn step(
        &mut self,
        requests: &mut mpsc::Receiver<Request>,
        events: &mut VecDeque<BrokerEvent>,
    ) -> Result<(), SessionError> {
        // What the broker sent together with its CONNACK is here already.
        while let Some(packet) = self.next_packet()? {
            self.take(packet, events)?;
        }
        if !events.is_empty() {
            return Ok(());
        }
        // More than a message and its acknowledgements never waits to be written, whatever the broker does.
        let room = self.has_room();
        tokio::select! {
            received = read(&mut self.reader, &mut self.received), if room => {
                received?;
                // A long message keeps the answer to a ping waiting.
                self.state.await_pingresp = false;
                while let Some(packet) = self.next_packet()? {
                    self.take(packet, events)?;
                }
                if self.packets.is_dropping() && self.dropping_told.elapsed() >= DROPPING_TOLD_EVERY {
                    self.dropping_told = Instant::now();
                    events.push_back(BrokerEvent::Dropping);
                }
            }
            written = push(&mut self.writer, &mut self.outgoing), if self.writing => {
                written?;
                self.writing = false;
            }
            // The sender lives as long as the connection: there is always another request, or none for now.
            Some(request) = requests.recv(), if self.may_send() => {
                self.send(request, events)?;
                // What waits too is written with it.
                while self.may_send() && let Ok(request) = requests.try_recv() {
                    self.send(request, events)?;
                }
            }
            () = sleep_until(self.ping_at) => {
                self.ping_at = Instant::now() + self.keep_alive;
                self.send(Request::PingReq(PingReq), events)?;
            }
        }
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.outgoing.len() <= MAX_PACKET
    }

    fn may_send(&self) -> bool {
        self.has_room() && self.state.inflight() < INFLIGHT && self.state.collision.is_none()
    }

    fn next_packet(&mut self) -> Result<Option<Received>, SessionError> {
        self.packets.next(&mut self.received).map_err(|error| StateError::from(error).into())
    }

    fn take(&mut self, received: Received, events: &mut VecDeque<BrokerEvent>) -> Result<(), SessionError> {
        let (packet, dropped) = match received {
            Received::Packet(packet) => (packet, None),
            Received::TooLong(publish, bytes) => (Packet::Publish(publish), Some(bytes)),
        };
        let answer = self.state.handle_incoming_packet(packet);
        self.tell(dropped, events);
        if let Some(answer) = answer? {
            self.write(&answer)?;
        }
        Ok(())
    }

    fn send(&mut self, request: Request, events: &mut VecDeque<BrokerEvent>) -> Result<(), SessionError> {
        let packet = self.state.handle_outgoing_packet(request)?;
        if let Some(packet) = packet {
            self.write(&packet)?;
        }
        self.tell(None, events);
        Ok(())
    }

    fn write(&mut self, packet: &Packet) -> Result<(), SessionError> {
        packet.write(&mut self.outgoing, MAX_PACKET).map_err(StateError::from)?;
        self.writing = true;
        Ok(())
    }

    /// Adds what rumqttc noted. A message whose payload was dropped had `dropped` bytes.
    fn tell(&mut self, dropped: Option<usize>, events: &mut VecDeque<BrokerEvent>) {
        events.extend(self.state.events.drain(..).filter_map(|event| translate(event, dropped)));
    }
}

async fn open(settings: &ClientSettings) -> Result<Box<dyn Stream>, SessionError> {
    let socket = TcpStream::connect((settings.host.as_str(), settings.port)).await?;
    // Packets are small in both directions: Nagle's algorithm would delay each by up to 40 ms.
    socket.set_nodelay(true)?;
    let Some(tls) = &settings.tls else { return Ok(Box::new(socket)) };
    let name =
        ServerName::try_from(settings.host.clone()).map_err(|error| SessionError::Tls(io::Error::other(error)))?;
    let socket =
        TlsConnector::from(tls.clone()).connect(name, socket).await.map_err(|error| match tls_fault(&error) {
            Some(rustls::Error::InvalidMessage(_)) => SessionError::NoTls,
            None if is_closed(error.kind()) => SessionError::NoTls,
            _ => SessionError::Tls(error),
        })?;
    Ok(Box::new(socket))
}

/// Whether an error of this kind means that the other end closed the connection.
pub(super) fn is_closed(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(kind, ConnectionAborted | ConnectionReset | BrokenPipe | UnexpectedEof)
}

/// What went wrong in TLS, if it was that.
pub(super) fn tls_fault(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|fault| fault.downcast_ref())
}

/// The first byte of CONNACK (MQTT 3.1.1, section 3.2).
const CONNACK: u8 = 0x20;
/// The type of a TLS record that holds an alert, and the first byte of every version of TLS (RFC 8446, section 5.1).
const TLS_ALERT: [u8; 2] = [21, 3];

/// Tells by its first bytes what else than an MQTT broker answers.
fn check_first_bytes(received: &[u8]) -> Result<(), SessionError> {
    match received {
        [] | [CONNACK, ..] => Ok(()),
        // The second byte is still to come.
        [first] if *first == TLS_ALERT[0] => Ok(()),
        _ if received.starts_with(&TLS_ALERT) => Err(SessionError::SpeaksTls),
        _ => Err(SessionError::NoConnack),
    }
}

/// Reads what has arrived, at least a byte. Safe to cancel.
async fn read(reader: &mut ReadHalf<Box<dyn Stream>>, received: &mut BytesMut) -> Result<(), SessionError> {
    received.reserve(READ);
    match reader.read_buf(received).await? {
        0 => Err(StateError::ConnectionAborted.into()),
        _ => Ok(()),
    }
}

/// Writes everything, and flushes. Safe to cancel: what was written is no longer in `outgoing`.
async fn push(writer: &mut WriteHalf<Box<dyn Stream>>, outgoing: &mut BytesMut) -> io::Result<()> {
    writer.write_all_buf(outgoing).await?;
    writer.flush().await
}

fn translate(event: Event, dropped: Option<usize>) -> Option<BrokerEvent> {
    match event {
        Event::Incoming(Incoming::PubAck(ack)) => Some(BrokerEvent::Acknowledged(ack.pkid)),
        Event::Incoming(Incoming::Publish(Publish { topic, payload, retain, pkid: packet, .. })) => {
            Some(match dropped {
                Some(bytes) => BrokerEvent::TooLong { topic, bytes, retain, packet },
                None => BrokerEvent::Message { topic, payload: payload.into(), retain, packet },
            })
        }
        Event::Incoming(Incoming::SubAck(ack)) => {
            let refused = ack.return_codes.contains(&rumqttc::SubscribeReasonCode::Failure);
            Some(if refused { BrokerEvent::SubscriptionRefused } else { BrokerEvent::Subscribed })
        }
        Event::Outgoing(Outgoing::Publish(packet)) if packet != 0 => Some(BrokerEvent::Sent(packet)),
        _ => None,
    }
}
