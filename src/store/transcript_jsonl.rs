//! `transcript.jsonl`: the transcript as lines of JSON, for `tail -f`.
//!
//! It follows the database: the number in the last line says which utterances are missing. Every line is whole, and each utterance is in
//! it once, in the order of the database.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::{Store, StoreError};
use crate::atomic_file;
use crate::clock;
use crate::config::Keep;
use crate::event::Utterance;

/// A file is rotated before it grows beyond this.
const MAX_BYTES: u64 = 10 << 20;
/// So many older files are kept: `transcript.jsonl.1`, the newest of them, to `.7`.
const OLD_FILES: usize = 7;
/// So many utterances are read from the database at a time.
const BATCH: usize = 256;

/// One line of the file.
#[derive(Serialize)]
struct TranscriptLine<'a> {
    seq: i64,
    id: Ulid,
    start: Timestamp,
    end: Timestamp,
    room: &'a str,
    text: &'a str,
    confidence: f32,
}

/// The fields of the last line that are needed to continue after it.
#[derive(Deserialize)]
struct LastLine {
    seq: i64,
    end: Timestamp,
}

/// The file that is being written.
#[derive(Debug)]
pub struct TranscriptJsonl {
    path: PathBuf,
    zone: TimeZone,
    file: File,
    bytes: u64,
    /// The local day of the last line.
    day: Option<Date>,
    /// The number of the utterance in the last line.
    seq: i64,
}

impl TranscriptJsonl {
    /// Opens `transcript.jsonl` in `dir` and removes a last line that a crash left incomplete. A file is begun each day in `zone`.
    ///
    /// # Errors
    /// When the file cannot be opened, read or cut.
    pub fn open(dir: &Path, zone: TimeZone) -> Result<Self, StoreError> {
        let path = dir.join("transcript.jsonl");
        for path in all_files(&path) {
            // Half a file, left by a kill or a power cut while text was removed from it.
            remove_if_there(&atomic_file::part_of(&path))?;
        }
        let (file, bytes, last) = repair(&path).map_err(failed(&path, "opening it"))?;
        let last = match last {
            Some(last) => Some(last),
            // The file was just rotated: the last line is in the newest old file.
            None => last_line(&fs::read(old(&path, 1)).unwrap_or_default()).map(|(last, _)| last),
        };
        let day = last.as_ref().filter(|_| bytes > 0).map(|last| day(&zone, last.end));
        Ok(Self { path, zone, file, bytes, day, seq: last.map_or(0, |last| last.seq) })
    }

    /// Whether there is a transcript in `dir` that is not empty.
    pub(crate) fn is_in(dir: &Path) -> bool {
        let files = all_files(&dir.join("transcript.jsonl"));
        files.iter().any(|path| fs::metadata(path).is_ok_and(|file| file.len() > 0))
    }

    /// Appends every utterance of the database that is not in the file yet. To be called after each commit.
    ///
    /// # Errors
    /// The database cannot be read, or the file not be written.
    pub fn follow(&mut self, store: &Store) -> Result<(), StoreError> {
        if self.seq > store.newest()? {
            // The database was moved away and a new one was made.
            self.seq = 0;
        }
        loop {
            let missing = store.utterances_after(self.seq, BATCH)?;
            for (seq, utterance) in &missing {
                self.append(*seq, utterance)?;
            }
            if missing.len() < BATCH {
                return Ok(());
            }
        }
    }

    /// Opens the file again, after a program that rotates logs has moved it (SIGHUP).
    ///
    /// # Errors
    /// The file cannot be opened or read.
    pub fn reopen(&mut self) -> Result<(), StoreError> {
        let (file, bytes, last) = repair(&self.path).map_err(failed(&self.path, "opening it again"))?;
        (self.file, self.bytes) = (file, bytes);
        self.day = last.map(|last| day(&self.zone, last.end));
        Ok(())
    }

    /// Takes the utterances from one sequence number to another out of every file.
    pub(crate) fn forget(&mut self, (from, to): (i64, i64)) -> Result<(), StoreError> {
        for path in all_files(&self.path) {
            let taken_out =
                take_out(&path, |seq| (from..=to).contains(&seq)).map_err(failed(&path, "forgetting lines"))?;
            if taken_out && path == self.path {
                // Where it goes on in the database stays as it was.
                self.reopen()?;
            }
        }
        Ok(())
    }

    /// Removes old files that hold nothing younger than `keep` allows at `now`; all files when nothing is kept.
    pub fn enforce(&mut self, now: Timestamp, keep: Keep) -> Result<(), StoreError> {
        let oldest = match keep {
            Keep::Forever => return Ok(()),
            Keep::Days(days) => clock::after(now, SignedDuration::from_hours(-24 * i64::from(days))),
            Keep::Nothing => Timestamp::MAX,
        };
        if self.day.is_some_and(|last| last < day(&self.zone, oldest)) {
            self.rotate()?;
        }
        for n in 1..=OLD_FILES {
            let path = old(&self.path, n);
            let written = fs::metadata(&path).and_then(|meta| meta.modified()).ok().map(Timestamp::try_from);
            if matches!(written, Some(Ok(written)) if written < oldest) {
                fs::remove_file(&path).map_err(failed(&path, "removing it"))?;
            }
        }
        Ok(())
    }

