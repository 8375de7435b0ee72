//! Reads the header of a GGUF file. No count, length or offset is believed before the file was found to be that long, and memory is
//! taken in proportion to what was read.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{
    ALIGNMENT_KEY, ARCHITECTURE, ARCHITECTURE_KEY, ARRAY, BOOL, F32, F64, GgufError, I8, I16, I32, I64, LAYOUT,
    LAYOUT_KEY, MAGIC, TEXT, TensorInfo, TensorType, U8, U16, U32, U64, VERSION,
};

/// Bounds far above those of any model.
const MAX_ENTRIES: u64 = 1 << 16;
const MAX_NAME: u64 = 1024;
const MAX_DIMENSIONS: u32 = 4;

/// Where a key's value lies, without its type.
#[derive(Clone, Debug)]
pub(super) struct MetadataEntry {
    pub(super) kind: u32,
    pub(super) bytes: Range<usize>,
}

/// What a file says of its metadata and tensors.
#[derive(Debug)]
pub struct Header {
    pub(super) keys: BTreeMap<String, MetadataEntry>,
    pub(super) tensors: BTreeMap<String, TensorInfo>,
}

impl Header {
    /// Reads the header of a whole file. Takes memory in proportion to what is there, not to what it claims.
    ///
    /// # Errors
    /// Any [`GgufError`].
    pub fn parse(file: &[u8]) -> Result<Self, GgufError> {
        let mut cursor = Cursor { file, at: 0 };
        if cursor.array().is_ok_and(|magic: [u8; 4]| magic != MAGIC) || file.len() < MAGIC.len() {
            return Err(GgufError::Magic);
        }
        match cursor.u32()? {
            VERSION => {}
            other => return Err(GgufError::Version(other)),
        }
        let tensors = cursor.count("tensors", MAX_ENTRIES)?;
        let keys = cursor.count("keys", MAX_ENTRIES)?;
        let keys = cursor.keys(keys)?;
        check_layout(file, &keys)?;
        let alignment = alignment(file, &keys)?;
        let tensors = cursor.tensors(tensors, alignment)?;
        Ok(Self { keys, tensors })
    }
}

/// Refuses a model in another layout before its types of tensors are met.
fn check_layout(file: &[u8], keys: &BTreeMap<String, MetadataEntry>) -> Result<(), GgufError> {
    let architecture = text(file, keys, ARCHITECTURE_KEY)?;
    match architecture.ok_or_else(|| GgufError::Missing { what: format!("the key {ARCHITECTURE_KEY}") })? {
        ARCHITECTURE => {}
        found => return Err(GgufError::Architecture { found: brief(found) }),
    }
    match text(file, keys, LAYOUT_KEY)? {
        Some(LAYOUT) => Ok(()),
        found => Err(GgufError::Layout { found: found.map_or("absent".into(), |found| format!("{:?}", brief(found))) }),
    }
}

fn alignment(file: &[u8], keys: &BTreeMap<String, MetadataEntry>) -> Result<usize, GgufError> {
    let Some(entry) = keys.get(ALIGNMENT_KEY) else { return Ok(32) };
    let value = file[entry.bytes.clone()].try_into().ok().map(u32::from_le_bytes);
    match value {
        Some(n) if entry.kind == U32 && n.is_power_of_two() && (8..=1 << 16).contains(&n) => Ok(n as usize),
        _ => Err(GgufError::Bad {
            what: ALIGNMENT_KEY.into(),
            found: show(file, entry),
            expected: "a power of two from 8 to 65536".into(),
        }),
    }
}

/// The text of a key.
pub(super) fn text<'f>(
    file: &'f [u8],
    keys: &BTreeMap<String, MetadataEntry>,
    key: &str,
) -> Result<Option<&'f str>, GgufError> {
    let Some(entry) = keys.get(key) else { return Ok(None) };
    let bad = || GgufError::Bad { what: key.into(), found: show(file, entry), expected: "text in UTF-8".into() };
    if entry.kind != TEXT {
        return Err(bad());
    }
    std::str::from_utf8(&file[entry.bytes.clone()][8..]).map(Some).map_err(|_| bad())
}

