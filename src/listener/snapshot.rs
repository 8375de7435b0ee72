//! A state on disk.
//!
//! Owns the file format and how it gets onto the disk whole. Refuses to know when a snapshot is due and what the listener
//! notes beside the state. Invariants: the file under the snapshot's name is always a whole one, the last that was saved; what
//! is loaded is bit for bit what was saved, or an error says why not; a file never makes us allocate more than the model's
//! own state could need.
//!
//! ```text
//! magic "HEARTHST" · version u32 · fingerprint 32 bytes · tokens read u64
//! note: length u32, bytes · leaves: count u32, each: name (length u8), dtype u8 (0 f32, 1 f16), rank u8, sizes u32…, values
//! SHA-256 of everything before it
//! ```
//! Little-endian throughout.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::griffin::{self, Leaf, Model, State};

const MAGIC: &[u8; 8] = b"HEARTHST";
const VERSION: u32 = 1;
/// Magic, version, fingerprint, tokens read.
const HEADER: usize = 8 + 4 + 32 + 8;
const CHECKSUM: usize = 32;
/// The most a listener may note beside a state.
pub const NOTE_MAX: usize = 1 << 20;
/// More than a leaf's name, type and shape take.
const LEAF_OVERHEAD: u64 = 64;

/// Why a snapshot was not saved or not taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no snapshot {}", path.display())]
    Missing { path: PathBuf },
    #[error("the snapshot {} cannot be read; check the disk and who owns the file", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the snapshot {} cannot be written; check for space and for permission to write there", path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error("{} is not a snapshot of hearth; move it away", path.display())]
    Foreign { path: PathBuf },
    #[error("the snapshot {} has format {found}, and this hearth reads format {VERSION}; it was written by another version", path.display())]
    Version { path: PathBuf, found: u32 },
    #[error("the snapshot {} was made by another model; load that model, or move the file away to begin afresh", path.display())]
    OtherModel { path: PathBuf },
    #[error("the snapshot {} is damaged: {reason}; move it away to begin afresh", path.display())]
    Damaged { path: PathBuf, reason: &'static str },
    #[error("the snapshot {} has {bytes} bytes, and this model's can have {limit} at most; move it away", path.display())]
    TooLarge { path: PathBuf, bytes: u64, limit: u64 },
    #[error("the note for the snapshot {} has {bytes} bytes, more than {NOTE_MAX}", path.display())]
    Note { path: PathBuf, bytes: usize },
    #[error("the snapshot {} does not hold a state of this model", path.display())]
    State { path: PathBuf, source: Box<griffin::Error> },
}

/// Writes a state and the listener's note: to a file beside, synced, then renamed over `path`. Mode 0600: a state knows what was said.
///
/// # Errors
/// [`Error::Write`], [`Error::Note`], [`Error::State`]; the file under `path` is then the one that was there before.
pub fn save(path: &Path, state: &State, fingerprint: [u8; 32], note: &[u8]) -> Result<(), Error> {
    if note.len() > NOTE_MAX {
        return Err(Error::Note { path: path.into(), bytes: note.len() });
    }
    let leaves = state.leaves();
    let bytes = encode(state.tokens_read(), fingerprint, note, &leaves);
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    let beside = PathBuf::from(beside);
    let written = replace(path, &beside, &bytes);
    if written.is_err() {
        // What is left of a full disk's half a file is of no use to anyone.
        let _ = std::fs::remove_file(&beside);
    }
    written.map_err(|source| Error::Write { path: path.into(), source })
}

/// Reads a snapshot that this model made: the state, and the note that was saved with it.
///
/// # Errors
/// All variants but [`Error::Write`] and [`Error::Note`].
pub fn load(path: &Path, model: &Model) -> Result<(State, Vec<u8>), Error> {
    let bytes = read(path, model)?;
    let damaged = |reason| Error::Damaged { path: path.into(), reason };
    let Some((content, checksum)) = bytes.split_last_chunk::<CHECKSUM>() else {
        return Err(damaged("it ends too soon"));
    };
    if Sha256::digest(content)[..] != checksum[..] {
        return Err(damaged("its checksum does not match"));
    }
    let content = decode(&content[MAGIC.len() + 4..]).ok_or(damaged("its parts do not add up"))?;
    if content.fingerprint != model.fingerprint() {
        return Err(Error::OtherModel { path: path.into() });
    }
    let state = model.restore(content.tokens_read, &content.leaves);
    let state = state.map_err(|source| Error::State { path: path.into(), source: Box::new(source) })?;
    Ok((state, content.note))
}

