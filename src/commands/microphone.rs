//! Whether the microphone is open, closed, or closed until a time; and how that is kept over a restart.
//!
//! A microphone that was closed stays closed after a power cut, and never opens because a note cannot be read or a clock is wrong.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::clock;
use crate::store::{Store, StoreError};

/// Where the state is stored: `no` (open), `yes` (closed), or a [`StoredPause`].
const NOTE: &str = "muted";
/// A clock that is corrected by less does not move the end of a pause.
const CORRECTION: SignedDuration = SignedDuration::from_mins(1);

/// Whether the microphone is open.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum MicrophoneState {
    #[default]
    Open,
    /// Closed until somebody opens it.
    Muted,
    /// Closed for a while.
    Paused(MicrophonePause),
}

/// A pause. It ends by the time since boot, which nobody can set; the wall time is for people and for the next start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MicrophonePause {
    minutes: f64,
    until: Timestamp,
    /// When it ends, as time since boot.
    ends: Duration,
}

impl MicrophonePause {
    /// A pause of some minutes from `now` on, when the machine has been up for `up`.
    pub(crate) fn new(minutes: f64, now: Timestamp, up: Duration) -> Self {
        Self::with_left(minutes, Duration::from_secs_f64(minutes * 60.0), now, up)
    }

    fn with_left(minutes: f64, left: Duration, now: Timestamp, up: Duration) -> Self {
        Self { minutes, until: clock::after(now, signed(left)), ends: up + left }
    }

    /// How long it still lasts when the machine has been up for `up`.
    pub(crate) fn left(&self, up: Duration) -> Duration {
        self.ends.saturating_sub(up)
    }
}

impl MicrophoneState {
    pub fn is_open(self) -> bool {
        self == Self::Open
    }

    pub(crate) fn pause(self) -> Option<MicrophonePause> {
        match self {
            Self::Paused(pause) => Some(pause),
            Self::Open | Self::Muted => None,
        }
    }

    pub(crate) fn paused_until(self) -> Option<Timestamp> {
        self.pause().map(|pause| pause.until)
    }

    /// What it is after the request for a pause, or for the end of one. A microphone that is muted stays so.
    pub(crate) fn after_pause_request(self, pause: Option<MicrophonePause>) -> Self {
        match (self, pause) {
            (Self::Muted, _) => Self::Muted,
            (_, Some(pause)) => Self::Paused(pause),
            (_, None) => Self::Open,
        }
    }

    /// What it is when the machine has been up for `up` and the clock says `now`: a pause may be over, and a clock that was corrected
    /// moves the wall time at which it ends.
    pub(crate) fn at(self, now: Timestamp, up: Duration) -> Self {
        let Self::Paused(pause) = self else { return self };
        let left = pause.left(up);
        if left.is_zero() {
            return Self::Open;
        }
        let moved = MicrophonePause::with_left(pause.minutes, left, now, up);
        if moved.until.duration_since(pause.until).abs() > CORRECTION { Self::Paused(moved) } else { self }
    }

    /// As an earlier run stored it. `now` is the time, if the clock is to be trusted: a pause that has passed meanwhile is over. By a
    /// clock that is not to be trusted nobody knows how much of it has passed, and it lasts as long as was asked for from now on.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub(crate) fn load(store: &mut Store, now: Option<Timestamp>, up: Duration) -> Result<Self, StoreError> {
        let note = store.note(NOTE)?;
        match note.as_deref() {
            None | Some("no") => Ok(Self::Open),
            Some("yes") => Ok(Self::Muted),
            Some(note) => match serde_json::from_str::<StoredPause>(note) {
                Ok(stored) => stored.resume(store, now, up),
                Err(error) => {
                    warn!(%error, "what is stored about the microphone cannot be read; it stays closed until it is opened");
                    Ok(Self::Muted)
                }
            },
        }
    }

    /// Stores it for the next start.
    ///
    /// # Errors
    /// The store cannot be written.
    pub(crate) fn store(self, store: &mut Store) -> Result<(), StoreError> {
        let note = match self {
            Self::Open => "no".to_string(),
            Self::Muted => "yes".to_string(),
            Self::Paused(MicrophonePause { minutes, until, .. }) => {
                serde_json::to_string(&StoredPause { minutes, until }).expect("numbers and times are JSON")
            }
        };
        store.set_note(NOTE, &note)
    }
}

/// A pause as it is stored.
#[derive(Serialize, Deserialize)]
struct StoredPause {
    minutes: f64,
    until: Timestamp,
}

