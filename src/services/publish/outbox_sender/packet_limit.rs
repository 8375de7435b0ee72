//! The longest packet that the broker takes.
//!
//! A broker closes the connection on a packet that is too long, and MQTT 3.1.1 has no words for why. When a connection breaks on packets
//! longer than any it took before, the longest of them is suspected: the broker is asked for its limit, and until it is known, what is
//! suspected goes last and alone. A broker that does not tell its limit, and closes the connection on that one too, is given shorter
//! packets from then on. Texts are cut to fit; what cannot be cut stays here.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::{InFlight, OutgoingKind};
use crate::event::Message;
use crate::mqtt::client::{MAX_PACKET, PacketLimit, longest_payload, packet_bytes};
use crate::mqtt::payload;

/// How long a message is left alone on which the connection breaks again and again.
const REST: Duration = Duration::from_secs(600);
/// A limit that the broker does not tell is not guessed to be less than this: health needs as much.
const LEAST_GUESS: usize = 2_048;

/// A message on which the connection may have broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Suspect {
    topic: String,
    bytes: usize,
}

impl fmt::Display for Suspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the longest packet on its way was of {} bytes, on {}", self.bytes, self.topic)
    }
}

impl Suspect {
    fn is_like(&self, topic: &str, bytes: usize) -> bool {
        self.topic == topic && bytes >= self.bytes
    }
}

/// A limit as it is stored: it counts for the same broker at the next start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NotedLimit {
    pub(super) url: String,
    pub(super) bytes: usize,
}

#[derive(Debug)]
pub(super) struct LimitTracker {
    url: String,
    /// No longer packet is sent.
    limit: Option<usize>,
    /// What the broker said when it was asked last.
    told: PacketLimit,
    /// It is to be asked before the next connection.
    asks: bool,
    /// The longest packet that it acknowledged on this connection.
    taken: usize,
    suspect: Option<Suspect>,
    /// On these the connection breaks each time; they are tried again then.
    resting: Vec<(Suspect, Instant)>,
    /// Topics of messages that are too long, which were logged.
    logged: BTreeSet<String>,
}

impl LimitTracker {
    /// Continues with what was noted of this broker, which may have another limit by now.
    pub(super) fn new(url: &str, noted: Option<NotedLimit>) -> Self {
        let limit = noted.filter(|noted| noted.url == url).map(|noted| noted.bytes);
        Self {
            url: url.into(),
            limit,
            told: PacketLimit::NotTold,
            asks: limit.is_some(),
            taken: 0,
            suspect: None,
            resting: Vec::new(),
            logged: BTreeSet::new(),
        }
    }

    pub(super) fn bytes(&self) -> Option<usize> {
        self.limit
    }

    /// What is to be noted.
    pub(super) fn to_note(&self) -> Option<NotedLimit> {
        self.limit.map(|bytes| NotedLimit { url: self.url.clone(), bytes })
    }

    /// Whether the broker is to be asked; once.
    pub(super) fn asks(&mut self) -> bool {
        std::mem::take(&mut self.asks)
    }

    /// The broker's answer.
    pub(super) fn told(&mut self, told: PacketLimit) {
        self.told = told;
        let before = self.limit;
        match told {
            // Longer ones are not sent in any case.
            PacketLimit::Bytes(bytes) if bytes < MAX_PACKET => self.limit = Some(bytes),
            PacketLimit::Bytes(_) | PacketLimit::Unlimited => self.limit = None,
            PacketLimit::NotTold => {}
        }
        if let (Some(limit), Some(Suspect { topic, bytes })) = (self.limit, &self.suspect)
            && *bytes > limit
        {
            warn!(
                url = self.url,
                topic, bytes, limit, "the connection broke on a packet of {bytes} bytes: the broker takes {limit}"
            );
            self.suspect = None;
        }
        if self.limit != before {
            match self.limit {
                Some(limit) => info!(
                    url = self.url,
                    limit, "the broker takes packets of at most {limit} bytes: longer texts are cut"
                ),
                None => info!(url = self.url, "the broker takes long packets"),
            }
        }
    }

