//! Where people on this machine look in and ask: a socket for `hearth status`, and a page.
//!
//! Owns what can be seen and asked without a broker. Refuses to carry anything out: a command goes to the house, and its answer
//! comes back. Invariant: whoever comes in, and whatever they send, hearing and reading go on; nothing is shown to anyone who
//! may not read the state directory or does not know the token.

pub mod control_socket;
mod openmetrics;
pub mod status;
pub mod web;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::timeout;

use self::status::Status;
use crate::commands::{self, PendingCommand};
use crate::live::LiveFeed;
use crate::metrics::Metrics;
use crate::redact::Redactor;

/// The longest answer: a large model that reads a long question, or reads a day again after something was forgotten.
const PATIENCE: Duration = Duration::from_secs(600);

/// What is said of a house that does not change while it runs.
#[derive(Clone, Debug)]
pub struct DaemonInfo {
    pub node: String,
    /// The broker's URL.
    pub broker: String,
    /// There is a source of sound.
    pub hears: bool,
    /// What other machines hear is taken.
    pub gathers: bool,
    /// A model reads along.
    pub reads: bool,
    /// Where the page is, token included; none where it is off.
    pub page: Option<String>,
}

/// What can be seen of a running house, and the way to ask something of it.
pub struct Api {
    about: DaemonInfo,
    metrics: Arc<Metrics>,
    live_feed: Arc<LiveFeed>,
    /// The page leaves this process; the socket is for those who may read the database.
    redactor: Redactor,
    asked: mpsc::Sender<PendingCommand>,
    opened: Instant,
}

impl Api {
    pub fn new(
        about: DaemonInfo,
        metrics: Arc<Metrics>,
        live_feed: Arc<LiveFeed>,
        redactor: Redactor,
        asked: mpsc::Sender<PendingCommand>,
    ) -> Self {
        Self { about, metrics, live_feed, redactor, asked, opened: Instant::now() }
    }

    /// How the house is.
    pub fn status(&self) -> Status {
        Status::of(&self.about, &self.metrics, &self.live_feed.snapshot(), self.opened.elapsed())
    }

    /// Answers a line that came over the socket: with the status, or with what came of a command.
    pub async fn line(&self, line: &[u8]) -> Value {
        let asks_status = |value: &Value| value.get("command").is_some_and(|name| name == "status");
        match serde_json::from_slice::<Value>(line) {
            Ok(value) if asks_status(&value) => serde_json::to_value(self.status()).expect("a status is JSON"),
            _ => self.command(line).await,
        }
    }

    /// Has a command carried out: the object that MQTT takes, with the command's name in it. The answer is the object that MQTT
    /// brings, without its envelope.
    pub async fn command(&self, object: &[u8]) -> Value {
        let request = match commands::parse_object(object) {
            Ok(request) => request,
            Err(invalid) => return Value::Object(invalid.answer()),
        };
        let (pending, answered) = PendingCommand::from_local(request.clone());
        let answer = match self.asked.try_send(pending) {
            Err(mpsc::error::TrySendError::Full(_)) => Err(commands::BUSY.into()),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(commands::CLOSING.into()),
            Ok(()) => match timeout(PATIENCE, answered).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err("hearth closed before it could answer".into()),
                Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
            },
        };
        Value::Object(request.answer(&answer))
    }
}
