//! The entities of a rule: whether its alert is on, and how likely it is.

use serde_json::{Value, json};

use super::ATTRIBUTES;
use crate::config::{Rule, WatchKind};
use crate::mqtt::payload::readable;
use crate::mqtt::topics::Topics;

/// A binary sensor, and for a rule with a question its probability, with their keys.
pub(super) fn of_rule(topics: &Topics, rule: &Rule) -> Vec<(String, Value)> {
    let (name, topic) = (readable(rule.name.as_str()), topics.rule(rule.name.as_str()));
    let (class, icon) = appearance(rule);
    let sensor = json!({
        "p": "binary_sensor", "name": format!("{name} alert"), "dev_cla": class, "ic": icon, "stat_t": topic,
        "val_tpl": "{{ value_json.state }}", "json_attr_t": topic, "json_attr_tpl": ATTRIBUTES,
        "off_dly": rule.unconfirmed_limit_s(),
    });
    let mut entities = vec![(format!("rule_{}", rule.name), sensor)];
    if rule.question.is_some() {
        let probability = json!({
            "p": "sensor", "name": format!("{name} probability"), "ic": "mdi:gauge", "stat_t": topic,
            "val_tpl": "{{ (value_json.probability * 100) | round(1) if value_json.probability is number else None }}",
            "unit_of_meas": "%", "stat_cla": "measurement", "sug_dsp_prc": 0,
        });
        entities.push((format!("probability_{}", rule.name), probability));
    }
    entities
}

/// The device class, which says in what words Home Assistant tells the state, and the icon. A rule of which nothing is known is a
/// problem. "Someone is at the door" is a sound, not a door, which would be "open" or "closed".
fn appearance(rule: &Rule) -> (&'static str, &'static str) {
    let named = |kind: &&WatchKind| kind.name() == rule.name.as_str();
    match rule.watch.or_else(|| WatchKind::ALL.iter().find(named).copied()) {
        Some(WatchKind::Help) => ("safety", "mdi:account-alert"),
        Some(WatchKind::Fire) => ("smoke", "mdi:fire-alert"),
        Some(WatchKind::Leak) => ("moisture", "mdi:water-alert"),
        Some(WatchKind::Intruder) => ("safety", "mdi:shield-alert"),
        Some(WatchKind::Door) => ("sound", "mdi:doorbell"),
        Some(WatchKind::Delivery) => ("sound", "mdi:package-variant"),
        Some(WatchKind::Medicine) => ("problem", "mdi:pill"),
        Some(WatchKind::LeftOn) => ("problem", "mdi:power-plug"),
        None => ("problem", "mdi:bell-alert"),
    }
}
