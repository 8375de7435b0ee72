//! The capture service: a thread that runs the sound sources of the config and sends their frames to transcribe.
//!
//! The switch that mutes them is kept over restarts.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::{Context, Error, channels};
use crate::audio::{self, SourceControl};
use crate::event::RoomAudio;
use crate::mqtt::payload::{self, MessageHeader};
use crate::store::{self, Store};
use crate::supervisor::Supervisor;

pub const NAME: &str = "sources";
/// Where it is noted that the household muted the microphone.
const MUTED: &str = "muted";

/// The switch of the sources, as the last run left it. Publishes and counts it before a source has begun, so that nobody takes
/// this machine for muted meanwhile.
///
/// # Errors
/// The store cannot be read or written.
pub fn restore_listening(context: &Context, store: &mut Store) -> Result<Arc<SourceControl>, store::StoreError> {
    let control = SourceControl::default();
    let on = store.note(MUTED)?.as_deref() != Some("yes");
    control.set_listening(on);
    if context.config.hears() {
        context.metrics.listening.set(on);
        store.enqueue(&[payload::listening(&context.topics, MessageHeader::now(), on)])?;
    }
    Ok(Arc::new(control))
}

/// Keeps the switch for the next start.
///
/// # Errors
/// The store cannot be written.
pub fn remember_listening(store: &mut Store, on: bool) -> Result<(), store::StoreError> {
    store.set_note(MUTED, if on { "no" } else { "yes" })
}

/// The channel from the sources to transcribe.
pub fn channel(context: &Context) -> (SyncSender<RoomAudio>, Receiver<RoomAudio>) {
    sync_channel(channels::AUDIO_FRAMES * context.config.sources().len())
}

/// Starts the thread of the sources. It ends when all of them have ended, or `control` stops them.
///
/// # Errors
/// The system refuses a new thread.
pub fn spawn(
    supervisor: &mut Supervisor,
    context: &Context,
    control: &Arc<SourceControl>,
    audio: SyncSender<RoomAudio>,
) -> Result<(), Error> {
    let (context, control) = (context.clone(), control.clone());
    supervisor.thread(NAME, move || {
        let sources = context.config.sources();
        Ok(audio::run(&sources, &context.config.base, audio, &control, &context.metrics)?)
    })?;
    Ok(())
}
