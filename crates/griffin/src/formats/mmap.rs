//! A file as memory.
//!
//! Owns the one way to map a file. Invariant: what is mapped is a regular file, and is only read.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

use crate::Error;

/// Maps a file for as long as anybody holds it.
///
/// # Errors
/// [`Error::Read`].
pub fn map(path: &Path) -> Result<Arc<Mmap>, Error> {
    let unreadable = |source| Error::Read { path: path.into(), source };
    let file = File::open(path).map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(unreadable(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")));
    }
    // SAFETY: the mapping is only read. Another process that shortened the file meanwhile would break this; hearth itself never
    // writes to a model's file, but makes another beside it and gives that one the name.
    let map = unsafe { Mmap::map(&file) };
    map.map(Arc::new).map_err(unreadable)
}
