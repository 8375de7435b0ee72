//! When each utterance was heard, by the time since boot, which nobody can set.
//!
//! The clock of a machine without a battery is wrong until its network is up, and anybody may set a clock. So the table `heard` has the
//! time since boot at which each utterance of a microphone or of another machine was stored. "The last ten minutes" are ten minutes
//! that passed, whatever the wall clock showed: all that was said in them is deleted, and nothing that is certainly older.
//!
//! Of what was heard before the last boot only a least age is known, because hearth cannot know how long the machine was off. For it, a
//! short request uses the least age alone, and a long one the wall clock too. What another machine heard is dated by the clock of that
//! machine, and is deleted only if it also arrived in that time.

use jiff::Timestamp;
use rusqlite::{Transaction, params};

use super::{from_nanos, to_nanos};
use crate::clock;
use crate::event::Utterance;

/// Requests up to this span (nanoseconds) use the least age alone for what was heard before the last boot.
const SHORT: i64 = 3_600_000_000_000;
/// By how much the order of the transcript may differ from the order in which its utterances came.
const DISORDER: i64 = 60_000_000_000;
/// The newest utterances of which it is noted when they were heard.
const NOTED: i64 = 50_000;

/// A request to forget what was said after a time. Times are nanoseconds, by the wall clock or since boot.
pub(super) struct ForgetRequest {
    pub(super) since: i64,
    now: i64,
    boot: &'static str,
    up: i64,
}

impl ForgetRequest {
    pub(super) fn new(since: Timestamp) -> Self {
        let up = i64::try_from(clock::since_boot().as_nanos()).unwrap_or(i64::MAX);
        Self { since: to_nanos(since), now: to_nanos(Timestamp::now()), boot: clock::boot_id(), up }
    }

    /// How long it goes back.
    fn span(&self) -> i64 {
        self.now.saturating_sub(self.since).max(0)
    }
}

/// Ranges of wall time, each without its first nanosecond, in which something was said that is deleted.
#[derive(Default)]
pub(super) struct TimeRanges(Vec<(i64, i64)>);

impl TimeRanges {
    pub(super) fn add(&mut self, since: i64, until: i64) {
        self.0.push((since, until));
        self.0.sort_unstable();
        self.0.dedup_by(|next, before| {
            let meet = next.0 <= before.1;
            if meet {
                before.1 = before.1.max(next.1);
            }
            meet
        });
    }

    /// As a parameter of [`within`].
    pub(super) fn json(&self) -> String {
        serde_json::to_string(&self.0).expect("numbers are JSON")
    }

    pub(super) fn times(&self) -> Vec<(Timestamp, Timestamp)> {
        self.0.iter().map(|(since, until)| (from_nanos(*since), from_nanos(*until))).collect()
    }
}

/// SQL: whether the time `column` lies in one of the ranges that are the parameter `?1`.
pub(super) fn within(column: &str) -> String {
    format!(
        "EXISTS (SELECT 1 FROM json_each(?1) AS span
                 WHERE {column} > json_extract(span.value, '$[0]') AND {column} <= json_extract(span.value, '$[1]'))"
    )
}

/// Notes that an utterance is heard now: by a microphone of this machine (`live`), or by another machine.
pub(super) fn note(transaction: &Transaction<'_>, said: &Utterance, live: bool) -> rusqlite::Result<()> {
    let up = i64::try_from(clock::since_boot().as_nanos()).unwrap_or(i64::MAX);
    transaction
        .prepare_cached(
            r#"INSERT INTO heard(id, boot, up, live, start, "end") VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING"#,
        )?
        .execute(params![said.id.to_string(), clock::boot_id(), up, live, to_nanos(said.start), to_nanos(said.end)])
        .map(drop)
}

/// Deletes the notes of the oldest utterances.
pub(super) fn bound(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("DELETE FROM heard WHERE seq <= (SELECT max(seq) FROM heard) - ?1")?
        .execute([NOTED])
        .map(drop)
}

