//! A config that changed while the house runs.
//!
//! Owns which settings take effect at once, and the naming of those that do not. Invariant: a config with a mistake changes
//! nothing, and what does not take effect is said.

use serde_json::{Map, Value, json};

use crate::api::pending_command::{CommandOutcome, PendingCommand};
use crate::config::{self, Config, DigestConfig, Rule};

/// A config that was read again.
#[derive(Debug)]
pub struct Fresh {
    /// What takes effect at once.
    pub rules: Vec<Rule>,
    pub digest: DigestConfig,
    /// The tables that take effect with the next start.
    pub needs_restart: Vec<String>,
    /// Who asked; none for a signal.
    pub asked: Option<PendingCommand>,
}

/// Reads the config file of a running house again.
///
/// # Errors
/// There is none, or it has a mistake.
pub fn read(running: &Config) -> Result<Config, String> {
    match &running.file {
        Some(file) => config::load(file).map_err(|error| error.to_string()),
        None => Err("hearth runs without a config file; there is nothing to read again".into()),
    }
}

/// The tables whose settings differ and take effect with the next start only.
pub fn needs_restart(running: &Config, new: &Config) -> Vec<String> {
    let table = |config: &Config| match serde_json::to_value(config).expect("a config is JSON") {
        Value::Object(table) => table,
        _ => Map::new(),
    };
    let (running, new) = (table(running), table(new));
    let at_once = ["rule", "digest"];
    let differs = |key: &&String| !at_once.contains(&key.as_str()) && running.get(*key) != new.get(*key);
    new.keys().filter(differs).cloned().collect()
}

impl Fresh {
    /// What is answered once it has taken effect.
    pub fn answer(&self) -> CommandOutcome {
        let rules: Vec<_> = self.rules.iter().map(|rule| rule.name.as_str()).collect();
        let answer = json!({ "rules": rules, "every_min": self.digest.every_min, "needs_restart": self.needs_restart });
        Ok(answer.as_object().cloned().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_a_restart_is_named() {
        let running = Config::default();
        let mut new = running.clone();
        new.rules.clear();
        new.digest.every_min = 1.0;
        assert!(needs_restart(&running, &new).is_empty());
        new.asr.language = "de".into();
        new.mqtt.discovery = false;
        assert_eq!(needs_restart(&running, &new), ["asr", "mqtt"]);
    }
}
