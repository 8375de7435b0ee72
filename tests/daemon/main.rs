//! The whole daemon as a process, on real sound, a real Whisper, a real model and a real mosquitto.
#![allow(clippy::disallowed_methods, reason = "a test is its own supervisor")]

mod house;
#[path = "../support/mosquitto.rs"]
mod mosquitto;

mod bad_input;
mod commands;
mod door;
mod faults;
mod forgetting;
mod kept_text;
mod nodes;
mod path;
mod rooms;
mod service;
mod soak;
