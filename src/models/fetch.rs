//! Downloads models from the Hugging Face hub.
//!
//! This module decides what a model consists of, whether there is space, what is already there and when to retry; HTTP is in [`hub`], partial
//! files in `part`. A file only gets its own name in a model's folder after its hash was compared with the one that the hub gives.

pub mod catalog;
mod error;
pub mod hub;
mod origin;
mod part;

use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use catalog::{CatalogEntry, FOLDER, INDEX, Parts, WEIGHTS};
pub use error::FetchError;
use hub::{Hub, Remote};
use part::PartialFile;

/// The revision that is fetched.
const REVISION: &str = "main";
/// Tries for the description of a file, while a person waits.
const DESCRIBING: u32 = 3;
/// Bytes read at once; the progress is shown after each.
const BLOCK: usize = 1 << 18;

/// Progress, to be shown.
#[derive(Debug)]
pub enum FetchEvent<'a> {
    /// The file is there already, with the right hash.
    Present { file: &'a str },
    /// The download begins at byte `at`.
    Begin { file: &'a str, at: u64, size: u64 },
    /// The server cannot continue a download; it begins from the start.
    Anew { file: &'a str },
    /// So many bytes have been received.
    Bytes { file: &'a str, done: u64, size: u64 },
    /// An error after which it is tried again.
    Again { why: &'a FetchError },
    /// The file is complete.
    Done { file: &'a str },
}

/// How often to retry, and how soon.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// Gives up after so many tries in a row that bring no data.
    pub tries: u32,
    /// The pause before the second try; it doubles with each try, up to 32 times this.
    pub pause: Duration,
}

impl Default for RetryPolicy {
    /// Together a minute, which a router needs to restart.
    fn default() -> Self {
        Self { tries: 7, pause: Duration::from_secs(1) }
    }
}

impl RetryPolicy {
    fn pause(self, failures: u32) -> Duration {
        self.pause * 2_u32.pow(failures.saturating_sub(1).min(5))
    }
}

/// Fetches models into folders.
pub struct Fetcher<'a> {
    pub hub: Hub,
    pub retry: RetryPolicy,
    pub tell: &'a mut dyn FnMut(FetchEvent<'_>),
}

impl Fetcher<'_> {
    /// Fetches a model into `to`: a file, or a folder of the model's name. Files that are intact are left. Returns the model's path.
    ///
    /// # Errors
    /// Any but [`FetchError::Unknown`]. What was received is kept and continued the next time, unless it was wrong.
    pub fn fetch(&mut self, entry: &CatalogEntry, to: &Path) -> Result<PathBuf, FetchError> {
        match &entry.parts {
            Parts::File(file) => {
                let remote = self.describe(entry, REVISION, file)?;
                self.take(to, &[remote])?;
                Ok(to.join(file))
            }
            Parts::Folder => {
                let dir = to.join(&entry.name);
                let remotes = self.folder(entry, &dir)?;
                self.take(&dir, &remotes)?;
                Ok(dir)
            }
        }
    }

    /// The files of a folder, all of one commit; the weights come last. A list of shards is fetched to know them.
    fn folder(&mut self, entry: &CatalogEntry, dir: &Path) -> Result<Vec<Remote>, FetchError> {
        let first = self.describe(entry, REVISION, FOLDER[0])?;
        let commit = first.commit.clone();
        let mut remotes = vec![first];
        for file in &FOLDER[1..] {
            remotes.push(self.describe(entry, &commit, file)?);
        }
        match self.describe(entry, &commit, INDEX) {
            Ok(index) => {
                self.take(dir, &[index])?;
                let path = dir.join(INDEX);
                let text = std::fs::read_to_string(&path).map_err(FetchError::read(path))?;
                let bad = |reason| FetchError::BadIndex { repo: entry.repo.into(), file: INDEX, reason };
                for shard in catalog::shards(&text).map_err(bad)? {
                    remotes.push(self.describe(entry, &commit, &shard)?);
                }
            }
            Err(FetchError::NotFound { .. }) => remotes.push(self.describe(entry, &commit, WEIGHTS)?),
            Err(error) => return Err(error),
        }
        Ok(remotes)
    }

    /// Fetches files into a folder, if there is space for all.
    fn take(&mut self, dir: &Path, remotes: &[Remote]) -> Result<(), FetchError> {
        std::fs::create_dir_all(dir).map_err(FetchError::write(dir))?;
        let needed = remotes.iter().map(|remote| remote.size - part::have(dir, remote)).fold(0, u64::saturating_add);
        let free = free(dir)?;
        if needed > free {
            return Err(FetchError::NoRoom { path: dir.into(), needed, free });
        }
        remotes.iter().try_for_each(|remote| self.file(dir, remote))
    }

    fn file(&mut self, dir: &Path, remote: &Remote) -> Result<(), FetchError> {
        if part::is_present(dir, remote)? {
            (self.tell)(FetchEvent::Present { file: &remote.file });
            return Ok(());
        }
        let mut part = PartialFile::open(dir, remote)?;
        let mut failures = 0;
        while !part.is_whole() {
            let before = part.len();
            if let Err(why) = self.stream(remote, &mut part) {
                failures = if part.len() > before { 1 } else { failures + 1 };
                self.again(why, failures, self.retry.tries)?;
            }
        }
        part.finish()?;
        (self.tell)(FetchEvent::Done { file: &remote.file });
        Ok(())
    }

    /// Receives into a partial file what one connection gives.
    fn stream(&mut self, remote: &Remote, part: &mut PartialFile) -> Result<(), FetchError> {
        let mut stream = self.hub.open(remote, part.len())?;
        let (file, size) = (remote.file.as_str(), remote.size);
        if stream.from != part.len() {
            (self.tell)(FetchEvent::Anew { file });
            part.restart()?;
        }
        (self.tell)(FetchEvent::Begin { file, at: part.len(), size });
        let mut block = vec![0; BLOCK];
        loop {
            match stream.body.read(&mut block) {
                Ok(0) if part.is_whole() => return Ok(()),
                Ok(0) => return Err(FetchError::Broken { file: file.into(), done: part.len(), size, source: None }),
                Ok(read) => part.add(&block[..read])?,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(FetchError::Broken { file: file.into(), done: part.len(), size, source: Some(error) });
                }
            }
            (self.tell)(FetchEvent::Bytes { file, done: part.len(), size });
        }
    }

    fn describe(&mut self, entry: &CatalogEntry, revision: &str, file: &str) -> Result<Remote, FetchError> {
        let mut failures = 0;
        loop {
            match self.hub.describe(entry, revision, file) {
                Ok(remote) => return Ok(remote),
                Err(why) => {
                    failures += 1;
                    self.again(why, failures, DESCRIBING)?;
                }
            }
        }
    }

    /// Waits before the next try, or gives up after so many tries. The count begins again with progress, which a retry library cannot
    /// see, so this is written here.
    fn again(&mut self, why: FetchError, failures: u32, tries: u32) -> Result<(), FetchError> {
        if !why.is_passing() || failures >= tries.min(self.retry.tries) {
            return Err(why);
        }
        (self.tell)(FetchEvent::Again { why: &why });
        std::thread::sleep(self.retry.pause(failures));
        Ok(())
    }
}

/// Free bytes of the file system of a folder.
fn free(dir: &Path) -> Result<u64, FetchError> {
    let found =
        rustix::fs::statvfs(dir).map_err(|error| FetchError::Read { path: dir.into(), source: error.into() })?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}
