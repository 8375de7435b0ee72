//! The status of the running daemon: what `hearth status` prints and the web page shows.
//!
//! The fields are JSON keys on the control socket and the page. A value that is not known is absent, not 0.

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

/// The daemon at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) version: String,
    pub(crate) node: String,
    pub(crate) pid: u32,
    pub(crate) time: Timestamp,
    pub(crate) uptime_s: f64,
    pub(crate) hears: HearingStatus,
    /// None without the language model.
    pub(crate) reads: Option<ListenerStatus>,
    pub(crate) tells: PublishingStatus,
    /// The newest summary.
    pub(crate) summary: Option<TimedText>,
    /// Alerts that are on.
    pub(crate) alerts: Vec<Alert>,
    pub(crate) rss_bytes: u64,
    pub(crate) cpu_s: f64,
    /// The address of the web page, with its token.
    pub(crate) page: Option<String>,
}

/// From audio to text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct HearingStatus {
    /// There is a source of audio.
    pub(crate) ears: bool,
    pub(crate) listening: bool,
    /// When the microphone opens again by itself; None if it is not paused.
    #[serde(default)]
    pub(crate) paused_until: Option<Timestamp>,
    /// Every source is open and delivers.
    pub(crate) source_ok: bool,
    pub(crate) rooms: BTreeMap<String, RoomStatus>,
    pub(crate) heard_s: f64,
    /// Seconds of audio that were dropped because transcription was too slow.
    pub(crate) dropped_s: f64,
    pub(crate) utterances: u64,
    pub(crate) words: u64,
    /// Segments that the filter rejected, by reason.
    pub(crate) rejected: BTreeMap<String, u64>,
    /// Seconds from the end of an utterance until its text is stored: the last, and quantiles since the start.
    pub(crate) lag_s: Option<f64>,
    pub(crate) lag_p50_s: Option<f64>,
    pub(crate) lag_p95_s: Option<f64>,
    /// Text of speech that has not ended yet, by room.
    pub(crate) saying: BTreeMap<String, TimedText>,
    pub(crate) last: Option<TimedText>,
    /// Utterances and gaps of other machines; None if they are not taken.
    pub(crate) others: Option<RemoteStatus>,
}

/// Events of other machines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RemoteStatus {
    pub(crate) taken: u64,
    /// Received again.
    pub(crate) repeated: u64,
    /// Neither an utterance nor a gap.
    pub(crate) refused: u64,
}

/// The audio of a room.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RoomStatus {
    pub(crate) delivers: bool,
    /// Root mean square of the last second, in decibels of full scale.
    pub(crate) level_db: f32,
    /// Seconds of audio at full scale.
    pub(crate) clipped_s: f64,
    /// All samples are equal: the microphone is dead, or muted by its own switch.
    pub(crate) dead: bool,
}

/// From text to the model's state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ListenerStatus {
    /// Tokens the state has read since it was created.
    pub(crate) tokens: u64,
    /// Utterances it has not read yet.
    pub(crate) unread: u64,
    pub(crate) state_bytes: u64,
    pub(crate) us_per_token: Option<f64>,
}

/// From the outbox to the broker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PublishingStatus {
    pub(crate) broker: String,
    pub(crate) connected: bool,
    pub(crate) waiting: u64,
    pub(crate) acknowledged: u64,
    /// Messages dropped because too many waited.
    pub(crate) given_up: u64,
    /// The longest packet that the broker takes, where that is known.
    #[serde(default)]
    pub(crate) packet_limit: Option<u64>,
    /// Messages that are longer and wait.
    #[serde(default)]
    pub(crate) too_long: u64,
    /// The store can be written.
    pub(crate) store_ok: bool,
    /// No file still holds text that was to be forgotten.
    #[serde(default = "yes")]
    pub(crate) forget_ok: bool,
    /// Commands come through from the broker.
    #[serde(default = "yes")]
    pub(crate) commands_ok: bool,
}

fn yes() -> bool {
    true
}

/// A text and its time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TimedText {
    pub(crate) time: Timestamp,
    pub(crate) text: String,
}

impl Status {
    pub(super) fn of(about: &DaemonInfo, metrics: &Metrics, recent: &LiveSnapshot, uptime: Duration) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            node: about.node.clone(),
            pid: std::process::id(),
            time: Timestamp::now(),
            uptime_s: uptime.as_secs_f64(),
            hears: HearingStatus::of(about, metrics, recent),
            reads: about.reads.then(|| ListenerStatus::of(metrics)),
            tells: PublishingStatus::of(about, metrics),
            summary: recent.digests.back().map(|d| TimedText { time: d.time, text: d.line() }),
            alerts: recent.alerts.iter().filter(|alert| alert.phase != AlertPhase::End).cloned().collect(),
            rss_bytes: process::resident_bytes(),
            cpu_s: process::cpu_seconds(),
            page: about.page.clone(),
        }
    }

    /// Without the address of the page: the page itself needs no token.
    pub(super) fn without_page(self) -> Self {
        Self { page: None, ..self }
    }
}

impl HearingStatus {
    fn of(about: &DaemonInfo, metrics: &Metrics, recent: &LiveSnapshot) -> Self {
        Self {
            ears: about.hears,
            listening: metrics.listening.get(),
            paused_until: metrics.paused_until.get(),
            source_ok: metrics.microphone_ok.get(),
            rooms: metrics
                .rooms
                .each()
                .into_iter()
                .map(|(name, room)| (name.to_string(), RoomStatus::of(metrics, &room)))
                .collect(),
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
                .map(|(room, said)| (room.clone(), TimedText { time: said.start, text: said.text() }))
                .collect(),
            last: recent.utterances.back().map(|u| TimedText { time: u.start, text: u.text.clone() }),
            others: about.gathers.then(|| RemoteStatus::of(metrics)),
        }
    }
}

