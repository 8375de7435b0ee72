//! Checks that involve more than one key.

use super::{Broker, COMMANDS, Config};

impl Config {
    /// The problems found: the path of the key (`rule.2.exit`) and a sentence.
    pub fn validate(&self) -> Vec<(String, String)> {
        let mut problems = Problems::default();
        self.source_problems(&mut problems);
        self.number_problems(&mut problems);
        self.rule_problems(&mut problems);
        for (key, argv) in [("on_mute", &self.privacy.on_mute), ("on_unmute", &self.privacy.on_unmute)] {
            let program = argv.first().map_or("/", String::as_str);
            problems.unless(program.starts_with('/'), &format!("privacy.{key}"), || {
                format!("\"{program}\" is no absolute path of a program; its arguments follow it, no shell reads them")
            });
        }
        self.mqtt_problems(&mut problems);
        problems.0.extend(self.webhook_problems());
        problems.0.extend(self.page.problems());
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&self.log.level) {
            problems.add("log.level", format!("\"{}\" is no level or filter: {error}", self.log.level));
        }
        problems.0
    }

    fn source_problems(&self, problems: &mut Problems) {
        let sources = self.sources();
        problems.unless(!sources.is_empty() || self.source.mqtt.is_some(), "source", || {
            "names no source: use [source.microphone], [source.file], [source.stdin], [source.wyoming] or [source.mqtt]"
                .into()
        });
        self.nodes_problems(problems);
        for (at, (room, source)) in sources.iter().enumerate() {
            let kind = source.kind();
            let nth = sources[..at].iter().filter(|(_, other)| other.kind() == kind).count();
            let taken = sources[..at].iter().any(|(other, _)| other == room);
            problems.unless(!taken, &format!("source.{kind}.{nth}.room"), || {
                format!("a second source hears the room \"{room}\": give each a room of its own")
            });
        }
        problems.unless(sources.len() <= 1 || self.source.is_live(), "source.file", || {
            "a file is played fast only where it is the one source: others go on at the pace of time".into()
        });
        for (at, file) in self.source.file.iter().enumerate() {
            problems.unless(!file.path.as_os_str().is_empty(), &format!("source.file.{at}.path"), || {
                "names no file".into()
            });
        }
        if let Some(stdin) = &self.source.stdin {
            problems.unless((8_000..=192_000).contains(&stdin.rate), "source.stdin.rate", || {
                format!("{} is outside 8000 to 192000 Hz", stdin.rate)
            });
            problems.unless((1..=32).contains(&stdin.channels), "source.stdin.channels", || {
                format!("{} is outside 1 to 32 channels", stdin.channels)
            });
        }
        let language = &self.asr.language;
        let is_code = |text: &str| (2..=3).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase());
        problems.unless(is_code(language) || language == "auto", "asr.language", || {
            format!("\"{language}\" is neither \"auto\" nor a language code such as \"en\"")
        });
        let Some(allowed) = &self.asr.languages else { return };
        problems.unless(!allowed.is_empty(), "asr.languages", || {
            "no language is allowed: name those that are spoken here, or remove the key, which allows all".into()
        });
        problems.unless(language == "auto", "asr.languages", || {
            format!("nothing is detected with language = \"{language}\": set language = \"auto\", or remove this key")
        });
        for (at, code) in allowed.iter().enumerate() {
            problems.unless(is_code(code), &format!("asr.languages.{at}"), || {
                format!("\"{code}\" is no language code such as \"en\"")
            });
        }
    }

    fn nodes_problems(&self, problems: &mut Problems) {
        let Some(nodes) = &self.source.mqtt else { return };
        problems.unless(!nodes.topics.is_empty(), "source.mqtt.topics", || "names no topic".into());
        problems.unless(nodes.window_s.get() <= 600.0, "source.mqtt.window_s", || {
            format!("{} is outside 0 to 600 seconds", nodes.window_s.get())
        });
        problems.unless(self.listener.enabled, "source.mqtt", || {
            "what other machines heard is for a listener to read, and [listener] enabled is false".into()
        });
        problems.unless(self.mqtt.url != Broker::Embedded, "source.mqtt", || {
            "the embedded broker forgets what waits in it when hearth ends: name a broker that keeps it in [mqtt] url".into()
        });
    }

    fn number_problems(&self, problems: &mut Problems) {
        let minutes = [
            ("digest.every_min", self.digest.every_min, 0.0..=1440.0),
            ("digest.quiet_min", self.digest.quiet_min, 0.0..=1440.0),
            ("listener.snapshot_min", self.listener.snapshot_min, 0.1..=1440.0),
        ];
        for (path, value, range) in minutes {
            problems.unless(range.contains(&value), path, || {
                format!("{value} is outside {} to {} minutes", range.start(), range.end())
            });
        }
        for (path, threads) in [("asr.threads", self.asr.threads), ("listener.threads", self.listener.threads)] {
            problems.unless(threads <= 64, path, || format!("{threads} is outside 0 to 64 threads"));
        }
        let kept = [("hourly", self.listener.snapshots_hourly), ("daily", self.listener.snapshots_daily)];
        for (key, snapshots) in kept {
            problems.unless(snapshots <= 1000, &format!("listener.snapshots_{key}"), || {
                format!("{snapshots} is outside 0 to 1000 snapshots")
            });
        }
        problems.unless((1..=1 << 20).contains(&self.listener.snapshots_max_mib), "listener.snapshots_max_mib", || {
            format!("{} is outside 1 to 1048576 MiB", self.listener.snapshots_max_mib)
        });
        problems.unless((1..=4096).contains(&self.store.outbox_max_mib), "store.outbox_max_mib", || {
            format!("{} is outside 1 to 4096 MiB", self.store.outbox_max_mib)
        });
    }

    fn rule_problems(&self, problems: &mut Problems) {
        for (i, rule) in self.rules.iter().enumerate() {
            let name = &rule.name;
            let key = |key: &str| format!("rule.{i}.{key}");
            problems.unless(self.rules[..i].iter().all(|other| other.name != *name), &key("name"), || {
                format!("a second rule is named \"{name}\": names must differ")
            });
            problems.unless(rule.pattern.is_some() || rule.question.is_some(), &key("name"), || {
                format!("rule \"{name}\" has neither a pattern nor a question: it could never fire")
            });
            problems.unless(rule.exit < rule.enter, &key("exit"), || {
                let default = if rule.exit == super::exit() { ", which is the default: set a lower one" } else { "" };
                format!("exit must lie below enter ({}); it is {}{default}", rule.enter.get(), rule.exit.get())
            });
            problems.unless(rule.watch.is_none() || rule.question.is_some(), &key("watch"), || {
                format!(
                    "rule \"{name}\" has \"watch\" and no question: \"watch\" only says when the rule's question is asked. Add a question, \
                     or remove \"watch\""
                )
            });
            problems.unless(rule.trigger.is_none() || rule.question.is_some(), &key("trigger"), || {
                format!("rule \"{name}\" has no question: write its words as pattern, which raises the alert then")
            });
            for (which, text) in [("pattern", &rule.pattern), ("trigger", &rule.trigger)] {
                if let Some(Err(error)) = text.as_deref().map(regex::Regex::new) {
                    let message = format!("the {which} of rule \"{name}\" is no regular expression: {error}");
                    problems.add(&key(which), message);
                }
            }
            problems.unless(rule.question.as_deref().is_none_or(|q| !q.trim().is_empty()), &key("question"), || {
                format!("the question of rule \"{name}\" is empty")
            });
        }
    }

    fn mqtt_problems(&self, problems: &mut Problems) {
        let mqtt = &self.mqtt;
        let embedded = mqtt.url == Broker::Embedded;
        problems.unless(mqtt.password_file.is_none() || mqtt.username.is_some(), "mqtt.password_file", || {
            "a password needs a username".into()
        });
        problems.unless(!embedded || mqtt.listen.ip().is_loopback() || mqtt.username.is_some(), "mqtt.listen", || {
            format!(
                "{} can be reached from other machines: set a username and its password, or listen on 127.0.0.1",
                mqtt.listen
            )
        });
        problems.unless(!mqtt.interim || self.asr.interim, "mqtt.interim", || {
            "there is nothing to publish before it is over: set [asr] interim = true, too".into()
        });
        for (at, name) in mqtt.commands.iter().flatten().enumerate() {
            problems.unless(COMMANDS.contains(&name.as_str()), &format!("mqtt.commands.{at}"), || {
                format!("there is no command \"{name}\"; there are {}", COMMANDS.join(", "))
            });
        }
        let tls = matches!(mqtt.url, Broker::External { tls: true, .. });
        problems.unless(mqtt.ca_file.is_none() || tls, "mqtt.ca_file", || "only mqtts:// has certificates".into());
    }
}

#[derive(Default)]
struct Problems(Vec<(String, String)>);

impl Problems {
    fn add(&mut self, path: &str, message: String) {
        self.0.push((path.into(), message));
    }

    fn unless(&mut self, fine: bool, path: &str, message: impl FnOnce() -> String) {
        if !fine {
            self.add(path, message());
        }
    }
}
