//! The metrics as OpenMetrics text, for Prometheus: <https://prometheus.io/docs/instrumenting/exposition_formats/>.
//!
//! Only numbers and names (of rules, rooms, this machine) are shown, never text that was said.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::Api;
use super::status::rejected;
use crate::clock;
use crate::process;

/// The value of the HTTP header `Content-Type`.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics, as they are now.
pub(crate) fn text(api: &Arc<Api>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(MetricsCollector(api.clone())));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("a String takes every text");
    text
}

struct MetricsCollector(Arc<Api>);

impl fmt::Debug for MetricsCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MetricsCollector")
    }
}

impl Collector for MetricsCollector {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        self.gauges(&mut to)?;
        self.counters(&mut to)?;
        self.labeled(&mut to)
    }
}

impl MetricsCollector {
    fn gauges(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let metrics = &self.0.metrics;
        let mut gauge = |name, help, value: f64| single(to, name, help, &ConstGauge::new(value));
        gauge("hearth_listening", "1 while the room is not muted", flag(metrics.listening.get()))?;
        gauge("hearth_source_ok", "1 while a source of sound delivers", flag(metrics.microphone_ok.get()))?;
        gauge("hearth_commands_ok", "1 while commands come through from the broker", flag(metrics.commands_ok.get()))?;
        gauge("hearth_connected", "1 while a broker is connected", flag(metrics.connected.get()))?;
        gauge("hearth_store_ok", "1 while the disk takes what is written", flag(!metrics.store_refuses.get()))?;
        gauge("hearth_outbox_messages", "Messages that wait for the broker", metrics.outbox.get() as f64)?;
        gauge(
            "hearth_packet_limit_bytes",
            "Longest packet the broker takes, 0 if unknown",
            metrics.packet_limit.get() as f64,
        )?;
        gauge(
            "hearth_too_long_messages",
            "Messages that are longer than the broker takes",
            metrics.too_long.get() as f64,
        )?;
        gauge("hearth_unread_utterances", "Utterances the state has not read yet", metrics.unread.get() as f64)?;
        gauge("hearth_state_bytes", "Size of the state", metrics.state_bytes.get() as f64)?;
        gauge("hearth_token_seconds", "What reading a token took lately", metrics.token_ns.get() as f64 / 1e9)?;
        gauge("hearth_state_tokens", "Tokens the state has read since it was made", metrics.tokens.get() as f64)?;
        gauge("process_resident_memory_bytes", "Memory of the process", process::resident_bytes() as f64)
    }

    fn counters(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let metrics = &self.0.metrics;
        let seconds = |samples: u64| clock::seconds(samples as i64);
        let mut count = |name, help, value: f64| single(to, name, help, &ConstCounter::new(value));
        count("hearth_heard_seconds", "Sound that went through voice detection", seconds(metrics.heard_samples.get()))?;
        count("hearth_decoded_seconds", "Sound that was given to Whisper", seconds(metrics.decoded_samples.get()))?;
        count("hearth_dropped_seconds", "Sound that was dropped", seconds(metrics.dropped_samples.get()))?;
        count("hearth_utterances", "Utterances", metrics.utterances.get() as f64)?;
        count("hearth_words", "Words of utterances", metrics.words.get() as f64)?;
        let state = metrics.state.get();
        count("hearth_outstanding_utterances", "Utterances that stood out", state.surprise.outstanding as f64)?;
        count("hearth_renewals", "Fresh states that took the place of another", state.renewal.count as f64)?;
        count("hearth_acknowledged_messages", "Messages the broker has", metrics.acknowledged.get() as f64)?;
        count("hearth_given_up_messages", "Messages that were too many", metrics.outbox_dropped.get() as f64)?;
        count("process_cpu_seconds", "Processor time of the process", process::cpu_seconds())
    }

    /// Metrics with a label: by room, quantile, reason and rule.
    fn labeled(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let metrics = &self.0.metrics;
        let rooms = metrics.rooms.each();
        let levels =
            rooms.iter().map(|(name, room)| (name.to_string(), ConstGauge::new(f64::from(metrics.sound_of(room).0))));
        family(to, "hearth_level_db", "Of the last second, of full scale", "room", levels)?;
        let dead = rooms.iter().map(|(name, room)| (name.to_string(), ConstGauge::new(flag(metrics.sound_of(room).1))));
        family(to, "hearth_room_dead", "1 while a microphone gives nothing but one number", "room", dead)?;
        let state = metrics.state.get();
        let surprise = state.surprise.rooms.iter().map(|(room, nats)| (room.clone(), ConstGauge::new(*nats)));
        family(to, "hearth_surprise_nats", "Median nats a token of what was read lately", "room", surprise)?;
        let hooks = metrics.webhooks.each();
        let waiting = hooks.iter().map(|(name, hook)| (name.to_string(), ConstGauge::new(hook.waiting.get() as f64)));
        family(to, "hearth_webhook_messages", "Messages that wait for a webhook", "webhook", waiting)?;
        let sent = hooks.iter().map(|(name, hook)| (name.to_string(), ConstCounter::new(hook.sent.get() as f64)));
        family(to, "hearth_webhook_sent", "Messages that a webhook took", "webhook", sent)?;
        let failed = hooks.iter().map(|(name, hook)| (name.to_string(), ConstCounter::new(hook.failed.get() as f64)));
        family(to, "hearth_webhook_failures", "Attempts that failed", "webhook", failed)?;
        let lag = [0.5, 0.95].map(|q| (q.to_string(), metrics.lag.quantile_s(q)));
        let lag = lag.into_iter().filter_map(|(q, s)| Some((q, ConstGauge::new(s?))));
        family(to, "hearth_lag_seconds", "From the end of an utterance to its text", "quantile", lag)?;
        let refused = rejected(metrics).into_iter().map(|(reason, n)| (reason, ConstCounter::new(n as f64)));
        family(to, "hearth_rejected_segments", "Segments that were refused", "reason", refused)?;
        let recent = self.0.live_feed.snapshot();
        let last = recent.readings.iter().filter_map(|(rule, readings)| Some((rule, readings.back()?)));
        let rules: Vec<_> = last.map(|(rule, r)| (rule.clone(), r.probability, flag(r.active))).collect();
        drop(recent);
        let probabilities = rules.iter().map(|(rule, p, _)| (rule.clone(), ConstGauge::new(*p)));
        family(to, "hearth_rule_probability", "Of yes, at the last reading", "rule", probabilities)?;
        let active = rules.iter().map(|(rule, _, on)| (rule.clone(), ConstGauge::new(*on)));
        family(to, "hearth_rule_active", "1 while the rule's alert is on", "rule", active)?;
        let info = [(self.0.about.node.clone(), ConstGauge::new(1.0))].into_iter();
        family(to, "hearth_node", "The name of this machine", "node", info)
    }
}

/// 1 for true, 0 for false.
fn flag(on: bool) -> f64 {
    f64::from(u8::from(on))
}

fn single(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, metric: &impl EncodeMetric) -> fmt::Result {
    metric.encode(to.encode_descriptor(name, help, None, metric.metric_type())?)
}

/// One metric for each value of a label. Without values it writes nothing, not even the name.
fn family<M: EncodeMetric>(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &str,
    metrics: impl Iterator<Item = (String, M)>,
) -> fmt::Result {
    let mut metrics = metrics.peekable();
    let Some((_, first)) = metrics.peek() else { return Ok(()) };
    let mut family = to.encode_descriptor(name, help, None, first.metric_type())?;
    metrics.try_for_each(|(value, metric)| metric.encode(family.encode_family(&[(label, value)])?))
}
