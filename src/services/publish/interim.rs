//! What is being said, for whoever follows it over MQTT.
//!
//! Owns the look at the scenes. Refuses to know how it is told. Invariant: who is too slow misses some of it; the next says all of it
//! again.

use std::sync::Arc;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::event::Hypothesis;
use crate::scenes::Scene;

/// Waits for the next that is being said; for ever, where nobody is told. Safe to cancel.
pub(super) async fn next(scenes: &mut Option<Receiver<Arc<Scene>>>) -> Hypothesis {
    loop {
        let Some(receiver) = scenes else { std::future::pending().await };
        match receiver.recv().await.as_deref() {
            Ok(Scene::Hypothesis(said)) => return said.clone(),
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => *scenes = None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenes::Scenes;
    use jiff::Timestamp;

    #[tokio::test]
    async fn what_is_being_said_is_picked_out_of_what_goes_on() {
        let scenes = Scenes::default();
        let mut looking = Some(scenes.look().1);
        let said = Hypothesis { tentative: "good".into(), ..Hypothesis::over("hall", Timestamp::UNIX_EPOCH) };
        scenes.tell(Scene::Forgotten(Timestamp::UNIX_EPOCH));
        scenes.tell(Scene::Hypothesis(said.clone()));
        assert_eq!(next(&mut looking).await, said);
        assert_eq!(scenes.recent().hypotheses["hall"], said);
        scenes.tell(Scene::Hypothesis(Hypothesis::over("hall", Timestamp::UNIX_EPOCH)));
        assert!(next(&mut looking).await.is_over());
        assert!(scenes.recent().hypotheses.is_empty());
    }
}
