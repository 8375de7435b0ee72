//! The JSON of alerts, utterances and summaries, and interim text.

use hearth::config::MqttConfig;
use hearth::event::{Digest, DigestReason, GroundedSentence, Hypothesis, Utterance};
use hearth::live::LiveEvent;
use hearth::mqtt::payload::{self};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};
use ulid::Ulid;

use crate::harness::*;
use crate::mosquitto::{Mosquitto, Subscriber};

#[test]
fn interim_text_is_published_but_not_stored() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let subscriber = Subscriber::new(broker.address, "hearth/home/interim", None);
    let node = PublishingNode::start(dir.path(), &MqttConfig { interim: true, ..external(broker.address) }, Vec::new());
    eventually("it connects", || node.metrics.connected.get());
    let saying = Hypothesis { tentative: "good mor".into(), ..Hypothesis::over("kitchen", Timestamp::UNIX_EPOCH) };
    for said in [saying.clone(), Hypothesis { tentative: String::new(), ..saying }] {
        node.live_feed.publish(LiveEvent::Hypothesis(said.clone()));
        let heard = subscriber.next();
        assert_eq!((&heard.json()["room"], &heard.json()["tentative"]), (&json!("kitchen"), &json!(said.tentative)));
        assert!(!heard.retain);
    }
    assert_eq!(node.store.outbox_len().unwrap(), 0);
    node.drain();
}

#[test]
fn an_alert_has_the_documented_json() {
    let message = payload::alert(&topics(), &alert(vec!["There is water on the floor.".into()]));
    assert_eq!((message.topic.as_str(), message.retain), ("hearth/home/alert", false));
    let expected = json!({
        "id": "00000000010000000000000002", "schema": 1, "time": "2026-01-01T12:00:00Z",
        "event_type": "leak", "rule": "leak", "phase": "new", "severity": "critical", "room": null, "probability": 0.9877,
        "answer": "Yes. The tap drips.",
        "evidence": [{
            "utterance": "00000000030000000000000004", "time": "2026-01-01T12:00:00Z", "room": "kitchen",
            "text": "There is water on the floor.",
        }],
        "title": "Critical: Leak (99 %)", "message": "The tap drips. “There is water on the floor.”",
    });
    assert_eq!(serde_json::from_str::<Value>(&message.payload).unwrap(), expected);
}

#[test]
fn an_utterance_and_a_summary_have_the_documented_json() {
    let said = Utterance { id: Ulid::from_parts(1, 2), ..utterance(0) };
    let message = payload::utterance(&topics(), &said);
    assert_eq!((message.topic.as_str(), message.retain), ("hearth/home/utterance", false));
    let expected = json!({
        "id": "00000000010000000000000002", "schema": 1, "time": "2026-01-01T00:00:01Z", "start": "2026-01-01T00:00:00Z",
        "end": "2026-01-01T00:00:01Z", "room": "home", "text": "this is sentence number 0", "confidence": 0.9,
        "no_speech": 0.01,
    });
    assert_eq!(serde_json::from_str::<Value>(&message.payload).unwrap(), expected);

    let digest = Digest {
        id: Ulid::from_parts(1, 2),
        time: said.end,
        from: said.start,
        to: said.end,
        reason: DigestReason::ConversationEnded,
        words: 5,
        room: None,
        text: "They counted.".into(),
        sentences: vec![GroundedSentence { text: "They counted.".into(), evidence: Vec::new() }],
    };
    assert_eq!(payload::summary_of_room(&topics(), &digest, "nano"), None);
    let of_room = Digest { room: Some("living room".into()), ..digest.clone() };
    let of_room = payload::summary_of_room(&topics(), &of_room, "nano").unwrap();
    assert_eq!((of_room.topic.as_str(), of_room.retain), ("hearth/home/summary/living%20room", true));
    let message = payload::summary(&topics(), &digest, "nano");
    assert_eq!((message.topic.as_str(), message.retain), ("hearth/home/summary", true));
    let expected = json!({
        "id": "00000000010000000000000002", "schema": 1, "time": "2026-01-01T00:00:01Z", "from": "2026-01-01T00:00:00Z", "model": "nano",
        "to": "2026-01-01T00:00:01Z", "reason": "conversation_ended", "words": 5, "room": null,
        "text": "They counted.", "sentences": [{ "text": "They counted.", "evidence": [] }],
    });
    assert_eq!(serde_json::from_str::<Value>(&message.payload).unwrap(), expected);
}

proptest! {
    #[test]
    fn a_payload_of_long_texts_fits_and_keeps_its_ids(
        texts in prop::collection::vec("(?s).{0,40}", 0..400), repeats in 1..200_usize
    ) {
        let long = alert(texts.into_iter().map(|text| text.repeat(repeats)).collect());
        let message = payload::alert(&topics(), &long);
        prop_assert!(message.payload.len() <= payload::MAX_BYTES);
        let json: Value = serde_json::from_str(&message.payload).unwrap();
        prop_assert_eq!(&json["id"], &json!(long.id.to_string()));
        prop_assert_eq!(&json["answer"], &json!("Yes. The tap drips."));
        for quoted in json["evidence"].as_array().unwrap() {
            prop_assert!(quoted["utterance"].as_str().unwrap().parse::<Ulid>().is_ok());
        }
    }
}
