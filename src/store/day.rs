//! What happened between two times, for a timeline: when people talked, what was not heard, which alerts and summaries there were.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Row, params};
use serde::Serialize;
use ulid::Ulid;

use super::columns::id;
use super::recent::{alert, digest, named};
use super::{Store, StoreError, from_nanos, to_nanos};
use crate::event::{Alert, AlertPhase, Digest, Gap};

/// Utterances that are nearer than this to one another are shown as one stretch of talk.
const PAUSE: SignedDuration = SignedDuration::from_secs(60);
/// The most rows of each kind; a day has fewer but for a fault.
const MAX_ROWS: usize = 2_000;

/// A stretch of time in which people talked in a room.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct TalkStretch {
    pub(crate) room: String,
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
    pub(crate) utterances: usize,
}

/// An alert, and when it was over.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct AlertSpan {
    /// As it began, with the sentence that came later.
    #[serde(flatten)]
    pub(crate) alert: Alert,
    /// None where no end is stored.
    pub(crate) until: Option<Timestamp>,
}

/// What happened between two times, each kind in the order of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct DayRecord {
    pub(crate) talk: Vec<TalkStretch>,
    pub(crate) gaps: Vec<Gap>,
    pub(crate) alerts: Vec<AlertSpan>,
    pub(crate) digests: Vec<Digest>,
    /// There was more than fits: the rest is not listed.
    pub(crate) cut: bool,
}

impl Store {
    /// What happened from `from` on and before `to`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub(crate) fn day(&self, from: Timestamp, to: Timestamp) -> Result<DayRecord, StoreError> {
        let range = params![to_nanos(from), to_nanos(to)];
        let said: Vec<(String, Timestamp, Timestamp)> = self.read(|connection| {
            connection
                .prepare_cached(
                    r#"SELECT room, start, "end" FROM utterance WHERE "end" > ?1 AND start < ?2 ORDER BY start"#,
                )?
                .query_map(range, |row| Ok((row.get(0)?, from_nanos(row.get(1)?), from_nanos(row.get(2)?))))?
                .collect()
        })?;
        let gap = |row: &Row<'_>| {
            let (from, to) = (from_nanos(row.get(2)?), from_nanos(row.get(3)?));
            Ok(Gap { id: id(row, 0)?, room: row.get(1)?, from, to, reason: named(row, 4)? })
        };
        let mut gaps: Vec<Gap> = self.read(|connection| {
            connection
                .prepare_cached(
                    r#"SELECT id, room, start, "end", reason FROM gap WHERE "end" > ?1 AND start < ?2 ORDER BY start LIMIT 2001"#,
                )?
                .query_map(range, gap)?
                .collect()
        })?;
        let mut digests: Vec<Digest> = self.read(|connection| {
            connection
                .prepare_cached(
                    r#"SELECT id, time, start, "end", reason, words, room, text, sentences FROM digest
                       WHERE time >= ?1 AND time < ?2 ORDER BY time LIMIT 2001"#,
                )?
                .query_map(range, digest)?
                .collect()
        })?;
        let phases: Vec<Alert> = self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT id, time, rule, phase, severity, room, probability, answer, evidence FROM alert
                     WHERE id IN (SELECT id FROM alert WHERE phase = 'new' AND time >= ?1 AND time < ?2) ORDER BY seq",
                )?
                .query_map(range, alert)?
                .collect()
        })?;
        let mut talk = stretches(said);
        let mut alerts = spans(phases);
        let cut = [talk.len(), gaps.len(), alerts.len(), digests.len()].into_iter().any(|rows| rows > MAX_ROWS);
        talk.truncate(MAX_ROWS);
        gaps.truncate(MAX_ROWS);
        alerts.truncate(MAX_ROWS);
        digests.truncate(MAX_ROWS);
        Ok(DayRecord { talk, gaps, alerts, digests, cut })
    }
}