impl StoredPause {
    fn resume(&self, store: &mut Store, now: Option<Timestamp>, up: Duration) -> Result<MicrophoneState, StoreError> {
        let whole = Duration::try_from_secs_f64(self.minutes * 60.0).unwrap_or_default();
        let left = match now {
            Some(now) => Duration::try_from(self.until.duration_since(now)).unwrap_or_default().min(whole),
            None => whole,
        };
        if left.is_zero() {
            info!(until = %self.until, "the pause ended while hearth did not run; the microphone opens");
            MicrophoneState::Open.store(store)?;
            return Ok(MicrophoneState::Open);
        }
        let pause = MicrophonePause { minutes: self.minutes, until: self.until, ends: up + left };
        Ok(MicrophoneState::Paused(pause).at(now.unwrap_or_else(Timestamp::now), up))
    }
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::store::OutboxLimits;

    const HOUR: Duration = Duration::from_secs(3_600);
    /// How long the machine has been up.
    const UP: Duration = Duration::from_secs(100);

    fn noon() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    fn later(minutes: i64) -> Timestamp {
        noon() + SignedDuration::from_mins(minutes)
    }

    fn an_hour() -> MicrophoneState {
        MicrophoneState::Open.after_pause_request(Some(MicrophonePause::new(60.0, noon(), UP)))
    }

    fn store(dir: &tempfile::TempDir) -> Store {
        Store::open(dir.path(), OutboxLimits::from(&config::StoreConfig::default())).unwrap()
    }

    #[test]
    fn a_pause_ends_after_its_time_and_a_muted_microphone_stays_muted() {
        let paused = an_hour();
        assert_eq!(paused.paused_until(), Some(later(60)));
        assert!(!paused.is_open() && paused.at(later(59), UP + HOUR - Duration::from_secs(1)) == paused);
        assert_eq!(paused.at(later(60), UP + HOUR), MicrophoneState::Open);
        assert_eq!(paused.after_pause_request(None), MicrophoneState::Open);
        let pause = paused.pause();
        assert_eq!(MicrophoneState::Muted.after_pause_request(pause), MicrophoneState::Muted);
        assert_eq!(MicrophoneState::Muted.after_pause_request(None), MicrophoneState::Muted);
    }

    #[test]
    fn a_clock_that_is_set_does_not_change_how_long_a_pause_lasts() {
        let paused = an_hour();
        let years = later(60 * 24 * 365 * 5);
        let moved = paused.at(years, UP + HOUR / 2);
        assert_eq!(moved.paused_until(), Some(years + SignedDuration::from_mins(30)));
        assert_eq!(moved.at(later(0), UP + HOUR), MicrophoneState::Open);
    }

    #[test]
    fn a_pause_goes_on_after_a_restart_and_is_over_when_its_time_has_passed() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = store(&dir);
        an_hour().store(&mut store).unwrap();
        // The machine has booted meanwhile.
        let resumed = MicrophoneState::load(&mut store, Some(later(20)), Duration::ZERO).unwrap();
        assert_eq!(resumed.paused_until(), Some(later(60)));
        assert_eq!(resumed.pause().unwrap().left(Duration::ZERO), Duration::from_secs(40 * 60));
        // By a clock that is not trusted, or far behind, it lasts as long as was asked for and no longer.
        for now in [None, Some(later(-60 * 24 * 365))] {
            let resumed = MicrophoneState::load(&mut store, now, UP).unwrap();
            assert_eq!(resumed.pause().unwrap().left(UP), HOUR);
        }
        assert_eq!(MicrophoneState::load(&mut store, Some(later(61)), UP).unwrap(), MicrophoneState::Open);
        assert_eq!(MicrophoneState::load(&mut store, None, UP).unwrap(), MicrophoneState::Open, "it stays over");
    }

    #[test]
    fn what_is_stored_is_read_again_and_an_unreadable_note_keeps_the_microphone_closed() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = store(&dir);
        assert_eq!(MicrophoneState::load(&mut store, None, UP).unwrap(), MicrophoneState::Open);
        for state in [MicrophoneState::Muted, MicrophoneState::Open] {
            state.store(&mut store).unwrap();
            assert_eq!(MicrophoneState::load(&mut store, None, UP).unwrap(), state);
        }
        store.set_note(NOTE, "{\"until\": 7}").unwrap();
        assert_eq!(MicrophoneState::load(&mut store, Some(noon()), UP).unwrap(), MicrophoneState::Muted);
    }
}