/// The start of a text, for an error.
fn brief(text: &str) -> String {
    text.chars().take(60).collect()
}

/// Bytes of a value of fixed length.
fn scalar(kind: u32) -> Option<usize> {
    match kind {
        U8 | I8 | BOOL => Some(1),
        U16 | I16 => Some(2),
        U32 | I32 | F32 => Some(4),
        U64 | I64 | F64 => Some(8),
        _ => None,
    }
}

/// A value as a person reads it.
pub(super) fn show(file: &[u8], entry: &MetadataEntry) -> String {
    let bytes = &file[entry.bytes.clone()];
    let mut wide = [0; 8];
    let length = bytes.len().min(8);
    wide[..length].copy_from_slice(&bytes[..length]);
    let unsigned = u64::from_le_bytes(wide);
    match entry.kind {
        U8 | U16 | U32 | U64 => unsigned.to_string(),
        I8 => (unsigned as i8).to_string(),
        I16 => (unsigned as i16).to_string(),
        I32 => (unsigned as i32).to_string(),
        I64 => (unsigned as i64).to_string(),
        F32 => f32::from_bits(unsigned as u32).to_string(),
        F64 => f64::from_bits(unsigned).to_string(),
        BOOL => (unsigned != 0).to_string(),
        TEXT if bytes.len() <= 8 + 120 => format!("{:?}", String::from_utf8_lossy(&bytes[8..])),
        TEXT => format!("{} bytes of text", bytes.len() - 8),
        _ => format!("a list of {}", bytes[4..12].try_into().map_or(0, u64::from_le_bytes)),
    }
}

/// A file being read, from its start.
struct Cursor<'f> {
    file: &'f [u8],
    at: usize,
}

impl<'f> Cursor<'f> {
    fn take(&mut self, length: u64) -> Option<&'f [u8]> {
        let end = usize::try_from(length).ok().and_then(|length| self.at.checked_add(length))?;
        let bytes = self.file.get(self.at..end)?;
        self.at = end;
        Some(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], GgufError> {
        let bytes = self.take(N as u64).and_then(|bytes| bytes.try_into().ok());
        bytes.ok_or_else(|| GgufError::Truncated { what: "its header".into() })
    }

    fn u32(&mut self) -> Result<u32, GgufError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, GgufError> {
        self.array().map(u64::from_le_bytes)
    }

    fn count(&mut self, what: &'static str, max: u64) -> Result<u64, GgufError> {
        let count = self.u64()?;
        if count > max { Err(GgufError::Absurd { what, count }) } else { Ok(count) }
    }

    fn name(&mut self, what: &str) -> Result<String, GgufError> {
        let length = self.count("bytes in a name", MAX_NAME)?;
        let bytes = self.take(length).ok_or_else(|| GgufError::Truncated { what: format!("the name of {what}") })?;
        let name = std::str::from_utf8(bytes).ok().filter(|name| !name.is_empty() && !name.contains(char::is_control));
        name.map(str::to_string).ok_or_else(|| GgufError::Bad {
            what: format!("the name of {what}"),
            found: format!("{:?}", brief(&String::from_utf8_lossy(bytes))),
            expected: "text in UTF-8".into(),
        })
    }

    fn keys(&mut self, count: u64) -> Result<BTreeMap<String, MetadataEntry>, GgufError> {
        let mut keys = BTreeMap::new();
        for index in 0..count {
            let key = self.name(&format!("key {index}"))?;
            let kind = self.u32()?;
            let start = self.at;
            self.skip(&key, kind)?;
            if keys.insert(key.clone(), MetadataEntry { kind, bytes: start..self.at }).is_some() {
                return Err(GgufError::Twice { what: key });
            }
        }
        Ok(keys)
    }

