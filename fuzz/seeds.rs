//! Makes the seeds: the smallest models there can be, and what is well-formed of the rest.

use std::path::Path;

use griffin::Quantization;
use griffin::{Config, Model, Options, write_random};
use hearth::listener::snapshot::{self, ReadPosition};
use jiff::Timestamp;

#[path = "../crates/griffin/tests/model/small_models.rs"]
mod small_models;

use small_models::{small_checkpoint, small_config};

/// A config and a safetensors file of zeros, as the target splits them.
fn checkpoint(config: &Config, gguf: &Path) -> Vec<u8> {
    let json = config.to_json();
    let mut bytes = (json.len() as u16).to_le_bytes().to_vec();
    bytes.extend(json.as_bytes());
    bytes.extend(small_checkpoint(gguf));
    bytes
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for target in ["gguf", "safetensors-config", "commands", "snapshot", "config", "status"] {
        std::fs::create_dir_all(corpus.join(target))?;
    }
    for (name, width, weights) in
        [("f32", 4, Quantization::F32), ("q8_0", 32, Quantization::Q8_0), ("q4_k", 256, Quantization::Q4K)]
    {
        let out = corpus.join(format!("gguf/seed-{name}"));
        write_random(&small_config(width), weights, 1, &out, true, &mut |_, _| ())?;
        if name != "q4_k" {
            let bytes = checkpoint(&small_config(width), &out);
            std::fs::write(corpus.join(format!("safetensors-config/seed-{name}")), bytes)?;
        }
    }
    let model = Model::load(&corpus.join("gguf/seed-f32"), &Options { threads: 1, ..Options::default() })?;
    let mut state = model.state();
    for (read, name) in ["fresh", "begun"].iter().enumerate() {
        let (out, mark) =
            (corpus.join("snapshot/seed"), ReadPosition { read: read as i64, time: Timestamp::UNIX_EPOCH });
        snapshot::save(&out, &state, model.fingerprint(), &mark)?;
        std::fs::write(corpus.join(format!("snapshot/seed-{name}")), [&[1], &std::fs::read(&out)?[..]].concat())?;
        std::fs::remove_file(out)?;
        model.read(&[0, 1, 2, 3], &mut state)?;
    }
    std::fs::write(corpus.join("config/seed"), include_str!("../config/hearth.toml"))?;
    let lines = [
        r#"{"command": "status"}"#,
        r#"{"command": "listening", "value": "OFF", "transaction": 7}"#,
        r#"{"command": "ask", "value": "Who called?", "room": "kitchen", "at": "yesterday 18:00"}"#,
        r#"{"command": "summarise", "room": "living room", "transaction": "t-1"}"#,
        r#"{"command": "forget", "minutes": 10}"#,
        r#"{"command": "snooze", "value": 60, "rule": "fire"}"#,
    ];
    for (n, line) in lines.iter().enumerate() {
        std::fs::write(corpus.join(format!("status/seed-{n}")), line)?;
    }
    let commands = [
        "listening/set\0ON",
        "interval/set\0{\"value\": 5.5, \"transaction\": 7}",
        "request/ask\0Is there a fire?",
        "request/snooze\0{\"value\": 60, \"rule\": \"fire\", \"transaction\": \"t-1\"}",
        "request/false_alarm\0{\"value\": \"newest\"}",
        "request/acknowledge\0",
        "request/ask\0{\"value\": \"Who called?\", \"at\": \"yesterday 18:00\"}",
        "request/forget\x0010",
    ];
    for (n, command) in commands.iter().enumerate() {
        std::fs::write(corpus.join(format!("commands/seed-{n}")), command)?;
    }
    Ok(())
}
