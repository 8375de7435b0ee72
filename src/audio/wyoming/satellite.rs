//! The connection to one satellite.
//!
//! However the connection ends, the segment in progress is ended first, so that what was said until then is decoded.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::event::Timespec;
use serde_json::{Map, Value, json};

use super::protocol::{EventParser, MalformedEvent, WyomingEvent, encode};
use super::sample_layout::{SampleLayout, sample, sample_layout};
use super::{POLL_TIME, WyomingServer, ready};
use crate::audio::resample::Framer;
use crate::audio::sink::{BlockingSink, PAUSE};
use crate::clock::SampleClock;
use crate::event::{Frame, RoomAudio};
use crate::metrics::Metrics;

/// A satellite that takes longer than this for one event is disconnected, also where a byte comes now and then. The largest event has
/// 16 s of sound.
const EVENT_LIMIT: Duration = Duration::from_secs(20);
/// A satellite that sends no event for so long is disconnected.
const IDLE_LIMIT: Duration = Duration::from_secs(600);
/// How long a satellite may take to read an answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes read at a time.
const BLOCK: usize = 1 << 14;

/// Why a connection ended.
pub(super) enum Disconnect {
    /// The satellite closed it, or the daemon stops.
    Closed,
    Malformed(MalformedEvent),
    Refused(String),
    Stalled,
    /// Another connection needs the room or the place.
    Replaced,
    Vanished(io::Error),
}

impl Disconnect {
    pub(super) fn log(self, peer: SocketAddr) {
        let reason = match self {
            Self::Closed => return tracing::info!(%peer, "a network microphone is gone"),
            Self::Malformed(malformed) => malformed.to_string(),
            Self::Refused(reason) => reason,
            Self::Stalled => "it stopped in the middle of a message".into(),
            Self::Replaced => "it was silent, and another connection needs its room or its place".into(),
            Self::Vanished(error) => error.to_string(),
        };
        tracing::warn!(%peer, "a network microphone was disconnected: {reason}");
    }
}

impl From<MalformedEvent> for Disconnect {
    fn from(malformed: MalformedEvent) -> Self {
        Self::Malformed(malformed)
    }
}

impl From<io::Error> for Disconnect {
    fn from(error: io::Error) -> Self {
        Self::Vanished(error)
    }
}

/// The audio between "audio-start" and "audio-stop".
struct AudioStream {
    layout: SampleLayout,
    framer: Framer,
    /// The bytes of a sample that has not arrived completely.
    kept: Vec<u8>,
}

pub(super) struct Satellite<'a> {
    socket: TcpStream,
    peer: SocketAddr,
    place: u64,
    server: &'a WyomingServer<'a>,
    out: SyncSender<RoomAudio>,
    parser: EventParser,
    /// Since when an event has been arriving.
    partial_since: Option<Instant>,
    /// The name that the satellite gave.
    name: Option<String>,
    room: Option<ClientRoom<'a>>,
    stream: Option<AudioStream>,
    /// Sound has come until then, and no "audio-stop" after it.
    streaming_until: Option<Timestamp>,
}

/// The room of a satellite that has sent audio. It is open as long as the satellite is connected.
pub(super) struct ClientRoom<'a> {
    sink: BlockingSink<'a>,
    name: Arc<str>,
    metrics: &'a Metrics,
}

impl<'a> ClientRoom<'a> {
    pub(super) fn new(sink: BlockingSink<'a>, name: Arc<str>, metrics: &'a Metrics) -> Self {
        Self { sink, name, metrics }
    }
}

impl Drop for ClientRoom<'_> {
    fn drop(&mut self) {
        self.metrics.rooms.close(&self.name);
    }
}

impl<'a> Satellite<'a> {
    pub(super) fn new(
        socket: TcpStream,
        peer: SocketAddr,
        place: u64,
        server: &'a WyomingServer<'a>,
        out: SyncSender<RoomAudio>,
    ) -> Result<Self, Disconnect> {
        socket.set_nonblocking(false)?;
        socket.set_write_timeout(Some(WRITE_TIMEOUT))?;
        tracing::info!(%peer, "a network microphone has connected");
        Ok(Self {
            socket,
            peer,
            place,
            server,
            out,
            parser: EventParser::default(),
            partial_since: None,
            name: None,
            room: None,
            stream: None,
            streaming_until: None,
        })
    }

