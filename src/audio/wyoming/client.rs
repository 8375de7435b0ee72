//! One network microphone.
//!
//! Owns its connection: what it says of itself, and its sound on the way to hearing. Refuses to know the other clients. Invariant:
//! what was said before the connection ended, however it ended, is heard as whole.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::event::Timespec;
use serde_json::{Map, Value, json};

use super::protocol::{EventParser, MalformedEvent, WyomingEvent, written};
use super::{GLANCE, WyomingServer, ready};
use crate::audio::resample::Framer;
use crate::audio::sink::{BlockingSink, PAUSE};
use crate::clock::SampleClock;
use crate::event::{Frame, RoomAudio};
use crate::metrics::Metrics;

/// So long after the beginning of an event its end will not come; so long without any event nobody is there.
const STALLED: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(600);
/// How long a client may take to read our answer.
const WRITE: Duration = Duration::from_secs(5);
/// Bytes read at a time.
const BLOCK: usize = 1 << 14;

/// Why a client is one no more.
pub(super) enum Disconnect {
    /// It closed the connection, or we did.
    Closed,
    Malformed(MalformedEvent),
    Refused(String),
    Stalled,
    Vanished(io::Error),
}

impl Disconnect {
    pub(super) fn tell(self, peer: SocketAddr) {
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

/// What sound comes as.
#[derive(Clone, Copy, Debug, PartialEq)]
struct SampleLayout {
    rate: u32,
    width: usize,
    channels: usize,
}

/// A stream of sound between its start and its stop.
struct AudioStream {
    format: SampleLayout,
    framer: Framer,
    /// Bytes of a sample whose rest has not come.
    kept: Vec<u8>,
}

pub(super) struct Satellite<'a> {
    socket: TcpStream,
    peer: SocketAddr,
    shared: &'a WyomingServer<'a>,
    out: SyncSender<RoomAudio>,
    parser: EventParser,
    /// The name it gave.
    name: Option<String>,
    heard: Option<ClientRoom<'a>>,
    stream: Option<AudioStream>,
}

/// The room of a client that has sent sound. It is one as long as the client is there.
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
        shared: &'a WyomingServer<'a>,
        out: SyncSender<RoomAudio>,
    ) -> Result<Self, Disconnect> {
        socket.set_nonblocking(false)?;
        socket.set_write_timeout(Some(WRITE))?;
        tracing::info!(%peer, "a network microphone has connected");
        let (parser, name, heard, stream) = Default::default();
        Ok(Self { socket, peer, shared, out, parser, name, heard, stream })
    }

    pub(super) fn run(mut self) -> Result<(), Disconnect> {
        let ended = self.listen();
        // It went without a word, or we sent it away: what it said until then is whole, and then nothing is heard.
        if self.stream.is_some()
            && let Some(heard) = &mut self.heard
        {
            let _ = heard.sink.end();
            self.shared.lose(&heard.name);
        }
        ended
    }

    fn listen(&mut self) -> Result<(), Disconnect> {
        let mut block = vec![0; BLOCK];
        let mut last = Instant::now();
        while !self.shared.control.stopped() {
            let waits = !ready(&self.socket, &Timespec::default()).map_err(io::Error::from)?;
            if waits && !ready(&self.socket, &GLANCE).map_err(io::Error::from)? {
                let silent = last.elapsed();
                if silent > IDLE || silent > STALLED && self.parser.is_within() {
                    return Err(if self.parser.is_within() { Disconnect::Stalled } else { Disconnect::Closed });
                }
                if silent > PAUSE {
                    self.stop()?;
                }
                // One that says nothing for minutes is no part that is stuck.
                self.heard.iter().for_each(|heard| heard.sink.keep_alive());
                continue;
            }
            let read = match self.socket.read(&mut block) {
                Ok(0) if self.parser.is_within() => return Err(Disconnect::Stalled),
                Ok(0) => return Err(Disconnect::Closed),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            last = Instant::now();
            self.parser.push(&block[..read]);
            while let Some(event) = self.parser.next()? {
                self.take(event, waits)?;
            }
        }
        Ok(())
    }

    /// `fresh`: it had to be waited for.
    fn take(&mut self, event: WyomingEvent, fresh: bool) -> Result<(), Disconnect> {
        match event.kind.as_str() {
            "describe" => self.socket.write_all(&written("info", &info()))?,
            "ping" => self.socket.write_all(&written("pong", &json!({ "text": event.data.get("text") })))?,
            "info" => self.name = name(&event.data).or(self.name.take()),
            "audio-start" => self.start(format(&event.data)?)?,
            "audio-chunk" => {
                let format = format(&event.data)?;
                if self.stream.as_ref().is_none_or(|stream| stream.format != format) {
                    self.start(format)?;
                }
                self.chunk(&event.payload, fresh)?;
            }
            "audio-stop" => self.stop()?,
            kind => tracing::debug!(peer = %self.peer, kind, "an event that means nothing to a listener"),
        }
        Ok(())
    }

    fn start(&mut self, format: SampleLayout) -> Result<(), Disconnect> {
        self.stop()?;
        let clock = SampleClock::starting_at(Timestamp::now());
        let framer = Framer::new(format.rate, format.channels, clock, 0);
        let framer = framer.map_err(|error| Disconnect::Refused(error.to_string()))?;
        self.stream = Some(AudioStream { format, framer, kept: Vec::new() });
        let heard = match &mut self.heard {
            Some(heard) => heard,
            None => self.heard.insert(self.shared.hear(self.peer, self.name.as_deref(), self.out.clone())),
        };
        let lost = self.shared.lost().remove(&heard.name);
        match lost {
            Some(from) if heard.sink.source_back(from).is_break() => Err(Disconnect::Closed),
            _ => Ok(()),
        }
    }

    fn chunk(&mut self, payload: &[u8], fresh: bool) -> Result<(), Disconnect> {
        let (Some(stream), Some(heard)) = (&mut self.stream, &mut self.heard) else { return Ok(()) };
        let AudioStream { format, framer, kept } = stream;
        kept.extend_from_slice(payload);
        let whole = kept.len() - kept.len() % (format.width * format.channels);
        let samples: Vec<f32> = kept[..whole].chunks_exact(format.width).map(sample).collect();
        kept.drain(..whole);
        let mut frames = Vec::new();
        framer.push(&samples, |frame| frames.push(frame));
        let now = Timestamp::now();
        if fresh && framer.clock().time(framer.position()) < now {
            framer.observe(now);
        }
        passed(&mut heard.sink, frames)
    }

    /// The stream is over, or pauses for so long that it is.
    fn stop(&mut self) -> Result<(), Disconnect> {
        let (Some(stream), Some(heard)) = (self.stream.take(), &mut self.heard) else { return Ok(()) };
        let mut frames = Vec::new();
        stream.framer.finish(|frame| frames.push(frame));
        passed(&mut heard.sink, frames)?;
        if heard.sink.end().is_break() { Err(Disconnect::Closed) } else { Ok(()) }
    }
}

