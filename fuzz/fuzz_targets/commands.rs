//! Any topic (up to the first zero byte) and payload as a command: it gets a short answer, or is no command.

#![no_main]

use hearth::commands::{MAX_BYTES, parse};
use hearth::config::Config;
use hearth::mqtt::payload::{self, MessageHeader};
use hearth::mqtt::topics::Topics;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let config = Config::default();
    let topics = Topics::new(&config.mqtt, &config.node);
    let (path, body) = bytes.split_at(bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()));
    let topic = topics.command(&String::from_utf8_lossy(path));
    assert_eq!(parse(&topics, &topic, body, true), None, "a retained command is ignored");
    let answer = match parse(&topics, &topic, body, false) {
        None => return,
        Some(Ok(request)) => {
            assert!(body.len() <= MAX_BYTES);
            request.response(&topics, MessageHeader::now(), &Err("busy".into()))
        }
        Some(Err(invalid)) => {
            assert!(!invalid.error.is_empty());
            invalid.response(&topics, MessageHeader::now())
        }
    };
    assert!(answer.payload.len() <= payload::MAX_BYTES && answer.topic.len() <= 64);
});
