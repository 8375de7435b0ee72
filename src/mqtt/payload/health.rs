//! The metrics of each part as a message.

use serde_json::{Map, Value, json};

use super::{MessageHeader, message, rounded};
use crate::event::{Message, Provenance};
use crate::metrics::Metrics;
use crate::mqtt::topics::Topics;

/// Resources that this process uses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessUsage {
    /// Share of one core since the last health message, in percent.
    pub cpu_percent: f64,
    /// Resident memory.
    pub memory_mib: f64,
    /// Since the start of the process.
    pub uptime_s: f64,
}

/// The metrics of each part, retained.
pub fn health(topics: &Topics, header: MessageHeader, metrics: &Metrics, cost: ProcessUsage) -> Message {
    let samples = |n: u64| rounded(crate::clock::seconds(i64::try_from(n).unwrap_or(i64::MAX)));
    let age_s = metrics.state_since.get().map_or(0.0, |since| header.time.duration_since(since).as_secs_f64().max(0.0));
    let rejected = &metrics.rejected_by;
    let rejected_by = json!({
        "too_short": rejected.too_short.get(),
        "too_fast": rejected.too_fast.get(),
        "no_speech": rejected.no_speech.get(),
        "repetition": rejected.repetition.get(),
        "no_words": rejected.no_words.get(),
    });
    let rooms = metrics.rooms.each().into_iter().map(|(name, room)| {
        let (level_db, dead) = metrics.sound_of(&room);
        let state = json!({
            "ok": room.delivers.get(),
            "level_db": rounded(level_db.into()),
            "clipped_s": samples(room.clipped_samples.get()),
            "dead": dead,
        });
        (name.to_string(), state)
    });
    let rooms: Map<String, Value> = rooms.collect();
    let webhooks = metrics.webhooks.each().into_iter().map(|(name, hook)| {
        let state = json!({
            "waiting": hook.waiting.get(),
            "sent": hook.sent.get(),
            "failed": hook.failed.get(),
            "dropped": hook.dropped.get(),
            "error": hook.error.get(),
        });
        (name.to_string(), state)
    });
    let webhooks: Map<String, Value> = webhooks.collect();
    let state = metrics.state.get();
    let body = json!({
        "listening": metrics.listening.get(),
        "microphone_ok": metrics.microphone_ok.get(),
        "rooms": rooms,
        "heard_s": samples(metrics.heard_samples.get()),
        "decoded_s": samples(metrics.decoded_samples.get()),
        "dropped_s": samples(metrics.dropped_samples.get()),
        "utterances": metrics.utterances.get(),
        "words": metrics.words.get(),
        "rejected": metrics.rejected.get(),
        "rejected_by": rejected_by,
        "sentences": json!({
            "told": metrics.sentences.told.get(),
            "dropped": metrics.sentences.dropped.get(),
            "repeated": metrics.sentences.repeated.get(),
            "softened": metrics.sentences.softened.get(),
        }),
        "lag_s": rounded(metrics.lag.last_s()),
        "others": {
            "taken": metrics.others_taken.get(),
            "repeated": metrics.others_repeated.get(),
            "refused": metrics.others_refused.get(),
        },
        "tokens": metrics.tokens.get(),
        "state_age_s": rounded(age_s),
        "state_bytes": metrics.state_bytes.get(),
        "surprise": state.surprise,
        "renewal": state.renewal,
        "unread": metrics.unread.get(),
        "asked": metrics.asked.get(),
        "digests_given_up": metrics.digests_given_up.get(),
        "published": metrics.published.get(),
        "acknowledged": metrics.acknowledged.get(),
        "commands_ok": metrics.commands_ok.get(),
        "commands_needed": metrics.commands_needed.get(),
        "store_ok": !metrics.store_refuses.get(),
        "forget_ok": !metrics.forget_incomplete.get(),
        "outbox": metrics.outbox.get(),
        "outbox_dropped": metrics.outbox_dropped.get(),
        "packet_limit": Some(metrics.packet_limit.get()).filter(|bytes| *bytes > 0),
        "too_long": metrics.too_long.get(),
        "webhooks": webhooks,
        "cpu_percent": rounded(cost.cpu_percent),
        "memory_mib": rounded(cost.memory_mib),
        "uptime_s": rounded(cost.uptime_s),
    });
    message(topics.health(), true, header, body, Provenance::Nothing)
}
