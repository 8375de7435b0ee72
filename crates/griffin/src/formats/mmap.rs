//! Maps a regular file into memory, to be read only.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

use crate::Error;

/// Maps a file, which stays mapped as long as the result is held.
///
/// # Errors
/// [`Error::Read`].
pub(super) fn map(path: &Path) -> Result<Arc<Mmap>, Error> {
    let unreadable = |source| Error::Read { path: path.into(), source };
    let file = File::open(path).map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(unreadable(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")));
    }
    // SAFETY: the mapping is only read, and this crate never writes to a model's file: it makes another beside it and renames
    // that. A process which shortens the file in place while it is mapped breaks this; the README asks users not to.
    let map = unsafe { Mmap::map(&file) };
    map.map(Arc::new).map_err(unreadable)
}
