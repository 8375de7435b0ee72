//! A state on disk: the file format, writing and reading it.
//!
//! The file under a snapshot's name is always whole (`atomic_file`). What is loaded is bit for bit what was saved, or an error
//! says why not. A damaged file never makes us allocate more than the model's own state could need.
//!
//! ```text
//! magic "HEARTHST" · version u32 · fingerprint 32 bytes · tokens read u64 · last utterance read i64 · time i64, ns · plain size u32
//! zstd: leaves: count u32, each: name (length u8), dtype u8 (0 f32, 1 f16), rank u8, sizes u32…, values
//! SHA-256 of everything before it
//! ```
//! Little-endian throughout. Version 1 had, after the tokens read, a note (length u32, JSON with "read") and the leaves uncompressed.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use griffin::{self, Model, State, StateTensor};

use crate::atomic_file;

const MAGIC: &[u8; 8] = b"HEARTHST";
const VERSION: u32 = 2;
/// The version before, without compression; it is read, never written.
const VERSION_UNCOMPRESSED: u32 = 1;
/// Bytes of magic and version.
const VERSION_END: usize = 8 + 4;
/// Bytes up to where the two versions differ: those, fingerprint and tokens read.
const COMMON_END: usize = VERSION_END + 32 + 8;
/// Bytes before the compressed part.
const HEADER_LEN: usize = COMMON_END + 8 + 8 + 4;
/// Bytes of the SHA-256 at the end.
const CHECKSUM: usize = 32;
/// The longest note that version 1 wrote.
const NOTE_MAX: usize = 4096;
/// An upper bound of the bytes of a leaf's name, type and shape.
const LEAF_OVERHEAD: u64 = 64;
/// The fastest level: higher ones compress the values of a state no better, since only their exponents repeat.
const ZSTD_LEVEL: i32 = 1;

/// How far a state has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadPosition {
    /// The sequence number of the last utterance in it.
    pub read: i64,
    /// The time of the stream at that point; the state holds nothing that was said later.
    pub time: Timestamp,
}

/// The part of a snapshot before its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotHeader {
    /// Fingerprint of the model that made it.
    pub(crate) fingerprint: [u8; 32],
    pub tokens_read: u64,
    pub mark: ReadPosition,
    /// Size of the file.
    pub(crate) bytes: u64,
}

/// Why a snapshot was not saved or not taken.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("there is no snapshot {}", path.display())]
    Missing { path: PathBuf },
    #[error("the snapshot {} cannot be read; check the disk and who owns the file", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the snapshot {} cannot be written; check for space and for permission to write there", path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error("{} is not a snapshot of hearth; move it away", path.display())]
    Foreign { path: PathBuf },
    #[error("the snapshot {} has format {found}, and this hearth reads formats {VERSION_UNCOMPRESSED} and {VERSION}; it was written by another version", path.display())]
    Version { path: PathBuf, found: u32 },
    #[error("the snapshot {} was made by another model; load that model, or move the file away to start with an empty state", path.display())]
    OtherModel { path: PathBuf },
    #[error("the snapshot {} is damaged: {reason}; move it away to start with an empty state", path.display())]
    Damaged { path: PathBuf, reason: &'static str },
    #[error("the snapshot {} has {bytes} bytes, and this model's can have {limit} at most; move it away", path.display())]
    TooLarge { path: PathBuf, bytes: u64, limit: u64 },
    #[error("the snapshot {} does not hold a state of this model", path.display())]
    State { path: PathBuf, source: Box<griffin::Error> },
}

/// Writes a state atomically, readable by this user only, because a state contains what was said.
///
/// # Errors
/// [`SnapshotError::Write`]; the file under `path` is then the one that was there before.
pub fn save(path: &Path, state: &State, fingerprint: [u8; 32], mark: &ReadPosition) -> Result<(), SnapshotError> {
    let failed = |source| SnapshotError::Write { path: path.into(), source };
    let bytes = encode(state, fingerprint, mark).map_err(failed)?;
    atomic_file::replace(path, 0o600, |file| file.write_all(&bytes)).map_err(failed)
}

