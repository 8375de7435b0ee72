//! Log output: to the systemd journal, to a terminal, or as JSON lines.
//!
//! Logs go to standard error or the journal, never to standard output, which has only the result of a command.

mod budget;

use std::io::IsTerminal;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use log::kv::{ToValue, Value};
use systemd_journal_logger::JournalLog;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer};

use self::budget::LineBudget;
use crate::config::{LogConfig, LogFormat};

/// Filters for chatty libraries. The filter of the config comes after these, so it wins.
const QUIET: &str = "rumqttc=warn,rumqttd=off,symphonia=off,whisper_rs=warn,cpal=warn";

/// Why logging cannot be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    #[error("[log] level \"{level}\" is no filter: {source}")]
    Filter { level: String, source: tracing_subscriber::filter::ParseError },
    #[error("the journal cannot be reached ({0}); set [log] format = \"text\" or \"json\"")]
    Journal(#[source] std::io::Error),
    #[error("logging was already set up: {0}")]
    Twice(#[from] TryInitError),
}

/// Sets up logging for the whole process.
///
/// # Errors
/// The filter is not valid, the journal cannot be reached, or logging was already set up.
pub(crate) fn init(config: &LogConfig) -> Result<(), JournalError> {
    // The config's directives come last: of two for one target the later wins, and a bare level is for all other targets.
    let filter = EnvFilter::try_new(format!("{QUIET},{}", config.level))
        .map_err(|source| JournalError::Filter { level: config.level.clone(), source })?;
    let format = match config.format {
        LogFormat::Auto if systemd_journal_logger::connected_to_journal() => LogFormat::Journal,
        LogFormat::Auto if std::io::stderr().is_terminal() => LogFormat::Text,
        LogFormat::Auto => LogFormat::Json,
        chosen => chosen,
    };
    let registry = tracing_subscriber::registry().with(filter).with(LineBudget::default());
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Journal => registry.with(Journal::connect()?).try_init()?,
        LogFormat::Text => {
            let terminal = std::io::stderr().is_terminal();
            let colors = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            let lines = lines.with_target(false).with_ansi(colors).with_timer(LineTime { local: terminal });
            registry.with(lines).try_init()?;
        }
        _ => registry.with(lines.json().flatten_event(true)).try_init()?,
    }
    Ok(())
}

/// The time in front of a line: local for a person at a terminal, else as RFC 3339 has it, in UTC.
struct LineTime {
    local: bool,
}

impl FormatTime for LineTime {
    fn format_time(&self, w: &mut Writer<'_>) -> std::fmt::Result {
        let now = Timestamp::now();
        if self.local {
            write!(w, "{}", now.to_zoned_datetime(TimeZone::system()).strftime("%F %T"))
        } else {
            write!(w, "{now:.6}")
        }
    }
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
        let mut fields = EventFields::default();
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
            // The journal restarts or is full: standard error may still be seen.
            eprintln!("{} (the journal did not take it: {error})", fields.message);
        }
    }
}

#[derive(Default)]
struct EventFields {
    message: String,
    pairs: Vec<(&'static str, String)>,
}

impl EventFields {
    fn add(&mut self, field: &Field, value: String) {
        match field.name() {
            "message" => self.message = value,
            name => self.pairs.push((name.strip_prefix("log.").unwrap_or(name), value)),
        }
    }
}

impl Visit for EventFields {
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
