//! "Forget the last ten minutes": what goes, and in which order.
//!
//! Owns the judgement which messages carry what was said (`judge`, pure), and the steps that can be taken while nobody reads:
//! at the start, and by `hearth forget` beside a hearth that does not run. Refuses to know the live state: see `reading`.
//! Invariant: first the database forgets, in one transaction that also notes the rest; then the files; whoever is killed in
//! between is followed by one that carries it through.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::Error;
use crate::config::Keep;
use crate::event::Message;
use crate::listener::snapshot_store::SnapshotStore;
use crate::mqtt::topics::Topics;
use crate::store::transcript_jsonl::TranscriptJsonl;
use crate::store::{Forgotten, Store, Verdict};
use crate::{listener, store};

/// The store forgets what was said after `since`, and every message that carries it.
pub fn forget(
    store: &mut Store,
    topics: &Topics,
    since: Timestamp,
    from: Option<i64>,
) -> Result<Forgotten, store::StoreError> {
    store.forget(since, from, |message, ids| judge(topics, message, since, ids))
}

/// Where no text is kept, nothing tells when an utterance was heard but the snapshots: all behind the last of them that is older
/// than `since` may have been later.
pub fn from(keep: Keep, history: &SnapshotStore, since: Timestamp) -> Result<Option<i64>, Error> {
    if keep != Keep::Nothing {
        return Ok(None);
    }
    let of_all = history.all().and_then(|all| all.iter().map(SnapshotStore::list).collect::<Result<Vec<_>, _>>());
    let kept = of_all.map_err(listener::ListenerError::from)?;
    let older = kept.iter().flatten().map(|kept| kept.header.mark).filter(|mark| mark.time <= since);
    Ok(Some(older.map(|mark| mark.read).max().unwrap_or(0) + 1))
}

/// The files follow it, each whatever became of the others; the first error is returned. Only whoever owns the live state notes that
/// all have.
pub fn follow(
    store: &mut Store,
    forgotten: &Forgotten,
    lines: Option<&mut TranscriptJsonl>,
    history: &SnapshotStore,
) -> Result<(), Error> {
    let erased = store.erase();
    let Some(span) = forgotten.span else { return Ok(erased?) };
    let taken_out = lines.map_or(Ok(()), |lines| lines.forget(span));
    let of_all = history.all().and_then(|all| all.iter().map(|of_one| of_one.forget(span.0)).fold(Ok(()), Result::and));
    of_all.map_err(listener::ListenerError::from)?;
    Ok(erased.and(taken_out)?)
}

/// What is answered to whoever asked.
pub fn answer(minutes: f64, since: Timestamp, utterances: u64) -> Map<String, Value> {
    [("minutes", minutes.into()), ("since", since.to_string().into()), ("utterances", utterances.into())]
        .map(|(key, value)| (key.to_string(), value))
        .into_iter()
        .collect()
}

/// Whether a message carries what was said after `since`: it names something that went by its id, or is an answer, an alert or
/// the state of a rule of that time. What is retained is replaced by itself without words.
fn judge(topics: &Topics, message: &Message, since: Timestamp, ids: &BTreeSet<String>) -> Verdict {
    let Ok(mut payload) = serde_json::from_str::<Value>(&message.payload) else { return Verdict::Stays };
    let later =
        payload["time"].as_str().and_then(|time| time.parse::<Timestamp>().ok()).is_some_and(|time| time > since);
    let is_answer = message.topic.starts_with(&topics.response(""));
    let is_rule = message.topic.starts_with(&topics.rules());
    let quotes = !payload["answer"].is_null() || payload["evidence"].as_array().is_some_and(|all| !all.is_empty());
    let of_then = later && (is_answer || message.topic == topics.alert() || (is_rule && quotes));
    if !of_then && !names(&payload, ids) {
        return Verdict::Stays;
    }
    if !message.retain {
        return Verdict::Goes;
    }
    if is_rule {
        payload["state"] = "OFF".into();
        (payload["answer"], payload["probability"], payload["evidence"]) = (Value::Null, Value::Null, json!([]));
    } else {
        (payload["text"], payload["words"]) = ("What was said then was forgotten.".into(), 0.into());
    }
    Verdict::Replaced(Message { payload: payload.to_string(), ..message.clone() })
}

