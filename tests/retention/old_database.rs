//! A database as hearth wrote it before messages said what they quote (commit 390a4b9): its messages are judged by their payloads
//! once, when it is opened, and go like all others. `fixtures/hearth-390a4b9.db` holds a little of everything, said at 18:01 and
//! 18:03, and with the word "zebrafinch" from 18:11 on.

use std::path::Path;

use hearth::event::{Message, Provenance};
use hearth::store::{OutboxLimits, Store};
use jiff::{SignedDuration, Timestamp};

/// Opens a copy of the old database, whose messages are not too old for the outbox.
fn open(dir: &Path) -> Store {
    let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hearth-390a4b9.db");
    std::fs::copy(old, dir.join("hearth.db")).unwrap();
    let settings = OutboxLimits { outbox_max_bytes: 1 << 20, outbox_max_age: SignedDuration::MAX };
    Store::open(dir, settings).unwrap()
}

fn waiting(store: &Store) -> Vec<Message> {
    store.outbox_after(0, 100).unwrap().into_iter().map(|(_, message)| message).collect()
}

#[test]
fn each_old_message_is_known_by_what_it_quotes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let before = waiting(&store);
    assert_eq!((before.len(), store.retained().unwrap().len()), (17, 7));
    for message in before.iter().chain(&store.retained().unwrap()) {
        let quotes = message.provenance != Provenance::Nothing;
        let holds_text = ["text", "\"answer\":\"", "question"].iter().any(|field| message.payload.contains(field));
        assert_eq!(quotes, holds_text, "{message:?}");
        if let Provenance::Speech(quoted) = &message.provenance {
            assert_eq!(quoted.replacement.is_some(), message.retain, "{message:?}");
        }
    }
}

#[test]
fn what_was_said_since_then_goes_and_what_was_said_before_stays() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let before = waiting(&store);
    let forgotten = store.forget("2026-03-01T18:10:00Z".parse().unwrap(), None).unwrap();
    assert_eq!((forgotten.span, forgotten.utterances), (Some((3, 4)), 3), "two in the transcript, one in the inbox");
    assert_eq!((forgotten.alerts.len(), forgotten.digests.len()), (1, 1));
    let after = waiting(&store);
    assert!(!format!("{after:?}{:?}", store.retained().unwrap()).contains("zebrafinch"));
    // The newest summary and the rule that quoted it are replaced; everything else that stood there before 18:10 still does.
    let stays = |message: &&Message| !message.payload.contains("zebrafinch");
    let stayed: Vec<&Message> = before.iter().filter(stays).collect();
    assert_eq!(after[..stayed.len()].iter().collect::<Vec<_>>(), stayed);
    let replaced: Vec<&str> = after[stayed.len()..].iter().map(|message| message.topic.as_str()).collect();
    assert_eq!(replaced, ["hearth/home/rule/secret", "hearth/home/summary"]);
    let payload = |topic: &str| -> serde_json::Value {
        let retained = store.retained().unwrap();
        serde_json::from_str(&retained.iter().find(|message| message.topic == topic).unwrap().payload).unwrap()
    };
    let rule = payload("hearth/home/rule/secret");
    assert_eq!(
        (&rule["state"], &rule["answer"], &rule["evidence"]),
        (&"OFF".into(), &().into(), &serde_json::json!([]))
    );
    assert_eq!(payload("hearth/home/summary")["words"], 0);
    assert_eq!(payload("hearth/home/rule/visit")["state"], "ON");
}

#[test]
fn a_pending_note_of_the_old_form_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let note = r#"{"span":[3,4],"utterances":2,"alerts":["01KJN9K7C0000000000000000Y"],"digests":[]}"#;
    store.set_note("forgetting", note).unwrap();
    let pending = store.pending_forget().unwrap();
    assert_eq!((pending.forgotten.unwrap().span, pending.unreadable), (Some((3, 4)), None));
    store.forget_is_complete().unwrap();
    assert_eq!(store.pending_forget().unwrap(), Default::default());
    // Whatever the clock says, the text that stays is still there.
    assert_eq!(store.utterances_after(0, 10).unwrap().len(), 4);
    assert!(store.utterances_after(0, 10).unwrap().iter().all(|(_, said)| said.end < Timestamp::now()));
}
