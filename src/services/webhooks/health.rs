//! How hearth is, for the webhooks that are told of it: at the start, when something that a person should know of changes, and every ten
//! minutes, so that whoever waits for it notices its absence. Of what waits only the newest is kept.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::event::EventKind;
use crate::metrics::Metrics;
use crate::mqtt::payload::{self, MessageHeader};
use crate::services::Context;
use crate::services::outbox::unstored_messages::UnstoredMessages;
use crate::services::process_cost::ProcessMeter;
use crate::services::store_retry::{StoreOutage, blocking};
use crate::store::{Store, StoreError};

/// How often it is told where nothing changes.
const EVERY: Duration = Duration::from_secs(600);
/// How often it is looked whether anything has changed.
const LOOK: Duration = Duration::from_secs(5);

/// Tells it until `stop` is cancelled.
///
/// # Errors
/// The database is damaged or gone.
pub(super) async fn run(context: Context, mut store: Store, stop: CancellationToken) -> Result<(), StoreError> {
    if context.routes.told_of(EventKind::Health).next().is_none() {
        return Ok(());
    }
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut process, mut outage, mut told) = (ProcessMeter::default(), StoreOutage::default(), None);
    let mut unstored = UnstoredMessages::default();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return Ok(()),
        }
        let condition = condition(&context.metrics);
        let due = told.is_none_or(|(before, at): (_, Instant)| before != condition || at.elapsed() >= EVERY);
        if due {
            told = Some((condition, Instant::now()));
            let message = payload::health(&context.topics, MessageHeader::now(), &context.metrics, process.read());
            unstored.add(&context, context.routes.to_webhooks(EventKind::Health, &message));
        }
        let messages = unstored.to_store();
        if messages.is_empty() {
            unstored.settle();
            continue;
        }
        match blocking(|| outage.attempt(&context, || store.enqueue(&messages)))? {
            Some(()) => {
                unstored.settle();
                context.notify_outbox();
            }
            None => unstored.send(&context),
        }
    }
}

/// What a person should know of at once.
fn condition(metrics: &Metrics) -> [bool; 4] {
    [
        metrics.listening.get(),
        metrics.microphone_ok.get(),
        !metrics.store_refuses.get(),
        !metrics.forget_incomplete.get(),
    ]
}
