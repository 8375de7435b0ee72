//! What hearth says and understands over MQTT, and the two ends of the wire.
//!
//! Owns topics, payloads, what other machines say they heard, Home Assistant discovery and the rules of delivery (all pure), the client and the
//! embedded broker (thin). Refuses to know where messages are stored. Invariant: QoS 1 for everything, and nothing here
//! is said that does not fit [`payload::MAX_BYTES`].

pub mod broker;
pub mod client;
pub mod discovery;
pub mod inflight;
pub mod payload;
pub mod remote_event;
pub mod retry;
pub mod topics;
