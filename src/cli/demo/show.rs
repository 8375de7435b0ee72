//! What a person sees of the demo, and the table at its end.

use std::fmt;
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::mqtt::client::BrokerEvent;
use crate::mqtt::topics::Topics;
use crate::process::cpu_seconds;
use crate::{clock, metrics::Metrics};

/// Columns of a terminal that text is wrapped to.
const WIDTH: usize = 100;

/// What of a message is shown; the rest of its fields are for machines.
#[derive(Deserialize)]
struct Utterance {
    start: Timestamp,
    text: String,
}

#[derive(Deserialize)]
struct Interim {
    start: Timestamp,
    committed: String,
    tentative: String,
}

#[derive(Deserialize)]
struct Alert {
    rule: String,
    phase: String,
    time: Timestamp,
    probability: Option<f64>,
    evidence: Vec<Quote>,
}

#[derive(Deserialize)]
struct Quote {
    text: String,
}

#[derive(Deserialize)]
struct Summary {
    time: Timestamp,
    text: String,
}

/// The stage, and what was played on it so far.
pub struct Show {
    topics: Topics,
    /// Standard output is for the JSON line; what people see goes beside it.
    aside: bool,
    colours: bool,
    length_s: Option<f64>,
    broker: SocketAddr,
    /// The line the cursor is in shows what is being said; the next takes its place.
    saying: bool,
    alerts: Vec<AlertRow>,
    summaries: Vec<SummaryRow>,
}

impl Show {
    pub fn new(topics: Topics, aside: bool, length_s: Option<f64>, broker: SocketAddr) -> Self {
        let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { topics, aside, colours, length_s, broker, saying: false, alerts: Vec::new(), summaries: Vec::new() }
    }

    pub fn begin(&mut self, fast: bool) {
        let length = self.length_s.map_or_else(String::new, |s| format!("{s:.0} s of "));
        let pace = if fast { "as fast as this machine can" } else { "at the pace of the room" };
        self.line(&format!("hearth hears {length}a household, {pace}. What you see came over MQTT; to see it raw:"));
        let (port, all) = (self.broker.port(), self.topics.command("#"));
        self.line(&format!("  mosquitto_sub -h {} -p {port} -t '{all}' -v\n", self.broker.ip()));
    }

    /// Shows a message. One that is none of ours is somebody else's on our broker.
    pub fn see(&mut self, event: BrokerEvent, metrics: &Metrics) {
        let BrokerEvent::Message { topic, payload, .. } = event else { return };
        let since = metrics.heard_since.get();
        let at = |time: Timestamp| since.map_or(0.0, |since| time.duration_since(since).as_secs_f64().max(0.0));
        if topic == self.topics.utterance() {
            if let Ok(Utterance { start, text }) = serde_json::from_slice(&payload) {
                self.tell(at(start), "", "", &text);
            }
        } else if topic == self.topics.interim() {
            if let Ok(said) = serde_json::from_slice(&payload) {
                self.say(at, said);
            }
        } else if topic == self.topics.summary() {
            if let Ok(Summary { time, text }) = serde_json::from_slice(&payload) {
                self.tell(at(time), "\x1b[36m", "summary  ", &text);
                self.summaries.push(SummaryRow { text });
            }
        } else if topic == self.topics.alert()
            && let Ok(alert) = serde_json::from_slice::<Alert>(&payload)
        {
            self.alert(at(alert.time), alert);
        }
    }

    fn alert(&mut self, time_s: f64, alert: Alert) {
        let Alert { rule, phase, probability, evidence, .. } = alert;
        match phase.as_str() {
            "new" => {
                let evidence: Vec<String> = evidence.into_iter().map(|quote| quote.text).collect();
                let evidence = evidence.join(" … ");
                let sure = probability.map_or_else(String::new, |p| format!("{:.0} %  ", p * 100.0));
                self.tell(time_s, "\x1b[1;31m", "ALERT    ", &format!("{rule}  {sure}“{evidence}”"));
                self.alerts.push(AlertRow { rule, time_s: round(time_s), probability, evidence });
            }
            "end" => self.tell(time_s, "\x1b[2m", "over     ", &rule),
            _ => {}
        }
    }

    /// Shows what is being said, as far as it fits into a line, where the next line will be.
    fn say(&mut self, at: impl Fn(Timestamp) -> f64, Interim { start, committed, tentative }: Interim) {
        self.wipe();
        let head = minutes(at(start));
        let tentative: String = tentative.chars().take(WIDTH - head.len()).collect();
        let (known, mut room) =
            (committed.chars().count(), WIDTH.saturating_sub(head.len() + tentative.chars().count() + 1));
        let mark = if known > room { "…" } else { "" };
        room -= mark.len().min(room);
        let committed: String = committed.chars().skip(known.saturating_sub(room)).collect();
        self.saying = known > 0 || !tentative.is_empty();
        if self.saying {
            let (on, off) = if self.colours { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
            print!("{head}{mark}{committed} {on}{tentative}{off}");
            let _ = std::io::stdout().flush();
        }
    }

    fn wipe(&mut self) {
        if std::mem::take(&mut self.saying) {
            print!("\r\x1b[2K");
        }
    }

    fn tell(&mut self, at: f64, colour: &str, label: &str, text: &str) {
        let head = minutes(at);
        let indent = " ".repeat(head.len() + label.len());
        let (on, off) = if self.colours && !colour.is_empty() { (colour, "\x1b[0m") } else { ("", "") };
        let text = wrap(text, WIDTH - indent.len()).join(&format!("\n{indent}"));
        self.line(&format!("{head}{on}{label}{text}{off}"));
    }

    fn line(&mut self, line: &str) {
        self.wipe();
        if self.aside {
            eprintln!("{line}");
        } else {
            println!("{line}");
        }
    }

    /// What it came to.
    pub fn table(self, metrics: &Metrics) -> Table {
        Table {
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
            summaries: self.summaries,
        }
    }
}

/// The table at the end; `--json` prints it as one line.
#[derive(Debug, Serialize)]
pub struct Table {
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
    summaries: Vec<SummaryRow>,
}

#[derive(Debug, Serialize)]
struct AlertRow {
    rule: String,
    /// From the start of the recording.
    time_s: f64,
    probability: Option<f64>,
    evidence: String,
}

#[derive(Debug, Serialize)]
struct SummaryRow {
    text: String,
}

impl fmt::Display for Table {
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
            ("alerts, summaries", format!("{}, {}", self.alerts.len(), self.summaries.len())),
        ];
        let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        rows.iter().try_for_each(|(name, value)| write!(f, "\n{name:width$}  {value}"))
    }
}

fn minutes(seconds: f64) -> String {
    format!("{:02}:{:04.1}  ", (seconds / 60.0) as u32, seconds % 60.0)
}

fn round(x: f64) -> f64 {
    (x * 100.0).round() / 100.0
}

/// Breaks text at spaces into lines of at most `width` characters where its words allow it.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always a line");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.into());
        }
    }
    lines
}
