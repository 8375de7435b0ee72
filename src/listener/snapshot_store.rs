//! The snapshots of a state directory, and which of them are kept.
//!
//! They are ordered by what they have read and not by time, so a clock that jumps changes nothing. A file that cannot be used is
//! renamed, and the next older snapshot is taken.

mod policy;

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use tracing::{info, warn};

use self::policy::{NEWEST, is_kept};
use super::snapshot::{self, ReadPosition, SnapshotError, SnapshotHeader};
use super::{Listener, first_error};
use crate::percent_encode;

pub use self::policy::SnapshotPolicy;

/// At most so many unusable files are kept.
const KEPT_UNUSABLE: usize = 3;
/// The extension of a snapshot's file.
const EXTENSION: &str = "snapshot";
/// The folder below it, with one folder for each room that has a state of its own.
const ROOMS: &str = "rooms";
/// The file of an older hearth, which kept one snapshot.
const SINGLE_SNAPSHOT: &str = "state.snapshot";

/// A snapshot file with its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSnapshot {
    pub path: PathBuf,
    pub header: SnapshotHeader,
}

/// The snapshots of one state, in one directory.
#[derive(Clone, Debug)]
pub struct SnapshotStore {
    dir: PathBuf,
    /// The directory may be changed: unusable files are renamed.
    writable: bool,
}

impl SnapshotStore {
    /// For the daemon of this state directory. Moves the snapshot of an older hearth into it.
    ///
    /// # Errors
    /// The directory cannot be made or changed.
    pub fn open(state: &Path) -> Result<Self, SnapshotError> {
        let history = Self { dir: state.join("snapshots"), writable: true };
        make(&history.dir)?;
        let former = state.join(SINGLE_SNAPSHOT);
        let failed = |source| SnapshotError::Write { path: former.clone(), source };
        match fs::metadata(&former).and_then(|meta| meta.modified()) {
            Ok(written) => {
                let written = Timestamp::try_from(written).unwrap_or(Timestamp::UNIX_EPOCH);
                fs::rename(&former, history.path(written)).map_err(failed)?;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(source) => return Err(failed(source)),
        }
        for of_one_state in history.all()? {
            // Half a snapshot, left by a kill or a power cut.
            let mut parts = of_one_state.files()?;
            parts.retain(|path| path.extension().is_some_and(|it| it == "part"));
            parts.iter().try_for_each(|path| remove(path))?;
        }
        Ok(history)
    }

    /// Renames every snapshot, because the database it belongs to is gone: its numbers mean other utterances in a new one.
    ///
    /// # Errors
    /// A directory cannot be read or changed.
    pub(crate) fn set_all_aside(&self) -> Result<(), SnapshotError> {
        for of_one_state in self.all()? {
            let paths = of_one_state.files()?;
            let mut snapshots = paths.iter().filter(|path| path.extension().is_some_and(|it| it == EXTENSION));
            snapshots.try_for_each(|path| snapshot::set_aside(path).map(drop))?;
        }
        Ok(())
    }

    /// Whether there is any file.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub(crate) fn is_empty(&self) -> Result<bool, SnapshotError> {
        Ok(self.all()?.iter().map(Self::files).collect::<Result<Vec<_>, _>>()?.iter().all(Vec::is_empty))
    }

    /// For reading only, beside a daemon that may run.
    pub fn read_only(state: &Path) -> Self {
        Self { dir: state.join("snapshots"), writable: false }
    }

    /// The snapshots of one room's state. Their directory is made with the first one.
    pub fn of_room(&self, room: &str) -> Self {
        Self { dir: self.dir.join(ROOMS).join(percent_encode::encode(room)), writable: self.writable }
    }

