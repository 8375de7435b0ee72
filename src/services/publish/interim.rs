//! Interim transcripts for MQTT, picked out of the live feed.
//!
//! A publisher that is too slow misses some; the next one repeats all of it.

use std::sync::Arc;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::event::Hypothesis;
use crate::live::LiveEvent;

/// Waits for the next interim transcript; for ever where they are not published. Safe to cancel.
pub(super) async fn next(live_feed: &mut Option<Receiver<Arc<LiveEvent>>>) -> Hypothesis {
    loop {
        let Some(receiver) = live_feed else { std::future::pending().await };
        match receiver.recv().await.as_deref() {
            Ok(LiveEvent::Hypothesis(hypothesis)) => return hypothesis.clone(),
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
    async fn hypotheses_are_picked_out_of_the_live_feed() {
        let live_feed = LiveFeed::default();
        let mut receiver = Some(live_feed.subscribe().1);
        let hypothesis = Hypothesis { tentative: "good".into(), ..Hypothesis::over("hall", Timestamp::UNIX_EPOCH) };
        live_feed.publish(LiveEvent::Forgotten(vec![(Timestamp::UNIX_EPOCH, Timestamp::MAX)]));
        live_feed.publish(LiveEvent::Hypothesis(hypothesis.clone()));
        assert_eq!(next(&mut receiver).await, hypothesis);
        assert_eq!(live_feed.snapshot().hypotheses["hall"], hypothesis);
        live_feed.publish(LiveEvent::Hypothesis(Hypothesis::over("hall", Timestamp::UNIX_EPOCH)));
        assert!(next(&mut receiver).await.is_over());
        assert!(live_feed.snapshot().hypotheses.is_empty());
    }
}