    /// The connection ended while these were in flight. Returns what is suspected since.
    pub(super) fn lost<'a>(
        &mut self,
        closed_by_broker: bool,
        in_flight: impl Iterator<Item = &'a InFlight>,
    ) -> Option<&Suspect> {
        let taken = std::mem::take(&mut self.taken);
        // Whoever set a limit may set another one, and start the broker again.
        self.asks |= self.limit.is_some();
        if !closed_by_broker {
            return None;
        }
        let in_flight: Vec<&InFlight> = in_flight.collect();
        let longest = in_flight.iter().max_by_key(|one| one.bytes).filter(|one| one.bytes > taken)?;
        let longest = Suspect { topic: longest.topic.clone(), bytes: longest.bytes };
        let again = self.suspect.as_ref().is_some_and(|before| before.bytes <= longest.bytes);
        if again && in_flight.len() == 1 {
            self.suspect = None;
            self.found(longest);
            return None;
        }
        self.asks = true;
        if !again {
            self.suspect = Some(longest);
        }
        self.suspect.as_ref()
    }

    /// The connection broke again while this one was alone in flight.
    fn found(&mut self, Suspect { topic, bytes }: Suspect) {
        let url = &self.url;
        if self.told == PacketLimit::NotTold && bytes > LEAST_GUESS {
            let limit = (bytes / 2).max(LEAST_GUESS);
            warn!(
                url,
                topic,
                bytes,
                limit,
                "the broker closes the connection on a packet of {bytes} bytes, and does not tell its limit: from now on a packet \
                 has at most {limit}, and longer texts are cut"
            );
            self.limit = Some(limit);
        } else {
            let minutes = REST.as_secs() / 60;
            error!(
                url,
                topic,
                bytes,
                "the broker closes the connection on a message of {bytes} bytes, and not for its length: do its rules forbid the \
                 topic? It is tried again in {minutes} minutes"
            );
            self.resting.push((Suspect { topic, bytes }, Instant::now() + REST));
        }
    }

    pub(super) fn acknowledged(&mut self, message: &InFlight) {
        self.taken = self.taken.max(message.bytes);
        if self.suspect.as_ref().is_some_and(|suspect| suspect.bytes <= self.taken) {
            self.suspect = None;
        }
        self.resting.retain(|(resting, _)| !resting.is_like(&message.topic, message.bytes));
    }

    /// Whether a message is sent when nothing else waits, and alone.
    pub(super) fn goes_last(&self, topic: &str, bytes: usize) -> bool {
        let suspected = self.suspect.as_ref().is_some_and(|suspect| bytes >= suspect.bytes && bytes > self.taken);
        suspected || self.resting.iter().any(|(resting, _)| resting.is_like(topic, bytes))
    }

    /// Whether a message is left alone for a while.
    pub(super) fn rests(&self, topic: &str, bytes: usize) -> bool {
        let now = Instant::now();
        self.resting.iter().any(|(resting, until)| resting.is_like(topic, bytes) && *until > now)
    }

    /// The message, shortened where it is too long for the broker; none where it cannot be made to fit.
    pub(super) fn fit<'a>(&mut self, kind: OutgoingKind, message: Cow<'a, Message>) -> Option<Cow<'a, Message>> {
        let Some(limit) = self.limit.filter(|limit| packet_bytes(&message) > *limit) else { return Some(message) };
        let cut = || payload::shortened(&message.payload, longest_payload(&message.topic, limit)?);
        let shorter = if matches!(kind, OutgoingKind::Discovery(_)) { None } else { cut() };
        if let Some(payload) = shorter {
            return Some(Cow::Owned(Message { payload, ..message.into_owned() }));
        }
        if self.logged.insert(message.topic.clone()) {
            let bytes = packet_bytes(&message);
            error!(
                url = self.url,
                topic = message.topic,
                bytes,
                limit,
                "a message of {bytes} bytes stays here: the broker takes {limit}, and it cannot be cut; raise the broker's limit"
            );
        }
        None
    }
}