    /// The rooms that have snapshots of their own.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(crate) fn rooms(&self) -> Result<Vec<String>, SnapshotError> {
        let mut rooms: Vec<_> = (self.entries(&self.dir.join(ROOMS))?.into_iter())
            .filter_map(|path| percent_encode::decode(path.file_name()?.to_str()?))
            .collect();
        rooms.sort();
        Ok(rooms)
    }

    /// The snapshots of the shared state, and those of each room.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn all(&self) -> Result<Vec<Self>, SnapshotError> {
        let rooms = self.rooms()?;
        Ok([self.clone()].into_iter().chain(rooms.iter().map(|room| self.of_room(room))).collect())
    }

    /// All snapshots with a readable header, newest first. Files of another version of hearth are left alone, in case that version
    /// is installed again.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn list(&self) -> Result<Vec<StoredSnapshot>, SnapshotError> {
        let paths = self.files()?.into_iter().filter(|path| path.extension().is_some_and(|it| it == EXTENSION));
        let mut kept = Vec::new();
        for path in paths {
            match snapshot::header(&path) {
                Ok(header) => kept.push(StoredSnapshot { path, header }),
                Err(SnapshotError::Missing { .. } | SnapshotError::Version { .. }) => {}
                Err(error) => self.set_aside(&path, &error)?,
            }
        }
        kept.sort_by(|a, b| {
            (b.header.mark.read, b.header.mark.time, &b.path).cmp(&(a.header.mark.read, a.header.mark.time, &a.path))
        });
        Ok(kept)
    }

    /// Removes the snapshots that the policy does not keep or that were made before `oldest`.
    ///
    /// # Errors
    /// The directory cannot be read or changed.
    pub(crate) fn prune(&self, policy: &SnapshotPolicy, oldest: Timestamp) -> Result<(), SnapshotError> {
        let kept = self.list()?;
        let sizes: Vec<_> = kept.iter().map(|kept| (kept.header.mark.time, kept.header.bytes)).collect();
        for (at, (kept, stays)) in kept.iter().zip(is_kept(&sizes, policy)).enumerate() {
            if !stays || (at >= NEWEST && kept.header.mark.time < oldest) {
                remove(&kept.path)?;
            }
        }
        // Of files of another version only the file's own time is known.
        for path in self.files()?.iter().filter(|path| is_of_another_version(path)) {
            let written = fs::metadata(path).and_then(|meta| meta.modified());
            let written = written.map_err(|source| SnapshotError::Read { path: path.clone(), source })?;
            if Timestamp::try_from(written).is_ok_and(|written| written < oldest) {
                remove(path)?;
            }
        }
        let mut aside: Vec<_> = self.files()?.into_iter().filter(|path| is_aside(path)).collect();
        // Their names begin and end with times, so this is the order of age.
        aside.sort();
        aside.iter().rev().skip(KEPT_UNUSABLE).try_for_each(|path| remove(path))
    }

    /// Prunes the snapshots of every state, also of rooms that have none any more; see [`SnapshotStore::prune`]. Everything is
    /// tried; the first error is returned.
    ///
    /// # Errors
    /// A directory cannot be read or changed.
    pub(crate) fn prune_all(&self, policy: &SnapshotPolicy, oldest: Timestamp) -> Result<(), SnapshotError> {
        let all = self.all()?;
        let policy = policy.divided_by(all.len());
        first_error(all.iter().map(|of_one_state| of_one_state.prune(&policy, oldest)))
    }

    /// Removes every snapshot that has read the utterance `from` or a later one, and every file of which that is not known.
    ///
    /// # Errors
    /// The directory cannot be read or changed.
    pub fn forget(&self, from: i64) -> Result<(), SnapshotError> {
        let is_older = |path: &PathBuf| {
            path.extension().is_some_and(|it| it == EXTENSION)
                && snapshot::header(path).is_ok_and(|header| header.mark.read < from)
        };
        self.files()?.iter().filter(|path| !is_older(path)).try_for_each(|path| remove(path))
    }

    fn path(&self, time: Timestamp) -> PathBuf {
        self.dir.join(format!("{}.{EXTENSION}", time.strftime("%Y%m%dT%H%M%S.%3fZ")))
    }

    fn files(&self) -> Result<Vec<PathBuf>, SnapshotError> {
        Ok(self.entries(&self.dir)?.into_iter().filter(|path| !path.is_dir()).collect())
    }

    fn entries(&self, dir: &Path) -> Result<Vec<PathBuf>, SnapshotError> {
        let failed = |source| SnapshotError::Read { path: dir.into(), source };
        match fs::read_dir(dir) {
            Ok(entries) => entries.map(|entry| Ok(entry.map_err(failed)?.path())).collect(),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(source) => Err(failed(source)),
        }
    }

    fn set_aside(&self, path: &Path, error: &SnapshotError) -> Result<(), SnapshotError> {
        if self.writable {
            let kept = snapshot::set_aside(path)?;
            warn!(%error, kept = %kept.display(), "a snapshot cannot be used; it is kept aside under this name, and an older one is taken");
        } else {
            warn!(%error, "a snapshot cannot be used; an older one is taken");
        }
        Ok(())
    }
}

