//! What systemd is told: ready, what it does, that it lives.
//!
//! Owns the watchdog's judgement. Invariant: it is fed only while every part moves; a broker that is down, a microphone that is
//! unplugged or muted are states, not failures.

use std::time::Duration;

use sd_notify::NotifyState;
use tracing::{error, info};

use crate::vitals::Vitals;

/// A part that has not moved for this long is stuck: longer than any decode or digest on the slowest machine.
const STUCK_MS: i64 = 120_000;

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
        match stuck(vitals, reads) {
            None => send(&[NotifyState::Watchdog]),
            Some(part) => error!(part, "has not moved for {} s", STUCK_MS / 1000),
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
fn stuck(vitals: &Vitals, reads: bool) -> Option<String> {
    let rooms = vitals.rooms.each();
    let hearing = rooms.iter().filter(|(_, room)| vitals.listening.get() && room.delivers.get());
    let sources: Vec<_> = hearing.map(|(name, room)| (&**name, true, &room.moved)).collect();
    let parts = [
        ("hearing", !sources.is_empty(), &vitals.hearing_moved),
        ("reading", reads, &vitals.reading_moved),
        ("publishing", true, &vitals.publishing_moved),
    ];
    let still = |(_, expected, moved): &&(_, bool, &crate::vitals::Moment)| {
        *expected && moved.get().is_some() && moved.age_ms() > STUCK_MS
    };
    sources.iter().chain(&parts).find(still).map(|(name, _, _)| (*name).to_owned())
}
