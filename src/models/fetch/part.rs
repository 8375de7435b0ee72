//! A file that is being downloaded: the `.part` file and its hash so far.
//!
//! A file gets its own name only when it is complete and its hash is right. A partial file is named after the hash of the whole, so that it
//! is never continued with the bytes of another version.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::FetchError;
use super::hub::{Hash, Remote};
use crate::atomic_file;

/// Bytes read at once.
const BLOCK: usize = 1 << 18;

/// See the module.
pub(crate) struct PartialFile {
    file: File,
    path: PathBuf,
    target: PathBuf,
    remote: Remote,
    hasher: Hasher,
    len: u64,
}

impl PartialFile {
    /// Opens the partial file of `remote` in `dir`, which may hold bytes already. Partial files of other versions are removed.
    ///
    /// # Errors
    /// [`FetchError::Locked`] if another process downloads it; [`FetchError::Read`], [`FetchError::Write`], [`FetchError::Full`].
    pub(crate) fn open(dir: &Path, remote: &Remote) -> Result<Self, FetchError> {
        let path = path(dir, remote);
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(FetchError::write(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(FetchError::Locked { path }),
            Err(TryLockError::Error(source)) => return Err(FetchError::Write { path, source }),
        }
        forget_other_versions(dir, remote, &path);
        let target = dir.join(&remote.file);
        let mut part = Self { file, path, target, hasher: Hasher::new(remote), remote: remote.clone(), len: 0 };
        part.len = part.hasher.take(&mut part.file).map_err(FetchError::read(&part.path))?;
        if part.len > remote.size {
            part.restart()?;
        }
        Ok(part)
    }

    /// Bytes that have been received.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Whether all bytes have been received.
    pub(crate) fn is_whole(&self) -> bool {
        self.len == self.remote.size
    }

    /// Begins again from the start.
    ///
    /// # Errors
    /// [`FetchError::Write`], [`FetchError::Full`].
    pub(crate) fn restart(&mut self) -> Result<(), FetchError> {
        self.file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .map_err(FetchError::write(&self.path))?;
        self.hasher = Hasher::new(&self.remote);
        self.len = 0;
        Ok(())
    }

    /// Appends received bytes.
    ///
    /// # Errors
    /// [`FetchError::TooLong`], and the part is gone; [`FetchError::Write`], [`FetchError::Full`], and it stays.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        if self.len + bytes.len() as u64 > self.remote.size {
            self.remove();
            return Err(FetchError::TooLong { file: self.remote.file.clone(), size: self.remote.size });
        }
        self.file.write_all(bytes).map_err(FetchError::write(&self.path))?;
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Gives the complete file its own name.
    ///
    /// # Errors
    /// [`FetchError::Mismatch`], and the part is gone; [`FetchError::Write`], [`FetchError::Full`].
    pub(crate) fn finish(self) -> Result<PathBuf, FetchError> {
        let found = self.hasher.hex();
        if found != self.remote.hash.hex() {
            self.remove();
            let expected = self.remote.hash.hex().into();
            return Err(FetchError::Mismatch { file: self.remote.file, expected, found });
        }
        // Readable whatever the umask is, because the daemon runs as another user.
        self.file.set_permissions(Permissions::from_mode(0o644)).map_err(FetchError::write(&self.path))?;
        atomic_file::commit(&self.file, &self.path, &self.target).map_err(FetchError::write(&self.target))?;
        Ok(self.target)
    }

    fn remove(&self) {
        // If it cannot be removed, the next run finds again that its hash is wrong.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn path(dir: &Path, remote: &Remote) -> PathBuf {
    dir.join(format!("{}.{:.12}.part", remote.file, remote.hash.hex()))
}

/// Bytes of `remote` that are in `dir`, complete or partial, unverified.
pub(crate) fn have(dir: &Path, remote: &Remote) -> u64 {
    let size = |path: PathBuf| std::fs::metadata(path).map_or(0, |found| found.len());
    if size(dir.join(&remote.file)) == remote.size { remote.size } else { size(path(dir, remote)).min(remote.size) }
}

/// Whether `dir` holds the complete file with the right hash.
///
/// # Errors
/// [`FetchError::Read`], unless it is not there.
pub(crate) fn is_present(dir: &Path, remote: &Remote) -> Result<bool, FetchError> {
    let path = dir.join(&remote.file);
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(FetchError::Read { path, source }),
    };
    if file.metadata().map_err(FetchError::read(&path))?.len() != remote.size {
        return Ok(false);
    }
    let mut hasher = Hasher::new(remote);
    hasher.take(&mut file).map_err(FetchError::read(&path))?;
    Ok(hasher.hex() == remote.hash.hex())
}

fn forget_other_versions(dir: &Path, remote: &Remote, own: &Path) {
    let start = format!("{}.", remote.file);
    let other = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let version = name.strip_prefix(&start).and_then(|rest| rest.strip_suffix(".part"));
        path != own && version.is_some_and(|v| v.len() == 12 && v.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in entries.filter(other) {
        // A leftover only takes space.
        let _ = std::fs::remove_file(path);
    }
}

enum Hasher {
    Sha256(Sha256),
    Git(Sha1),
}

impl Hasher {
    fn new(remote: &Remote) -> Self {
        match remote.hash {
            Hash::Sha256(_) => Self::Sha256(Sha256::new()),
            // "Git Internals – Git Objects", Pro Git, 10.2.
            Hash::Git(_) => Self::Git(Sha1::new_with_prefix(format!("blob {}\0", remote.size))),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Git(hasher) => hasher.update(bytes),
        }
    }

    /// Hashes a whole file; returns its length.
    fn take(&mut self, file: &mut File) -> io::Result<u64> {
        let mut block = vec![0; BLOCK];
        let mut total = 0;
        loop {
            match file.read(&mut block) {
                Ok(0) => return Ok(total),
                Ok(read) => {
                    self.update(&block[..read]);
                    total += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn hex(&self) -> String {
        match self {
            Self::Sha256(hasher) => hex::encode(hasher.clone().finalize()),
            Self::Git(hasher) => hex::encode(hasher.clone().finalize()),
        }
    }
}
