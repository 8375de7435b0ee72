//! The whole daemon as a process, on real sound, a real Whisper, a real model and a real mosquitto.
#![allow(clippy::disallowed_methods, reason = "a test is its own supervisor")]

mod harness;
#[path = "../support/mosquitto.rs"]
mod mosquitto;
#[path = "../support/receiver.rs"]
mod receiver;

mod access_lists;
mod api;
mod asking_the_past;
mod backlog;
mod bad_input;
mod broker_outages;
mod by_hand;
mod check;
mod commands;
mod crashes;
mod disk_faults;
mod end_to_end;
mod false_alarms;
mod forgetting;
mod interrupted_forgetting;
mod kept_text;
mod long_messages;
mod muting;
mod packet_limit;
mod renewals;
mod restarts;
mod setup;
mod several_machines;
mod several_rooms;
mod slow_machine;
mod soak;
mod speakers;
mod systemd;
mod webhook_check;
mod webhooks;
