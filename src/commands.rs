//! Commands: what a running hearth can be asked for, over MQTT, the control socket and the web page.
//!
//! A command is one file in this folder: its topic, its documentation, its limits, how its payload is read, what it does and
//! what it replies. The list of commands is the one call of `commands!` below. From the list come the subscriptions, the parsing
//! for all three ways in, who carries a command out, its entities in Home Assistant, and the table in `docs/mqtt.md`.
//!
//! To add a command: write its file, and add its name to the list. The compiler asks for the rest. Then run
//! `HEARTH_WRITE_DOCS=1 cargo test the_documentation_lists_every_command`, which writes the table.

mod acknowledge;
mod ask;
mod body;
pub(crate) mod confirmation;
mod false_alarm;
mod forget;
pub(crate) mod interval;
pub mod limiter;
mod listening;
pub mod microphone;
mod part;
mod pause;
mod pending;
pub(crate) mod reload;
mod renew;
mod request;
mod reset_rule;
mod snooze;
mod summarize;

use serde::Serialize;

pub use self::acknowledge::Acknowledge;
pub use self::ask::{Ask, AskReply};
pub(crate) use self::body::Body;
pub use self::body::{AlertSelector, MAX_BYTES};
pub use self::false_alarm::FalseAlarm;
pub use self::forget::Forget;
pub(crate) use self::forget::ForgetReply;
pub use self::interval::Interval;
pub use self::listening::Listening;
pub(crate) use self::part::{AppPart, CommandError, Done, ForgetResult, ListenerPart};
pub use self::pause::Pause;
pub(crate) use self::pending::PendingCommand;
pub use self::reload::Reload;
pub use self::renew::Renew;
pub(crate) use self::request::{CommandAnswer, parse_object, too_long};
pub use self::request::{InvalidCommand, Request, parse};
pub use self::reset_rule::ResetRule;
pub use self::snooze::Snooze;
pub use self::summarize::Summarize;
use crate::mqtt::discovery::Entity;
use crate::mqtt::topics::Topics;

/// What is answered while the app has as many commands as it takes.
pub(crate) const BUSY: &str = "hearth is busy with other commands; try later";
/// What is answered after the app has closed.
pub(crate) const CLOSING: &str = "hearth is closing";

/// What is answered to commands for a microphone on a machine that has none.
pub(crate) const NO_MICROPHONE: &str = "this machine has no microphone: mute the machines that have one";

/// What every command says about itself.
pub trait Definition: Sized {
    /// Its topic below `<base>/<node>/`: `<name>/set` for a setting, `request/<name>` for an action. The name is also what the
    /// control socket and the page call it.
    const PATH: &'static str;
    /// What its payload is and what it does, for the table in `docs/mqtt.md`.
    const DOCUMENTATION: &'static str;
    /// What is replied after it was carried out.
    type Reply;

    /// Reads its payload.
    ///
    /// # Errors
    /// The payload is not one of this command; whoever sent it is told why.
    fn parse(body: &Body) -> Result<Self, String>;

    /// How Home Assistant shows it.
    fn entities(_topics: &Topics) -> Vec<Entity> {
        Vec::new()
    }
}

/// Defines the list of commands. The commands after `app` are carried out by the app at once; those after `listener` by the
/// listener worker, in order with what it reads.
macro_rules! commands {
    (app: $($app:ident),+; listener: $($listener:ident),+ $(,)?) => {
        /// A command that the app carries out.
        #[derive(Clone, Debug, PartialEq)]
        pub enum AppCommand {
            $($app($app)),+
        }

        /// A command that the listener worker carries out.
        #[derive(Clone, Debug, PartialEq)]
        pub enum ListenerCommand {
            $($listener($listener)),+
        }

        /// What a command that was carried out replies.
        #[derive(Clone, Debug, PartialEq, Serialize)]
        #[serde(untagged)]
        pub enum Reply {
            $($app(<$app as Definition>::Reply),)+
            $($listener(<$listener as Definition>::Reply)),+
        }

        /// Every command.
        static LIST: &[ListedCommand] = &[
            $(ListedCommand::new::<$app>(|body| Ok($app::parse(body)?.into())),)+
            $(ListedCommand::new::<$listener>(|body| Ok($listener::parse(body)?.into()))),+
        ];

        $(impl From<$app> for Command {
            fn from(command: $app) -> Self {
                Self::App(AppCommand::$app(command))
            }
        })+

        $(impl From<$listener> for Command {
            fn from(command: $listener) -> Self {
                Self::Listener(ListenerCommand::$listener(command))
            }
        })+

        impl Command {
            /// The word by which its answer goes.
            pub(crate) fn name(&self) -> &'static str {
                name(match self {
                    $(Self::App(AppCommand::$app(_)) => $app::PATH,)+
                    $(Self::Listener(ListenerCommand::$listener(_)) => $listener::PATH),+
                })
            }
        }

        impl AppCommand {
            /// Carries the command out.
            ///
            /// # Errors
            /// It cannot be carried out; whoever sent it is told why.
            pub(crate) fn run(&self, app: &mut impl AppPart) -> CommandAnswer {
                match self {
                    $(Self::$app(command) => command.run(app).map(Reply::$app)),+
                }
            }
        }

        impl ListenerCommand {
            /// Carries the command out.
            ///
            /// # Errors
            /// It cannot be carried out, or the listener worker cannot go on.
            pub(crate) fn run<L: ListenerPart>(&self, listener: &mut L) -> Result<Done<Reply>, CommandError<L::Error>> {
                match self {
                    $(Self::$listener(command) => Ok(command.run(listener)?.map(Reply::$listener))),+
                }
            }
        }
    };
}

