//! Publishing against a real mosquitto and the embedded broker.
#![allow(clippy::disallowed_methods, reason = "tests start threads of their own")]

#[path = "../support/mosquitto.rs"]
mod mosquitto;

mod commands;
mod delivery;
#[cfg(feature = "embedded-broker")]
mod embedded_broker;
mod harness;
mod home_assistant;
mod long_messages;
mod needs_root;
mod outbox_limits;
mod packet_limit;
mod payloads;
mod refused;
mod status;
mod topics_doc;
