//! hearth listens to a room, transcribes what is said, keeps its gist in a model's state of fixed size, and publishes summaries and
//! alerts over MQTT. Everything runs on this machine.
//!
//! # Overview
//!
//! ```text
//! sources ─frames→ voice detection ─segments→ Whisper ─utterances→ SQLite ─text→ listener ─digests, alerts→ outbox → broker
//! └ capture ┘      └───────────── transcribe ─────────────┘                      └ listen ┘                 └ publish ┘
//! ```
//!
//! Data flows in one direction, through one service after the other ([`services`]). An utterance is stored together with the MQTT
//! message about it, in one transaction, before any other service learns of it; the listener reads it from the store. So a crash
//! between any two steps loses nothing. Utterances of other machines come from the broker into the same store
//! ([`services::ingest`]), and go the same way from there.
//!
//! # Modules
//!
//! A module imports only modules of lower layers. `tests/architecture` reads this table and checks that.
//!
//! | layer | module | what it holds |
//! |---|---|---|
//! | 12 | `main` | the program: arguments and exit codes |
//! | 11 | [`cli`] | one file for each subcommand |
//! | 10 | [`app`] | the daemon: which services run, how they are connected, in which order they end |
//! | 9 | [`services`] | the long-running parts of the daemon: capture, transcribe, listen, publish, webhooks, ingest, api, mute hook |
//! | 8 | [`api`] | the control socket, the web page, metrics for Prometheus |
//! | 8 | [`retention`] | deletes text: what is to be forgotten, and what is older than `[store] keep` |
//! | 7 | [`commands`] | what a running daemon can be asked for: one file for each command |
//! | 6 | [`asr_pipeline`] | from audio to utterances: joins voice detection, segments and Whisper |
//! | 6 | [`supervisor`] | named threads and tasks, and how they ended |
//! | 5 | [`listener`] | the model that reads along: prompts, rules, digests, questions, snapshots |
//! | 5 | [`audio`] | sources of sound, resampling, voice detection, segments |
//! | 5 | [`asr`] | Whisper, and the filter against text that it makes up |
//! | 5 | [`mqtt`] | topics, payloads, Home Assistant discovery, the client, an embedded broker |
//! | 5 | [`store`] | SQLite: transcript, digests, alerts, outbox; `transcript.jsonl` |
//! | 5 | [`webhook`] | what is posted to webhooks, its signature, and what the answer means |
//! | 5 | [`journal`] | log output: the systemd journal, a terminal, or JSON lines |
//! | 4 | [`speakers`] | who speaks: the encoder of voices, and whom a voice is taken for |
//! | 4 | [`watcher`] | says from the words alone which questions are worth asking |
//! | 3 | [`models`] | finding model files, checking and downloading them |
//! | 3 | [`redact`] | what is replaced in every text that leaves the process |
//! | 2 | [`config`] | the settings of `hearth.toml` |
//! | 2 | [`live`] | a feed of what happens now, for the web page and `hearth status` |
//! | 2 | `grounding` | keeps a model's sentences to what was said |
//! | 1 | [`event`] | the data that flows: frames, segments, utterances, gaps, digests, alerts, messages |
//! | 0 | `number_words` | the English words for numbers |
//! | 0 | `fold` | a text as it is compared: without accents and invisible characters |
//! | 0 | `atomic_file` | replacing a file as a whole |
//! | 0 | [`clock`] | wall time, the sample clock, and whether the wall clock can be trusted |
//! | 0 | [`metrics`] | counters and gauges of the running daemon |
//! | 0 | [`percent_encode`] | names in paths and topics |
//! | 0 | [`process`] | processor time and memory of this process |
//!
//! The model itself is a crate of its own, `crates/griffin`: RecurrentGemma, which knows nothing of hearth.
//!
//! # Where to look
//!
//! - to add a command: [`commands`], a file and a line in its list;
//! - to add a kind of rule: `config/listener.rs` for its settings, `listener/alert.rs` for its decision;
//! - to add a source of sound: a file in `audio/`, its settings in `config/source.rs`;
//! - to add a service: a file in `services/` with a `spawn`, and a line in `app/start.rs`; what its end means is in
//!   `app/lifecycle.rs`, when it ends in `app/shutdown.rs`;
//! - to add a table or file that keeps text: [`retention`] and `store/text_tables.rs` say how it is forgotten;
//! - to add a tensor: the layer that needs it, in `crates/griffin/src/layers`;
//! - what a message on the wire looks like: `mqtt/payload.rs`, and `docs/mqtt.md`;
//! - what happens on SIGTERM, SIGHUP, or when a thread panics: [`app`];
//! - why something was lost: the table of channels in [`services::channels`].
//!
//! # What must hold
//!
//! Each of these is checked by the test named.
//!
//! 1. A module imports only modules of lower layers, a dependency has one owner, and a type name is used once. (`tests/architecture`)
//! 2. A state never grows, a fork never changes its parent, and tokens give the same state in whatever chunks they are read.
//!    (`crates/griffin/tests/model`)
//! 3. An accepted message reaches the broker, and each webhook that is told of it, at least once, and is repeated only under its own id. (`tests/outbox`,
//!    `tests/daemon`)
//! 4. Committed text never changes: words are added at its end. (`asr/local_agreement`, `tests/hearing`)
//! 5. `config/hearth.toml` says what the defaults are. (`tests/config`)
//! 6. Forgotten text is in no file, and the state is that of a model that never read it, also after a crash half-way.
//!    (`tests/daemon`, `tests/retention`)
//!
//! # Glossary
//!
//! - *frame*: 256 samples, 16 ms, of mono sound at 16 kHz.
//! - *segment*: a stretch of speech, cut out by voice detection.
//! - *partial decode*: a pass of Whisper over a segment that has not ended yet.
//! - *hypothesis*: what a partial decode gives; its *committed* words never change again, its *tentative* ones may.
//! - *utterance*: committed text with its times.
//! - *gap*: a stretch of time that was not heard, with the reason.
//! - *voice*: what the sound of an utterance tells of who spoke, as numbers (an *embedding*); *enrolled* under a name, or numbered.
//! - *state*: the model's memory of everything it read, of fixed size; *fork*: a copy that is asked a question and thrown away;
//!   *snapshot*: a state on disk.
//! - *digest*: the name in the code and in the config (`[digest]`) of what users see as a *summary*: a text about what was said since the
//!   last one. Everything on the wire, on the page and in the documentation of users says summary.
//! - *outbox*: messages in the store that the broker, or a webhook, has not acknowledged yet.
//! - *drain*: to end services in the order in which data flows, so that nothing that was heard is lost.

// The documentation is for contributors: `make doc` includes private items.
#![allow(rustdoc::private_intra_doc_links)]
#![forbid(unsafe_code)]

pub mod api;
mod app;
pub mod asr;
pub mod asr_pipeline;
mod atomic_file;
pub mod audio;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod config;
pub mod event;
mod fold;
mod grounding;
mod journal;
pub mod listener;
pub mod live;
pub mod metrics;
pub mod models;
pub mod mqtt;
mod number_words;
mod percent_encode;
mod process;
pub mod redact;
mod retention;
pub mod services;
pub mod speakers;
pub mod store;
mod supervisor;
pub mod watcher;
mod webhook;

/// Parses the command line of this process, runs a subcommand, and returns its exit code: 0 for success, 1 for failure, and 78
/// (`EX_CONFIG` of sysexits.h) when the config is wrong, so that trying again does not help.
pub fn run_command_line() -> std::process::ExitCode {
    cli::command_line::main()
}
