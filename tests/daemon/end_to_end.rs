//! From sound to messages, when all goes well.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::Stdio;

use serde_json::Value;

use super::forgetting::holding;
use super::harness::{Hearth, clip, config, household, ids, is_farewell, samples, transcript, until};
use super::mosquitto::{Mosquitto, ReceivedMessage, Subscriber};

/// Everything up to the farewell of the node.
fn everything(listener: &Subscriber) -> Vec<ReceivedMessage> {
    let mut all = Vec::new();
    until(listener, |heard| {
        all.push(heard.clone());
        is_farewell(heard)
    });
    all
}

fn on(all: &[ReceivedMessage], topic: &str) -> Vec<Value> {
    all.iter().filter(|heard| heard.topic == topic).map(ReceivedMessage::json).collect()
}

#[test]
fn a_recording_is_transcribed_read_and_published() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let listener = Subscriber::new(broker.address, "#", None);
    let quick = "[digest]\nquiet_min = 0.07\nmin_words = 12\n";
    let hearth = Hearth::run(dir.path(), &config(&household(), "fast", &format!("mqtt://{}", broker.address), quick));
    let all = everything(&listener);
    let (status, said) = hearth.wait();
    assert!(status.success(), "{said}");

    let utterances = on(&all, "hearth/home/utterance");
    let lines = transcript(dir.path());
    assert!(lines.len() >= 12, "a household of 19 sentences became {} utterances", lines.len());
    assert_eq!(ids(&utterances), ids(&lines), "what was published is what was written");
    let text: String = utterances.iter().map(|u| u["text"].as_str().unwrap().to_lowercase() + " ").collect();
    for words in ["risotto", "heart pills", "doorbell", "dentist", "smoke", "electrician"] {
        assert!(text.contains(words), "{words:?} was said and is not in {text:?}");
    }

    let alerts = on(&all, "hearth/home/alert");
    let new = |rule: &str| alerts.iter().find(|a| a["phase"] == "new" && a["rule"] == rule);
    for (rule, evidence) in [("medicine", "pills"), ("help", "bathroom"), ("fire", "smoke")] {
        let alert = new(rule).unwrap_or_else(|| panic!("{rule} did not fire: {alerts:#?}"));
        assert!(alert["probability"].as_f64().unwrap() > 0.5);
        assert!(alert["evidence"].to_string().contains(evidence), "{rule} quotes {}", alert["evidence"]);
    }
    assert!(new("leak").is_none() && new("intruder").is_none(), "nothing of that kind was said: {alerts:#?}");
    let summaries = on(&all, "hearth/home/summary");
    assert!(summaries.len() >= 3 && summaries.iter().all(|s| !s["text"].as_str().unwrap().is_empty()));

    let discovery = all.iter().find(|h| h.topic.starts_with("homeassistant/device/")).expect("discovery is announced");
    assert!(discovery.retain || discovery.json()["cmps"].is_object());
    assert!(said.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "not JSON lines: {said}");
}

#[test]
fn raw_samples_on_standard_input_are_transcribed_until_it_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let text = format!(
        "[source.stdin]\nrate = 16000\nchannels = 2\n[store]\ndir = \"state\"\n[mqtt]\nurl = \"mqtt://{}\"\n",
        broker.address
    );
    let mut hearth = Hearth::run_with(dir.path(), &text, Stdio::piped());
    let mut stdin = hearth.stdin();
    for block in samples(8).chunks(1000) {
        let stereo: Vec<u8> = block.iter().flat_map(|s| [s.to_le_bytes(), s.to_le_bytes()].concat()).collect();
        stdin.write_all(&stereo).unwrap();
    }
    drop(stdin);
    let (status, said) = hearth.wait();
    assert!(status.success(), "{said}");
    let heard: String = transcript(dir.path()).iter().map(|l| l["text"].as_str().unwrap().to_lowercase()).collect();
    assert!(heard.contains("dinner"), "heard {heard:?}");
}

