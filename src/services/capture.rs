//! The capture service: a thread that runs the sound sources of the config and sends their frames to transcribe.
//!
//! Whether they are open is kept over restarts.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::{Context, ServiceError, channels};
use crate::audio::{self, SourceControl};
use crate::clock;
use crate::commands::microphone::MicrophoneState;
use crate::event::RoomAudio;
use crate::mqtt::payload::{self, MessageHeader};
use crate::store::{self, Store};
use crate::supervisor::Supervisor;

pub(crate) const NAME: &str = "capture";

/// The state of the microphone, as the last run left it. Publishes and counts it before a source has begun, so that nobody takes
/// this machine for muted meanwhile.
///
/// # Errors
/// The store cannot be read or written.
pub(crate) fn restore_microphone(context: &Context, store: &mut Store) -> Result<MicrophoneState, store::StoreError> {
    let state = MicrophoneState::load(store, context.clock.now(), clock::since_boot())?;
    let until = state.paused_until();
    context.metrics.paused_until.set(until.unwrap_or_default());
    if context.config.has_audio_source() {
        context.metrics.listening.set(state.is_open());
        store.enqueue(&[payload::listening(&context.topics, MessageHeader::now(), state.is_open(), until)])?;
    }
    Ok(state)
}

/// The channel from the sources to transcribe.
pub(crate) fn channel(context: &Context) -> (SyncSender<RoomAudio>, Receiver<RoomAudio>) {
    sync_channel(channels::AUDIO_FRAMES * context.config.sources().len())
}

/// Starts the thread of the sources. It ends when all of them have ended, or `control` stops them.
///
/// # Errors
/// The system refuses a new thread.
pub(crate) fn spawn(
    supervisor: &mut Supervisor,
    context: &Context,
    control: &Arc<SourceControl>,
    audio: SyncSender<RoomAudio>,
) -> Result<(), ServiceError> {
    let (context, control) = (context.clone(), control.clone());
    supervisor.thread(NAME, move || {
        let sources = context.config.sources();
        Ok(audio::run(&sources, &context.config.base, audio, &control, &context.metrics)?)
    })?;
    Ok(())
}
