//! Which messages quote what was forgotten: by what they are made of, whatever stands in their payload.

use hearth::config::Config;
use hearth::event::{
    Alert, AlertPhase, Destination, Digest, DigestReason, Evidence, Gap, GapReason, Message, Provenance, Severity,
    Utterance,
};
use hearth::mqtt::payload::{self, MessageHeader, RuleState};
use hearth::mqtt::topics::Topics;
use hearth::store::{ListenerTurn, OutboxLimits, Store, UnreadableNote};
use jiff::Timestamp;
use ulid::Ulid;

const EARLY: &str = "2026-03-01T18:00:00Z";
const SINCE: &str = "2026-03-01T18:10:00Z";
const LATE: &str = "2026-03-01T18:15:00Z";

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

fn topics() -> Topics {
    let config = Config::default();
    Topics::new(&config.mqtt, &config.node)
}

fn said(time: &str) -> Utterance {
    let (id, room, text) = (Ulid::generate(), "home".into(), "the code is 4417".into());
    Utterance { id, start: at(time), end: at(time), room, text, confidence: 1.0, no_speech: 0.0, speaker: None }
}

fn evidence(of: &Utterance) -> Vec<Evidence> {
    vec![Evidence { utterance: of.id, time: of.start, room: of.room.clone(), text: of.text.clone() }]
}

fn alert(time: &str, of: &Utterance) -> Message {
    let alert = Alert {
        id: Ulid::generate(),
        rule: "leak".into(),
        phase: AlertPhase::New,
        severity: Severity::Info,
        room: None,
        time: at(time),
        probability: None,
        answer: None,
        evidence: evidence(of),
    };
    payload::alert(&topics(), &alert)
}

fn rule(time: &str, quoted: &[Evidence]) -> Message {
    let state = RuleState {
        rule: "leak",
        room: None,
        on: true,
        severity: Severity::Info,
        probability: Some(0.9),
        answer: (!quoted.is_empty()).then_some("The code is 4417."),
        evidence: quoted,
        acknowledged: false,
        snoozed_until: None,
        threshold: None,
    };
    payload::rule(&topics(), MessageHeader { id: Ulid::generate(), time: at(time) }, &state)
}

fn digest(to: &str) -> Digest {
    Digest {
        id: Ulid::generate(),
        time: at(LATE),
        from: at(EARLY),
        to: at(to),
        reason: DigestReason::Interval,
        words: 4,
        room: None,
        text: "The code is 4417.".into(),
        sentences: Vec::new(),
    }
}

fn open(dir: &tempfile::TempDir) -> Store {
    Store::open(dir.path(), OutboxLimits::from(&Config::default().store)).unwrap()
}

/// What waits when `messages` are there and what was said since [`SINCE`] is forgotten; `stored` is the transcript.
fn left(stored: &[&Utterance], messages: &[Message]) -> Vec<Message> {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(&dir);
    for said in stored {
        store.record_utterance(said, &[]).unwrap();
    }
    store.enqueue(messages).unwrap();
    store.forget(at(SINCE), None).unwrap();
    let waiting: Vec<Message> = store.outbox_after(0, 100).unwrap().into_iter().map(|(_, message)| message).collect();
    let of_broker: Vec<&Message> = waiting.iter().filter(|message| message.retain).collect();
    let retained = store.retained().unwrap();
    assert!(of_broker.iter().all(|message| retained.contains(message)), "both tables say the same");
    waiting
}

/// The messages without the webhooks, as the broker's are read back.
fn for_the_broker<const N: usize>(messages: [Message; N]) -> [Message; N] {
    messages.map(|message| Message { destination: Destination::Broker, ..message })
}

#[test]
fn an_utterance_goes_by_its_id_and_where_no_text_is_kept_by_its_time() {
    let (early, late) = (said(EARLY), said(LATE));
    let messages = for_the_broker([payload::utterance(&topics(), &early), payload::utterance(&topics(), &late)]);
    assert_eq!(left(&[&early, &late], &messages), messages[..1]);
    assert_eq!(left(&[], &messages), messages[..1], "the transcript is gone already, the message waits for the broker");
    // It was stored behind something that ended later: the clock was set back in between.
    assert_eq!(left(&[&late, &early], &messages), []);
}

#[test]
fn what_quotes_nothing_stays() {
    let gap = Gap { id: Ulid::generate(), room: "home".into(), from: at(LATE), to: at(LATE), reason: GapReason::Muted };
    let stamp = MessageHeader { id: Ulid::generate(), time: at(LATE) };
    let messages = for_the_broker([
        payload::gap(&topics(), &gap),
        payload::online(&topics()),
        payload::listening(&topics(), stamp, true, None),
        payload::interval(&topics(), stamp, 15.0),
        rule(LATE, &[]),
    ]);
    assert_eq!(left(&[&said(LATE)], &messages), messages);
}

#[test]
fn an_alert_goes_by_its_time_and_by_every_utterance_it_quotes() {
    let (early, late) = (said(EARLY), said(LATE));
    let messages = for_the_broker([alert(EARLY, &early), alert(LATE, &early), alert(EARLY, &late)]);
    assert_eq!(left(&[&early, &late], &messages), messages[..1]);
}

