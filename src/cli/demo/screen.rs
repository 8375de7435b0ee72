//! What `hearth demo` shows while it runs, and the table at its end.

use std::fmt;
use std::net::SocketAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::cli::event_screen::EventScreen;
use crate::cli::terminal::{BOLD_RED, CYAN, DIM};
use crate::event::GroundedSentence;
use crate::mqtt::client::BrokerEvent;
use crate::mqtt::topics::Topics;
use crate::process::cpu_seconds;
use crate::{clock, metrics::Metrics};

/// The fields of an utterance message that are shown.
#[derive(Deserialize)]
struct ShownUtterance {
    start: Timestamp,
    text: String,
}

/// The fields of an interim message that are shown.
#[derive(Deserialize)]
struct ShownInterim {
    start: Timestamp,
    committed: String,
    tentative: String,
}

/// The fields of an alert message that are shown.
#[derive(Deserialize)]
struct ShownAlert {
    rule: String,
    phase: String,
    time: Timestamp,
    probability: Option<f64>,
    evidence: Vec<ShownQuote>,
}

#[derive(Deserialize)]
struct ShownQuote {
    text: String,
}

/// The fields of a summary message that are shown.
#[derive(Deserialize)]
struct ShownSummary {
    time: Timestamp,
    text: String,
    sentences: Vec<GroundedSentence>,
}

/// Prints messages as they arrive and collects alerts and summaries for the table.
pub(crate) struct DemoScreen {
    topics: Topics,
    screen: EventScreen,
    length_s: Option<f64>,
    broker: SocketAddr,
    alerts: Vec<AlertRow>,
    digests: Vec<DigestRow>,
}

impl DemoScreen {
    /// A screen for messages of `topics`. With `use_stderr`, standard output is kept for the JSON line. `length_s` is the length of the
    /// recording, if it is known.
    pub(crate) fn new(topics: Topics, use_stderr: bool, length_s: Option<f64>, broker: SocketAddr) -> Self {
        let screen = EventScreen::new(use_stderr);
        Self { topics, screen, length_s, broker, alerts: Vec::new(), digests: Vec::new() }
    }

    /// Says what is about to be played.
    ///
    /// # Errors
    /// Standard output cannot be written. The same holds for every function here that returns a `Result`.
    pub(crate) fn begin(&mut self, fast: bool) -> anyhow::Result<()> {
        let length = self.length_s.map_or_else(String::new, |s| format!("{s:.0} s of "));
        let pace = if fast { "as fast as this machine can" } else { "in real time" };
        self.screen.line(&format!(
            "hearth listens to {length}a household, {pace}. What you see came over MQTT; to see the messages themselves:"
        ))?;
        let all = self.topics.command("#");
        self.screen.line(&format!("  mosquitto_sub -h {} -p {} -t '{all}' -v\n", self.broker.ip(), self.broker.port()))
    }

    /// Shows a message. Messages of other clients of the broker, which we cannot read, are skipped.
    pub(crate) fn show(&mut self, event: BrokerEvent, metrics: &Metrics) -> anyhow::Result<()> {
        let BrokerEvent::Message { topic, payload, .. } = event else { return Ok(()) };
        let since = metrics.heard_since.get();
        let offset = |time: Timestamp| since.map_or(0.0, |since| time.duration_since(since).as_secs_f64().max(0.0));
        if topic == self.topics.utterance() {
            if let Ok(ShownUtterance { start, text }) = serde_json::from_slice(&payload) {
                self.entry(offset(start), "", "", &text)?;
            }
        } else if topic == self.topics.interim() {
            if let Ok(interim) = serde_json::from_slice::<ShownInterim>(&payload) {
                self.screen.interim(&minutes(offset(interim.start)), &interim.committed, &interim.tentative)?;
            }
        } else if topic == self.topics.summary() {
            if let Ok(ShownSummary { time, text, sentences }) = serde_json::from_slice(&payload) {
                self.entry(offset(time), CYAN, "summary  ", &text)?;
                self.digests.push(DigestRow { text, evidence: sentences });
            }
        } else if topic == self.topics.alert()
            && let Ok(alert) = serde_json::from_slice::<ShownAlert>(&payload)
        {
            self.alert(offset(alert.time), alert)?;
        }
        Ok(())
    }