/// Whether one of the ids stands anywhere in a payload.
fn names(payload: &Value, ids: &BTreeSet<String>) -> bool {
    match payload {
        Value::String(text) => ids.contains(text),
        Value::Array(items) => items.iter().any(|item| names(item, ids)),
        Value::Object(fields) => fields.values().any(|field| names(field, ids)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use ulid::Ulid;

    use super::*;
    use crate::config::Config;
    use crate::event::{Alert, AlertPhase, Digest, DigestReason, Evidence, Severity, Utterance};
    use crate::mqtt::payload::{self, RuleState, Stamp};

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

    fn said(id: Ulid, time: &str) -> Message {
        let (start, room, text) = (at(time), "home".into(), "the code is 4417".into());
        payload::utterance(&topics(), &Utterance { id, start, end: start, room, text, confidence: 1.0, no_speech: 0.0 })
    }

    fn verdict(message: &Message, gone: &[Ulid]) -> Verdict {
        let ids = gone.iter().map(Ulid::to_string).collect();
        judge(&topics(), message, at(SINCE), &ids)
    }

    #[test]
    fn what_was_said_goes_by_its_id_and_what_stays_is_told() {
        let (forgotten, kept) = (Ulid::generate(), Ulid::generate());
        assert_eq!(verdict(&said(forgotten, LATE), &[forgotten]), Verdict::Goes);
        assert_eq!(verdict(&said(kept, EARLY), &[forgotten]), Verdict::Stays);
        let (id, time) = (Ulid::generate(), at(LATE));
        let gap =
            crate::event::Gap { id, room: "home".into(), from: time, to: time, reason: crate::event::GapReason::Muted };
        assert_eq!(verdict(&payload::gap(&topics(), &gap), &[forgotten]), Verdict::Stays);
        assert_eq!(verdict(&payload::online(&topics()), &[forgotten]), Verdict::Stays);
        assert_eq!(verdict(&payload::listening(&topics(), Stamp { id, time }, true), &[forgotten]), Verdict::Stays);
    }

    #[test]
    fn alerts_of_then_go_and_what_is_retained_loses_its_words() {
        let forgotten = Ulid::generate();
        let evidence = |utterance| {
            vec![Evidence { utterance, time: at(EARLY), room: "home".into(), text: "the code is 4417".into() }]
        };
        let alert = |time: &str, utterance| {
            let evidence = evidence(utterance);
            let (rule, severity, phase) = ("leak".into(), Severity::Info, AlertPhase::New);
            let (id, time, room) = (Ulid::generate(), at(time), None);
            payload::alert(
                &topics(),
                &Alert { id, rule, phase, severity, room, time, probability: None, answer: None, evidence },
            )
        };
        assert_eq!(verdict(&alert(LATE, Ulid::generate()), &[]), Verdict::Goes);
        assert_eq!(verdict(&alert(EARLY, forgotten), &[forgotten]), Verdict::Goes);
        assert_eq!(verdict(&alert(EARLY, Ulid::generate()), &[forgotten]), Verdict::Stays);

        let rule = |utterance| {
            let (quoted, stamp) = (evidence(utterance), Stamp { id: Ulid::generate(), time: at(EARLY) });
            let state = RuleState {
                rule: "leak",
                room: None,
                on: true,
                severity: Severity::Info,
                probability: Some(0.9),
                answer: Some("The code is 4417."),
                evidence: &quoted,
                acknowledged: false,
                snoozed_until: None,
            };
            payload::rule(&topics(), stamp, &state)
        };
        assert_eq!(verdict(&rule(Ulid::generate()), &[forgotten]), Verdict::Stays);
        let Verdict::Replaced(message) = verdict(&rule(forgotten), &[forgotten]) else { panic!("it is retained") };
        assert!(message.retain && message.topic == topics().rule("leak") && !message.payload.contains("4417"));
        assert!(message.payload.contains("\"state\":\"OFF\""), "{}", message.payload);

        let id = Ulid::generate();
        let (time, reason, text) = (at(LATE), DigestReason::Interval, "The code is 4417.".into());
        let digest = Digest { id, time, from: at(EARLY), to: at(LATE), reason, words: 4, room: None, text };
        let summary = payload::summary(&topics(), &digest);
        assert_eq!(verdict(&summary, &[]), Verdict::Stays, "made later, of what was said before");
        let Verdict::Replaced(message) = verdict(&summary, &[id]) else { panic!("it is retained") };
        assert!(!message.payload.contains("4417") && message.payload.contains("forgotten"), "{}", message.payload);
    }
}
