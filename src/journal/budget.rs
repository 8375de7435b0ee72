//! Limits the log lines an hour from one place in the code, so that a repeated failure does not fill the log.
//!
//! Alerts are always logged. Omitted lines are counted, and the count is logged with the next line from that place.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::callsite::Identifier;
use tracing::{Event, Level, Subscriber, warn};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

const HOUR: Duration = Duration::from_secs(3600);
/// A missing microphone fails twice a minute: a quarter of an hour of these lines is enough.
const LINES: u32 = 30;

/// A layer that omits lines beyond the budget of their place.
#[derive(Default)]
pub(super) struct LineBudget(Mutex<HashMap<Identifier, HourlyLines>>);

/// The lines of one place in its current hour.
#[derive(Default)]
struct HourlyLines {
    since: Option<Instant>,
    lines: u32,
    omitted: u64,
}

impl HourlyLines {
    /// Whether one more line is said at `now`; and, when an hour begins, how many were left out in the last.
    fn another(&mut self, now: Instant) -> (bool, u64) {
        let mut omitted = 0;
        if self.since.is_none_or(|since| now.duration_since(since) >= HOUR) {
            omitted = self.omitted;
            *self = Self { since: Some(now), ..Self::default() };
        }
        let said = self.lines < LINES;
        if said {
            self.lines += 1;
        } else {
            self.omitted += 1;
        }
        (said, omitted)
    }
}

impl<S: Subscriber> Layer<S> for LineBudget {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        // Lines with a rule are alerts. Whoever sets a finer level wants all lines.
        if *metadata.level() > Level::INFO || metadata.fields().field("rule").is_some() {
            return true;
        }
        let mut places = self.0.lock();
        let (said, omitted) = places.entry(metadata.callsite()).or_default().another(Instant::now());
        drop(places);
        if omitted > 0 {
            warn!(omitted, "{omitted} lines like the next were omitted");
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
    fn a_failure_each_second_for_a_month_costs_thirty_lines_an_hour_and_all_are_counted() {
        let began = Instant::now();
        let mut spent = HourlyLines::default();
        let (mut said, mut told) = (0, 0);
        for second in 0..30 * 24 * 3600 {
            let (another, omitted) = spent.another(began + Duration::from_secs(second));
            said += u64::from(another);
            told += omitted;
        }
        assert_eq!(said, 30 * 24 * u64::from(LINES));
        assert_eq!(said + told + spent.omitted, 30 * 24 * 3600);
    }

    /// Records the levels of the events that pass.
    #[derive(Clone, Default)]
    struct RecordedLevels(Arc<Mutex<Vec<Level>>>);

    impl<S: Subscriber> Layer<S> for RecordedLevels {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0.lock().push(*event.metadata().level());
        }
    }

    #[test]
    fn each_place_has_its_own_budget_and_alerts_and_debug_levels_have_no_limit() {
        let heard = RecordedLevels::default();
        let subscriber = tracing_subscriber::registry().with(LineBudget::default()).with(heard.clone());
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..100 {
                info!("the microphone is away");
                warn!(rule = "fire", "alert");
                tracing::debug!("a detail");
            }
            tracing::error!("something else");
        });
        let heard = heard.0.lock();
        let of = |level| heard.iter().filter(|heard| **heard == level).count();
        assert_eq!((of(Level::INFO), of(Level::WARN), of(Level::DEBUG), of(Level::ERROR)), (30, 100, 100, 1));
    }
}