    pub(super) fn run(mut self) -> Result<(), Disconnect> {
        let ended = self.listen();
        // The stream was cut off. What was said until then is complete, and from now on there is a gap.
        if let (Some(until), Some(room)) = (self.streaming_until, &mut self.room) {
            let _ = room.sink.end();
            self.server.record_loss(&room.name, until);
        }
        if self.server.places.is_expelled(self.place) { Err(Disconnect::Replaced) } else { ended }
    }

    fn listen(&mut self) -> Result<(), Disconnect> {
        let mut block = vec![0; BLOCK];
        let mut last = Instant::now();
        while !self.server.control.stopped() {
            if self.partial_since.is_some_and(|since| since.elapsed() > EVENT_LIMIT) {
                return Err(Disconnect::Stalled);
            }
            let waited = !ready(&self.socket, &Timespec::default()).map_err(io::Error::from)?;
            if waited && !ready(&self.socket, &POLL_TIME).map_err(io::Error::from)? {
                let silent = last.elapsed();
                if silent > IDLE_LIMIT {
                    return Err(Disconnect::Closed);
                }
                if silent > PAUSE {
                    self.stop()?;
                }
                // A satellite may be silent for minutes: to the watchdog it is alive.
                self.room.iter().for_each(|room| room.sink.keep_alive());
                continue;
            }
            let read = match self.socket.read(&mut block) {
                Ok(0) if self.parser.has_partial_event() => return Err(Disconnect::Stalled),
                Ok(0) => return Err(Disconnect::Closed),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            self.parser.push(&block[..read]);
            while let Some(event) = self.parser.next()? {
                self.handle(event, waited)?;
                last = Instant::now();
                self.partial_since = None;
            }
            self.partial_since =
                self.parser.has_partial_event().then(|| self.partial_since.unwrap_or_else(Instant::now));
        }
        Ok(())
    }

    /// `waited`: nothing had arrived when the event was waited for, so its audio is live.
    fn handle(&mut self, event: WyomingEvent, waited: bool) -> Result<(), Disconnect> {
        if matches!(event.kind.as_str(), "audio-start" | "audio-chunk") && self.gets_own_room() {
            self.stop()?;
            self.room = None;
        }
        match event.kind.as_str() {
            "describe" => self.socket.write_all(&encode("info", &info()))?,
            "ping" => self.socket.write_all(&encode("pong", &json!({ "text": event.data.get("text") })))?,
            "info" => {
                self.name = name(&event.data).or(self.name.take());
                self.server.places.set_name(self.place, self.name.as_deref());
            }
            "audio-start" => self.start(sample_layout(&event.data).map_err(Disconnect::Refused)?)?,
            "audio-chunk" => {
                let layout = sample_layout(&event.data).map_err(Disconnect::Refused)?;
                if self.stream.as_ref().is_none_or(|stream| stream.layout != layout) {
                    self.start(layout)?;
                }
                self.streaming_until = Some(Timestamp::now());
                self.chunk(&event.payload, waited)?;
            }
            "audio-stop" => {
                self.stop()?;
                self.streaming_until = None;
            }
            kind => tracing::debug!(peer = %self.peer, kind, "an event that a microphone source ignores"),
        }
        let (sound, streaming) = (event.kind == "audio-chunk", self.streaming_until.is_some());
        self.server.places.record_event(self.place, sound, streaming);
        Ok(())
    }

    /// It was given a room with a number, and the connection that has the room of its name turns out to be one it left behind.
    fn gets_own_room(&self) -> bool {
        let wished = self.server.wished_room(self.peer, self.name.as_deref());
        self.room.as_ref().is_some_and(|room| *room.name != *wished) && self.server.places.take_over(self.place, wished)
    }

    fn start(&mut self, layout: SampleLayout) -> Result<(), Disconnect> {
        self.stop()?;
        let clock = SampleClock::starting_at(Timestamp::now());
        let framer = Framer::new(layout.rate, layout.channels, clock, 0);
        let framer = framer.map_err(|error| Disconnect::Refused(error.to_string()))?;
        self.stream = Some(AudioStream { layout, framer, kept: Vec::new() });
        self.streaming_until = Some(Timestamp::now());
        let wished = self.server.wished_room(self.peer, self.name.as_deref());
        let room = match &mut self.room {
            Some(room) => room,
            empty => empty.insert(self.server.open_room(self.place, wished, &self.out).ok_or(Disconnect::Closed)?),
        };
        let lost = self.server.lost_rooms().remove(&room.name);
        match lost {
            Some(from) if room.sink.source_back(from).is_break() => Err(Disconnect::Closed),
            _ => Ok(()),
        }
    }

    fn chunk(&mut self, payload: &[u8], waited: bool) -> Result<(), Disconnect> {
        let (Some(stream), Some(room)) = (&mut self.stream, &mut self.room) else { return Ok(()) };
        let AudioStream { layout, framer, kept } = stream;
        kept.extend_from_slice(payload);
        let whole = kept.len() - kept.len() % (layout.width * layout.channels);
        let samples: Vec<f32> = kept[..whole].chunks_exact(layout.width).map(sample).collect();
        kept.drain(..whole);
        let mut frames = Vec::new();
        framer.push(&samples, |frame| frames.push(frame));
        let now = Timestamp::now();
        if waited && framer.clock().time(framer.position()) < now {
            framer.observe(now);
        }
        send_all(&mut room.sink, frames)
    }

    /// The stream is over, or has paused for too long.
    fn stop(&mut self) -> Result<(), Disconnect> {
        let (Some(stream), Some(room)) = (self.stream.take(), &mut self.room) else { return Ok(()) };
        let mut frames = Vec::new();
        stream.framer.finish(|frame| frames.push(frame));
        send_all(&mut room.sink, frames)?;
        if room.sink.end().is_break() { Err(Disconnect::Closed) } else { Ok(()) }
    }
}

fn send_all(sink: &mut BlockingSink, frames: Vec<Frame>) -> Result<(), Disconnect> {
    if frames.into_iter().try_for_each(|frame| sink.send_frame(frame)).is_break() {
        Err(Disconnect::Closed)
    } else {
        Ok(())
    }
}

/// The name that a satellite gives in an `info` event: its area, else its own. Characters that may not stand in an MQTT topic are
/// replaced.
fn name(data: &Map<String, Value>) -> Option<String> {
    let satellite = &data.get("satellite").unwrap_or(&Value::Null);
    let microphone = data.get("mic").and_then(|mic| mic.get(0)).unwrap_or(&Value::Null);
    let given = [satellite.get("area"), satellite.get("name"), microphone.get("name")];
    let given = given.into_iter().flatten().filter_map(Value::as_str).find(|name| !name.trim().is_empty())?;
    let fits = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c.to_ascii_lowercase() } else { '_' };
    Some(given.trim().chars().take(64).map(fits).collect())
}

/// The answer to `describe`.
fn info() -> Value {
    let hearth = json!({
        "name": "hearth",
        "description": "Transcribes the audio it receives and publishes over MQTT; sends no transcripts here",
        "attribution": { "name": "hearth", "url": "" },
        "installed": true,
        "version": env!("CARGO_PKG_VERSION"),
        "models": [],
    });
    json!({ "asr": [hearth], "tts": [], "handle": [], "intent": [], "wake": [], "mic": [], "snd": [] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_satellite_is_named_by_its_area_or_its_own_name() {
        let called = |info: Value| name(info.as_object().unwrap());
        assert_eq!(called(json!({ "satellite": { "name": "sat 1", "area": "Küche" } })).unwrap(), "k_che");
        assert_eq!(called(json!({ "satellite": { "name": "Living Room", "area": null } })).unwrap(), "living_room");
        assert_eq!(called(json!({ "mic": [{ "name": "arecord" }] })).unwrap(), "arecord");
        assert_eq!(called(json!({ "asr": [], "satellite": null, "mic": [] })), None);
    }
}
