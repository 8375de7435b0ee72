//! A lock, so that only one daemon uses a state directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::StoreError;

/// Held while a daemon runs. The operating system releases it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of a directory that [`super::Store::open`] made.
    ///
    /// # Errors
    /// Another hearth has it, or the file cannot be opened.
    pub(crate) fn take(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join("hearth.lock");
        let open = |source| StoreError::Open { path: path.clone(), source };
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(open)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path }),
            Err(TryLockError::Error(source)) => Err(open(source)),
        }
    }
}
