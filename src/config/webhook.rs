//! `[[webhook]]`: addresses that are told what happens, by HTTP.
//!
//! Neither a secret nor the path of an address is ever printed: for many services the path is a secret, too.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::values::as_string;
use super::{Config, Name};
use crate::event::EventKind;

/// Each keeps up to `[store] outbox_max_mib` of messages.
const MOST: usize = 16;
/// The file with the secret, beside the config, and what the service's unit calls it.
const SECRET: &str = "webhook";

/// One address, and what it is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// What it is called in the log and in health; by default the host.
    pub(crate) name: Option<Name>,
    pub(crate) url: WebhookUrl,
    pub(crate) events: WebhookEvents,
    /// A file that holds the secret and nothing else. By default what systemd hands over, else `webhook-NAME.secret` or
    /// `webhook.secret` beside the config, if there is one.
    pub(crate) secret_file: Option<PathBuf>,
}

impl WebhookConfig {
    pub(crate) fn name(&self) -> &str {
        self.name.as_ref().map_or_else(|| self.url.host(), Name::as_str)
    }
}

impl Config {
    /// `[[webhook]]` with the paths of the files of secrets made absolute, where there is one.
    pub(crate) fn webhook_paths(&self) -> Vec<WebhookConfig> {
        self.webhook_paths_with(std::env::var_os("CREDENTIALS_DIRECTORY").as_deref().map(Path::new))
    }

    fn webhook_paths_with(&self, credentials: Option<&Path>) -> Vec<WebhookConfig> {
        let resolved = |hook: &WebhookConfig| {
            let names = [format!("{SECRET}-{}", hook.name()), SECRET.to_string()];
            let handed_over = names.iter().filter_map(|name| Some(credentials?.join(name)));
            let beside = names.iter().map(|name| self.base.join(format!("{name}.secret")));
            let named = hook.secret_file.as_ref().map(|path| self.base.join(path));
            let secret_file = named.or_else(|| handed_over.chain(beside).find(|path| path.exists()));
            WebhookConfig { secret_file, ..hook.clone() }
        };
        self.webhooks.iter().map(resolved).collect()
    }

    pub(super) fn webhook_problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut names = BTreeSet::new();
        for (at, hook) in self.webhooks.iter().enumerate() {
            if !names.insert(hook.name()) {
                let key = if hook.name.is_some() { "name" } else { "url" };
                let told = format!("a second webhook is named \"{}\": give each a `name` of its own", hook.name());
                problems.push((format!("webhook.{at}.{key}"), told));
            }
            if at == MOST {
                problems.push((format!("webhook.{at}"), format!("there are at most {MOST} webhooks")));
            }
        }
        problems
    }
}

/// An address that takes POST requests.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct WebhookUrl(String);
as_string!(WebhookUrl);

impl WebhookUrl {
    /// The whole address, for requests alone.
    pub(crate) fn whole(&self) -> &str {
        &self.0
    }

    /// Without its path: what may be shown.
    pub(crate) fn shown(&self) -> &str {
        let (scheme, rest) = self.0.split_once("://").expect("it was checked when it was read");
        &self.0[..scheme.len() + 3 + rest.find(['/', '?']).unwrap_or(rest.len())]
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.0.starts_with("https://")
    }

    /// Name or address of the machine.
    pub(crate) fn host(&self) -> &str {
        let (_, authority) = self.shown().split_once("://").expect("it was checked when it was read");
        host_and_port(authority).0
    }
}

/// The host without the brackets of an IPv6 address, and the port where there is one.
fn host_and_port(authority: &str) -> (&str, Option<&str>) {
    match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    }
}

