//! What is being said, for whoever follows it over MQTT.
//!
//! Owns the look at the live_feed. Refuses to know how it is told. Invariant: who is too slow misses some of it; the next says all of it
//! again.

use std::sync::Arc;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::event::Hypothesis;
use crate::live::LiveEvent;

/// Waits for the next that is being said; for ever, where nobody is told. Safe to cancel.
pub(super) async fn next(live_feed: &mut Option<Receiver<Arc<LiveEvent>>>) -> Hypothesis {
    loop {
        let Some(receiver) = live_feed else { std::future::pending().await };
        match receiver.recv().await.as_deref() {
            Ok(LiveEvent::Hypothesis(said)) => return said.clone(),
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => *live_feed = None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::LiveFeed;
    use jiff::Timestamp;

    #[tokio::test]
    async fn what_is_being_said_is_picked_out_of_what_goes_on() {
        let live_feed = LiveFeed::default();
        let mut looking = Some(live_feed.subscribe().1);
        let said = Hypothesis { tentative: "good".into(), ..Hypothesis::over("hall", Timestamp::UNIX_EPOCH) };
        live_feed.publish(LiveEvent::Forgotten(Timestamp::UNIX_EPOCH));
        live_feed.publish(LiveEvent::Hypothesis(said.clone()));
        assert_eq!(next(&mut looking).await, said);
        assert_eq!(live_feed.snapshot().hypotheses["hall"], said);
        live_feed.publish(LiveEvent::Hypothesis(Hypothesis::over("hall", Timestamp::UNIX_EPOCH)));
        assert!(next(&mut looking).await.is_over());
        assert!(live_feed.snapshot().hypotheses.is_empty());
    }
}
