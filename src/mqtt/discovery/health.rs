//! The entities of the health message.

use serde_json::{Value, json};

use crate::mqtt::topics::Topics;

/// A health message comes every 30 s; after four times that its entities become unavailable.
const EXPIRE_S: u32 = 120;

/// A sensor for each figure.
pub(super) fn health(topics: &Topics) -> Vec<(&'static str, Value)> {
    let from_health = |mut entity: Value| {
        entity["stat_t"] = topics.health().into();
        entity["ent_cat"] = "diagnostic".into();
        entity["exp_aft"] = EXPIRE_S.into();
        entity
    };
    let sensor = |key, name: &str, field: &str, unit: &str, more: Value| {
        let mut entity = json!({
            "p": "sensor", "name": name, "val_tpl": format!("{{{{ value_json.{field} }}}}"), "unit_of_meas": unit,
            "stat_cla": "measurement",
        });
        if let (Value::Object(entity), Value::Object(more)) = (&mut entity, more) {
            entity.extend(more);
        }
        (key, from_health(entity))
    };
    vec![
        (
            "microphone",
            from_health(json!({
                "p": "binary_sensor", "name": "Microphone", "dev_cla": "problem",
                "val_tpl": "{{ 'ON' if value_json.listening and not value_json.microphone_ok else 'OFF' }}",
            })),
        ),
        (
            "storage",
            from_health(json!({
                "p": "binary_sensor", "name": "Storage", "dev_cla": "problem",
                "val_tpl": "{{ 'OFF' if value_json.store_ok else 'ON' }}",
            })),
        ),
        sensor("lag", "Lag", "lag_s", "s", json!({ "dev_cla": "duration", "sug_dsp_prc": 1 })),
        sensor(
            "tokens",
            "Tokens heard",
            "tokens",
            "tokens",
            json!({ "stat_cla": "total_increasing", "sug_dsp_prc": 0, "ic": "mdi:counter" }),
        ),
        sensor("state_size", "State size", "state_bytes", "B", json!({ "dev_cla": "data_size", "sug_dsp_prc": 0 })),
        sensor("state_age", "State age", "state_age_s", "s", json!({ "dev_cla": "duration", "sug_dsp_prc": 0 })),
        sensor(
            "surprise",
            "Surprise",
            "surprise.nats",
            "nats",
            json!({ "sug_dsp_prc": 2, "ic": "mdi:head-question-outline" }),
        ),
        sensor(
            "renewals",
            "Renewals",
            "renewal.count",
            "renewals",
            json!({ "stat_cla": "total_increasing", "sug_dsp_prc": 0, "ic": "mdi:autorenew" }),
        ),
        sensor("unread", "Unread", "unread", "utterances", json!({ "sug_dsp_prc": 0, "ic": "mdi:tray-full" })),
        sensor("outbox", "Outbox", "outbox", "messages", json!({ "sug_dsp_prc": 0, "ic": "mdi:email-fast-outline" })),
        sensor("cpu", "CPU", "cpu_percent", "%", json!({ "sug_dsp_prc": 0, "ic": "mdi:cpu-64-bit" })),
        sensor("memory", "Memory", "memory_mib", "MiB", json!({ "dev_cla": "data_size", "sug_dsp_prc": 0 })),
    ]
}