impl FromStr for WebhookUrl {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let Some(rest) = rest else {
            return Err("this is no address for a webhook: it begins with \"https://\" or \"http://\"".into());
        };
        let authority = &rest[..rest.find(['/', '?']).unwrap_or(rest.len())];
        if authority.contains('@') {
            return Err(
                "no user or password in the url of a webhook: hearth signs what it sends, see secret_file".into()
            );
        }
        let (host, port) = host_and_port(authority);
        let letters = |c: char| c.is_ascii_alphanumeric() || "-._:%".contains(c);
        if host.is_empty() || !host.chars().all(letters) || port.is_some_and(|port| port.parse::<u16>().is_err()) {
            return Err(format!(
                "\"{authority}\" is no host, or host and port, as in \"https://example.org:8443/path\""
            ));
        }
        if text.len() > 2_000 || !text.bytes().all(|byte| byte.is_ascii_graphic()) || text.contains('#') {
            return Err(
                "a url has at most 2000 characters, without spaces, \"#\" and letters beyond ASCII (write them as %XX)"
                    .into(),
            );
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shown())
    }
}

/// What a webhook is told of: at least one kind of event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<EventKind>")]
pub(crate) struct WebhookEvents(BTreeSet<EventKind>);

impl WebhookEvents {
    pub(crate) fn contain(&self, kind: EventKind) -> bool {
        self.0.contains(&kind)
    }

    /// Their names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|kind| kind.name())
    }
}

impl From<WebhookEvents> for Vec<EventKind> {
    fn from(events: WebhookEvents) -> Self {
        events.0.into_iter().collect()
    }
}

impl TryFrom<Vec<String>> for WebhookEvents {
    type Error = String;
    fn try_from(names: Vec<String>) -> Result<Self, String> {
        let known = || EventKind::ALL.map(EventKind::name).join(", ");
        let kind = |name: &String| {
            let found = EventKind::ALL.into_iter().find(|kind| kind.name() == name);
            found.ok_or_else(|| format!("there is no event \"{name}\"; there are {}", known()))
        };
        let events = names.iter().map(kind).collect::<Result<BTreeSet<_>, _>>()?;
        if events.is_empty() { Err(format!("names no event: there are {}", known())) } else { Ok(Self(events)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_address_the_path_is_not_shown() {
        for (text, shown, host) in [
            ("https://hooks.example/T0/secret", "https://hooks.example", "hooks.example"),
            ("http://[::1]:8080/x", "http://[::1]:8080", "::1"),
            ("http://192.168.1.4:81?key=1", "http://192.168.1.4:81", "192.168.1.4"),
        ] {
            let url: WebhookUrl = text.parse().unwrap();
            assert_eq!((url.shown(), url.host(), format!("{url:?}").as_str()), (shown, host, shown));
        }
        for wrong in [
            "ftp://a",
            "https://",
            "https://a b/",
            "http://a:x/",
            "https://u:p@a/",
            "example.org",
            "https://a/#b",
            "https://ä/",
        ] {
            assert!(wrong.parse::<WebhookUrl>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_secret_is_the_named_one_else_that_of_systemd_else_the_one_beside_the_config_its_own_first() {
        let (base, handed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let text = "[[webhook]]\nname = \"a\"\nurl = \"https://example.org/\"\nevents = [\"alert\"]\n";
        let mut config = Config { base: base.path().into(), ..super::super::from_text(text).unwrap() };
        let file = |config: &Config, credentials| config.webhook_paths_with(credentials).remove(0).secret_file;
        let credentials = Some(handed.path());
        assert_eq!(file(&config, credentials), None);
        for (folder, name) in [
            (base.path(), "webhook.secret"),
            (base.path(), "webhook-a.secret"),
            (handed.path(), "webhook"),
            (handed.path(), "webhook-a"),
        ] {
            std::fs::write(folder.join(name), "s").unwrap();
            assert_eq!(file(&config, credentials), Some(folder.join(name)));
        }
        assert_eq!(file(&config, None), Some(base.path().join("webhook-a.secret")));
        config.webhooks[0].secret_file = Some("own".into());
        assert_eq!(file(&config, credentials), Some(base.path().join("own")));
    }
}
