//! How a running house is: what `hearth status` prints and the page shows.
//!
//! Owns the shape and the wording of the answer. Refuses to decide anything by it. Invariant: what is unknown is absent, not 0.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::DaemonInfo;
use crate::clock;
use crate::event::{Alert, AlertPhase};
use crate::live::LiveSnapshot;
use crate::metrics::{self, Metrics};
use crate::process;

/// A running house at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub node: String,
    pub pid: u32,
    pub time: Timestamp,
    pub uptime_s: f64,
    pub hears: Hears,
    /// None where nothing reads along.
    pub reads: Option<Reads>,
    pub tells: Tells,
    /// The newest summary.
    pub summary: Option<Said>,
    /// Alerts that are on.
    pub alerts: Vec<Alert>,
    pub rss_bytes: u64,
    pub cpu_s: f64,
    /// Where the page is, token included.
    pub page: Option<String>,
}

/// From sound to text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hears {
    /// There is a source of sound.
    pub ears: bool,
    pub listening: bool,
    /// When the microphone opens again by itself; none where it is not paused.
    #[serde(default)]
    pub paused_until: Option<Timestamp>,
    /// Every source is open and delivers.
    pub source_ok: bool,
    pub rooms: BTreeMap<String, Room>,
    pub heard_s: f64,
    /// Sound that was dropped because hearing was too slow.
    pub dropped_s: f64,
    pub utterances: u64,
    pub words: u64,
    /// Segments that were refused, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// Seconds from the end of an utterance to its text: the last, and the quantiles since the start.
    pub lag_s: Option<f64>,
    pub lag_p50_s: Option<f64>,
    pub lag_p95_s: Option<f64>,
    /// What is being said, by room.
    pub saying: BTreeMap<String, Said>,
    pub last: Option<Said>,
    /// What other machines heard; none where that is not taken.
    pub others: Option<Others>,
}

/// From the broker to text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Others {
    pub taken: u64,
    /// What came again.
    pub repeated: u64,
    /// What was nothing that a machine heard.
    pub refused: u64,
}

/// How a room is heard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Room {
    pub delivers: bool,
    /// Root mean square of the last second, in decibels of full scale.
    pub level_db: f32,
    /// Sound at the end of the scale.
    pub clipped_s: f64,
    /// Nothing but the same number comes: a microphone that is dead, or muted at itself.
    pub dead: bool,
}

/// From text to the state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reads {
    /// Tokens the state has read since it was made.
    pub tokens: u64,
    /// Utterances it has not read yet.
    pub unread: u64,
    pub state_bytes: u64,
    pub us_per_token: Option<f64>,
}

/// From the outbox to the broker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tells {
    pub broker: String,
    pub connected: bool,
    pub waiting: u64,
    pub acknowledged: u64,
    /// Messages given up because too many waited.
    pub given_up: u64,
    /// The disk takes what is written.
    pub store_ok: bool,
    /// What was to be forgotten is gone from every file.
    #[serde(default = "yes")]
    pub forget_ok: bool,
}

fn yes() -> bool {
    true
}

/// A text with its time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Said {
    pub time: Timestamp,
    pub text: String,
}

impl Status {
    pub(super) fn of(about: &DaemonInfo, metrics: &Metrics, recent: &LiveSnapshot, uptime: Duration) -> Self {
        let on = |alert: &&Alert| alert.phase != AlertPhase::End;
        let others = about.gathers.then(|| Others {
            taken: metrics.others_taken.get(),
            repeated: metrics.others_repeated.get(),
            refused: metrics.others_refused.get(),
        });
        let hears = Hears {
            ears: about.hears,
            listening: metrics.listening.get(),
            paused_until: metrics.paused_until.get(),
            source_ok: metrics.microphone_ok.get(),
            rooms: metrics.rooms.each().into_iter().map(|(name, room)| (name.to_string(), Room::of(&room))).collect(),
            heard_s: clock::seconds(metrics.heard_samples.get() as i64),
            dropped_s: clock::seconds(metrics.dropped_samples.get() as i64),
            utterances: metrics.utterances.get(),
            words: metrics.words.get(),
            rejected: rejected(metrics),
            lag_s: metrics.lag.quantile_s(0.5).map(|_| metrics.lag.last_s()),
            lag_p50_s: metrics.lag.quantile_s(0.5),
            lag_p95_s: metrics.lag.quantile_s(0.95),
            saying: recent
                .hypotheses
                .iter()
                .map(|(room, said)| (room.clone(), Said { time: said.start, text: said.text() }))
                .collect(),
            last: recent.utterances.back().map(|u| Said { time: u.start, text: u.text.clone() }),
            others,
        };
        let token_ns = metrics.token_ns.get();
        let reads = about.reads.then(|| Reads {
            tokens: metrics.tokens.get(),
            unread: metrics.unread.get(),
            state_bytes: metrics.state_bytes.get(),
            us_per_token: (token_ns > 0).then_some(token_ns as f64 / 1e3),
        });
        let tells = Tells {
            broker: about.broker.clone(),
            connected: metrics.connected.get(),
            waiting: metrics.outbox.get(),
            acknowledged: metrics.acknowledged.get(),
            given_up: metrics.outbox_dropped.get(),
            store_ok: !metrics.store_refuses.get(),
            forget_ok: !metrics.forget_incomplete.get(),
        };
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            node: about.node.clone(),
            pid: std::process::id(),
            time: Timestamp::now(),
            uptime_s: uptime.as_secs_f64(),
            hears,
            reads,
            tells,
            summary: recent.digests.back().map(|d| Said { time: d.time, text: d.line() }),
            alerts: recent.alerts.iter().filter(on).cloned().collect(),
            rss_bytes: process::resident_bytes(),
            cpu_s: process::cpu_seconds(),
            page: about.page.clone(),
        }
    }

    /// For the page itself, which has no need of its token.
    pub(super) fn without_page(self) -> Self {
        Self { page: None, ..self }
    }
}

