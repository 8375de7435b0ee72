//! `[mqtt]`: the broker, the user and password for it, and what is published.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Broker, Config, Topic};

/// The file with the password, beside the config, where none is named.
const PASSWORD_FILE: &str = "mqtt.password";
/// What the service's unit calls the password.
const CREDENTIAL: &str = "mqtt";

impl Config {
    /// `[mqtt]` with the paths of its files made absolute. Where no password file is named, it is what systemd hands over, else the
    /// file beside the config, if there is one: so that commands run by hand find the service's password.
    pub(crate) fn mqtt_paths(&self) -> MqttConfig {
        self.mqtt_paths_with(std::env::var_os("CREDENTIALS_DIRECTORY").as_deref().map(Path::new))
    }

    fn mqtt_paths_with(&self, credentials: Option<&Path>) -> MqttConfig {
        let absolute = |path: &Option<PathBuf>| path.as_ref().map(|path| self.base.join(path));
        let MqttConfig { username, password_file, ca_file, .. } = &self.mqtt;
        let handed_over = credentials.map(|dir| dir.join(CREDENTIAL));
        let usual = handed_over.into_iter().chain([self.base.join(PASSWORD_FILE)]).find(|path| path.exists());
        let password_file = absolute(password_file).or(usual.filter(|_| username.is_some()));
        MqttConfig { password_file, ca_file: absolute(ca_file), ..self.mqtt.clone() }
    }
}

/// The MQTT broker and what is published.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MqttConfig {
    /// "embedded", "mqtt://host:port" or "mqtts://host:port".
    pub url: Broker,
    /// Where the embedded broker listens.
    #[serde(deserialize_with = "super::addresses::address")]
    pub listen: std::net::SocketAddr,
    pub username: Option<String>,
    /// A file that holds the password and nothing else; by default what systemd hands over, else `mqtt.password` beside the config.
    pub password_file: Option<PathBuf>,
    /// Certificates to trust for mqtts, PEM; by default the system's.
    pub ca_file: Option<PathBuf>,
    /// The first level of every topic.
    pub base_topic: Topic,
    /// Announce entities to Home Assistant.
    pub discovery: bool,
    /// Home Assistant's own prefix.
    pub discovery_prefix: Topic,
    /// Publish speech before it is finished.
    pub interim: bool,
    /// The commands that are taken from the broker; by default all.
    pub commands: Option<Vec<String>>,
}

/// The names of all commands. [`crate::commands`] has what they do; a test compares the two.
pub(crate) const COMMANDS: [&str; 12] = [
    "listening",
    "pause",
    "interval",
    "summarise",
    "ask",
    "forget",
    "snooze",
    "acknowledge",
    "reload",
    "false_alarm",
    "reset_rule",
    "renew",
];

impl MqttConfig {
    /// Whether a command is taken from the broker.
    pub(crate) fn takes(&self, command: &str) -> bool {
        self.commands.as_ref().is_none_or(|taken| taken.iter().any(|name| name == command))
    }
}

impl Default for MqttConfig {
    fn default() -> Self {
        Self {
            url: Broker::Embedded,
            listen: std::net::SocketAddr::from(([127, 0, 0, 1], 1883)),
            username: None,
            password_file: None,
            ca_file: None,
            base_topic: "hearth".parse().expect("the default topic is valid"),
            discovery: true,
            discovery_prefix: "homeassistant".parse().expect("the default topic is valid"),
            interim: false,
            commands: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_comes_from_the_named_file_else_from_systemd_else_from_beside_the_config() {
        let (base, handed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut config = Config { base: base.path().into(), ..Config::default() };
        config.mqtt.username = Some("anna".into());
        let file = |config: &Config, credentials| config.mqtt_paths_with(credentials).password_file;
        let credentials = Some(handed.path());
        assert_eq!(file(&config, credentials), None);
        std::fs::write(base.path().join("mqtt.password"), "right").unwrap();
        assert_eq!(file(&config, credentials), Some(base.path().join("mqtt.password")), "systemd has none");
        std::fs::write(handed.path().join("mqtt"), "right").unwrap();
        assert_eq!(file(&config, credentials), Some(handed.path().join("mqtt")));
        assert_eq!(file(&config, None), Some(base.path().join("mqtt.password")));
        config.mqtt.password_file = Some("own".into());
        assert_eq!(file(&config, credentials), Some(base.path().join("own")));
        config.mqtt = MqttConfig::default();
        assert_eq!(file(&config, credentials), None, "without a username there is no password");
    }
}