fn make(dir: &Path) -> Result<(), SnapshotError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|source| SnapshotError::Write { path: dir.into(), source })
}

fn is_aside(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().contains(".bad-"))
}

fn is_of_another_version(path: &Path) -> bool {
    path.extension().is_some_and(|it| it == EXTENSION)
        && matches!(snapshot::header(path), Err(SnapshotError::Version { .. }))
}

fn remove(path: &Path) -> Result<(), SnapshotError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != ErrorKind::NotFound => Err(SnapshotError::Write { path: path.into(), source }),
        _ => Ok(()),
    }
}

impl Listener {
    /// Saves the live state.
    ///
    /// # Errors
    /// The snapshot cannot be written.
    pub fn save(&self, history: &SnapshotStore, mark: &ReadPosition) -> Result<(), super::ListenerError> {
        Ok(self.save_state(self.reader.state(), history, mark)?)
    }

    /// Saves another state of this model.
    pub(super) fn save_state(
        &self,
        state: &griffin::State,
        history: &SnapshotStore,
        mark: &ReadPosition,
    ) -> Result<(), SnapshotError> {
        make(&history.dir)?;
        snapshot::save(&history.path(mark.time), state, self.reader.model.fingerprint(), mark)
    }

    /// Loads the newest snapshot of this model that is `wanted` and intact; none if there is none.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn load_latest(
        &self,
        history: &SnapshotStore,
        wanted: impl Fn(&ReadPosition) -> bool,
    ) -> Result<Option<(griffin::State, ReadPosition)>, super::ListenerError> {
        let mut others = 0;
        for kept in history.list()?.into_iter().filter(|kept| wanted(&kept.header.mark)) {
            match snapshot::load(&kept.path, &self.reader.model) {
                Ok(found) => return Ok(Some(found)),
                // That model may be configured again.
                Err(SnapshotError::OtherModel { .. }) => others += 1,
                Err(SnapshotError::Missing { .. }) => {}
                Err(error) => history.set_aside(&kept.path, &error)?,
            }
        }
        if others > 0 {
            info!(
                snapshots = others,
                "every snapshot was made by another model; they are kept in case it is used again"
            );
        }
        Ok(None)
    }

    /// Continues from another state of this model, or from one that has read nothing.
    pub fn resume(&mut self, state: Option<griffin::State>) {
        let state = state.unwrap_or_else(|| self.reader.model.state());
        self.reader.restore(state);
        self.talk.clear();
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn half_a_snapshot_that_a_kill_left_is_removed_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let history = SnapshotStore::open(dir.path()).unwrap();
        let room = history.of_room("hall");
        make(&room.dir).unwrap();
        let parts = [&history, &room].map(|of_one_state| {
            let path = crate::atomic_file::part_of(&of_one_state.path(Timestamp::UNIX_EPOCH));
            fs::write(&path, "half").unwrap();
            path
        });
        SnapshotStore::open(dir.path()).unwrap();
        assert!(!parts.iter().any(|path| path.exists()));
    }

    #[test]
    fn snapshots_of_another_version_are_kept_while_text_is_kept_and_forgotten_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let history = SnapshotStore::open(dir.path()).unwrap();
        let paths: Vec<_> =
            (0..2 * KEPT_UNUSABLE as i64).map(|s| history.path(Timestamp::from_second(s).unwrap())).collect();
        let later = [b"HEARTHST".as_slice(), &3u32.to_le_bytes(), &[0; 100]].concat();
        paths.iter().for_each(|path| fs::write(path, &later).unwrap());
        assert_eq!(history.list().unwrap(), []);
        let none = SnapshotPolicy { hourly: 0, daily: 0, max_bytes: 0 };
        history.prune(&none, Timestamp::now() - SignedDuration::from_hours(1)).unwrap();
        assert!(paths.iter().all(|path| path.exists()));
        history.prune(&none, Timestamp::now() + SignedDuration::from_hours(1)).unwrap();
        assert!(!paths.iter().any(|path| path.exists()), "no longer than text is kept");
        paths.iter().for_each(|path| fs::write(path, &later).unwrap());
        history.forget(i64::MAX).unwrap();
        assert!(!paths.iter().any(|path| path.exists()), "it may have read what is forgotten");
    }
}