/// Reads a snapshot that this model made.
///
/// # Errors
/// All variants but [`SnapshotError::Write`].
pub fn load(path: &Path, model: &Model) -> Result<(State, ReadPosition), SnapshotError> {
    let (bytes, header) = read(path, model)?;
    let damaged = |reason| SnapshotError::Damaged { path: path.into(), reason };
    let Some((content, checksum)) = bytes.split_last_chunk::<CHECKSUM>() else {
        return Err(damaged("it ends too soon"));
    };
    if Sha256::digest(content)[..] != checksum[..] {
        return Err(damaged("its checksum does not match"));
    }
    if header.fingerprint != model.fingerprint() {
        return Err(SnapshotError::OtherModel { path: path.into() });
    }
    let leaves = leaves(content, limit(model)).ok_or(damaged("its parts do not add up"))?;
    let state = model.restore(header.tokens_read, &leaves);
    let state = state.map_err(|source| SnapshotError::State { path: path.into(), source: Box::new(source) })?;
    Ok((state, header.mark))
}

/// Reads only the header of a snapshot. Whether the rest is intact only [`load`] can tell.
///
/// # Errors
/// [`SnapshotError::Missing`], [`SnapshotError::Read`], [`SnapshotError::Foreign`], [`SnapshotError::Version`], [`SnapshotError::Damaged`].
pub fn header(path: &Path) -> Result<SnapshotHeader, SnapshotError> {
    open(path).map(|(_, _, header)| header)
}

/// Renames a file that cannot be used to `….bad-<time>` and returns that name.
///
/// # Errors
/// [`SnapshotError::Write`].
pub fn set_aside(path: &Path) -> Result<PathBuf, SnapshotError> {
    let mut name = path.as_os_str().to_owned();
    name.push(Timestamp::now().strftime(".bad-%Y%m%dT%H%M%S.%3fZ").to_string());
    let aside = PathBuf::from(name);
    std::fs::rename(path, &aside).map_err(|source| SnapshotError::Write { path: path.into(), source })?;
    Ok(aside)
}

/// Opens a snapshot: the file, the bytes read of it so far, and its header.
fn open(path: &Path) -> Result<(File, Vec<u8>, SnapshotHeader), SnapshotError> {
    let unreadable = |source| unreadable(path, source);
    let damaged = |reason| SnapshotError::Damaged { path: path.into(), reason };
    let file = File::open(path).map_err(unreadable)?;
    let meta = file.metadata().map_err(unreadable)?;
    let mut bytes = Vec::new();
    (&file).take(HEADER_LEN as u64).read_to_end(&mut bytes).map_err(unreadable)?;
    if !bytes.starts_with(&MAGIC[..bytes.len().min(MAGIC.len())]) {
        return Err(SnapshotError::Foreign { path: path.into() });
    }
    let too_short = || damaged("it ends too soon");
    let mut rest = ByteReader(bytes.get(MAGIC.len()..).ok_or_else(too_short)?);
    let version = u32::from_le_bytes(rest.array().ok_or_else(too_short)?);
    if ![VERSION_UNCOMPRESSED, VERSION].contains(&version) {
        return Err(SnapshotError::Version { path: path.into(), found: version });
    }
    let fingerprint = rest.array().ok_or_else(too_short)?;
    let tokens_read = u64::from_le_bytes(rest.array().ok_or_else(too_short)?);
    let mark = if version == VERSION_UNCOMPRESSED {
        let length = u32::from_le_bytes(rest.array().ok_or_else(too_short)?) as usize;
        if length > NOTE_MAX {
            return Err(damaged("its note is too long"));
        }
        (&file)
            .take((COMMON_END + 4 + length).saturating_sub(bytes.len()) as u64)
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        let note = bytes.get(COMMON_END + 4..COMMON_END + 4 + length).ok_or_else(too_short)?;
        let NoteV1 { read } = serde_json::from_slice(note).map_err(|_| damaged("its note cannot be read"))?;
        let written = meta.modified().ok().and_then(|time| Timestamp::try_from(time).ok());
        ReadPosition { read, time: written.unwrap_or(Timestamp::UNIX_EPOCH) }
    } else {
        let read = i64::from_le_bytes(rest.array().ok_or_else(too_short)?);
        let nanos = i64::from_le_bytes(rest.array().ok_or_else(too_short)?);
        let time = Timestamp::from_nanosecond(nanos.into()).expect("the years 1677 to 2262 are within the calendar");
        ReadPosition { read, time }
    };
    Ok((file, bytes, SnapshotHeader { fingerprint, tokens_read, mark, bytes: meta.len() }))
}

/// The note of version 1.
#[derive(Deserialize)]
struct NoteV1 {
    read: i64,
}

