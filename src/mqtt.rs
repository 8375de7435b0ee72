//! MQTT: topics, payloads, Home Assistant discovery, the client and the embedded broker.
//!
//! Messages from the outbox are published with QoS 1 and repeated until the broker acknowledges them. Interim text is
//! published with QoS 0, since the next interim message replaces it. Every payload fits [`payload::MAX_BYTES`].
//! Nothing here knows how messages are stored: see `store` and `services::publish`.

pub mod broker;
pub mod client;
pub(crate) mod command_probe;
pub mod discovery;
pub mod inflight;
pub mod payload;
pub mod remote_event;
pub(crate) mod retry;
pub mod topics;