/// Renames a file that cannot be used to `….bad-<time>`, so that a fresh one can take its place, and returns that name.
///
/// # Errors
/// [`Error::Write`].
pub fn set_aside(path: &Path) -> Result<PathBuf, Error> {
    let mut name = path.as_os_str().to_owned();
    name.push(jiff::Timestamp::now().strftime(".bad-%Y%m%dT%H%M%S.%3fZ").to_string());
    let aside = PathBuf::from(name);
    std::fs::rename(path, &aside).map_err(|source| Error::Write { path: path.into(), source })?;
    Ok(aside)
}

fn replace(path: &Path, beside: &Path, bytes: &[u8]) -> std::io::Result<()> {
    // A leftover of a crash may have any mode.
    match std::fs::remove_file(beside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => (),
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(beside, path)?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()
}

/// The bytes of a file that says it is a snapshot of ours and is no larger than one can be.
fn read(path: &Path, model: &Model) -> Result<Vec<u8>, Error> {
    let unreadable = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => Error::Missing { path: path.into() },
        _ => Error::Read { path: path.into(), source },
    };
    let limit = limit(model);
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    (&file).take(HEADER as u64).read_to_end(&mut bytes).map_err(unreadable)?;
    if !bytes.starts_with(&MAGIC[..bytes.len().min(MAGIC.len())]) {
        return Err(Error::Foreign { path: path.into() });
    }
    let Some((header, _)) = bytes.split_first_chunk::<HEADER>() else {
        return Err(Error::Damaged { path: path.into(), reason: "it ends too soon" });
    };
    let found = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
    if found != VERSION {
        return Err(Error::Version { path: path.into(), found });
    }
    let other_model = header[12..44] != model.fingerprint();
    let size = file.metadata().map_err(unreadable)?.len();
    if size > limit {
        // A larger model's snapshot is no damage.
        return Err(match other_model {
            true => Error::OtherModel { path: path.into() },
            false => Error::TooLarge { path: path.into(), bytes: size, limit },
        });
    }
    file.take(limit).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

/// The most bytes that a snapshot of this model can have: every leaf in f32.
fn limit(model: &Model) -> u64 {
    let state = model.state();
    let leaves = 2 * state.bytes() + LEAF_OVERHEAD * 2 * model.config().layers.len() as u64;
    (HEADER + 4 + NOTE_MAX + 4 + CHECKSUM) as u64 + leaves
}

fn encode(tokens_read: u64, fingerprint: [u8; 32], note: &[u8], leaves: &[Leaf]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&fingerprint);
    out.extend_from_slice(&tokens_read.to_le_bytes());
    out.extend_from_slice(&(note.len() as u32).to_le_bytes());
    out.extend_from_slice(note);
    out.extend_from_slice(&(leaves.len() as u32).to_le_bytes());
    for leaf in leaves {
        out.push(leaf.name.len() as u8);
        out.extend_from_slice(leaf.name.as_bytes());
        out.push(u8::from(leaf.half));
        out.push(leaf.shape.len() as u8);
        leaf.shape.iter().for_each(|&size| out.extend_from_slice(&(size as u32).to_le_bytes()));
        out.extend_from_slice(&leaf.bytes);
    }
    let checksum = Sha256::digest(&out);
    out.extend_from_slice(&checksum);
    out
}

struct Content {
    fingerprint: [u8; 32],
    tokens_read: u64,
    note: Vec<u8>,
    leaves: Vec<Leaf>,
}

/// What stands between version and checksum; `None` when a length points outside. Nothing is allocated by a number that was
/// read before as many bytes were seen.
fn decode(bytes: &[u8]) -> Option<Content> {
    let mut rest = Rest(bytes);
    let fingerprint = rest.array()?;
    let tokens_read = u64::from_le_bytes(rest.array()?);
    let note = rest.sized()?.to_vec();
    let count = u32::from_le_bytes(rest.array()?);
    let mut leaves = Vec::new();
    for _ in 0..count {
        let [length] = rest.array()?;
        let name = String::from_utf8(rest.take(usize::from(length))?.to_vec()).ok()?;
        let [half, rank] = rest.array()?;
        let half = match half {
            0 => false,
            1 => true,
            _ => return None,
        };
        let mut shape = Vec::new();
        let mut size: usize = if half { 2 } else { 4 };
        for _ in 0..rank {
            let dim = usize::try_from(u32::from_le_bytes(rest.array()?)).ok()?;
            size = size.checked_mul(dim)?;
            shape.push(dim);
        }
        leaves.push(Leaf { name, half, shape, bytes: rest.take(size)?.to_vec() });
    }
    rest.0.is_empty().then_some(Content { fingerprint, tokens_read, note, leaves })
}

/// What is left to decode.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn sized(&mut self) -> Option<&'a [u8]> {
        let length = u32::from_le_bytes(self.array()?);
        self.take(usize::try_from(length).ok()?)
    }
}
