//! The status of the running daemon: what `hearth status` prints ([`text`]) and the web page shows.
//!
//! The fields are JSON keys on the control socket and the page. A value that is not known is absent, not 0.

mod text;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{DaemonInfo, Holdings};
use crate::clock;
use crate::event::{Alert, AlertPhase};
use crate::live::LiveSnapshot;
use crate::metrics::{self, Metrics, StateHealth};
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
    #[serde(default)]
    pub(crate) holds: Holdings,
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
    /// What the model is called.
    #[serde(default)]
    pub(crate) model: Option<String>,
    /// Tokens the state has read since it was created.
    pub(crate) tokens: u64,
    /// Utterances it has not read yet.
    pub(crate) unread: u64,
    pub(crate) state_bytes: u64,
    pub(crate) us_per_token: Option<f64>,
    /// When the state was made.
    #[serde(default)]
    pub(crate) since: Option<Timestamp>,
    #[serde(default)]
    pub(crate) state: StateHealth,
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
    /// What the broker's access list must let hearth do, where they do not.
    #[serde(default)]
    pub(crate) commands_needed: Option<String>,
    /// By name.
    #[serde(default)]
    pub(crate) webhooks: BTreeMap<String, WebhookStatus>,
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

/// What goes to a webhook. All but what waits are counts since the start, except for what was given up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct WebhookStatus {
    pub(crate) waiting: u64,
    pub(crate) sent: u64,
    /// Attempts.
    pub(crate) failed: u64,
    pub(crate) dropped: u64,
    /// Why the last attempt failed.
    pub(crate) error: Option<String>,
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
            reads: about.model.as_ref().map(|model| ListenerStatus::of(model, metrics)),
            tells: PublishingStatus::of(about, metrics),
            summary: recent.digests.back().map(|d| TimedText { time: d.time, text: d.line() }),
            alerts: recent.alerts.iter().filter(|alert| alert.phase != AlertPhase::End).cloned().collect(),
            rss_bytes: process::resident_bytes(),
            cpu_s: process::cpu_seconds(),
            page: about.page.clone(),
            holds: about.holds.clone(),
        }
    }

    /// What the page may see: not its own token, and nothing of the machine's files.
    pub(super) fn for_the_page(self) -> Self {
        Self { page: None, holds: Holdings::default(), ..self }
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
    fn of(model: &str, metrics: &Metrics) -> Self {
        let token_ns = metrics.token_ns.get();
        Self {
            model: Some(model.into()),
            tokens: metrics.tokens.get(),
            unread: metrics.unread.get(),
            state_bytes: metrics.state_bytes.get(),
            us_per_token: if token_ns > 0 { Some(token_ns as f64 / 1e3) } else { None },
            since: metrics.state_since.get(),
            state: metrics.state.get(),
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
            commands_needed: metrics.commands_needed.get(),
            webhooks: metrics
                .webhooks
                .each()
                .into_iter()
                .map(|(name, hook)| (name.to_string(), WebhookStatus::of(&hook)))
                .collect(),
        }
    }
}

impl WebhookStatus {
    fn of(hook: &metrics::WebhookMetrics) -> Self {
        Self {
            waiting: hook.waiting.get(),
            sent: hook.sent.get(),
            failed: hook.failed.get(),
            dropped: hook.dropped.get(),
            error: hook.error.get(),
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