/// What [`find`] found.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Found {
    /// The first utterance that is deleted, with all after it.
    pub(super) first: Option<i64>,
    /// The notes go back to before the request, so `first` is known although no text may be kept.
    pub(super) reaches_back: bool,
}

/// Finds the first utterance that was said in the time that is to be forgotten.
pub(super) fn find(transaction: &Transaction<'_>, request: &ForgetRequest) -> rusqlite::Result<Found> {
    let mut found = Found::default();
    let mut ages = Ages { boot: request.boot.into(), newest: request.up, base: 0 };
    let mut statement = transaction
        .prepare_cached(r#"SELECT seq, boot, up, live, "end" FROM heard WHERE seq IS NOT NULL ORDER BY seq DESC"#)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (boot, live, end): (String, bool, i64) = (row.get(1)?, row.get(3)?, row.get(4)?);
        let age = ages.next(&boot, row.get(2)?);
        if age >= request.span().saturating_add(DISORDER) {
            found.reaches_back = true;
            break;
        }
        let by_age = live && (boot == request.boot || age < SHORT);
        if age < request.span() && (by_age || end > request.since) {
            found.first = Some(row.get(0)?);
        }
    }
    // Files, and what was stored before this was noted, have no clock but their own. One that is ahead of a machine that hears
    // now was wrong.
    let by_wall_clock: Option<i64> = transaction
        .prepare_cached(
            r#"SELECT min(seq) FROM utterance WHERE "end" > ?1 AND NOT EXISTS (SELECT 1 FROM heard WHERE heard.seq = utterance.seq)
               AND ("end" <= ?2 OR NOT EXISTS (SELECT 1 FROM heard))"#,
        )?
        .query_row([request.since, request.now], |row| row.get(0))?;
    found.first = [found.first, by_wall_clock].into_iter().flatten().min();
    Ok(found)
}

/// What is noted of utterances that are deleted.
#[derive(Default)]
pub(super) struct TakenNotes {
    pub(super) ids: Vec<String>,
    pub(super) ranges: TimeRanges,
    /// When the first of them began and the last ended.
    pub(super) said: Option<(i64, i64)>,
}

