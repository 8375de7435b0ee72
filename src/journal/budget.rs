//! What fails again and again is not said for ever.
//!
//! Owns the bound: so many lines an hour from one place of the code. Refuses to know what they say. Invariant: an alert is always
//! said; what was left out is counted, and the count is said with the next line from there.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::{Event, Level, Subscriber, warn};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

const HOUR: Duration = Duration::from_secs(3600);
/// A microphone that stays away fails twice a minute: a quarter of an hour of that tells the story.
const LINES: u32 = 30;

/// Holds back lines beyond the budget of their place.
#[derive(Default)]
pub(super) struct Budget(Mutex<HashMap<Identifier, Spent>>);

/// What a place said in its hour.
#[derive(Default)]
struct Spent {
    since: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl Spent {
    /// Whether one more line is said at `now`; and, when an hour begins, how many were left out in the last.
    fn another(&mut self, now: Instant) -> (bool, u64) {
        let mut left_out = 0;
        if self.since.is_none_or(|since| now.duration_since(since) >= HOUR) {
            left_out = self.left_out;
            *self = Self { since: Some(now), ..Self::default() };
        }
        let said = self.lines < LINES;
        if said {
            self.lines += 1;
        } else {
            self.left_out += 1;
        }
        (said, left_out)
    }
}

impl<S: Subscriber> Layer<S> for Budget {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        // What names a rule is why there is a log; and whoever sets a finer level wants all of it.
        if *metadata.level() > Level::INFO || metadata.fields().field("rule").is_some() {
            return true;
        }
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (said, left_out) = places.entry(metadata.callsite()).or_default().another(Instant::now());
        drop(places);
        if left_out > 0 {
            warn!(left_out, "{left_out} lines like the next were left out");
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tracing::info;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn what_fails_each_second_for_a_month_costs_thirty_lines_an_hour_and_none_is_uncounted() {
        let began = Instant::now();
        let mut spent = Spent::default();
        let (mut said, mut told) = (0, 0);
        for second in 0..30 * 24 * 3600 {
            let (another, left_out) = spent.another(began + Duration::from_secs(second));
            said += u64::from(another);
            told += left_out;
        }
        assert_eq!(said, 30 * 24 * u64::from(LINES));
        assert_eq!(said + told + spent.left_out, 30 * 24 * 3600);
    }

    /// Keeps the levels of what comes through.
    #[derive(Clone, Default)]
    struct Heard(Arc<Mutex<Vec<Level>>>);

    impl<S: Subscriber> Layer<S> for Heard {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0.lock().unwrap().push(*event.metadata().level());
        }
    }

    #[test]
    fn each_place_has_its_own_budget_and_alerts_and_fine_levels_have_none() {
        let heard = Heard::default();
        let subscriber = tracing_subscriber::registry().with(Budget::default()).with(heard.clone());
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..100 {
                info!("the microphone is away");
                warn!(rule = "fire", "alert");
                tracing::debug!("a detail");
            }
            tracing::error!("something else");
        });
        let heard = heard.0.lock().unwrap();
        let of = |level| heard.iter().filter(|heard| **heard == level).count();
        assert_eq!((of(Level::INFO), of(Level::WARN), of(Level::DEBUG), of(Level::ERROR)), (30, 100, 100, 1));
    }
}