    fn alert(&mut self, time_s: f64, alert: ShownAlert) -> anyhow::Result<()> {
        let ShownAlert { rule, phase, probability, evidence, .. } = alert;
        match phase.as_str() {
            "new" => {
                let quotes: Vec<String> = evidence.into_iter().map(|quote| quote.text).collect();
                let evidence = quotes.join(" … ");
                let percent = probability.map_or_else(String::new, |p| format!("{:.0} %  ", p * 100.0));
                self.entry(time_s, BOLD_RED, "ALERT    ", &format!("{rule}  {percent}“{evidence}”"))?;
                self.alerts.push(AlertRow { rule, time_s: round(time_s), probability, evidence });
            }
            "end" => self.entry(time_s, DIM, "over     ", &rule)?,
            _ => {}
        }
        Ok(())
    }

    fn entry(&mut self, time_s: f64, color: &str, label: &str, text: &str) -> anyhow::Result<()> {
        self.screen.entry(&minutes(time_s), color, label, text)
    }

    /// The table at the end.
    pub(crate) fn summary(self, metrics: &Metrics) -> DemoSummary {
        DemoSummary {
            audio_s: round(clock::seconds(metrics.heard_samples.get() as i64)),
            words: metrics.words.get(),
            tokens: metrics.tokens.get(),
            state_bytes: metrics.state_bytes.get(),
            lag_p50_s: metrics.lag.quantile_s(0.5),
            lag_p95_s: metrics.lag.quantile_s(0.95),
            cpu_s: round(cpu_seconds()),
            published: metrics.published.get(),
            acknowledged: metrics.acknowledged.get(),
            alerts: self.alerts,
            digests: self.digests,
        }
    }
}

/// The table at the end; `--json` prints it as one line.
#[derive(Debug, Serialize)]
pub(crate) struct DemoSummary {
    audio_s: f64,
    words: u64,
    tokens: u64,
    state_bytes: u64,
    lag_p50_s: Option<f64>,
    lag_p95_s: Option<f64>,
    cpu_s: f64,
    published: u64,
    acknowledged: u64,
    alerts: Vec<AlertRow>,
    digests: Vec<DigestRow>,
}

#[derive(Debug, Serialize)]
struct AlertRow {
    rule: String,
    /// Seconds from the start of the recording.
    time_s: f64,
    probability: Option<f64>,
    evidence: String,
}

#[derive(Debug, Serialize)]
struct DigestRow {
    text: String,
    /// Its sentences, each with the utterances that it rests on.
    evidence: Vec<GroundedSentence>,
}

impl fmt::Display for DemoSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lag = |s: Option<f64>| s.map_or("–".into(), |s| format!("{s:.2} s"));
        let rows = [
            ("audio heard", format!("{:.1} s", self.audio_s)),
            ("words", self.words.to_string()),
            ("tokens read", self.tokens.to_string()),
            ("state", format!("{} bytes, whatever was heard", self.state_bytes)),
            (
                "lag, from the end of an utterance to its text",
                format!("p50 {}, p95 {}", lag(self.lag_p50_s), lag(self.lag_p95_s)),
            ),
            ("CPU", format!("{:.1} s", self.cpu_s)),
            ("MQTT messages published, acknowledged", format!("{}, {}", self.published, self.acknowledged)),
            ("alerts, summaries", format!("{}, {}", self.alerts.len(), self.digests.len())),
        ];
        let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        rows.iter().try_for_each(|(name, value)| write!(f, "\n{name:width$}  {value}"))
    }
}

/// `mm:ss.s` and two spaces.
fn minutes(seconds: f64) -> String {
    format!("{:02}:{:04.1}  ", (seconds / 60.0) as u32, seconds % 60.0)
}

/// Two digits behind the point.
fn round(x: f64) -> f64 {
    (x * 100.0).round() / 100.0
}