impl Room {
    fn of(room: &metrics::RoomMetrics) -> Self {
        Self {
            delivers: room.delivers.get(),
            level_db: room.level.db(),
            clipped_s: clock::seconds(room.clipped_samples.get() as i64),
            dead: room.dead.get(),
        }
    }
}

/// Segments that were refused, by reason; reasons that never were are left out.
pub(super) fn rejected(metrics: &Metrics) -> BTreeMap<String, u64> {
    let by = &metrics.rejected_by;
    let reasons = [
        ("too_short", &by.too_short),
        ("too_fast", &by.too_fast),
        ("no_speech", &by.no_speech),
        ("repetition", &by.repetition),
        ("no_words", &by.no_words),
    ];
    reasons.into_iter().filter(|(_, n)| n.get() > 0).map(|(reason, n)| (reason.to_string(), n.get())).collect()
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, node, pid, time, hears, tells, .. } = self;
        writeln!(f, "hearth {version} at {node}, process {pid}, up {}", span(self.uptime_s))?;
        let ears = match (hears.ears, hears.listening, hears.source_ok) {
            (false, _, _) => "without ears".into(),
            (true, false, _) => match hears.paused_until {
                Some(until) => format!("paused until {}", local(until, *time)),
                None => "muted".into(),
            },
            (true, true, true) => "listening".to_string(),
            (true, true, false) => "waiting for the source of sound".into(),
        };
        write!(f, "hears    {ears}; {} utterances, {} words", hears.utterances, hears.words)?;
        if let (Some(last), Some(p95)) = (hears.lag_s, hears.lag_p95_s) {
            write!(f, "; lag {last:.1} s, p95 {p95:.1} s")?;
        }
        if hears.dropped_s > 0.0 {
            write!(f, "; {:.0} s of sound were dropped", hears.dropped_s)?;
        }
        writeln!(f)?;
        for (name, room) in &hears.rooms {
            let trouble = match (room.delivers, room.dead) {
                _ if !hears.listening => continue,
                (false, _) => "its source delivers nothing",
                (true, true) => "its microphone is dead, or muted at itself",
                (true, false) => continue,
            };
            writeln!(f, "         {name}: {trouble}")?;
        }
        if let Some(Others { taken, repeated, refused }) = &hears.others {
            write!(f, "         {taken} utterances and gaps of other machines")?;
            if *repeated > 0 {
                write!(f, "; {repeated} came again")?;
            }
            if *refused > 0 {
                write!(f, "; {refused} messages were none")?;
            }
            writeln!(f)?;
        }
        if let Some(last) = &hears.last {
            writeln!(f, "         {} ago: {}", span(time.duration_since(last.time).as_secs_f64()), last.text)?;
        }
        for (room, said) in &hears.saying {
            writeln!(f, "         now, {room}: {} …", said.text)?;
        }
        match &self.reads {
            None => writeln!(f, "reads    nothing: [listener] enabled = false")?,
            Some(reads) => {
                write!(f, "reads    {} tokens", reads.tokens)?;
                if reads.unread > 0 {
                    write!(f, ", {} utterances behind", reads.unread)?;
                }
                if let Some(us) = reads.us_per_token {
                    write!(f, "; {us:.0} µs a token")?;
                }
                writeln!(f, "; a state of {} KiB, as ever", reads.state_bytes >> 10)?;
            }
        }
        let link = if tells.connected { "connected to" } else { "waiting for" };
        write!(f, "tells    {link} {}; {} waiting, {} acknowledged", tells.broker, tells.waiting, tells.acknowledged)?;
        if tells.given_up > 0 {
            write!(f, ", {} given up", tells.given_up)?;
        }
        writeln!(f)?;
        if !tells.store_ok {
            writeln!(f, "store    takes nothing: the disk is full or read-only, and what is heard waits")?;
        }
        if !tells.forget_ok {
            writeln!(f, "forget   not complete: a file may still hold what was to be forgotten; the log says which")?;
        }
        if let Some(summary) = &self.summary {
            writeln!(f, "summary  {}  {}", local(summary.time, *time), summary.text)?;
        }
        for alert in &self.alerts {
            let quoted = alert.evidence.last().map(|e| format!(" “{}”", e.text)).unwrap_or_default();
            writeln!(f, "ALERT    {} since {}{quoted}", alert.rule, local(alert.time, *time))?;
        }
        writeln!(f, "costs    {} MiB of memory, {} of processor time", self.rss_bytes >> 20, span(self.cpu_s))?;
        if let Some(page) = &self.page {
            writeln!(f, "page     {page}")?;
        }
        Ok(())
    }
}

/// A time as a person says it: with the day, if it is not within half a day.
fn local(time: Timestamp, now: Timestamp) -> String {
    let format =
        if now.duration_since(time).abs() < SignedDuration::from_hours(12) { "%H:%M" } else { "%a %d %b %H:%M" };
    time.to_zoned_datetime(TimeZone::system()).strftime(format).to_string()
}

fn span(seconds: f64) -> String {
    let s = seconds.max(0.0) as u64;
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min", s / 60),
        3600..86_400 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3600),
    }
}
