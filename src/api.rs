//! Access to the running daemon without a broker: the control socket of `hearth status` and the web page.
//!
//! Commands are not carried out here: they are sent to the daemon, and the answer comes back. Both ways in are limited in
//! connections and message length, so clients cannot stop hearing and publishing, and idle ones cannot keep out others. Only users who
//! may read the state directory
//! can open the socket, and only those who know the token see data on the page.

mod client_slots;
pub(crate) mod control_socket;
mod live_lines;
mod openmetrics;
pub(crate) mod status;
pub(crate) mod web;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::timeout;

use self::status::Status;
use crate::commands::{self, PendingCommand};
use crate::live::LiveFeed;
use crate::metrics::Metrics;
use crate::redact::Redactor;

/// The longest wait for an answer: a large model reads a long question, or reads a day again after a "forget".
const ANSWER_TIMEOUT: Duration = Duration::from_secs(600);

/// What is shown of a daemon that does not change while it runs.
#[derive(Clone, Debug)]
pub struct DaemonInfo {
    pub node: String,
    /// The broker's URL.
    pub broker: String,
    /// There is a source of audio.
    pub hears: bool,
    /// Utterances of other machines are taken.
    pub gathers: bool,
    /// What the model that reads along is called; None if none does.
    pub model: Option<String>,
    /// The address of the web page, with its token; None if it is off.
    pub page: Option<String>,
    pub holds: Holdings,
}

/// What a running daemon uses and nobody else can use beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holdings {
    /// The state directory.
    pub state: PathBuf,
    /// Where it listens.
    pub addresses: Vec<SocketAddr>,
    /// The microphones, as the config names them.
    pub microphones: Vec<String>,
}

/// What can be seen of a running daemon, and the way to send it commands.
pub struct Api {
    about: DaemonInfo,
    metrics: Arc<Metrics>,
    live_feed: Arc<LiveFeed>,
    /// Applied to what the page shows. Users of the socket may read the database anyway.
    redactor: Redactor,
    commands: mpsc::Sender<PendingCommand>,
    started: Instant,
}

impl Api {
    pub fn new(
        about: DaemonInfo,
        metrics: Arc<Metrics>,
        live_feed: Arc<LiveFeed>,
        redactor: Redactor,
        commands: mpsc::Sender<PendingCommand>,
    ) -> Self {
        Self { about, metrics, live_feed, redactor, commands, started: Instant::now() }
    }

    /// The status of the daemon now.
    pub(crate) fn status(&self) -> Status {
        Status::of(&self.about, &self.metrics, &self.live_feed.snapshot(), self.started.elapsed())
    }

    /// Answers a line from the control socket: with the status, or with the answer to a command.
    pub async fn line(&self, line: &[u8]) -> Value {
        let asks_status = |value: &Value| value.get("command").is_some_and(|name| name == "status");
        match serde_json::from_slice::<Value>(line) {
            Ok(value) if asks_status(&value) => serde_json::to_value(self.status()).expect("a status is JSON"),
            _ => self.command(line).await,
        }
    }

    /// Sends a command to the daemon and waits for its answer. `object` is the JSON object of the MQTT command with its name in
    /// `command`. The answer is that of MQTT without `id`, `schema` and `time`.
    pub(crate) async fn command(&self, object: &[u8]) -> Value {
        let request = match commands::parse_object(object) {
            Ok(request) => request,
            Err(invalid) => return Value::Object(invalid.answer()),
        };
        let (pending, answered) = PendingCommand::from_local(request.clone());
        let answer = match self.commands.try_send(pending) {
            Err(mpsc::error::TrySendError::Full(_)) => Err(commands::BUSY.into()),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(commands::CLOSING.into()),
            Ok(()) => match timeout(ANSWER_TIMEOUT, answered).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err("hearth closed before it could answer".into()),
                Err(_) => Err(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs())),
            },
        };
        Value::Object(request.answer(&answer))
    }
}
