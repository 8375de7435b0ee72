//! Stores what arrived from other machines, acknowledges it, and passes it on to the listener in the order in which it was said.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::RemoteIngest;
use crate::clock;
use crate::event::{Gap, Utterance};
use crate::live::LiveEvent;
use crate::mqtt::remote_event::RemoteEvent;
use crate::services::Context;
use crate::services::listen::ListenerEvent;
use crate::services::store_retry::blocking;
use crate::store;

/// How often the listener learns that time passes in silence.
const PASSED: Duration = Duration::from_secs(1);
/// How long a store that takes nothing is left alone.
const RETRY: Duration = Duration::from_secs(5);
/// How long ids are remembered: as long as a message may wait for a broker on the machine that sent it.
const KEEP_IDS: SignedDuration = SignedDuration::from_hours(24 * 60);
const KEEP_IDS_EVERY: Duration = Duration::from_secs(3600);

impl RemoteIngest {
    /// Stores what arrived. Only after that it may be acknowledged.
    pub(super) fn store_arrived(&mut self) -> Result<(), store::StoreError> {
        let (mut utterances, mut gaps): (Vec<Utterance>, Vec<Gap>) = (Vec::new(), Vec::new());
        for heard in self.arrived.iter().filter_map(|(_, heard)| heard.clone()) {
            match heard {
                RemoteEvent::Utterance(utterance) => utterances.push(utterance),
                RemoteEvent::Gap(gap) => gaps.push(gap),
            }
        }
        let Context { metrics, live_feed, .. } = &self.context;
        let arrived = utterances.len() + gaps.len();
        if arrived > 0 {
            match blocking(|| self.store.receive(&utterances, &gaps, Timestamp::now())) {
                Ok(new) => {
                    let taken = new.utterances.len() + new.gaps.len();
                    metrics.others_taken.add(taken as u64);
                    metrics.others_repeated.add((arrived - taken) as u64);
                    new.utterances.into_iter().for_each(|said| live_feed.publish(LiveEvent::Utterance(said)));
                    new.gaps.iter().for_each(|gap| live_feed.publish(LiveEvent::Gap(gap.clone())));
                    self.gaps.extend(new.gaps.into_iter().map(|gap| (Instant::now(), gap)));
                    self.store_works();
                }
                Err(error) => return self.retry_later(error),
            }
        }
        self.unacknowledged.extend(self.arrived.drain(..).map(|(packet, _)| packet).filter(|packet| *packet != 0));
        Ok(())
    }

    /// The store took something.
    fn store_works(&mut self) {
        if self.store_outage.is_failing() {
            self.context.metrics.store_refuses.set(false);
        }
        if self.store_outage.ended() {
            info!("the store takes what other machines heard again");
        }
    }

    fn retry_later(&mut self, error: store::StoreError) -> Result<(), store::StoreError> {
        if !error.may_pass() {
            return Err(error);
        }
        self.context.metrics.store_refuses.set(true);
        self.read_from_memory();
        if self.store_outage.is_new_failure(&error.to_string(), Timestamp::now()) {
            warn!(%error, "what other machines heard waits at the broker");
        }
        self.retry_at = Instant::now() + RETRY;
        Ok(())
    }

    /// An alert need not wait for the disk: the listener reads what waits. It is acknowledged only when it is stored.
    fn read_from_memory(&self) {
        let arrived = self.arrived.iter().filter_map(|(_, event)| match event {
            Some(RemoteEvent::Utterance(utterance)) => Some(utterance.clone()),
            _ => None,
        });
        // What waits to be put in order cannot be moved into the transcript.
        let inbox = self.store.inbox().unwrap_or_default();
        // What finds the channel full, or the inbox unreadable, is tried again with the next attempt to store.
        for utterance in inbox.into_iter().chain(arrived) {
            let _ = self.listener.try_send(ListenerEvent::UtteranceUnstored(utterance));
        }
    }

    pub(super) fn acknowledge(&mut self) {
        while let Some(packet) = self.unacknowledged.front() {
            if self.sender.acknowledge(*packet).is_err() {
                return;
            }
            self.unacknowledged.pop_front();
        }
    }

    /// Passes on to the listener what has waited for the window.
    pub(super) fn release(&mut self) -> Result<(), store::StoreError> {
        let instant = Instant::now();
        if instant < self.retry_at {
            return Ok(());
        }
        let now = Timestamp::now();
        let before = clock::after(now, -self.nodes.window());
        let (moved, empty) = match blocking(|| self.store.release(before, now)) {
            Ok(released) => released,
            Err(error) => return self.retry_later(error),
        };
        // A full channel drops the event: the listener reads the store by itself, too.
        if moved > 0 {
            debug!(moved, "utterances of several rooms are in order");
            self.transcript.follow(&self.store);
            let _ = self.listener.try_send(ListenerEvent::UtteranceStored);
            self.store_works();
        } else if empty && self.arrived.is_empty() && instant >= self.passed_at {
            self.passed_at = instant + PASSED;
            let _ = self.listener.try_send(ListenerEvent::StreamReached(before));
        }
        // What was said before a gap has come by now, or comes too late in any case.
        let waited = Duration::from_secs_f64(self.nodes.window_s.get());
        while let Some((_, gap)) = self.gaps.front().filter(|(arrived, _)| instant >= *arrived + waited) {
            if self.listener.try_send(ListenerEvent::Gap(gap.clone())).is_err() {
                break;
            }
            self.gaps.pop_front();
        }
        self.transcript.keep_up();
        if instant >= self.forget_ids_at {
            self.forget_arrivals()?;
            self.forget_ids_at = instant + KEEP_IDS_EVERY;
        }
        Ok(())
    }

    /// Ids need not be kept for ever. Only a trusted clock says how old they are.
    fn forget_arrivals(&mut self) -> Result<(), store::StoreError> {
        let Some(now) = self.transcript.now() else { return Ok(()) };
        match blocking(|| self.store.forget_arrivals(clock::after(now, -KEEP_IDS))) {
            // This can wait for the disk.
            Err(error) if !error.may_pass() => Err(error),
            _ => Ok(()),
        }
    }
}
