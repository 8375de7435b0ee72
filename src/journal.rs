//! tracing to the systemd journal, a terminal or JSON lines.
//!
//! Owns how hearth speaks of itself. Refuses to know what is said. Invariant: all of it goes to standard error or the journal;
//! standard output belongs to what a command was asked for.

mod budget;

use std::io::IsTerminal;

use log::kv::{ToValue, Value};
use systemd_journal_logger::JournalLog;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer};

use self::budget::Budget;
use crate::config::{LogConfig, LogFormat};

/// Libraries that talk of their own affairs; a filter in the config comes after these and wins.
const QUIET: &str = "rumqttc=warn,rumqttd=off,symphonia=error,whisper_rs=warn,cpal=warn";

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("[log] level \"{level}\" is no filter: {source}")]
    Filter { level: String, source: tracing_subscriber::filter::ParseError },
    #[error("the journal cannot be reached ({0}); set [log] format = \"text\" or \"json\"")]
    Journal(#[source] std::io::Error),
    #[error("logging was already set up: {0}")]
    Twice(#[from] TryInitError),
}

/// Sets logging up for the whole process.
pub fn init(config: &LogConfig) -> Result<(), JournalError> {
    // The config's own directives stand last: of two for one target the later wins, and a bare level stands for the rest.
    let filter = EnvFilter::try_new(format!("{QUIET},{}", config.level))
        .map_err(|source| JournalError::Filter { level: config.level.clone(), source })?;
    let format = match config.format {
        LogFormat::Auto if systemd_journal_logger::connected_to_journal() => LogFormat::Journal,
        LogFormat::Auto if std::io::stderr().is_terminal() => LogFormat::Text,
        LogFormat::Auto => LogFormat::Json,
        chosen => chosen,
    };
    let registry = tracing_subscriber::registry().with(filter).with(Budget::default());
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Journal => registry.with(Journal::connect()?).try_init()?,
        LogFormat::Text => {
            let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            registry.with(lines.with_target(false).with_ansi(colours)).try_init()?;
        }
        _ => registry.with(lines.json().flatten_event(true)).try_init()?,
    }
    Ok(())
}

/// Writes each event as a journal record, its fields as journal fields (`kind` becomes `KIND`).
struct Journal(JournalLog);

impl Journal {
    fn connect() -> Result<Self, JournalError> {
        let log = JournalLog::new().map_err(JournalError::Journal)?;
        Ok(Self(log.with_syslog_identifier("hearth".into())))
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        let pairs: Vec<(&str, Value<'_>)> = fields.pairs.iter().map(|(k, v)| (*k, v.to_value())).collect();
        let sent = self.0.journal_send(
            &log::Record::builder()
                .args(format_args!("{}", fields.message))
                .level(level(*metadata.level()))
                .target(metadata.target())
                .module_path(metadata.module_path())
                .file(metadata.file())
                .line(metadata.line())
                .key_values(&pairs.as_slice())
                .build(),
        );
        if let Err(error) = sent {
            // The journal is being restarted or is full: standard error still reaches somebody.
            eprintln!("{} (the journal did not take it: {error})", fields.message);
        }
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    pairs: Vec<(&'static str, String)>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: String) {
        match field.name() {
            "message" => self.message = value,
            name => self.pairs.push((name.strip_prefix("log.").unwrap_or(name), value)),
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.add(field, format!("{value:?}"));
    }
}

fn level(level: Level) -> log::Level {
    match level {
        Level::ERROR => log::Level::Error,
        Level::WARN => log::Level::Warn,
        Level::INFO => log::Level::Info,
        Level::DEBUG => log::Level::Debug,
        Level::TRACE => log::Level::Trace,
    }
}