/// Deletes the notes of the utterances from `first` on, and of those that wait to be put in order and were heard in that time.
pub(super) fn take(
    transaction: &Transaction<'_>,
    request: &ForgetRequest,
    first: Option<i64>,
) -> rusqlite::Result<TakenNotes> {
    let mut taken = TakenNotes::default();
    let any: bool = transaction.query_row("SELECT EXISTS (SELECT 1 FROM heard)", [], |row| row.get(0))?;
    taken.ranges.add(request.since, if any { request.now.max(request.since) } else { i64::MAX });
    let mut delete = transaction.prepare_cached(
        r#"DELETE FROM heard WHERE seq >= ?1 OR (seq IS NULL AND ("end" > ?2 OR (live AND boot = ?3 AND up > ?4)))
           RETURNING id, boot, up, start, "end""#,
    )?;
    let up_since = request.up.saturating_sub(request.span());
    let mut rows = delete.query(params![first.unwrap_or(i64::MAX), request.since, request.boot, up_since])?;
    while let Some(row) = rows.next()? {
        let (boot, up, start, end): (String, i64, i64, i64) = (row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
        taken.ids.push(row.get(0)?);
        // What was made of it since then has times by the clock that it was heard by.
        let age = if boot == request.boot { request.up.saturating_sub(up).max(0) } else { 0 };
        taken.ranges.add(end.saturating_sub(1), end.saturating_add(age));
        taken.said = Some(taken.said.map_or((start, end), |(first, last)| (first.min(start), last.max(end))));
    }
    Ok(taken)
}

/// How long ago utterances were heard at least, from the newest to the oldest.
struct Ages {
    boot: String,
    /// The last time that is known of that boot, and how long ago it was at least.
    newest: i64,
    base: i64,
}

impl Ages {
    fn next(&mut self, boot: &str, up: i64) -> i64 {
        if boot != self.boot {
            // That boot was over before the later one began.
            self.base = self.base.saturating_add(self.newest);
            self.boot = boot.into();
            self.newest = up;
        }
        self.base.saturating_add(self.newest.saturating_sub(up).max(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::store::{OutboxLimits, Store};
    use jiff::SignedDuration;
    use ulid::Ulid;

    const MINUTE: i64 = 60_000_000_000;

    /// A store of a live machine, which has been up for an hour.
    fn store(dir: &tempfile::TempDir) -> Store {
        let mut store = Store::open(dir.path(), OutboxLimits::from(&config::StoreConfig::default())).unwrap();
        store.hears_live(true);
        store
    }

    /// Something said so many minutes ago by the wall clock, and by the time since boot in the boot of that name; an empty name is
    /// this boot.
    fn said(store: &mut Store, text: &str, by_wall_clock: i64, boot: &str, up_minutes: i64) {
        let start = clock::after(Timestamp::now(), SignedDuration::from_mins(-by_wall_clock));
        let end = clock::after(start, SignedDuration::from_secs(2));
        let (id, room) = (Ulid::generate(), "home".into());
        let said =
            Utterance { id, start, end, room, text: text.into(), confidence: 1.0, no_speech: 0.0, speaker: None };
        let seq = store.record_utterance(&said, &[]).unwrap();
        let (boot, up) = match boot {
            "" => (clock::boot_id(), UP.saturating_sub(up_minutes * MINUTE)),
            boot => (boot, up_minutes * MINUTE),
        };
        store
            .write(|db, _| db.execute("UPDATE heard SET boot = ?1, up = ?2 WHERE seq = ?3", params![boot, up, seq]))
            .unwrap();
    }

    const UP: i64 = 1_000 * MINUTE;

    /// The texts that are left after the last `minutes` were forgotten by a machine that has been up for `up`.
    fn left(store: &mut Store, minutes: i64, up: i64) -> Vec<String> {
        let now = to_nanos(Timestamp::now());
        let request = ForgetRequest { since: now - minutes * MINUTE, now, boot: clock::boot_id(), up };
        let found = store.write(|db, _| find(db, &request)).unwrap();
        let all = store.utterances_after(0, 100).unwrap().into_iter();
        all.filter(|(seq, _)| found.first.is_none_or(|first| *seq < first)).map(|(_, said)| said.text).collect()
    }

    #[test]
    fn what_was_said_under_a_slow_clock_is_found_by_the_time_that_passed() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = store(&dir);
        said(&mut store, "long ago", 40, "", 20);
        said(&mut store, "just now", 21, "", 1);
        assert_eq!(left(&mut store, 10, UP), ["long ago"]);
    }

    #[test]
    fn what_was_said_under_a_clock_that_was_ahead_stays_when_it_is_older() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = store(&dir);
        said(&mut store, "under a clock that was ahead", -60 * 24 * 365, "", 300);
        said(&mut store, "an hour ago", 60, "", 60);
        said(&mut store, "just now", 1, "", 1);
        assert_eq!(left(&mut store, 10, UP), ["under a clock that was ahead", "an hour ago"]);
        said(&mut store, "ahead, just now", -60 * 24 * 365, "", 0);
        assert_eq!(left(&mut store, 1, UP), ["under a clock that was ahead", "an hour ago", "just now"]);
    }

    #[test]
    fn over_boots_nothing_goes_that_is_surely_older_and_a_short_request_goes_by_that_alone() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = store(&dir);
        said(&mut store, "a boot before", 60 * 24, "first", 10);
        said(&mut store, "early", 300, "second", 30);
        said(&mut store, "before the power cut", 200, "second", 50);
        assert_eq!(left(&mut store, 10, 20 * MINUTE).len(), 3, "this boot is older than what is to be forgotten");
        // The machine was off, or its clock was slow: nobody knows.
        assert_eq!(left(&mut store, 10, 2 * MINUTE), ["a boot before", "early"]);
        assert_eq!(left(&mut store, 45, 2 * MINUTE), ["a boot before"]);
        // A long request goes by the wall clock too.
        assert_eq!(left(&mut store, 250, 100 * MINUTE), ["a boot before", "early"]);
    }
}
