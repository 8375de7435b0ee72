//! hearth: a room's audio in, summaries and alerts out, everything on this machine.
//!
//! # A bird's-eye view
//!
//! ```text
//! source ─frames→ VAD ─segments→ Whisper ─utterances→ store ─text→ listener ─digests, alerts→ outbox → MQTT
//!  capture thread       hearing thread                SQLite        reading thread                publishing task
//! ```
//!
//! Everything flows one way. An utterance is stored, with the message that tells of it, in one transaction before anything
//! else learns of it; the listener reads it from the store, so a crash between any two steps loses nothing. What other machines
//! heard comes from the broker into the same store ([`services::ingest`]), and goes the same way from there.
//!
//! # The map
//!
//! | room | what it owns |
//! |---|---|
//! | `main` | the process edge: arguments, exit codes |
//! | [`cli`] | one file for each subcommand |
//! | [`app`] | `run(config, shutdown)`: every channel with its capacity, every thread, the order of closing |
//! | [`services`] | the long-running parts: transcribe, listen, publish, ingest |
//! | [`retention`] | what is forgotten, and what grew too old |
//! | [`supervisor`] | named threads and tasks: how they end, who would not stop |
//! | [`listener`] | the only owner of a [`griffin::State`]: prompt, reading, digests, alerts, answers, snapshots |
//! | [`audio`] | sources, resampling, voice detection, segmenting |
//! | [`asr`] | Whisper, and the guard that refuses what it makes up |
//! | [`api`] | the socket of `hearth status`, the page in a browser, metrics |
//! | [`mqtt`] | topics, payloads, discovery, commands, delivery, client, embedded broker |
//! | [`store`] | SQLite: transcript, digests, alerts, outbox, retention; `transcript.jsonl` |
//! | [`griffin`] | a crate of its own, `crates/griffin`: RecurrentGemma, weights immutable, all memory in `State` |
//! | [`journal`] | tracing to the journal, a terminal or JSON lines |
//! | [`models`] | where models lie, that they are what they say, and fetching them by name |
//! | [`config`] [`event`] [`live`] [`redact`] [`clock`] [`percent_encode`] [`process`] [`metrics`] | settings; what flows; what goes on, for whoever looks; what is left out of what leaves; time; names in paths and topics; what hearth costs; what each part says of itself |
//!
//! # The invariants
//!
//! Each is guarded by a test.
//!
//! 1. Imports go one way, `main → cli → app → services → retention, supervisor, api → listener, audio, asr, mqtt, store → models,
//!    config, live → event, clock, percent_encode, process, metrics`; siblings never import each other. (`tests/house.rs`)
//! 2. A dependency has one owner: cpal in `audio/capture`, whisper-rs in `asr/whisper`, rumqttc in
//!    `mqtt/client`, rumqttd in `mqtt/broker`, rusqlite in `store`, ureq in `models/fetch`. (`tests/house.rs`)
//! 3. A state never grows, a fork never alters its parent, and any chunking of the same tokens is the same state.
//!    (`crates/griffin/tests/model/laws.rs`)
//! 4. An accepted message reaches the broker at least once and is repeated only under its own id. (`tests/outbox`)
//! 5. What is committed never changes: words are added at its end, and an utterance is made of them. (`asr/agreement`, `tests/hearing.rs`)
//! 6. `config/hearth.toml` says what the defaults are. (`tests/config`)
//! 7. What is forgotten stands in no file, and the state is that of one who never heard it, also after a crash half-way.
//!    (`tests/daemon/forgetting.rs`)
//!
//! # Glossary
//!
//! - *frame*: 16 ms of mono sound at 16 kHz, 256 samples.
//! - *segment*: a stretch of speech, cut out by voice detection.
//! - *look*: a pass of Whisper over what is being said, before it is over.
//! - *hypothesis*: what Whisper thinks was said, before anyone relies on it; *committed*: text that never changes again.
//! - *utterance*: a committed piece of text with its times.
//! - *token*: a unit of the model's vocabulary.
//! - *state*: the model's memory of everything read, of fixed size; *fork*: a copy to ask questions of; *snapshot*: a state on disk.
//! - *ingest*: read tokens without asking what comes next; *step*: read one token and predict the next.
//! - *digest*: a summary of what was said since the last; *alert*: a rule that fired.
//! - *outbox*: messages stored until the broker has acknowledged them.
//! - *gap*: a stretch that was not heard, and why.
//! - *drain*: closing in the order of the flow, so that nothing that was heard is lost.

pub mod api;
pub mod app;
pub mod asr;
pub mod asr_pipeline;
mod atomic_file;
pub mod audio;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod config;
pub mod event;
pub mod journal;
pub mod listener;
pub mod live;
pub mod metrics;
pub mod models;
pub mod mqtt;
pub mod percent_encode;
pub mod process;
pub mod redact;
pub mod retention;
pub mod services;
pub mod store;
pub mod supervisor;
