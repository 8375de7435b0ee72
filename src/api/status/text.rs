//! What `hearth status` prints.

use std::fmt;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::{HearingStatus, ListenerStatus, PublishingStatus, RemoteStatus, Status};
use crate::metrics::StateHealth;

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, node, pid, time, .. } = self;
        writeln!(f, "hearth {version} at {node}, process {pid}, up {}", span(self.uptime_s))?;
        self.hears.write(f, *time)?;
        match &self.reads {
            None => writeln!(f, "reads    nothing: [listener] enabled = false")?,
            Some(reads) => reads.write(f)?,
        }
        self.tells.write(f)?;
        if let Some(summary) = &self.summary {
            writeln!(f, "summary  {}  {}", local(summary.time, *time), summary.text)?;
        }
        for alert in &self.alerts {
            let quoted = alert.evidence.last().map(|e| format!(" “{}”", e.text)).unwrap_or_default();
            writeln!(f, "ALERT    {} since {}{quoted}", alert.rule, local(alert.time, *time))?;
        }
        writeln!(f, "costs    {} MiB of memory, {} of processor time", self.rss_bytes >> 20, span(self.cpu_s))?;
        if let Some(page) = &self.page {
            writeln!(f, "page     {page}")?;
        }
        Ok(())
    }
}

impl HearingStatus {
    /// Whether it listens, and if not, why and until when.
    pub(crate) fn heard_how(&self, now: Timestamp) -> String {
        match (self.ears, self.listening, self.source_ok) {
            (false, _, _) => "without a microphone".into(),
            (true, false, _) => match self.paused_until {
                Some(until) => format!("paused until {}", local(until, now)),
                None => "muted".into(),
            },
            (true, true, true) => "listening".to_string(),
            (true, true, false) => "waiting for the source of sound".into(),
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, now: Timestamp) -> fmt::Result {
        let ears = self.heard_how(now);
        write!(f, "hears    {ears}; {} utterances, {} words", self.utterances, self.words)?;
        if let (Some(last), Some(p95)) = (self.lag_s, self.lag_p95_s) {
            write!(f, "; lag {last:.1} s, p95 {p95:.1} s")?;
        }
        if self.dropped_s > 0.0 {
            write!(f, "; {:.0} s of sound were dropped", self.dropped_s)?;
        }
        writeln!(f)?;
        for (name, room) in &self.rooms {
            let trouble = match (room.delivers, room.dead) {
                _ if !self.listening => continue,
                (false, _) => "its source delivers nothing",
                (true, true) => "its microphone is dead, or muted at itself",
                (true, false) => continue,
            };
            writeln!(f, "         {name}: {trouble}")?;
        }
        if let Some(RemoteStatus { taken, repeated, refused }) = &self.others {
            write!(f, "         {taken} utterances and gaps of other machines")?;
            if *repeated > 0 {
                write!(f, "; {repeated} came again")?;
            }
            if *refused > 0 {
                write!(f, "; {refused} messages were none")?;
            }
            writeln!(f)?;
        }
        if let Some(last) = &self.last {
            writeln!(f, "         {} ago: {}", span(now.duration_since(last.time).as_secs_f64()), last.text)?;
        }
        for (room, said) in &self.saying {
            writeln!(f, "         now, {room}: {} …", said.text)?;
        }
        Ok(())
    }
}

impl ListenerStatus {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(model) = &self.model {
            writeln!(f, "model    {model}")?;
        }
        write!(f, "reads    {} tokens", self.tokens)?;
        if self.unread > 0 {
            write!(f, ", {} utterances behind", self.unread)?;
        }
        if let Some(us) = self.us_per_token {
            write!(f, "; {us:.0} µs a token")?;
        }
        writeln!(f, "; a state of {} KiB, as ever", self.state_bytes >> 10)?;
        self.state.write(f)
    }
}

impl StateHealth {
    /// One line, where anything is known.
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { surprise, renewal } = self;
        let mut told = Vec::new();
        if let (Some(nats), Some(spread)) = (surprise.nats, surprise.spread) {
            let young = surprise.young.map(|young| format!(", {young:.2} when it was young")).unwrap_or_default();
            told.push(format!("surprise {nats:.2} ± {spread:.2} nats a token{young}"));
        }
        if surprise.outstanding > 0 {
            told.push(format!("{} utterances stood out", surprise.outstanding));
        }
        if renewal.count > 0 {
            told.push(format!("renewed {} times", renewal.count));
        }
        told.extend(renewal.going_on());
        if told.is_empty() { Ok(()) } else { writeln!(f, "         {}", told.join("; ")) }
    }
}

impl PublishingStatus {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let link = if self.connected { "connected to" } else { "waiting for" };
        write!(f, "tells    {link} {}; {} waiting, {} acknowledged", self.broker, self.waiting, self.acknowledged)?;
        if self.given_up > 0 {
            write!(f, ", {} given up", self.given_up)?;
        }
        writeln!(f)?;
        if let Some(bytes) = self.packet_limit {
            let longer = match self.too_long {
                0 => "longer texts are cut".to_string(),
                n => format!("{n} that cannot be cut stay here; the log names them"),
            };
            writeln!(f, "         packets of at most {bytes} bytes, which is what the broker takes: {longer}")?;
        }
        if self.connected && !self.commands_ok {
            match &self.commands_needed {
                Some(needed) => writeln!(
                    f,
                    "commands do not come through from the broker: its access list must let hearth {needed}"
                )?,
                None => {
                    writeln!(f, "commands have not come through from the broker yet; if this lasts, the log says why")?
                }
            }
        }
        for (name, hook) in &self.webhooks {
            write!(f, "webhook  {name}: {} waiting, {} sent", hook.waiting, hook.sent)?;
            if hook.dropped > 0 {
                write!(f, ", {} given up", hook.dropped)?;
            }
            match &hook.error {
                Some(error) => writeln!(f, "; the last attempt failed: {error}")?,
                None => writeln!(f)?,
            }
        }
        if !self.store_ok {
            writeln!(f, "store    takes nothing: the disk is full or read-only, and what is heard waits")?;
        }
        if !self.forget_ok {
            writeln!(f, "forget   not complete: a file may still hold what was to be forgotten; the log says which")?;
        }
        Ok(())
    }
}

/// The local time of day, with the date if it is more than 12 hours away.
fn local(time: Timestamp, now: Timestamp) -> String {
    let format =
        if now.duration_since(time).abs() < SignedDuration::from_hours(12) { "%H:%M" } else { "%a %d %b %H:%M" };
    time.to_zoned_datetime(TimeZone::system()).strftime(format).to_string()
}

fn span(seconds: f64) -> String {
    let s = seconds.max(0.0) as u64;
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min", s / 60),
        3600..86_400 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3600),
    }
}
