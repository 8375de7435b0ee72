//! Every channel between services, and what happens when it is full.
//!
//! | from → to | holds | when it is full |
//! |---|---|---|
//! | capture → transcribe | [`AUDIO_FRAMES`] for each source | a file or stdin waits; a microphone drops frames and records a gap |
//! | segments → Whisper (inside transcribe) | one minute of segments | the channel before it fills; of a live source, segments that ended 20 s ago are given up for newer ones, and reported as a gap |
//! | transcribe, ingest, app → listen | [`LISTENER_EVENTS`] | the event is dropped: the text is in the store, and the next event finds it. A gap waits at its sender; a command is answered with "busy" |
//! | broker → ingest | [`INGEST_BATCH`] utterances of other machines | they stay at the broker |
//! | publish, api → app, app → transcribe | [`COMMANDS`] | the command is answered with "busy" |
//! | publish, api → app: listen or mute | the newest wish | a newer one takes its place |
//! | any service → outbox | what `[store]` allows | the oldest messages are given up, and health counts them |

/// One minute of 16 ms frames: longer than any decode, 4 MiB.
pub(crate) const AUDIO_FRAMES: usize = 60_000 / 16;
pub(crate) const LISTENER_EVENTS: usize = 64;
pub(crate) const COMMANDS: usize = 16;
/// A broker has no more than 20 or so under way at a time.
pub(crate) const INGEST_BATCH: usize = 64;
