//! `[source.…]`: audio sources, each with its room, and the utterances of other machines.
//!
//! A kind of source is written once (`[source.microphone]`) or several times (`[[source.microphone]]`).

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::{Name, NodesConfig};

/// Every source of this machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourcesConfig {
    #[serde(default, deserialize_with = "once_or_several")]
    pub(crate) microphone: Vec<MicrophoneConfig>,
    #[serde(default, deserialize_with = "once_or_several")]
    pub(crate) file: Vec<FileConfig>,
    pub(crate) stdin: Option<StdinConfig>,
    pub(crate) wyoming: Option<WyomingConfig>,
    /// Utterances of other machines, in addition to these or alone.
    pub(crate) mqtt: Option<NodesConfig>,
}

impl Default for SourcesConfig {
    fn default() -> Self {
        Self { microphone: vec![MicrophoneConfig::default()], file: Vec::new(), stdin: None, wyoming: None, mqtt: None }
    }
}

impl From<SourceConfig> for SourcesConfig {
    fn from(source: SourceConfig) -> Self {
        let mut sources = Self { microphone: Vec::new(), ..Self::default() };
        match source {
            SourceConfig::Microphone(microphone) => sources.microphone.push(microphone),
            SourceConfig::File(file) => sources.file.push(file),
            SourceConfig::Stdin(stdin) => sources.stdin = Some(stdin),
            SourceConfig::Wyoming(wyoming) => sources.wyoming = Some(wyoming),
        }
        sources
    }
}

impl SourcesConfig {
    /// All audio sources.
    pub(crate) fn each(&self) -> impl Iterator<Item = SourceConfig> {
        let microphones = self.microphone.iter().cloned().map(SourceConfig::Microphone);
        let files = self.file.iter().cloned().map(SourceConfig::File);
        let stdin = self.stdin.iter().cloned().map(SourceConfig::Stdin);
        let wyoming = self.wyoming.iter().cloned().map(SourceConfig::Wyoming);
        microphones.chain(files).chain(stdin).chain(wyoming)
    }

    /// Whether all run in real time: none waits for speech recognition.
    pub(crate) fn is_live(&self) -> bool {
        self.file.iter().all(|file| file.pace == PlaybackPace::RealTime)
    }
}

/// One source.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceConfig {
    Microphone(MicrophoneConfig),
    File(FileConfig),
    Stdin(StdinConfig),
    Wyoming(WyomingConfig),
}

impl SourceConfig {
    /// What the config calls it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Microphone(_) => "microphone",
            Self::File(_) => "file",
            Self::Stdin(_) => "stdin",
            Self::Wyoming(_) => "wyoming",
        }
    }

    /// Its room, if the config names one.
    pub(crate) fn room(&self) -> Option<&Name> {
        match self {
            Self::Microphone(microphone) => microphone.room.as_ref(),
            Self::File(file) => file.room.as_ref(),
            Self::Stdin(stdin) => stdin.room.as_ref(),
            Self::Wyoming(wyoming) => wyoming.room.as_ref(),
        }
    }
}

/// A sound card's input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MicrophoneConfig {
    /// A name as `hearth devices` prints it, or "default".
    pub device: String,
    /// Its room; by default the node.
    pub room: Option<Name>,
}

impl Default for MicrophoneConfig {
    fn default() -> Self {
        Self { device: "default".into(), room: None }
    }
}

/// A recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// A recording: WAV, FLAC, MP3, Ogg Vorbis, or AAC in MP4; any rate and number of channels.
    pub path: PathBuf,
    #[serde(default)]
    pub pace: PlaybackPace,
    pub room: Option<Name>,
}

/// How fast a file is played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlaybackPace {
    #[default]
    RealTime,
    Fast,
}

/// Raw signed 16-bit little-endian samples on standard input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StdinConfig {
    /// Hz.
    pub(crate) rate: u32,
    pub(crate) channels: u16,
    pub(crate) room: Option<Name>,
}

impl Default for StdinConfig {
    fn default() -> Self {
        Self { rate: 16_000, channels: 1, room: None }
    }
}

/// Network microphones that speak the Wyoming protocol, as Home Assistant's satellites do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WyomingConfig {
    #[serde(deserialize_with = "super::addresses::address")]
    pub listen: SocketAddr,
    /// The room of a microphone that does not say its name; by default the node.
    pub room: Option<Name>,
    /// The rooms of microphones by their addresses. If any is named, microphones with other addresses are refused.
    pub rooms: BTreeMap<IpAddr, Name>,
}

impl Default for WyomingConfig {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 10_700)), room: None, rooms: BTreeMap::new() }
    }
}

/// Reads a table or an array of tables. An untagged enum would lose line and column of an error.
fn once_or_several<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Several<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Several<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a table, or several")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vec<T>, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map)).map(|one| vec![one])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Vec<T>, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(seq))
        }
    }
    deserializer.deserialize_any(Several(PhantomData))
}