commands! {
    app: Listening, Pause;
    listener: Interval, Summarize, Ask, Forget, Snooze, Acknowledge, Reload, FalseAlarm, ResetRule, Renew
}

/// A command, by who carries it out.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    App(AppCommand),
    Listener(ListenerCommand),
}

/// What the list knows of a command.
struct ListedCommand {
    path: &'static str,
    documentation: &'static str,
    parse: fn(&Body) -> Result<Command, String>,
    entities: fn(&Topics) -> Vec<Entity>,
}

impl ListedCommand {
    const fn new<D: Definition>(parse: fn(&Body) -> Result<Command, String>) -> Self {
        Self { path: D::PATH, documentation: D::DOCUMENTATION, parse, entities: D::entities }
    }
}

/// The name of a command, of its path.
fn name(path: &str) -> &str {
    path.strip_suffix("/set").or(path.strip_prefix("request/")).unwrap_or(path)
}

/// How Home Assistant shows the commands.
pub fn entities(topics: &Topics) -> Vec<Entity> {
    entities_of(topics, |_| true)
}

/// How Home Assistant shows the commands that are taken.
pub(crate) fn entities_of(topics: &Topics, taken: impl Fn(&str) -> bool) -> Vec<Entity> {
    LIST.iter().filter(|command| taken(name(command.path))).flat_map(|command| (command.entities)(topics)).collect()
}

/// The table of all commands in `docs/mqtt.md`.
pub(crate) fn documentation() -> String {
    let row = |command: &ListedCommand| format!("| `{}` | {} |\n", command.path, command.documentation);
    let rows: String = LIST.iter().map(row).collect();
    format!("| below `hearth/home/` | payload |\n|---|---|\n{rows}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    const BEGIN: &str = "<!-- commands: this table is written by `HEARTH_WRITE_DOCS=1 cargo test the_documentation_lists_every_command` -->\n";
    const END: &str = "<!-- end of commands -->\n";

    #[test]
    fn every_command_has_a_name_and_a_topic_of_its_own() {
        let names: BTreeSet<&str> = LIST.iter().map(|command| name(command.path)).collect();
        assert_eq!(names.len(), LIST.len());
        for command in LIST {
            let name = name(command.path);
            let well_formed = [format!("{name}/set"), format!("request/{name}")].contains(&command.path.to_string());
            assert!(well_formed && !name.contains('/'), "{}", command.path);
            assert_ne!(name, "probe", "hearth sends itself messages on these topics");
        }
    }

    #[test]
    fn the_config_knows_every_command() {
        let names: Vec<&str> = LIST.iter().map(|command| name(command.path)).collect();
        assert_eq!(names, crate::config::COMMANDS);
    }

    #[test]
    fn the_documentation_lists_every_command() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/mqtt.md");
        let text = std::fs::read_to_string(&file).unwrap();
        let missing = || panic!("{} lacks the lines around the table of commands:\n{BEGIN}{END}", file.display());
        let (before, rest) = text.split_once(BEGIN).unwrap_or_else(missing);
        let (table, after) = rest.split_once(END).unwrap_or_else(missing);
        if std::env::var_os("HEARTH_WRITE_DOCS").is_some() {
            std::fs::write(&file, format!("{before}{BEGIN}\n{}\n{END}{after}", documentation())).unwrap();
            return;
        }
        let write = "run `HEARTH_WRITE_DOCS=1 cargo test the_documentation_lists_every_command`";
        assert_eq!(table.trim(), documentation().trim(), "{} is not up to date: {write}", file.display());
    }
}