fn unreadable(path: &Path, source: std::io::Error) -> SnapshotError {
    match source.kind() {
        std::io::ErrorKind::NotFound => SnapshotError::Missing { path: path.into() },
        _ => SnapshotError::Read { path: path.into(), source },
    }
}

/// Reads a whole file, if it is no larger than a snapshot of this model can be.
fn read(path: &Path, model: &Model) -> Result<(Vec<u8>, SnapshotHeader), SnapshotError> {
    let limit = limit(model);
    let (file, mut bytes, header) = open(path)?;
    if header.bytes > limit {
        // A snapshot of a larger model is not damaged.
        return Err(match header.fingerprint == model.fingerprint() {
            false => SnapshotError::OtherModel { path: path.into() },
            true => SnapshotError::TooLarge { path: path.into(), bytes: header.bytes, limit },
        });
    }
    file.take(limit).read_to_end(&mut bytes).map_err(|source| unreadable(path, source))?;
    Ok((bytes, header))
}

/// The largest size of a snapshot of this model, compressed or not: every leaf in f32, and what zstd adds to random data.
fn limit(model: &Model) -> u64 {
    let leaves = 2 * model.state().bytes() + LEAF_OVERHEAD * 2 * model.config().block_types.len() as u64;
    (HEADER_LEN + 4 + NOTE_MAX + 4 + CHECKSUM) as u64 + leaves + leaves / 64
}

fn encode(state: &State, fingerprint: [u8; 32], mark: &ReadPosition) -> std::io::Result<Vec<u8>> {
    let leaves = plain(&state.tensors());
    // Later times than the year 2262 are stored as that.
    let nanos = i64::try_from(mark.time.as_nanosecond()).unwrap_or(i64::MAX);
    let mut out = Vec::with_capacity(leaves.len());
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&fingerprint);
    out.extend_from_slice(&state.tokens_read().to_le_bytes());
    out.extend_from_slice(&mark.read.to_le_bytes());
    out.extend_from_slice(&nanos.to_le_bytes());
    out.extend_from_slice(&(leaves.len() as u32).to_le_bytes());
    out.extend_from_slice(&zstd::bulk::compress(&leaves, ZSTD_LEVEL)?);
    let checksum = Sha256::digest(&out);
    out.extend_from_slice(&checksum);
    Ok(out)
}

fn plain(leaves: &[StateTensor]) -> Vec<u8> {
    let mut out = (leaves.len() as u32).to_le_bytes().to_vec();
    for leaf in leaves {
        out.push(leaf.name.len() as u8);
        out.extend_from_slice(leaf.name.as_bytes());
        out.push(u8::from(leaf.half));
        out.push(leaf.shape.len() as u8);
        leaf.shape.iter().for_each(|&size| out.extend_from_slice(&(size as u32).to_le_bytes()));
        out.extend_from_slice(&leaf.bytes);
    }
    out
}

/// The leaves of a file without its checksum; none when a length points outside or exceeds `limit`.
fn leaves(content: &[u8], limit: u64) -> Option<Vec<StateTensor>> {
    let mut rest = ByteReader(content.get(MAGIC.len()..)?);
    let version = u32::from_le_bytes(rest.array()?);
    rest.take(COMMON_END - VERSION_END)?;
    if version == VERSION_UNCOMPRESSED {
        rest.length_prefixed()?;
        return unpack(rest);
    }
    rest.take(HEADER_LEN - COMMON_END - 4)?;
    let size = u32::from_le_bytes(rest.array()?);
    let fits = u64::from(size) <= limit;
    let plain = fits.then(|| zstd::bulk::decompress(rest.0, size as usize).ok()).flatten()?;
    (plain.len() == size as usize).then(|| unpack(ByteReader(&plain))).flatten()
}

/// Decodes leaves. Memory is only allocated for bytes that are there, not for lengths that the file claims.
fn unpack(mut rest: ByteReader<'_>) -> Option<Vec<StateTensor>> {
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
        leaves.push(StateTensor { name, half, shape, bytes: rest.take(size)?.to_vec() });
    }
    rest.0.is_empty().then_some(leaves)
}

/// The bytes that are left to decode.
struct ByteReader<'a>(&'a [u8]);

impl<'a> ByteReader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn length_prefixed(&mut self) -> Option<&'a [u8]> {
        let length = u32::from_le_bytes(self.array()?);
        self.take(usize::try_from(length).ok()?)
    }
}
