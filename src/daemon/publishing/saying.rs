//! What is being said, for whoever watches.
//!
//! Owns what was told of it. Refuses to know how it is told. Invariant: each change is told once, and that it is over, too.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::event::Hypothesis;
use crate::vitals::Vitals;

pub(super) struct Saying {
    /// None where nobody is told.
    changes: Option<watch::Receiver<()>>,
    told: BTreeMap<Arc<str>, Hypothesis>,
}

impl Saying {
    pub(super) fn new(wanted: bool, vitals: &Vitals) -> Self {
        Self { changes: wanted.then(|| vitals.rooms.listen()), told: BTreeMap::new() }
    }

    /// Waits until something has changed in a room; returns what. Safe to cancel.
    pub(super) async fn changed(&mut self, vitals: &Vitals) -> Vec<Hypothesis> {
        let changed = match &mut self.changes {
            Some(changes) => changes.changed().await,
            None => std::future::pending().await,
        };
        changed.expect("the rooms outlive who looks at them");
        self.news(vitals)
    }

    fn news(&mut self, vitals: &Vitals) -> Vec<Hypothesis> {
        let rooms = vitals.rooms.each().into_iter();
        let now: BTreeMap<_, _> = rooms.filter_map(|(name, room)| Some((name, room.saying()?))).collect();
        let over = self.told.iter().filter(|(name, _)| !now.contains_key(*name));
        let over = over.map(|(name, said)| Hypothesis::over(name, said.start));
        let news = now.iter().filter(|(name, said)| self.told.get(*name) != Some(said)).map(|(_, said)| said.clone());
        let told = over.chain(news).collect();
        self.told = now;
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    #[tokio::test]
    async fn each_change_is_told_once_and_the_end_too() {
        let vitals = Vitals::default();
        for room in ["hall", "kitchen"] {
            vitals.rooms.open(&room.into());
        }
        let said = |room: &str, words: &str| Hypothesis {
            tentative: words.into(),
            ..Hypothesis::over(room, Timestamp::UNIX_EPOCH)
        };
        let mut saying = Saying::new(true, &vitals);
        vitals.rooms.say(said("hall", "good"));
        vitals.rooms.say(said("kitchen", "tea"));
        assert_eq!(saying.changed(&vitals).await, [said("hall", "good"), said("kitchen", "tea")]);
        vitals.rooms.say(said("hall", "good morning"));
        assert_eq!(saying.changed(&vitals).await, [said("hall", "good morning")]);
        vitals.rooms.say(said("hall", ""));
        vitals.rooms.close("kitchen");
        assert_eq!(saying.changed(&vitals).await, [said("hall", ""), said("kitchen", "")]);
    }
}