    /// Skips a value. No model has lists of lists.
    fn skip(&mut self, key: &str, kind: u32) -> Result<(), GgufError> {
        let truncated = || GgufError::Truncated { what: format!("the value of {key}") };
        let unknown = |found: u32| GgufError::Bad {
            what: format!("the type of {key}"),
            found: found.to_string(),
            expected: "one that GGUF knows".into(),
        };
        match kind {
            TEXT => {
                let length = self.u64()?;
                self.take(length).ok_or_else(truncated)?;
            }
            ARRAY => {
                let kind = self.u32()?;
                let count = self.u64()?;
                match scalar(kind) {
                    Some(size) => {
                        let length = count.checked_mul(size as u64).ok_or_else(truncated)?;
                        self.take(length).ok_or_else(truncated)?;
                    }
                    // Each takes eight bytes at least, so the file's end ends this whatever the count.
                    None if kind == TEXT => {
                        for _ in 0..count {
                            let length = self.u64().map_err(|_| truncated())?;
                            self.take(length).ok_or_else(truncated)?;
                        }
                    }
                    None => return Err(unknown(kind)),
                }
            }
            _ => {
                let size = scalar(kind).ok_or_else(|| unknown(kind))?;
                self.take(size as u64).ok_or_else(truncated)?;
            }
        }
        Ok(())
    }

    fn tensors(&mut self, count: u64, alignment: usize) -> Result<BTreeMap<String, TensorInfo>, GgufError> {
        let mut tensors = BTreeMap::new();
        for index in 0..count {
            let name = self.name(&format!("tensor {index}"))?;
            let tensor = self.tensor(&name, alignment)?;
            if tensors.insert(name.clone(), tensor).is_some() {
                return Err(GgufError::Twice { what: name });
            }
        }
        // Offsets count from the end of the header, padded.
        let start = self.at.checked_next_multiple_of(alignment).unwrap_or(usize::MAX);
        for (name, tensor) in &mut tensors {
            let end = start.checked_add(tensor.bytes.end).filter(|end| *end <= self.file.len());
            let end = end.ok_or_else(|| GgufError::Truncated { what: name.clone() })?;
            tensor.bytes = start + tensor.bytes.start..end;
        }
        check_overlap(&tensors)?;
        Ok(tensors)
    }

    /// The range of its bytes still counts from the first tensor.
    fn tensor(&mut self, name: &str, alignment: usize) -> Result<TensorInfo, GgufError> {
        let bad = |what: &str, found: String, expected: &str| GgufError::Bad {
            what: format!("{what} of {name}"),
            found,
            expected: expected.into(),
        };
        let dimensions = self.u32()?;
        if !(1..=MAX_DIMENSIONS).contains(&dimensions) {
            return Err(bad("the number of dimensions", dimensions.to_string(), "1 to 4"));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            let size = self.u64()?;
            let size = usize::try_from(size).ok().filter(|size| *size > 0);
            shape.insert(0, size.ok_or_else(|| bad("a dimension", "0 or absurd".into(), "a size"))?);
        }
        let id = self.u32()?;
        let tensor_type = TensorType::of(id).ok_or_else(|| GgufError::Type { tensor: name.into(), found: id })?;
        let length = tensor_type.bytes(&shape);
        let length = length.ok_or_else(|| bad("the shape", format!("{shape:?}"), "one that its type can have"))?;
        let offset = usize::try_from(self.u64()?).ok().filter(|offset| offset.is_multiple_of(alignment));
        let offset =
            offset.ok_or_else(|| bad("the offset", "not aligned".into(), &format!("a multiple of {alignment}")))?;
        let end = offset.checked_add(length).ok_or_else(|| GgufError::Truncated { what: name.into() })?;
        Ok(TensorInfo { shape, tensor_type, bytes: offset..end })
    }
}

/// Refuses tensors that share bytes.
fn check_overlap(tensors: &BTreeMap<String, TensorInfo>) -> Result<(), GgufError> {
    let mut order: Vec<_> = tensors.iter().collect();
    order.sort_by_key(|(_, tensor)| tensor.bytes.start);
    match order.windows(2).find(|pair| pair[0].1.bytes.end > pair[1].1.bytes.start) {
        Some(pair) => Err(GgufError::Overlap { tensor: pair[0].0.clone(), other: pair[1].0.clone() }),
        None => Ok(()),
    }
}
