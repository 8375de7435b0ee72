//! `request/reload`, and SIGHUP: reads rules and schedules from the config file again.
//!
//! A config with a mistake changes nothing. What changed and takes effect only with a restart is named in the answer and in the
//! log. Where nothing listens along there are no rules to apply: see [`Reload::run_without_listener`].

use serde::Serialize;
use serde_json::{Map, Value};
use tracing::{error, info, warn};

use super::{Body, CommandAnswer, CommandError, Definition, Done, ListenerPart, Reply};
use crate::config::{self, Config};

/// The tables that take effect at once.
const APPLIED_AT_ONCE: [&str; 2] = ["rule", "digest"];

/// Read the config file again.
#[derive(Clone, Debug, PartialEq)]
pub struct Reload;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReloadReply {
    pub(crate) rules: Vec<String>,
    pub(crate) every_min: f64,
    /// The tables that take effect with the next start.
    pub(crate) needs_restart: Vec<String>,
}

impl Definition for Reload {
    const PATH: &'static str = "request/reload";
    const DOCUMENTATION: &'static str = "nothing. Rules and `[digest]` are read from the config file again, as with `systemctl \
        reload`; the answer lists the `rules` and the tables that need a restart (`needs_restart`)";
    type Reply = ReloadReply;

    fn parse(_body: &Body) -> Result<Self, String> {
        Ok(Self)
    }
}

impl Reload {
    pub(super) fn run<L: ListenerPart>(&self, listener: &mut L) -> Result<Done<ReloadReply>, CommandError<L::Error>> {
        let (config, reply) = read(listener.config()).map_err(CommandError::Refused)?;
        let rules = config.rules.len();
        listener.apply_rules(config.rules, config.digest)?;
        info!(kind = "reload", rules, "rules and schedules are read again");
        Ok(Done::new(reply))
    }

    /// Checks the config file, and says what needs a restart.
    ///
    /// # Errors
    /// As [`read`].
    pub(crate) fn run_without_listener(&self, running: &Config) -> CommandAnswer {
        read(running).map(|(_, reply)| Reply::Reload(reply))
    }
}

/// Reads the config file again, and compares it with the `running` config.
///
/// # Errors
/// Hearth runs without a config file, or the file has a mistake.
fn read(running: &Config) -> Result<(Config, ReloadReply), String> {
    let new = match (&running.file, &running.defaults) {
        (Some(file), Some(defaults)) => config::load_over(file, defaults).map_err(|error| error.to_string()),
        (Some(file), None) => config::load(file).map_err(|error| error.to_string()),
        (None, _) => Err("hearth runs without a config file; there is nothing to read again".into()),
    };
    let new = new.inspect_err(|error| error!("nothing has changed: {error}"))?;
    let needs_restart = needs_restart(running, &new);
    if !needs_restart.is_empty() {
        warn!("[{}] changed, and takes effect with a restart", needs_restart.join("], ["));
    }
    let rules = new.rules.iter().map(|rule| rule.name.to_string()).collect();
    let reply = ReloadReply { rules, every_min: new.digest.every_min, needs_restart };
    Ok((new, reply))
}

/// The tables whose settings differ and take effect only with the next start.
fn needs_restart(running: &Config, new: &Config) -> Vec<String> {
    let table = |config: &Config| match serde_json::to_value(config).expect("a config is JSON") {
        Value::Object(table) => table,
        _ => Map::new(),
    };
    let running = table(running);
    let new = table(new);
    let differs = |key: &&String| !APPLIED_AT_ONCE.contains(&key.as_str()) && running.get(*key) != new.get(*key);
    new.keys().filter(differs).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_that_take_effect_with_a_restart_are_named() {
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