impl RemoteStatus {
    fn of(metrics: &Metrics) -> Self {
        Self {
            taken: metrics.others_taken.get(),
            repeated: metrics.others_repeated.get(),
            refused: metrics.others_refused.get(),
        }
    }
}

impl ListenerStatus {
    fn of(metrics: &Metrics) -> Self {
        let token_ns = metrics.token_ns.get();
        Self {
            tokens: metrics.tokens.get(),
            unread: metrics.unread.get(),
            state_bytes: metrics.state_bytes.get(),
            us_per_token: if token_ns > 0 { Some(token_ns as f64 / 1e3) } else { None },
        }
    }
}

impl PublishingStatus {
    fn of(about: &DaemonInfo, metrics: &Metrics) -> Self {
        Self {
            broker: about.broker.clone(),
            connected: metrics.connected.get(),
            waiting: metrics.outbox.get(),
            acknowledged: metrics.acknowledged.get(),
            given_up: metrics.outbox_dropped.get(),
            packet_limit: Some(metrics.packet_limit.get()).filter(|bytes| *bytes > 0),
            too_long: metrics.too_long.get(),
            store_ok: !metrics.store_refuses.get(),
            forget_ok: !metrics.forget_incomplete.get(),
            commands_ok: metrics.commands_ok.get(),
        }
    }
}

impl RoomStatus {
    fn of(metrics: &Metrics, room: &metrics::RoomMetrics) -> Self {
        let (level_db, dead) = metrics.sound_of(room);
        Self {
            delivers: room.delivers.get(),
            level_db,
            clipped_s: clock::seconds(room.clipped_samples.get() as i64),
            dead,
        }
    }
}

/// Rejected segments by reason; reasons with none are left out.
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
        let Self { version, node, pid, time, .. } = self;
        writeln!(f, "hearth {version} at {node}, process {pid}, up {}", span(self.uptime_s))?;
        self.hears.write(f, *time)?;
        match &self.reads {
            None => writeln!(f, "reads    nothing: [listener] enabled = false")?,
            Some(reads) => reads.write(f)?,
        }
        self.tells.write(f)?;
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

impl HearingStatus {
    fn write(&self, f: &mut fmt::Formatter<'_>, now: Timestamp) -> fmt::Result {
        let ears = match (self.ears, self.listening, self.source_ok) {
            (false, _, _) => "without a microphone".into(),
            (true, false, _) => match self.paused_until {
                Some(until) => format!("paused until {}", local(until, now)),
                None => "muted".into(),
            },
            (true, true, true) => "listening".to_string(),
            (true, true, false) => "waiting for the source of sound".into(),
        };
        write!(f, "hears    {ears}; {} utterances, {} words", self.utterances, self.words)?;
        if let (Some(last), Some(p95)) = (self.lag_s, self.lag_p95_s) {
            write!(f, "; lag {last:.1} s, p95 {p95:.1} s")?;
        }
        if self.dropped_s > 0.0 {
            write!(f, "; {:.0} s of sound were dropped", self.dropped_s)?;
        }
        writeln!(f)?;
        for (name, room) in &self.rooms {
            let trouble = match (room.delivers, room.dead) {
                _ if !self.listening => continue,
                (false, _) => "its source delivers nothing",
                (true, true) => "its microphone is dead, or muted at itself",
                (true, false) => continue,
            };
            writeln!(f, "         {name}: {trouble}")?;
        }
        if let Some(RemoteStatus { taken, repeated, refused }) = &self.others {
            write!(f, "         {taken} utterances and gaps of other machines")?;
            if *repeated > 0 {
                write!(f, "; {repeated} came again")?;
            }
            if *refused > 0 {
                write!(f, "; {refused} messages were none")?;
            }
            writeln!(f)?;
        }
        if let Some(last) = &self.last {
            writeln!(f, "         {} ago: {}", span(now.duration_since(last.time).as_secs_f64()), last.text)?;
        }
        for (room, said) in &self.saying {
            writeln!(f, "         now, {room}: {} …", said.text)?;
        }
        Ok(())
    }
}

impl ListenerStatus {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "reads    {} tokens", self.tokens)?;
        if self.unread > 0 {
            write!(f, ", {} utterances behind", self.unread)?;
        }
        if let Some(us) = self.us_per_token {
            write!(f, "; {us:.0} µs a token")?;
        }
        writeln!(f, "; a state of {} KiB, as ever", self.state_bytes >> 10)
    }
}

impl PublishingStatus {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let link = if self.connected { "connected to" } else { "waiting for" };
        write!(f, "tells    {link} {}; {} waiting, {} acknowledged", self.broker, self.waiting, self.acknowledged)?;
        if self.given_up > 0 {
            write!(f, ", {} given up", self.given_up)?;
        }
        writeln!(f)?;
        if let Some(bytes) = self.packet_limit {
            let longer = match self.too_long {
                0 => "longer texts are cut".to_string(),
                n => format!("{n} that cannot be cut stay here; the log names them"),
            };
            writeln!(f, "         packets of at most {bytes} bytes, which is what the broker takes: {longer}")?;
        }
        if self.connected && !self.commands_ok {
            writeln!(
                f,
                "commands do not come through from the broker: if this lasts, the log says what its access list lacks"
            )?;
        }
        if !self.store_ok {
            writeln!(f, "store    takes nothing: the disk is full or read-only, and what is heard waits")?;
        }
        if !self.forget_ok {
            writeln!(f, "forget   not complete: a file may still hold what was to be forgotten; the log says which")?;
        }
        Ok(())
    }
}

/// The local time of day, with the date if it is more than 12 hours away.
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
