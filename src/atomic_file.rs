//! Replaces a file as a whole: a reader, or the next start after a crash, finds the old content or the new one, never a part.
//!
//! The new content is written to `<file>.part` in the same directory, synced, renamed over the file, and the directory is
//! synced, so that the rename itself survives a power cut.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What is appended to the name of a file while its replacement is written.
const PART_SUFFIX: &str = ".part";

/// Replaces `path` with what `write` puts into a new file of these permissions.
///
/// # Errors
/// As `write` does, and when the directory cannot be written. `path` is then unchanged, and the partial file is removed.
pub(crate) fn replace(path: &Path, mode: u32, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let part = part_of(path);
    let replaced = write_part(&part, mode, write).and_then(|file| commit(&file, &part, path));
    if replaced.is_err() {
        // Half a file on a full disk helps nobody. The first error is the one to report.
        let _ = fs::remove_file(&part);
    }
    replaced
}

/// Syncs `file`, which was written as `part`, and gives it the name `path` in the same directory.
///
/// # Errors
/// When syncing or renaming fails.
pub(crate) fn commit(file: &File, part: &Path, path: &Path) -> io::Result<()> {
    file.sync_all()?;
    fs::rename(part, path)?;
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

pub(crate) fn part_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(OsStr::new(PART_SUFFIX));
    PathBuf::from(name)
}

fn write_part(part: &Path, mode: u32, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<File> {
    // A leftover of a crash may have any permissions, and `mode` only counts for a file that is created.
    match fs::remove_file(part) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(part)?;
    write(&mut file)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_a_leftover_does_not_matter() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        fs::write(directory.path().join("state.part"), "left by a crash").unwrap();
        replace(&path, 0o600, |file| file.write_all(b"new")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!directory.path().join("state.part").exists());
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_partial_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        fs::write(&path, "old").unwrap();
        let failed = replace(&path, 0o600, |file| {
            file.write_all(b"half")?;
            Err(ErrorKind::StorageFull.into())
        });
        assert_eq!(failed.unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
