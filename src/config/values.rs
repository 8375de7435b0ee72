//! Values with a range. Each is checked where it is parsed, so an error has its line and column.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Lets serde read and write a type as a string, through `FromStr` and `Display`.
macro_rules! as_string {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    };
}
pub(super) use as_string;

/// A name that may stand in a topic and in a Home Assistant id: 1 to 64 of `a-z A-Z 0-9 _ -`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);
as_string!(Name);

impl Name {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let fits = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if !fits || text.is_empty() || text.len() > 64 {
            return Err(format!("\"{text}\" is no name: use 1 to 64 of a to z, A to Z, 0 to 9, \"_\" and \"-\""));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One or more levels of an MQTT topic, without wildcards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Topic(String);
as_string!(Topic);

impl FromStr for Topic {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let empty_level = text.split('/').any(str::is_empty);
        if empty_level || text.len() > 256 || text.contains(['#', '+', '\0']) || text.starts_with('$') {
            return Err(format!("\"{text}\" is no topic: no wildcards, no empty level, not \"$…\", at most 256 bytes"));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A topic filter: `+` stands for one level and `#`, at the end, for all that follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct TopicFilter(String);
as_string!(TopicFilter);

impl FromStr for TopicFilter {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let levels: Vec<&str> = text.split('/').collect();
        let whole = |(at, level): (usize, &&str)| match *level {
            "+" => true,
            "#" => at + 1 == levels.len(),
            level => !level.contains(['#', '+', '\0']),
        };
        if text.is_empty() || text.len() > 256 || !levels.iter().enumerate().all(whole) {
            return Err(format!(
                "\"{text}\" is no topic to listen to: \"+\" and \"#\" stand alone between slashes, \"#\" at the end, at most 256 bytes"
            ));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A probability strictly between 0 and 1; the log-odds of 0 and 1 are infinite.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub(crate) struct Probability(f64);

impl Probability {
    pub(crate) fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Probability {
    type Error = String;
    fn try_from(p: f64) -> Result<Self, String> {
        if p > 0.0 && p < 1.0 { Ok(Self(p)) } else { Err(format!("{p} is no probability between 0 and 1")) }
    }
}

impl From<Probability> for f64 {
    fn from(p: Probability) -> f64 {
        p.0
    }
}

/// A time of 0 to 7 days, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub(crate) struct Seconds(f64);

impl Seconds {
    pub(crate) fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Seconds {
    type Error = String;
    fn try_from(s: f64) -> Result<Self, String> {
        if (0.0..=604_800.0).contains(&s) { Ok(Self(s)) } else { Err(format!("{s} is outside 0 to 604800 seconds")) }
    }
}

impl From<Seconds> for f64 {
    fn from(s: Seconds) -> f64 {
        s.0
    }
}

/// 1 to 3650 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub(crate) struct Days(u32);

impl Days {
    pub(crate) fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Days {
    type Error = String;
    fn try_from(days: u32) -> Result<Self, String> {
        if (1..=3650).contains(&days) { Ok(Self(days)) } else { Err(format!("{days} is outside 1 to 3650 days")) }
    }
}

impl From<Days> for u32 {
    fn from(days: Days) -> u32 {
        days.0
    }
}

/// How many of the last evaluations of a rule must agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Confirm {
    pub(crate) hits: usize,
    pub(crate) of: usize,
}
as_string!(Confirm);

impl Default for Confirm {
    fn default() -> Self {
        Self { hits: 1, of: 1 }
    }
}

impl FromStr for Confirm {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parsed =
            text.split_once(" of ").and_then(|(hits, of)| Some((hits.trim().parse().ok()?, of.trim().parse().ok()?)));
        match parsed {
            Some((hits, of)) if 1 <= hits && hits <= of && of <= 32 => Ok(Self { hits, of }),
            _ => Err(format!("\"{text}\" is not \"k of n\" with 1 ≤ k ≤ n ≤ 32, for example \"2 of 3\"")),
        }
    }
}

impl fmt::Display for Confirm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.hits, self.of)
    }
}

/// How long text is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Keep {
    /// Text is deleted as soon as the model has read it and the broker has received it.
    Nothing,
    Days(u32),
    Forever,
}
as_string!(Keep);

impl Default for Keep {
    fn default() -> Self {
        Self::Days(30)
    }
}

impl FromStr for Keep {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let days = || ["days", "day", "d"].iter().find_map(|unit| text.strip_suffix(unit))?.trim().parse().ok();
        match text {
            "nothing" => Ok(Self::Nothing),
            "forever" => Ok(Self::Forever),
            _ => match days() {
                Some(days) if (1..=3650).contains(&days) => Ok(Self::Days(days)),
                _ => Err(format!(
                    "\"{text}\" is not \"nothing\", \"forever\" or a number of days from 1 to 3650, as \"30 days\" or \"30d\""
                )),
            },
        }
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Days(days) => write!(f, "{days} days"),
            Self::Forever => f.write_str("forever"),
        }
    }
}

/// The broker to publish to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Broker {
    /// The broker inside this process.
    Embedded,
    External {
        tls: bool,
        host: String,
        port: u16,
    },
}
as_string!(Broker);

impl FromStr for Broker {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        const FORMS: &str = "\"embedded\", \"mqtt://host:port\" or \"mqtts://host:port\"";
        if text == "embedded" {
            return Ok(Self::Embedded);
        }
        let (tls, rest) = match text.split_once("://") {
            Some(("mqtt", rest)) => (false, rest),
            Some(("mqtts", rest)) => (true, rest),
            _ => return Err(format!("\"{text}\" is not {FORMS}")),
        };
        if rest.contains('@') {
            return Err("no user or password in the url: use username and password_file".into());
        }
        let rest = rest.trim_end_matches('/');
        // An IPv6 address is in brackets, and its colons do not separate the port.
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => {
                (host, port.parse().map_err(|_| format!("\"{port}\" is no port in {text}"))?)
            }
            _ => (rest, if tls { 8883 } else { 1883 }),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || host.contains(['/', ' ']) || port == 0 {
            return Err(format!("\"{text}\" names no host and port: use {FORMS}"));
        }
        Ok(Self::External { tls, host: host.into(), port })
    }
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded => f.write_str("embedded"),
            Self::External { tls, host, port } => {
                let scheme = if *tls { "mqtts" } else { "mqtt" };
                if host.contains(':') {
                    write!(f, "{scheme}://[{host}]:{port}")
                } else {
                    write!(f, "{scheme}://{host}:{port}")
                }
            }
        }
    }
}
