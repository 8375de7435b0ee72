//! Whether the microphone is open. What was last asked for is carried out in this order: the sources follow, the store and the
//! subscribers are told. Where the store takes nothing it is tried again, and subscribers are told from memory.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::watch;
use tracing::{error, info};

use crate::audio::SourceControl;
use crate::clock;
use crate::commands::microphone::{MicrophonePause, MicrophoneState};
use crate::mqtt::payload::{self, MessageHeader};
use crate::services::outbox::unstored_messages::UnstoredMessages;
use crate::services::store_retry::StoreOutage;
use crate::services::{Context, capture};
use crate::store::{Store, StoreError};

/// See the module.
pub(super) struct MicrophoneSwitch {
    /// Opens and closes the sources, and stops them.
    sources: Arc<SourceControl>,
    /// What was last asked for. The mute hook follows it, and ends when this is dropped.
    asked: Option<watch::Sender<MicrophoneState>>,
    changes: watch::Receiver<MicrophoneState>,
    /// What was last asked for is not stored yet, or the message of it is not.
    unstored: bool,
    messages: UnstoredMessages,
    outage: StoreOutage,
}

impl MicrophoneSwitch {
    /// As the last run left it; and by what other parts ask for a change, or follow what is asked for.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub(super) fn restore(
        context: &Context,
        store: &mut Store,
    ) -> Result<(Self, watch::Sender<MicrophoneState>), StoreError> {
        let state = capture::restore_microphone(context, store)?;
        let sources = Arc::new(SourceControl::default());
        sources.set_listening(state.is_open());
        let (asked, changes) = watch::channel(state);
        let switch = Self {
            sources,
            asked: Some(asked.clone()),
            changes,
            unstored: false,
            messages: UnstoredMessages::default(),
            outage: StoreOutage::default(),
        };
        Ok((switch, asked))
    }

    pub(super) fn sources(&self) -> &Arc<SourceControl> {
        &self.sources
    }

    pub(super) fn state(&self) -> MicrophoneState {
        *self.changes.borrow()
    }

    /// Waits until something else is asked for; [`Self::apply`] then carries it out.
    pub(super) async fn changed(&mut self) -> bool {
        self.changes.changed().await.is_ok()
    }

    /// Waits until a pause is over; for ever where there is none.
    pub(super) fn pause_over(&self) -> impl Future<Output = ()> + use<> {
        let pause: Option<MicrophonePause> = self.state().pause();
        async move {
            match pause {
                Some(pause) => tokio::time::sleep(pause.left(clock::since_boot())).await,
                None => std::future::pending().await,
            }
        }
    }

    /// Asks for another state, which is made of the one that was last asked for.
    pub(super) fn ask(&self, change: impl FnOnce(MicrophoneState) -> MicrophoneState) {
        if let Some(asked) = &self.asked {
            asked.send_modify(|state| *state = change(*state));
        }
    }

    /// Opens the microphone when its pause is over, and follows a clock that was corrected. What was asked for meanwhile holds.
    pub(super) fn check_pause(&self) {
        if let Some(asked) = &self.asked {
            asked.send_if_modified(|state| {
                let now = state.at(Timestamp::now(), clock::since_boot());
                std::mem::replace(state, now) != now
            });
        }
    }

    /// Opens or closes the microphone, as was last asked for. A microphone that was closed stays closed after a power cut, too.
    pub(super) fn apply(&mut self, context: &Context, store: &mut Store) {
        let state = *self.changes.borrow_and_update();
        let on = state.is_open();
        let until = state.paused_until();
        self.sources.set_listening(on);
        // A source notices it at its next frame, and network microphones may send none for hours.
        if context.config.has_audio_source() {
            context.metrics.set_listening(on);
        }
        context.metrics.paused_until.set(until.unwrap_or_default());
        match until {
            Some(until) => info!(kind = "listening", on, %until, "listening is off until {until}"),
            None => info!(kind = "listening", on, "listening is {}", if on { "on" } else { "off" }),
        }
        self.messages.add(context, [payload::listening(&context.topics, MessageHeader::now(), on, until)]);
        self.unstored = true;
        self.store(context, store);
    }

    /// Stores what was last asked for, and the message of it, if that is still to be done.
    pub(super) fn store(&mut self, context: &Context, store: &mut Store) {
        if !self.unstored {
            return;
        }
        let state = self.state();
        let messages = self.messages.to_store();
        let stored = self.outage.attempt(context, || {
            state.store(store)?;
            store.enqueue(&messages)
        });
        match stored {
            Ok(Some(())) => {
                self.messages.settle();
                self.unstored = false;
                context.notify_outbox();
            }
            Ok(None) => self.messages.send(context),
            Err(error) => {
                error!(%error, "whether the microphone is open was not stored; a restart will not know");
                self.messages.send(context);
                self.unstored = false;
            }
        }
    }

    /// What was asked for at the end holds for the next start. Then nothing can be asked for any more, and the mute hook ends.
    pub(super) fn close(&mut self, context: &Context, store: &mut Store) {
        if self.changes.has_changed().unwrap_or(false) {
            self.apply(context, store);
        }
        self.store(context, store);
        self.asked = None;
    }
}