    /// Removes every file of the transcript in `dir`, when no text is to be kept.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn remove(dir: &Path) -> Result<(), StoreError> {
        let path = dir.join("transcript.jsonl");
        for path in all_files(&path) {
            // One that a crash left half-written holds text as well.
            remove_if_there(&atomic_file::part_of(&path))?;
            remove_if_there(&path)?;
        }
        Ok(())
    }

    fn append(&mut self, seq: i64, utterance: &Utterance) -> Result<(), StoreError> {
        let Utterance { id, start, end, room, text, confidence, .. } = utterance;
        let line = TranscriptLine { seq, id: *id, start: *start, end: *end, room, text, confidence: *confidence };
        let mut line = serde_json::to_vec(&line).expect("words, numbers and times can be written as JSON");
        line.push(b'\n');
        let today = day(&self.zone, *end);
        if self.bytes > 0 && (self.bytes + line.len() as u64 > MAX_BYTES || self.day.is_some_and(|day| day != today)) {
            self.rotate()?;
        }
        if let Err(source) = self.file.write_all(&line) {
            // Part of the line may have been written: remove it, so that the next line begins on its own.
            let _ = self.file.set_len(self.bytes);
            return Err(failed(&self.path, "writing a line")(source));
        }
        self.bytes += line.len() as u64;
        self.seq = seq;
        self.day = Some(today);
        Ok(())
    }

    /// Renames the file and the older ones by one number, and begins a new file.
    fn rotate(&mut self) -> Result<(), StoreError> {
        let shift = || {
            for n in (1..OLD_FILES).rev() {
                rename_if_there(&old(&self.path, n), &old(&self.path, n + 1))?;
            }
            rename_if_there(&self.path, &old(&self.path, 1))?;
            open(&self.path)
        };
        self.file = shift().map_err(failed(&self.path, "rotating it"))?;
        self.bytes = 0;
        self.day = None;
        Ok(())
    }
}

/// The old files, the youngest first, and then the one that is written.
fn all_files(path: &Path) -> Vec<PathBuf> {
    (1..=OLD_FILES).map(|n| old(path, n)).chain([path.to_path_buf()]).collect()
}

fn remove_if_there(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != ErrorKind::NotFound => Err(failed(path, "removing it")(source)),
        _ => Ok(()),
    }
}

fn failed(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> StoreError + use<> {
    let path = path.to_path_buf();
    move |source| StoreError::Lines { path, doing, source }
}

fn old(path: &Path, n: usize) -> PathBuf {
    path.with_extension(format!("jsonl.{n}"))
}

/// Rewrites a file without the lines whose number is `forgotten`; false when it has none. Time of change and owner stay: files are
/// deleted by age, and root may run `hearth forget` on the files of a service that runs as another user.
fn take_out(path: &Path, forgotten: impl Fn(i64) -> bool) -> io::Result<bool> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        text => text?,
    };
    let goes = |line: &&[u8]| serde_json::from_slice::<LastLine>(line).is_ok_and(|line| forgotten(line.seq));
    let lines = || text.split_inclusive(|byte| *byte == b'\n');
    if !lines().any(|line| goes(&line)) {
        return Ok(false);
    }
    let before = fs::metadata(path)?;
    atomic_file::replace(path, 0o600, |file| {
        lines().filter(|line| !goes(line)).try_for_each(|line| file.write_all(line))?;
        let now = file.metadata()?;
        if (now.uid(), now.gid()) != (before.uid(), before.gid()) {
            fchown(&*file, Some(before.uid()), Some(before.gid()))?;
        }
        file.set_modified(before.modified()?)
    })?;
    Ok(true)
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// Opens the file and removes what follows its last complete line.
fn repair(path: &Path) -> io::Result<(File, u64, Option<LastLine>)> {
    let file = open(path)?;
    // It has at most MAX_BYTES and one line: small enough to be read at each start.
    let text = fs::read(path)?;
    let (last, bytes) = last_line(&text).map_or((None, 0), |(last, end)| (Some(last), end as u64));
    if bytes < text.len() as u64 {
        file.set_len(bytes)?;
    }
    Ok((file, bytes, last))
}

/// The last complete line and where it ends. A power cut can leave a partial line, or one of zeros.
fn last_line(text: &[u8]) -> Option<(LastLine, usize)> {
    let mut end = text.len();
    loop {
        end = text[..end].iter().rposition(|byte| *byte == b'\n')?;
        let start = text[..end].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if let Ok(last) = serde_json::from_slice(&text[start..end]) {
            return Some((last, end + 1));
        }
    }
}

fn day(zone: &TimeZone, time: Timestamp) -> Date {
    zone.to_datetime(time).date()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn removing_lines_keeps_the_age_and_the_owner_of_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("transcript.jsonl.3");
        let line = |seq| format!("{{\"seq\":{seq},\"end\":\"2026-03-01T18:00:00Z\"}}\n");
        fs::write(&path, [line(1), line(2), line(3)].concat()).unwrap();
        let old = SystemTime::now() - Duration::from_secs(20 * 86_400);
        File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        // Only root can give a file away.
        let given = std::os::unix::fs::chown(&path, Some(12_345), Some(12_345)).is_ok();
        assert!(!take_out(&path, |seq| seq > 3).unwrap() && take_out(&path, |seq| seq == 2).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), [line(1), line(3)].concat());
        let meta = fs::metadata(&path).unwrap();
        assert_eq!((meta.modified().unwrap(), meta.mode() & 0o777), (old, 0o600));
        assert!(!given || (meta.uid(), meta.gid()) == (12_345, 12_345));
    }
}