#[test]
fn no_text_stays_on_disk_when_nothing_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let listener = Subscriber::new(broker.address, "hearth/#", None);
    let text = config(&clip(dir.path(), 12), "fast", &format!("mqtt://{}", broker.address), "")
        .replace("[store]\n", "[store]\nkeep = \"nothing\"\n");
    let hearth = Hearth::run(dir.path(), &text);
    let all = everything(&listener);
    let (status, said) = hearth.wait();
    assert!(status.success(), "{said}");
    assert!(on(&all, "hearth/home/utterance").iter().any(|u| u["text"].to_string().contains("dinner")));
    assert_eq!(holding(&dir.path().join("state"), "dinner"), Vec::<String>::new());
}

#[test]
fn with_keep_nothing_a_power_cut_leaves_no_text_on_disk() {
    for reads in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let broker = Mosquitto::anywhere(dir.path());
        let listener = Subscriber::new(broker.address, "hearth/#", None);
        let text = format!(
            "[source.stdin]\nrate = 16000\n[store]\ndir = \"state\"\nkeep = \"nothing\"\n[listener]\nenabled = {reads}\n\
             [mqtt]\nurl = \"mqtt://{}\"\n",
            broker.address
        );
        let mut hearth = Hearth::run_with(dir.path(), &text, Stdio::piped());
        let mut stdin = hearth.stdin();
        let said = samples(8).into_iter().chain(std::iter::repeat_n(0, 4 * 16_000));
        stdin.write_all(&said.flat_map(i16::to_le_bytes).collect::<Vec<_>>()).unwrap();
        listener.wait_for("what was said", |h| h.topic == "hearth/home/utterance" && h.payload.contains("dinner"));
        // It is delivered, and the house goes on. One look is not enough: between the reading of the database and of its log a
        // checkpoint may move the words from the one that is read second to the one that was read first.
        let state = dir.path().join("state");
        let began = std::time::Instant::now();
        let mut looks_without = 0;
        while looks_without < 20 {
            let held = holding(&state, "dinner");
            assert!(began.elapsed() < super::mosquitto::LONG, "{held:?} still hold it");
            looks_without = if held.is_empty() { looks_without + 1 } else { 0 };
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        hearth.kill();
        assert_eq!(holding(&state, "dinner"), Vec::<String>::new());
    }
}

#[test]
fn redacted_words_never_reach_the_broker() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let listener = Subscriber::new(broker.address, "hearth/#", None);
    let lamp = dir.path().join("lamp");
    let more = format!(
        "[privacy]\nredact = [\"emma\"]\nredact_numbers = true\non_unmute = [\"/usr/bin/touch\", {:?}]\n",
        lamp.display().to_string()
    );
    let hearth =
        Hearth::run(dir.path(), &config(&clip(dir.path(), 12), "fast", &format!("mqtt://{}", broker.address), &more));
    let all = everything(&listener);
    let (status, said) = hearth.wait();
    assert!(status.success(), "{said}");
    assert!(!all.iter().any(|heard| heard.payload.contains("Emma")), "{all:?}");
    assert!(on(&all, "hearth/home/utterance").iter().any(|u| u["text"].to_string().contains("[name]")));
    let kept: String = transcript(dir.path()).iter().map(|line| line["text"].to_string()).collect();
    assert!(kept.contains("Emma"), "the transcript stays whole: {kept}");
    assert!(lamp.exists(), "the command that shows it was run");
}

#[test]
fn a_machine_without_a_listener_publishes_utterances() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let listener = Subscriber::new(broker.address, "hearth/#", None);
    let more = "[listener]\nenabled = false\nmodel = \"there-is-none\"\n";
    let hearth =
        Hearth::run(dir.path(), &config(&clip(dir.path(), 8), "fast", &format!("mqtt://{}", broker.address), more));
    let all = everything(&listener);
    let (status, said) = hearth.wait();
    assert!(status.success(), "{said}");
    assert!(!on(&all, "hearth/home/utterance").is_empty());
    let topics: BTreeSet<_> = all.iter().map(|h| h.topic.as_str()).collect();
    assert!(!topics.iter().any(|t| t.contains("/rule/")), "it reads nothing, so it has no rules: {topics:?}");
}
