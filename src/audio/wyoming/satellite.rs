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
use super::{POLL_TIME, WyomingServer, ready};
use crate::audio::resample::Framer;
use crate::audio::sink::{BlockingSink, PAUSE};
use crate::clock::SampleClock;
use crate::event::{Frame, RoomAudio};
use crate::metrics::Metrics;

/// A satellite that stops in the middle of an event for so long is disconnected.
const STALL_LIMIT: Duration = Duration::from_secs(10);
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
    Vanished(io::Error),
}

impl Disconnect {
    pub(super) fn log(self, peer: SocketAddr) {
        let reason = match self {
            Self::Closed => return tracing::info!(%peer, "a network microphone is gone"),
            Self::Malformed(malformed) => malformed.to_string(),
            Self::Refused(reason) => reason,
            Self::Stalled => "it stopped in the middle of a message".into(),
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

/// How the samples of a stream are encoded.
#[derive(Clone, Copy, Debug, PartialEq)]
struct SampleLayout {
    rate: u32,
    /// Bytes of one sample.
    width: usize,
    channels: usize,
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
    server: &'a WyomingServer<'a>,
    out: SyncSender<RoomAudio>,
    parser: EventParser,
    /// The name that the satellite gave.
    name: Option<String>,
    room: Option<ClientRoom<'a>>,
    stream: Option<AudioStream>,
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
        server: &'a WyomingServer<'a>,
        out: SyncSender<RoomAudio>,
    ) -> Result<Self, Disconnect> {
        socket.set_nonblocking(false)?;
        socket.set_write_timeout(Some(WRITE_TIMEOUT))?;
        tracing::info!(%peer, "a network microphone has connected");
        Ok(Self { socket, peer, server, out, parser: EventParser::default(), name: None, room: None, stream: None })
    }

    pub(super) fn run(mut self) -> Result<(), Disconnect> {
        let ended = self.listen();
        // The stream was cut off. What was said until then is complete, and from now on there is a gap.
        if self.stream.is_some()
            && let Some(room) = &mut self.room
        {
            let _ = room.sink.end();
            self.server.record_loss(&room.name);
        }
        ended
    }

    fn listen(&mut self) -> Result<(), Disconnect> {
        let mut block = vec![0; BLOCK];
        let mut last = Instant::now();
        while !self.server.control.stopped() {
            let waited = !ready(&self.socket, &Timespec::default()).map_err(io::Error::from)?;
            if waited && !ready(&self.socket, &POLL_TIME).map_err(io::Error::from)? {
                let silent = last.elapsed();
                if silent > IDLE_LIMIT || silent > STALL_LIMIT && self.parser.has_partial_event() {
                    return Err(if self.parser.has_partial_event() { Disconnect::Stalled } else { Disconnect::Closed });
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
            last = Instant::now();
            self.parser.push(&block[..read]);
            while let Some(event) = self.parser.next()? {
                self.handle(event, waited)?;
            }
        }
        Ok(())
    }

    /// `waited`: nothing had arrived when the event was waited for, so its audio is live.
    fn handle(&mut self, event: WyomingEvent, waited: bool) -> Result<(), Disconnect> {
        match event.kind.as_str() {
            "describe" => self.socket.write_all(&encode("info", &info()))?,
            "ping" => self.socket.write_all(&encode("pong", &json!({ "text": event.data.get("text") })))?,
            "info" => self.name = name(&event.data).or(self.name.take()),
            "audio-start" => self.start(sample_layout(&event.data)?)?,
            "audio-chunk" => {
                let layout = sample_layout(&event.data)?;
                if self.stream.as_ref().is_none_or(|stream| stream.layout != layout) {
                    self.start(layout)?;
                }
                self.chunk(&event.payload, waited)?;
            }
            "audio-stop" => self.stop()?,
            kind => tracing::debug!(peer = %self.peer, kind, "an event that a microphone source ignores"),
        }
        Ok(())
    }

    fn start(&mut self, layout: SampleLayout) -> Result<(), Disconnect> {
        self.stop()?;
        let clock = SampleClock::starting_at(Timestamp::now());
        let framer = Framer::new(layout.rate, layout.channels, clock, 0);
        let framer = framer.map_err(|error| Disconnect::Refused(error.to_string()))?;
        self.stream = Some(AudioStream { layout, framer, kept: Vec::new() });
        let room = match &mut self.room {
            Some(room) => room,
            None => self.room.insert(self.server.open_room(self.peer, self.name.as_deref(), self.out.clone())),
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

fn sample_layout(data: &Map<String, Value>) -> Result<SampleLayout, Disconnect> {
    let number = |key: &str, most: u64| {
        let number = data.get(key).and_then(Value::as_u64).filter(|number| (1..=most).contains(number));
        number.ok_or_else(|| {
            let found = data.get(key).unwrap_or(&Value::Null);
            Disconnect::Refused(format!("the {key} of its audio is {found}, not a number of 1 to {most}"))
        })
    };
    Ok(SampleLayout {
        rate: number("rate", 384_000)? as u32,
        width: number("width", 4)? as usize,
        channels: number("channels", 32)? as usize,
    })
}

/// A little-endian sample of 1 to 4 bytes. A sample of one byte is unsigned, as in WAV.
fn sample(bytes: &[u8]) -> f32 {
    match bytes {
        [byte] => (f32::from(*byte) - 128.0) / 128.0,
        bytes => {
            let mut wide = [0; 4];
            wide[4 - bytes.len()..].copy_from_slice(bytes);
            i32::from_le_bytes(wide) as f32 / (1u32 << 31) as f32
        }
    }
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
    fn samples_of_every_width_are_decoded() {
        assert_eq!([0x00, 0x80, 0xc0].map(|byte| sample(&[byte])), [-1.0, 0.0, 0.5]);
        assert_eq!(sample(&(-16_384i16).to_le_bytes()), -0.5);
        assert_eq!(sample(&[0, 0, 0x40]), 0.5);
        assert_eq!(sample(&i32::MIN.to_le_bytes()), -1.0);
    }

    #[test]
    fn a_satellite_is_named_by_its_area_or_its_own_name() {
        let called = |info: Value| name(info.as_object().unwrap());
        assert_eq!(called(json!({ "satellite": { "name": "sat 1", "area": "Küche" } })).unwrap(), "k_che");
        assert_eq!(called(json!({ "satellite": { "name": "Living Room", "area": null } })).unwrap(), "living_room");
        assert_eq!(called(json!({ "mic": [{ "name": "arecord" }] })).unwrap(), "arecord");
        assert_eq!(called(json!({ "asr": [], "satellite": null, "mic": [] })), None);
    }

    #[test]
    fn an_invalid_sample_layout_is_refused_with_the_key_at_fault() {
        for (data, key) in [
            (json!({ "rate": 0, "width": 2, "channels": 1 }), "rate of its audio is 0"),
            (json!({ "rate": 16_000, "width": 8, "channels": 1 }), "width of its audio is 8"),
            (json!({ "rate": 16_000, "width": 2 }), "channels of its audio is null"),
            (json!({ "rate": "fast", "width": 2, "channels": 1 }), "rate of its audio is \"fast\""),
        ] {
            let Err(Disconnect::Refused(reason)) = sample_layout(data.as_object().unwrap()) else {
                panic!("{data} was taken")
            };
            assert!(reason.contains(key), "{reason}");
        }
    }
}
