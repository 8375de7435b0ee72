//! Utterances of several rooms or machines, until they can be put into the transcript in the order of their times.
//!
//! An id enters the transcript once, however often it arrives, also when its text has been deleted meanwhile.

use jiff::Timestamp;
use rusqlite::{Transaction, params};

use ulid::Ulid;

use super::{Store, StoreError, heard, log_dropped, outbox, to_nanos, transcript, voices};
use crate::event::{Gap, Message, Utterance, Voiceprint};

/// What arrived from other machines for the first time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct NewArrivals {
    pub(crate) utterances: Vec<Utterance>,
    pub(crate) gaps: Vec<Gap>,
}

impl Store {
    /// Puts an utterance of this machine into the inbox, and its messages into the outbox.
    ///
    /// # Errors
    /// The database cannot be written; so for every function here.
    pub(crate) fn stage(
        &mut self,
        utterance: &Utterance,
        voice: Option<&Voiceprint>,
        messages: &[Message],
    ) -> Result<(), StoreError> {
        let (now, live) = (to_nanos(Timestamp::now()), self.live);
        let dropped = self.write(|transaction, settings| {
            // An MQTT bridge may bring it back under another topic, also after its text was deleted.
            if is_first_arrival(transaction, "utterance", utterance.id, now)? {
                if live {
                    heard::note(transaction, utterance, true)?;
                }
                insert(transaction, utterance, now)?;
                voices::insert(transaction, utterance, voice)?;
            }
            outbox::push(transaction, settings, messages)
        })?;
        log_dropped(&self.path, dropped);
        Ok(())
    }

    /// Puts utterances of other machines into the inbox and stores their gaps, in one transaction; returns what was new. What was
    /// said in a time that somebody asked to forget is dropped.
    ///
    /// # Errors
    /// As [`Store::stage`].
    pub(crate) fn receive(
        &mut self,
        utterances: &[Utterance],
        gaps: &[Gap],
        now: Timestamp,
    ) -> Result<NewArrivals, StoreError> {
        let now = to_nanos(now);
        self.write(|transaction, _| {
            let mut new = NewArrivals::default();
            for utterance in utterances {
                if is_first_arrival(transaction, "utterance", utterance.id, now)?
                    && !is_forgotten(transaction, utterance)?
                {
                    heard::note(transaction, utterance, false)?;
                    insert(transaction, utterance, now)?;
                    new.utterances.push(utterance.clone());
                }
            }
            for gap in gaps {
                if is_first_arrival(transaction, "gap", gap.id, now)? {
                    transcript::insert_gap(transaction, gap)?;
                    new.gaps.push(gap.clone());
                }
            }
            Ok(new)
        })
    }

    /// Moves into the transcript what arrived until `before`, and whatever was said earlier than that, in the order of time.
    /// Returns how many utterances were moved, and whether the inbox is empty now. An arrival later than `now` is from before the
    /// clock was set back, and is moved too.
    ///
    /// # Errors
    /// As [`Store::stage`].
    pub(crate) fn release(&mut self, before: Timestamp, now: Timestamp) -> Result<(u64, bool), StoreError> {
        let (before, now) = (to_nanos(before), to_nanos(now));
        // Mostly there is nothing to do, which a read can tell.
        let (due, waiting) = self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT max(CASE WHEN arrived <= ?1 OR arrived > ?2 THEN start END), count(*) FROM inbox",
                )?
                .query_row([before, now], |row| Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, i64>(1)?)))
        })?;
        let Some(due) = due else { return Ok((0, waiting == 0)) };
        self.write(|transaction, _| {
            let moved = transaction
                .prepare_cached(
                    r#"INSERT INTO utterance(id, start, "end", room, text, confidence, no_speech, speaker, speaker_confidence)
                       SELECT id, start, "end", room, text, confidence, no_speech, speaker, speaker_confidence FROM inbox
                       WHERE start <= ?1 ORDER BY start, id"#,
                )?
                .execute([due])?;
            transaction.prepare_cached("DELETE FROM inbox WHERE start <= ?1")?.execute([due])?;
            Ok((moved as u64, moved as i64 >= waiting))
        })
    }

    /// What waits to be put in order.
    ///
    /// # Errors
    /// The database cannot be read.
    pub(crate) fn inbox(&self) -> Result<Vec<Utterance>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    r#"SELECT 0, id, start, "end", room, text, confidence, no_speech, speaker, speaker_confidence FROM inbox ORDER BY start, id"#,
                )?
                .query_map([], |row| transcript::utterance(row).map(|(_, utterance)| utterance))?
                .collect()
        })
    }

    /// Whether this utterance is in the transcript, or is not to enter it: it was there and is deleted, or somebody asked to forget
    /// the time in which it was said.
    ///
    /// # Errors
    /// The database cannot be read.
    pub(crate) fn is_known(&self, utterance: &Utterance) -> Result<bool, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT EXISTS (SELECT 1 FROM utterance WHERE id = ?1)
                         OR (EXISTS (SELECT 1 FROM arrival WHERE id = ?1) AND NOT EXISTS (SELECT 1 FROM inbox WHERE id = ?1))
                         OR EXISTS (SELECT 1 FROM forgotten WHERE since < ?3 AND ?2 < until)",
                )?
                .query_row(params![utterance.id.to_string(), to_nanos(utterance.start), to_nanos(utterance.end)], |row| {
                    row.get(0)
                })
        })
    }

    /// Deletes the ids of what arrived before `time`, and the requests to forget that are older.
    ///
    /// # Errors
    /// As [`Store::stage`].
    pub(crate) fn forget_arrivals(&mut self, time: Timestamp) -> Result<(), StoreError> {
        let time = to_nanos(time);
        self.write(|transaction, _| {
            transaction.prepare_cached("DELETE FROM arrival WHERE time < ?1")?.execute([time])?;
            transaction.prepare_cached("DELETE FROM forgotten WHERE until < ?1")?.execute([time]).map(drop)
        })
    }
}