/// Joins utterances of a room, which are ordered by their start, where there is no long pause between them.
fn stretches(said: Vec<(String, Timestamp, Timestamp)>) -> Vec<TalkStretch> {
    let mut spans: Vec<TalkStretch> = Vec::new();
    // The newest stretch of each room.
    let mut newest: BTreeMap<String, usize> = BTreeMap::new();
    for (room, from, to) in said {
        if let Some(at) = newest.get(&room).copied()
            && from.duration_since(spans[at].to) < PAUSE
        {
            spans[at].to = spans[at].to.max(to);
            spans[at].utterances += 1;
            continue;
        }
        newest.insert(room.clone(), spans.len());
        spans.push(TalkStretch { room, from, to, utterances: 1 });
    }
    spans
}

/// One entry for all phases of an alert.
fn spans(phases: Vec<Alert>) -> Vec<AlertSpan> {
    let mut spans: Vec<AlertSpan> = Vec::new();
    let mut known: BTreeMap<Ulid, usize> = BTreeMap::new();
    for phase in phases {
        match (known.get(&phase.id).copied(), phase.phase) {
            (None, AlertPhase::New) => {
                known.insert(phase.id, spans.len());
                spans.push(AlertSpan { alert: phase, until: None });
            }
            (Some(at), AlertPhase::End) => spans[at].until = Some(phase.time),
            (Some(at), AlertPhase::Update) if phase.answer.is_some() => spans[at].alert.answer = phase.answer,
            _ => {}
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{DigestReason, GapReason, Severity, Utterance};
    use crate::store::{ListenerTurn, OutboxLimits};

    fn at(s: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + s).unwrap()
    }

    #[test]
    fn a_day_has_its_talk_gaps_alerts_and_summaries_and_nothing_of_other_days() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path(), OutboxLimits::from(&crate::config::StoreConfig::default())).unwrap();
        for (start, room) in [(-100, "hall"), (10, "hall"), (20, "den"), (60, "hall"), (400, "hall"), (90_000, "den")] {
            let (id, start, end) = (Ulid::generate(), at(start), at(start + 5));
            let (room, text) = (room.into(), "words".into());
            let said = Utterance { id, start, end, room, text, confidence: 0.9, no_speech: 0.0, speaker: None };
            store.record_utterance(&said, &[]).unwrap();
        }
        let gap = |from, to| Gap {
            id: Ulid::generate(),
            room: "hall".into(),
            from: at(from),
            to: at(to),
            reason: GapReason::Muted,
        };
        let over_midnight = gap(-50, 5);
        store.record_gap(&gap(-80, -60), &[]).unwrap();
        store.record_gap(&over_midnight, &[]).unwrap();
        let new = |time| Alert {
            id: Ulid::generate(),
            rule: "leak".into(),
            phase: AlertPhase::New,
            severity: Severity::Critical,
            room: None,
            time: at(time),
            probability: Some(0.9),
            answer: None,
            evidence: Vec::new(),
        };
        let (yesterday, today) = (new(-10), new(70));
        let update = Alert { phase: AlertPhase::Update, answer: Some("Water comes in.".into()), ..today.clone() };
        let end = |alert: &Alert, time| Alert { phase: AlertPhase::End, answer: None, time: at(time), ..alert.clone() };
        let alerts = [yesterday.clone(), today.clone(), update.clone(), end(&yesterday, 30), end(&today, 200)];
        let digest = Digest {
            id: Ulid::generate(),
            time: at(300),
            from: at(0),
            to: at(70),
            reason: DigestReason::Requested,
            words: 4,
            room: None,
            text: "They talked.".into(),
            sentences: Vec::new(),
        };
        let turn = ListenerTurn { digests: std::slice::from_ref(&digest), alerts: &alerts, processed: 1, memory: "{}" };
        store.record_reading(turn, &[]).unwrap();

        let day = store.day(at(0), at(86_400)).unwrap();
        let span = |room: &str, from, to, utterances| TalkStretch {
            room: room.into(),
            from: at(from),
            to: at(to),
            utterances,
        };
        assert_eq!(day.talk, [span("hall", 10, 65, 2), span("den", 20, 25, 1), span("hall", 400, 405, 1)]);
        assert_eq!(day.gaps, [over_midnight]);
        let alert = Alert { answer: update.answer, ..today };
        assert_eq!(day.alerts, [AlertSpan { alert, until: Some(at(200)) }]);
        assert_eq!((day.digests, day.cut), (vec![digest], false));
    }
}
