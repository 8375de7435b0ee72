//! What systemd is told: ready, what it does, that it lives.
//!
//! Owns the watchdog's judgement. Invariant: it is fed only while every part moves; a broker that is down, a microphone that is
//! unplugged or muted are states, not failures.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tracing::{error, info};

use crate::metrics::{Heartbeat, Metrics};

/// A part that has not moved for so many of the watchdog's periods is stuck: with the unit's two minutes, longer than any
/// decode or digest on the slowest machine.
const STUCK_PERIODS: u32 = 2;
/// The period where nobody watches: only the log tells of a part that is stuck.
const UNWATCHED: Duration = Duration::from_secs(60);

/// How long a house that is up is waited for before it is called ready without sound: a network microphone may connect tomorrow, and
/// systemd would end whoever is not ready by then. One that is not plugged in has ended hearth by this time.
const SETTLED: Duration = Duration::from_secs(10);

/// systemd's view of the house.
pub struct SystemdNotifier {
    watchdog: Option<Duration>,
    up: Instant,
    ready: bool,
}

impl SystemdNotifier {
    pub fn new() -> Self {
        Self { watchdog: sd_notify::watchdog_enabled(), up: Instant::now(), ready: false }
    }

    /// How often [`SystemdNotifier::notify`] wants to be called: half the watchdog's period, or every 2 s at most.
    pub fn period(&self) -> Duration {
        self.watchdog.map_or(Duration::from_secs(2), |period| period / 2).min(Duration::from_secs(2))
    }

    /// Says how the house is.
    pub fn notify(&mut self, metrics: &Metrics, reads: bool) {
        let status = status(metrics);
        if !self.ready && (metrics.microphone_ok.get() || !metrics.listening.get() || self.up.elapsed() > SETTLED) {
            self.ready = true;
            send(&[NotifyState::Ready]);
            info!("{}", ears(metrics));
        }
        send(&[NotifyState::Status(&status)]);
        let limit = self.watchdog.unwrap_or(UNWATCHED) * STUCK_PERIODS;
        match stuck(metrics, reads, limit) {
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

fn ears(metrics: &Metrics) -> &'static str {
    match (metrics.listening.get(), metrics.microphone_ok.get()) {
        (false, _) if metrics.rooms.each().is_empty() => "without ears",
        (false, _) if metrics.paused_until.get().is_some() => "paused",
        (false, _) => "muted",
        (true, true) => "listening",
        (true, false) => "waiting for a microphone",
    }
}

fn status(metrics: &Metrics) -> String {
    let ears = ears(metrics);
    let broker = if metrics.connected.get() { "connected" } else { "waiting for the broker" };
    format!(
        "{ears}, {broker}; {} utterances, lag {:.1} s, {} tokens read, {} messages waiting",
        metrics.utterances.get(),
        metrics.lag.last_s(),
        metrics.tokens.get(),
        metrics.outbox.get(),
    )
}

/// The first part that should have moved and did not. Sound reaches hearing only while a microphone is open.
fn stuck(metrics: &Metrics, reads: bool, limit: Duration) -> Option<String> {
    let rooms = metrics.rooms.each();
    let hearing = rooms.iter().filter(|(_, room)| metrics.listening.get() && room.delivers.get());
    let sources: Vec<_> = hearing.map(|(name, room)| (&**name, true, &room.heartbeat)).collect();
    let parts = [
        ("hearing", !sources.is_empty(), &metrics.hearing_heartbeat),
        ("reading", reads, &metrics.reading_heartbeat),
        ("publishing", true, &metrics.publishing_heartbeat),
    ];
    let still = |(_, expected, moved): &&(_, bool, &Heartbeat)| *expected && moved.age().is_some_and(|age| age > limit);
    sources.iter().chain(&parts).find(still).map(|(name, _, _)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moved_within_the_limit_or_has_not_begun_is_not_stuck() {
        let metrics = Metrics::default();
        metrics.reading_heartbeat.beat();
        let age = || metrics.reading_heartbeat.age().unwrap();
        while age() < Duration::from_millis(2) {}
        assert_eq!(stuck(&metrics, true, Duration::from_secs(60)), None);
        assert_eq!(stuck(&metrics, true, Duration::from_millis(1)).as_deref(), Some("reading"));
        assert_eq!(
            stuck(&metrics, false, Duration::from_millis(1)),
            None,
            "nobody reads, and nothing was published yet"
        );
        metrics.reading_heartbeat.beat();
        assert_eq!(stuck(&metrics, true, Duration::from_secs(60)), None);
    }
}
