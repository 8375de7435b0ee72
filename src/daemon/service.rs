//! What systemd is told: ready, what it does, that it lives.
//!
//! Owns the watchdog's judgement. Invariant: it is fed only while every part moves; a broker that is down, a microphone that is
//! unplugged or muted are states, not failures.

use std::time::Duration;

use sd_notify::NotifyState;
use tracing::{error, info};

use crate::vitals::Vitals;

/// A part that has not moved for so many of the watchdog's periods is stuck: with the unit's two minutes, longer than any
/// decode or digest on the slowest machine.
const STUCK_PERIODS: u32 = 2;
/// The period where nobody watches: only the log tells of a part that is stuck.
const UNWATCHED: Duration = Duration::from_secs(60);

/// systemd's view of the house.
pub struct Service {
    watchdog: Option<Duration>,
    ready: bool,
}

impl Service {
    pub fn new() -> Self {
        Self { watchdog: sd_notify::watchdog_enabled(), ready: false }
    }

    /// How often [`Service::tell`] wants to be called: half the watchdog's period, or every 2 s at most.
    pub fn period(&self) -> Duration {
        self.watchdog.map_or(Duration::from_secs(2), |period| period / 2).min(Duration::from_secs(2))
    }

    /// Says how the house is.
    pub fn tell(&mut self, vitals: &Vitals, reads: bool) {
        if !self.ready && (vitals.microphone_ok.get() || !vitals.listening.get()) {
            self.ready = true;
            send(&[NotifyState::Ready]);
            info!("listening");
        }
        let status = status(vitals);
        send(&[NotifyState::Status(&status)]);
        let limit = self.watchdog.unwrap_or(UNWATCHED) * STUCK_PERIODS;
        match stuck(vitals, reads, limit) {
            None => send(&[NotifyState::Watchdog]),
            Some(part) => error!(part, "{part} has not moved for {} s", limit.as_secs()),
        }
    }

    /// The config is being read again.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => send(&[NotifyState::Reloading, now]),
            Err(error) => tracing::debug!(%error, "systemd was not told"),
        }
    }

    /// It is read.
    pub fn reloaded(&self) {
        if self.ready {
            send(&[NotifyState::Ready]);
        }
    }

    pub fn stopping() {
        send(&[NotifyState::Stopping]);
    }
}

/// Without systemd there is no socket, and nothing to do.
fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}

fn status(vitals: &Vitals) -> String {
    let ears = match (vitals.listening.get(), vitals.microphone_ok.get()) {
        (false, _) if vitals.rooms.each().is_empty() => "without ears",
        (false, _) => "muted",
        (true, true) => "listening",
        (true, false) => "waiting for the microphone",
    };
    let broker = if vitals.connected.get() { "connected" } else { "waiting for the broker" };
    format!(
        "{ears}, {broker}; {} utterances, lag {:.1} s, {} tokens read, {} messages waiting",
        vitals.utterances.get(),
        vitals.lag.last_s(),
        vitals.tokens.get(),
        vitals.outbox.get(),
    )
}

/// The first part that should have moved and did not. Sound reaches hearing only while a microphone is open.
fn stuck(vitals: &Vitals, reads: bool, limit: Duration) -> Option<String> {
    let limit_ms = i64::try_from(limit.as_millis()).unwrap_or(i64::MAX);
    let rooms = vitals.rooms.each();
    let hearing = rooms.iter().filter(|(_, room)| vitals.listening.get() && room.delivers.get());
    let sources: Vec<_> = hearing.map(|(name, room)| (&**name, true, &room.moved)).collect();
    let parts = [
        ("hearing", !sources.is_empty(), &vitals.hearing_moved),
        ("reading", reads, &vitals.reading_moved),
        ("publishing", true, &vitals.publishing_moved),
    ];
    let still = |(_, expected, moved): &&(_, bool, &crate::vitals::Moment)| {
        *expected && moved.get().is_some() && moved.age_ms() > limit_ms
    };
    sources.iter().chain(&parts).find(still).map(|(name, _, _)| (*name).to_owned())
}