fn passed(sink: &mut BlockingSink, frames: Vec<Frame>) -> Result<(), Disconnect> {
    if frames.into_iter().try_for_each(|frame| sink.send_frame(frame)).is_break() {
        Err(Disconnect::Closed)
    } else {
        Ok(())
    }
}

/// The name a microphone gives in an `info` event: its area, else its own; as one that may stand in a topic.
fn name(data: &Map<String, Value>) -> Option<String> {
    let satellite = &data.get("satellite").unwrap_or(&Value::Null);
    let microphone = data.get("mic").and_then(|mic| mic.get(0)).unwrap_or(&Value::Null);
    let given = [satellite.get("area"), satellite.get("name"), microphone.get("name")];
    let given = given.into_iter().flatten().filter_map(Value::as_str).find(|name| !name.trim().is_empty())?;
    let fits = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c.to_ascii_lowercase() } else { '_' };
    Some(given.trim().chars().take(64).map(fits).collect())
}

fn format(data: &Map<String, Value>) -> Result<SampleLayout, Disconnect> {
    let number = |key: &str, most: u64| {
        let number = data.get(key).and_then(Value::as_u64).filter(|number| (1..=most).contains(number));
        number.ok_or_else(|| {
            let found = data.get(key).unwrap_or(&Value::Null);
            Disconnect::Refused(format!("the {key} of its sound is {found}, and not a number of 1 to {most}"))
        })
    };
    Ok(SampleLayout {
        rate: number("rate", 384_000)? as u32,
        width: number("width", 4)? as usize,
        channels: number("channels", 32)? as usize,
    })
}

/// A sample of 1 to 4 bytes, the least first; of one byte without a sign, as in WAV.
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

/// What we are: something that hears and answers nothing.
fn info() -> Value {
    let hearth = json!({
        "name": "hearth",
        "description": "Listens along and tells the house over MQTT; answers nothing here",
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
    fn samples_of_every_width_are_read() {
        assert_eq!([0x00, 0x80, 0xc0].map(|byte| sample(&[byte])), [-1.0, 0.0, 0.5]);
        assert_eq!(sample(&(-16_384i16).to_le_bytes()), -0.5);
        assert_eq!(sample(&[0, 0, 0x40]), 0.5);
        assert_eq!(sample(&i32::MIN.to_le_bytes()), -1.0);
    }

    #[test]
    fn a_microphone_is_called_what_it_says() {
        let called = |info: Value| name(info.as_object().unwrap());
        assert_eq!(called(json!({ "satellite": { "name": "sat 1", "area": "Küche" } })).unwrap(), "k_che");
        assert_eq!(called(json!({ "satellite": { "name": "Living Room", "area": null } })).unwrap(), "living_room");
        assert_eq!(called(json!({ "mic": [{ "name": "arecord" }] })).unwrap(), "arecord");
        assert_eq!(called(json!({ "asr": [], "satellite": null, "mic": [] })), None);
    }

    #[test]
    fn a_format_out_of_this_world_is_refused_with_its_key() {
        for (data, key) in [
            (json!({ "rate": 0, "width": 2, "channels": 1 }), "rate of its sound is 0"),
            (json!({ "rate": 16_000, "width": 8, "channels": 1 }), "width of its sound is 8"),
            (json!({ "rate": 16_000, "width": 2 }), "channels of its sound is null"),
            (json!({ "rate": "fast", "width": 2, "channels": 1 }), "rate of its sound is \"fast\""),
        ] {
            let Err(Disconnect::Refused(reason)) = format(data.as_object().unwrap()) else {
                panic!("{data} was taken")
            };
            assert!(reason.contains(key), "{reason}");
        }
    }
}