/// Whether this id arrives for the first time; it is noted as arrived.
fn is_first_arrival(transaction: &Transaction<'_>, table: &str, id: Ulid, now: i64) -> rusqlite::Result<bool> {
    let first = transaction
        .prepare_cached(&format!(
            "INSERT INTO arrival(id, time)
             SELECT ?1, ?2 WHERE NOT EXISTS (SELECT 1 FROM {table} WHERE id = ?1) ON CONFLICT DO NOTHING"
        ))?
        .execute(params![id.to_string(), now])?;
    Ok(first > 0)
}

/// Whether somebody asked to forget the time in which this was said.
fn is_forgotten(transaction: &Transaction<'_>, said: &Utterance) -> rusqlite::Result<bool> {
    transaction
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM forgotten WHERE since < ?2 AND ?1 < until)")?
        .query_row([to_nanos(said.start), to_nanos(said.end)], |row| row.get(0))
}

fn insert(transaction: &Transaction<'_>, utterance: &Utterance, now: i64) -> rusqlite::Result<()> {
    let Utterance { id, start, end, room, text, confidence, no_speech, speaker } = utterance;
    transaction
        .prepare_cached(
            r#"INSERT INTO inbox(id, start, "end", room, text, confidence, no_speech, arrived, speaker, speaker_confidence)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"#,
        )?
        .execute(params![
            id.to_string(),
            to_nanos(*start),
            to_nanos(*end),
            room,
            text,
            confidence,
            no_speech,
            now,
            speaker.as_ref().map(|speaker| &speaker.name),
            speaker.as_ref().map(|speaker| speaker.confidence)
        ])
        .map(drop)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::config::{self, Keep};
    use crate::event::GapReason;
    use crate::store::OutboxLimits;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + seconds).unwrap()
    }

    fn said(start: i64, text: &str) -> Utterance {
        let (start, end) = (at(start), at(start + 1));
        Utterance {
            id: Ulid::generate(),
            start,
            end,
            room: "hall".into(),
            text: text.into(),
            confidence: 1.0,
            no_speech: 0.0,
            speaker: None,
        }
    }

    fn open(dir: &std::path::Path) -> Store {
        Store::open(dir, OutboxLimits::from(&config::StoreConfig::default())).unwrap()
    }

    fn receive(store: &mut Store, said: &[Utterance], at: Timestamp) -> usize {
        store.receive(said, &[], at).unwrap().utterances.len()
    }

    fn texts(store: &Store) -> Vec<String> {
        store.utterances_after(0, 100).unwrap().into_iter().map(|(_, utterance)| utterance.text).collect()
    }

    #[test]
    fn arrivals_within_the_window_are_ordered_and_later_ones_are_not_delayed() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path());
        let release = |store: &mut Store, now| store.release(at(now - 5), at(now)).unwrap();
        assert_eq!(receive(&mut store, &[said(12, "third"), said(30, "fifth")], at(100)), 2);
        assert_eq!(receive(&mut store, &[said(10, "second"), said(8, "first")], at(103)), 2);
        assert_eq!(release(&mut store, 104), (0, false), "nothing has waited for five seconds");
        receive(&mut store, &[said(40, "sixth"), said(29, "fourth")], at(104));
        assert_eq!(
            release(&mut store, 105),
            (5, false),
            "what was said earlier is moved too, though it arrived just now"
        );
        receive(&mut store, &[said(1, "late")], at(106));
        assert_eq!(release(&mut store, 120), (2, true));
        assert_eq!(texts(&store), ["first", "second", "third", "fourth", "fifth", "late", "sixth"]);
        assert_eq!(release(&mut store, 121), (0, true));
    }

    #[test]
    fn an_utterance_enters_once_also_after_a_crash_and_after_it_was_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path());
        let one = said(0, "one");
        assert_eq!(receive(&mut store, &[one.clone(), one.clone()], at(1)), 1);
        drop(store);
        let mut store = open(dir.path());
        assert_eq!(receive(&mut store, std::slice::from_ref(&one), at(2)), 0);
        store.release(at(2), at(2)).unwrap();
        assert_eq!(receive(&mut store, std::slice::from_ref(&one), at(3)), 0);
        assert_eq!(store.enforce(at(4), Keep::Nothing, 1).unwrap(), 1);
        assert_eq!(receive(&mut store, std::slice::from_ref(&one), at(5)), 0, "its text is gone, its id is known");
        store.forget_arrivals(at(6)).unwrap();
        assert_eq!(receive(&mut store, &[one], at(7)), 1, "ids are not kept for ever");
    }

    #[test]
    fn an_utterance_of_this_machine_that_returns_over_a_bridge_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path());
        let own = said(9, "own");
        let comes_back = |store: &mut Store| receive(store, std::slice::from_ref(&own), at(9));
        store.stage(&own, None, &[]).unwrap();
        assert_eq!(comes_back(&mut store), 0, "it waits to be put in order");
        store.release(at(1_000_000), at(1_000_000)).unwrap();
        assert_eq!(comes_back(&mut store), 0, "it is in the transcript");
        assert_eq!(store.enforce(at(10), Keep::Nothing, 1).unwrap(), 1);
        assert_eq!(comes_back(&mut store), 0, "it is forgotten");
        assert_eq!(texts(&store), Vec::<String>::new());
        let gap = Gap { id: Ulid::generate(), room: "hall".into(), from: at(0), to: at(60), reason: GapReason::Muted };
        store.record_gap(&gap, &[]).unwrap();
        assert_eq!(store.receive(&[], &[gap], at(61)).unwrap(), NewArrivals::default());
    }

    #[test]
    fn forgotten_utterances_do_not_return_from_a_machine_that_was_offline() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path());
        let now = Timestamp::now();
        let since = now - SignedDuration::from_mins(10);
        let ago = |seconds: i64| {
            let start = now - SignedDuration::from_secs(seconds);
            Utterance { start, end: start + SignedDuration::from_secs(2), ..said(0, "said") }
        };
        store.forget(since, None).unwrap();
        let (before, across, within) = (ago(700), ago(601), ago(60));
        let after = Utterance { start: Timestamp::now(), end: Timestamp::now(), ..said(0, "said") };
        let all = [before.clone(), across, within.clone(), after.clone()];
        assert_eq!(store.receive(&all, &[], now).unwrap().utterances, [before, after]);
        assert_eq!(receive(&mut store, std::slice::from_ref(&within), now), 0, "nor the second time");
        store.forget_arrivals(now + SignedDuration::from_hours(1)).unwrap();
        assert_eq!(receive(&mut store, &[within], now), 1, "it is not remembered for ever");
    }

    #[test]
    fn a_clock_that_was_set_back_delays_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path());
        receive(&mut store, &[said(0, "one")], at(1_000));
        let now = at(10);
        assert_eq!(store.release(now - SignedDuration::from_secs(5), now).unwrap(), (1, true));
    }

    #[test]
    fn a_gap_of_another_machine_is_stored_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path());
        let (id, room, reason) = (Ulid::generate(), "hall".into(), GapReason::Muted);
        let gap = Gap { id, room, from: at(0), to: at(60), reason };
        let taken = |store: &mut Store| store.receive(&[], &[gap.clone(), gap.clone()], at(61)).unwrap().gaps;
        assert_eq!((taken(&mut store), taken(&mut store)), (vec![gap.clone()], Vec::new()));
        let rows: i64 = store.read(|db| db.query_row("SELECT count(*) FROM gap", [], |row| row.get(0))).unwrap();
        assert_eq!(rows, 1);
    }
}
