//! Notifies systemd: ready, status, watchdog.
//!
//! The watchdog is notified only while every service makes progress. A broker that is down, or a microphone that is unplugged or
//! muted, is a state and not a failure.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tracing::{error, info};

use crate::metrics::{Heartbeat, Metrics};

/// A service whose heartbeat is older than so many of the watchdog's periods is stuck: with the unit's two minutes, longer than any
/// decode or digest on the slowest machine.
const STUCK_PERIODS: u32 = 2;
/// The period without a watchdog: only the log reports a service that is stuck.
const UNWATCHED: Duration = Duration::from_secs(60);

/// How long to wait for sound before reporting ready without it: a network microphone may connect tomorrow, and systemd would end
/// a service that is not ready by then. A local microphone that is not plugged in has ended hearth by this time.
const SETTLED: Duration = Duration::from_secs(10);

/// What systemd knows of this service.
pub(crate) struct SystemdNotifier {
    watchdog: Option<Duration>,
    up: Instant,
    ready: bool,
}

impl SystemdNotifier {
    pub(crate) fn new() -> Self {
        Self { watchdog: sd_notify::watchdog_enabled(), up: Instant::now(), ready: false }
    }

    /// How often [`SystemdNotifier::notify`] wants to be called: half the watchdog's period, or every 2 s at most.
    pub(crate) fn period(&self) -> Duration {
        self.watchdog.map_or(Duration::from_secs(2), |period| period / 2).min(Duration::from_secs(2))
    }

    /// Reports how the daemon is.
    pub(crate) fn notify(&mut self, metrics: &Metrics, reads: bool) {
        let status = status(metrics);
        if !self.ready && (metrics.microphone_ok.get() || !metrics.listening.get() || self.up.elapsed() > SETTLED) {
            self.ready = true;
            send(&[NotifyState::Ready]);
            info!("{}", hearing_status(metrics));
        }
        send(&[NotifyState::Status(&status)]);
        let limit = self.watchdog.unwrap_or(UNWATCHED) * STUCK_PERIODS;
        match stuck(metrics, reads, limit) {
            None => send(&[NotifyState::Watchdog]),
            Some(part) => error!(part, "{part} has not made progress for {} s", limit.as_secs()),
        }
    }

    /// The config is being read again.
    pub(crate) fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => send(&[NotifyState::Reloading, now]),
            Err(error) => tracing::debug!(%error, "systemd was not told"),
        }
    }

    /// It is read.
    pub(crate) fn reloaded(&self) {
        if self.ready {
            send(&[NotifyState::Ready]);
        }
    }

    pub(crate) fn stopping() {
        send(&[NotifyState::Stopping]);
    }
}

/// Without systemd there is no socket, and nothing to do.
fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}

fn hearing_status(metrics: &Metrics) -> &'static str {
    match (metrics.listening.get(), metrics.microphone_ok.get()) {
        (false, _) if metrics.rooms.each().is_empty() => "without a microphone",
        (false, _) if metrics.paused_until.get().is_some() => "paused",
        (false, _) => "muted",
        (true, true) => "listening",
        (true, false) => "waiting for a microphone",
    }
}

fn status(metrics: &Metrics) -> String {
    let hearing = hearing_status(metrics);
    let broker = if metrics.connected.get() { "connected" } else { "waiting for the broker" };
    format!(
        "{hearing}, {broker}; {} utterances, lag {:.1} s, {} tokens read, {} messages waiting",
        metrics.utterances.get(),
        metrics.lag.last_s(),
        metrics.tokens.get(),
        metrics.outbox.get(),
    )
}

/// The first service that should have made progress and did not. Audio reaches transcribe only while a microphone is open.
fn stuck(metrics: &Metrics, reads: bool, limit: Duration) -> Option<String> {
    let rooms = metrics.rooms.each();
    let hearing = rooms.iter().filter(|(_, room)| metrics.listening.get() && room.delivers.get());
    let sources: Vec<_> = hearing.map(|(name, room)| (&**name, true, &room.heartbeat)).collect();
    let parts = [
        ("transcribe", !sources.is_empty(), &metrics.hearing_heartbeat),
        ("listen", reads, &metrics.reading_heartbeat),
        ("publish", true, &metrics.publishing_heartbeat),
    ];
    let still = |(_, expected, moved): &&(_, bool, &Heartbeat)| *expected && moved.age().is_some_and(|age| age > limit);
    sources.iter().chain(&parts).find(still).map(|(name, _, _)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_stuck_only_when_its_last_heartbeat_is_too_old() {
        let metrics = Metrics::default();
        metrics.reading_heartbeat.beat();
        let age = || metrics.reading_heartbeat.age().unwrap();
        while age() < Duration::from_millis(2) {}
        assert_eq!(stuck(&metrics, true, Duration::from_secs(60)), None);
        assert_eq!(stuck(&metrics, true, Duration::from_millis(1)).as_deref(), Some("listen"));
        assert_eq!(
            stuck(&metrics, false, Duration::from_millis(1)),
            None,
            "there is no listener, and nothing was published yet"
        );
        metrics.reading_heartbeat.beat();
        assert_eq!(stuck(&metrics, true, Duration::from_secs(60)), None);
    }
}
