//! Stores what was heard, with the messages about it, in the order in which it was heard.
//!
//! What the store refuses stays in memory, from where it is sent and read, and is stored later.

use tracing::info;

use super::TranscribeWorker;
use super::unstored::Heard;
use crate::event::Gap;
use crate::services::ServiceError;
use crate::services::listen::ListenerEvent;
use crate::store::StoreError;

impl TranscribeWorker {
    /// Stores what was heard, in order. What the store refuses is sent and read from memory.
    pub(super) fn store_heard(&mut self) -> Result<(), ServiceError> {
        let (context, mut outage) = (self.context.clone(), std::mem::take(&mut self.store_outage));
        let mut stored = Ok(());
        while stored.is_ok() && !self.unstored.is_empty() {
            match outage.attempt(&context, || self.store_oldest()) {
                Ok(Some(())) => stored = self.oldest_is_stored(),
                Ok(None) => break,
                Err(error) => stored = Err(error.into()),
            }
        }
        self.store_outage = outage;
        for event in self.unstored.iter_mut() {
            event.messages.send(&context);
            if let (Heard::Utterance(utterance, _), Some(listener)) = (&event.heard, &self.listener)
                && !event.given_to_listener
            {
                // Where the channel is full, it is tried again with the next event.
                event.given_to_listener =
                    listener.try_send(ListenerEvent::UtteranceUnstored(utterance.clone())).is_ok();
            }
        }
        stored
    }

    /// Stores the oldest that waits, with its messages.
    pub(super) fn store_oldest(&mut self) -> Result<(), StoreError> {
        let Some(oldest) = self.unstored.front(&self.context) else { return Ok(()) };
        let messages = oldest.messages.to_store();
        match (&oldest.heard, &self.transcript) {
            (Heard::Utterance(utterance, voice), Some(_)) => {
                self.store.record_spoken(utterance, voice.as_deref(), &messages)?
            }
            (Heard::Utterance(utterance, voice), None) => {
                self.store.stage(utterance, voice.as_deref(), &messages).map(|()| 0)?
            }
            (Heard::Gap(gap), _) => self.store.record_gap(gap, &messages).map(|()| 0)?,
        };
        oldest.messages.settle();
        Ok(())
    }

    /// Passes on that the oldest is stored, and takes it out.
    pub(super) fn oldest_is_stored(&mut self) -> Result<(), ServiceError> {
        self.context.notify_outbox();
        match self.unstored.pop() {
            Some(Heard::Utterance(utterance, _)) => self.heard_until.stored(&utterance.room, utterance.end),
            Some(Heard::Gap(gap)) => {
                self.heard_until.stored(&gap.room, gap.to);
                return Ok(());
            }
            None => return Ok(()),
        }
        if let Some(transcript) = &mut self.transcript {
            transcript.follow(&self.store);
        }
        if let Some(retention) = self.retention.clone() {
            let newest = self.store.newest()?;
            retention.was_read(self, newest)?;
        }
        self.send(ListenerEvent::UtteranceStored);
        Ok(())
    }

    pub(super) fn gap(&mut self, gap: &Gap) -> Result<(), ServiceError> {
        self.unstored.push(Heard::Gap(gap.clone()), &self.context);
        self.store_heard()?;
        let seconds = gap.to.duration_since(gap.from).as_secs_f64();
        let Gap { room, reason, .. } = gap;
        info!(kind = "gap", room, %reason, seconds, "nothing was heard in {room} for {seconds:.1} s: {reason}");
        Ok(())
    }
}