#[test]
fn a_rule_and_a_summary_are_replaced_by_themselves_without_words() {
    let (early, late) = (said(EARLY), said(LATE));
    let [old, new] = [rule(EARLY, &evidence(&early)), rule(EARLY, &evidence(&late))];
    assert_eq!(left(&[&early, &late], std::slice::from_ref(&old)), [old]);
    let [at_rest] = &left(&[&early, &late], std::slice::from_ref(&new))[..] else { panic!("it is retained") };
    let value: serde_json::Value = serde_json::from_str(&at_rest.payload).unwrap();
    assert_eq!((at_rest.topic.clone(), at_rest.retain), (topics().rule("leak"), true));
    assert_eq!((&value["state"], &value["answer"], &value["probability"]), (&"OFF".into(), &().into(), &().into()));
    assert_eq!((&value["rule"], &value["evidence"]), (&"leak".into(), &serde_json::json!([])));
    assert_eq!(at_rest.provenance, Provenance::Nothing);

    let [of_before, of_then] = [digest(EARLY), digest(LATE)].map(|digest| payload::summary(&topics(), &digest, "nano"));
    assert_eq!(left(&[], std::slice::from_ref(&of_before)), [of_before], "made later, of what was said before");
    let [without] = &left(&[], &[of_then])[..] else { panic!("it is retained") };
    assert!(!without.payload.contains("4417") && without.payload.contains("forgotten"), "{}", without.payload);
    assert!(without.payload.contains("\"words\":0"), "{}", without.payload);
}

#[test]
fn each_summary_waits_for_the_broker_and_goes_by_the_time_it_tells_of() {
    let digests = [digest(EARLY), digest(EARLY), digest(LATE)];
    let each = for_the_broker(digests.each_ref().map(|digest| payload::each_summary(&topics(), digest, "nano")));
    assert!(each.iter().all(|message| !message.retain));
    assert_eq!(left(&[], &each), each[..2], "none takes the place of another, and what was forgotten goes");
}

#[test]
fn a_retained_message_without_a_replacement_is_cleared_at_the_broker() {
    let mut message = payload::summary(&topics(), &digest(LATE), "nano");
    let Provenance::Speech(quoted) = &mut message.provenance else { panic!("it quotes") };
    quoted.replacement = None;
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(&dir);
    store.enqueue(std::slice::from_ref(&message)).unwrap();
    store.forget(at(SINCE), None).unwrap();
    assert_eq!(store.retained().unwrap(), []);
    assert_eq!(store.outbox_after(0, 9).unwrap().pop().unwrap().1, Message::clear(message.topic));
}

#[test]
fn a_digest_and_an_alert_take_their_messages_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(&dir);
    let digest = digest(LATE);
    let reading = ListenerTurn { digests: std::slice::from_ref(&digest), alerts: &[], processed: 0, memory: "{}" };
    store.record_reading(reading, &[payload::summary(&topics(), &digest, "nano")]).unwrap();
    let forgotten = store.forget(at(SINCE), None).unwrap();
    assert_eq!(forgotten.digests.into_iter().collect::<Vec<_>>(), [digest.id.to_string()]);
    assert!(!store.retained().unwrap()[0].payload.contains("4417"));
}

#[test]
fn a_note_that_cannot_be_read_stays_until_a_request_covers_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(&dir);
    for said in [said(EARLY), said("2026-03-01T18:08:00Z"), said(LATE)] {
        store.record_utterance(&said, &[]).unwrap();
    }
    assert_eq!(store.forget(at(SINCE), None).unwrap().span, Some((3, 3)));
    store.set_note("forgetting", "{\"stretch\":[3,3]}").unwrap();
    let unreadable = Some(UnreadableNote { since: Some(at(SINCE)) });
    assert_eq!(store.pending_forget().unwrap().unreadable, unreadable);

    // A later request is done and noted beside it.
    let late = store.record_utterance(&said(LATE), &[]).unwrap();
    let forgotten = store.forget(at("2026-03-01T18:12:00Z"), None).unwrap();
    assert_eq!(forgotten.span, Some((late, late)));
    assert_eq!(store.pending_forget().unwrap().forgotten.unwrap().span, forgotten.span);
    store.forget_is_complete().unwrap();
    let pending = store.pending_forget().unwrap();
    assert_eq!((pending.forgotten, pending.unreadable), (None, unreadable), "it is not dropped");
    assert_eq!(store.note("forgetting").unwrap().unwrap(), "{\"stretch\":[3,3]}");

    // One that goes back as far covers it: everything behind the last utterance that stays.
    let forgotten = store.forget(at("2026-03-01T18:09:00Z"), None).unwrap();
    assert_eq!(forgotten.span, Some((3, 4)));
    let pending = store.pending_forget().unwrap();
    assert_eq!((pending.forgotten.unwrap().span, pending.unreadable), (forgotten.span, None));
    store.forget_is_complete().unwrap();
    assert_eq!(store.pending_forget().unwrap(), Default::default());
}

#[test]
fn where_nothing_stays_any_request_covers_a_note_that_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(&dir);
    store.record_utterance(&said(EARLY), &[]).unwrap();
    store.set_note("forgetting", "?").unwrap();
    assert_eq!(store.pending_forget().unwrap().unreadable, Some(UnreadableNote { since: None }));
    assert_eq!(store.forget(at("2026-01-01T00:00:00Z"), None).unwrap().span, Some((1, 1)));
    assert_eq!(store.pending_forget().unwrap().unreadable, None);
}
