//! GGUF: one file that holds a model's weights and everything that belongs to them.
//!
//! Version 3, little-endian (<https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>). Nothing that a file claims is believed
//! before it was held against the file's own length, so a false claim costs no memory. The tensors of a file that was opened lie
//! within it, apart from each other, each as long as its type and shape make it.
//!
//! Packed weights have private types, [`PRIVATE`] plus ggml's number for blocks of the same numbers: no other program can take
//! them for rows in ggml's order.

mod parse;
mod writer;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;

use super::mmap::map;
use crate::Error;
use crate::kernels::WeightFormat;

use parse::{MetadataEntry, show, text};

pub use parse::Header;
pub use writer::{GgufWriter, MetadataValue, TensorPlan};

const MAGIC: [u8; 4] = *b"GGUF";
const VERSION: u32 = 3;

/// The name of the packed layout. A file of another layout cannot be multiplied with.
pub const LAYOUT: &str = "rows16.v1";
pub const ARCHITECTURE_KEY: &str = "general.architecture";
pub const ALIGNMENT_KEY: &str = "general.alignment";
pub const LAYOUT_KEY: &str = "hearth.layout";
pub const CONFIG_KEY: &str = "hearth.config";
pub const FINGERPRINT_KEY: &str = "hearth.fingerprint";
pub const RECIPE_KEY: &str = "hearth.recipe";
pub const PROMPT_KEY: &str = "hearth.prompt";
pub const CALIBRATION_KEY: &str = "hearth.calibration";
pub const TOKENIZER_KEY: &str = "tokenizer.huggingface.json";

pub const ARCHITECTURE: &str = "recurrentgemma";
/// Where tensors begin in files which this crate writes: at a cache line.
pub const ALIGNMENT: usize = 64;

/// The first private type: "HR", to which ggml's number is added.
pub const PRIVATE: u32 = 0x4852_0000;

/// The types of values.
const U8: u32 = 0;
const I8: u32 = 1;
const U16: u32 = 2;
const I16: u32 = 3;
const U32: u32 = 4;
const I32: u32 = 5;
const F32: u32 = 6;
const BOOL: u32 = 7;
const TEXT: u32 = 8;
const ARRAY: u32 = 9;
const U64: u32 = 10;
const I64: u32 = 11;
const F64: u32 = 12;

/// What is wrong with a GGUF file; [`Error::Gguf`] says which.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GgufError {
    #[error(
        "it is no GGUF file; name a GGUF file that was quantized from a checkpoint, or a directory in Hugging Face layout"
    )]
    Magic,
    #[error("it is GGUF of version {0}, and only version 3, little-endian, is read; quantize the checkpoint again")]
    Version(u32),
    #[error("it ends within {what}: it was cut short or is damaged; copy it again, or quantize the checkpoint again")]
    Truncated { what: String },
    #[error("it claims {count} {what}, more than any model has: it is damaged; copy it again")]
    Absurd { what: &'static str, count: u64 },
    #[error("{what} is named twice: it is damaged; quantize the checkpoint again")]
    Twice { what: String },
    #[error("{what} is {found}, expected {expected}; it is damaged: copy it again, or quantize the checkpoint again")]
    Bad { what: String, found: String, expected: String },
    #[error("it lacks {what}; quantize the checkpoint again")]
    Missing { what: String },
    #[error(
        "it is a model of the architecture {found:?}, and only RecurrentGemma is read; choose a recurrentgemma model"
    )]
    Architecture { found: String },
    #[error(
        "its weights are not packed as the kernels read them (hearth.layout is {found}, expected {LAYOUT:?}); quantize the original checkpoint again"
    )]
    Layout { found: String },
    #[error(
        "{tensor} is of type {found:#x}, and only F32 and packed weights are read; quantize the original checkpoint again"
    )]
    Type { tensor: String, found: u32 },
    #[error("{tensor} and {other} share bytes: it is damaged; copy it again, or quantize the checkpoint again")]
    Overlap { tensor: String, other: String },
    #[error("{key} says otherwise than {CONFIG_KEY}: {found} instead of {expected}; quantize the checkpoint again")]
    Disagrees { key: String, found: String, expected: String },
}

/// The type of a tensor in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorType {
    /// Plain f32, row-major.
    Plain,
    /// Packed weights: [rows, columns], or [blocks, rows, columns] of a block-diagonal matrix.
    Packed(WeightFormat),
}

impl TensorType {
    /// The number in the file.
    pub fn id(self) -> u32 {
        match self {
            Self::Plain => 0,
            Self::Packed(WeightFormat::F32) => PRIVATE,
            Self::Packed(WeightFormat::Q8_0) => PRIVATE + 8,
            Self::Packed(WeightFormat::Q4K) => PRIVATE + 12,
        }
    }

    fn of(id: u32) -> Option<Self> {
        let packed = [WeightFormat::F32, WeightFormat::Q8_0, WeightFormat::Q4K].map(Self::Packed);
        [Self::Plain].into_iter().chain(packed).find(|kind| kind.id() == id)
    }

    /// The bytes of a tensor; None if the type cannot have the shape, or the number is absurd.
    pub fn bytes(self, shape: &[usize]) -> Option<usize> {
        match (self, shape) {
            (Self::Plain, _) => shape.iter().try_fold(4usize, |bytes, &n| bytes.checked_mul(n)),
            (Self::Packed(format), &[rows, columns]) => format.bytes(1, rows, columns),
            (Self::Packed(format), &[blocks, rows, columns]) => format.bytes(blocks, rows, columns),
            (Self::Packed(_), _) => None,
        }
    }
}

/// Shape, type and place of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Outermost dimension first; in the file it is the last.
    pub shape: Vec<usize>,
    pub tensor_type: TensorType,
    /// Where its bytes are in the file.
    pub bytes: Range<usize>,
}

/// A GGUF file, memory-mapped.
pub struct Gguf {
    path: PathBuf,
    map: Arc<Mmap>,
    contents: Header,
}

impl Gguf {
    /// Opens a file which [`crate::quantize`] or [`crate::write_random`] wrote.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Gguf`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let map = map(path)?;
        let contents = Header::parse(&map).map_err(|problem| Error::Gguf { path: path.into(), problem })?;
        Ok(Self { path: path.into(), map, contents })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The whole file.
    pub fn map(&self) -> &Arc<Mmap> {
        &self.map
    }

    /// All metadata, the values as a person reads them.
    pub fn metadata(&self) -> impl Iterator<Item = (&str, String)> {
        self.contents.keys.iter().map(|(key, entry)| (key.as_str(), show(&self.map, entry)))
    }

    /// All tensors, by name.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &TensorInfo)> {
        self.contents.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.contents.tensors.get(name)
    }

    /// The text of a key, if there is such a key.
    ///
    /// # Errors
    /// [`Error::Gguf`] when it is no text.
    pub fn text(&self, key: &str) -> Result<Option<&str>, Error> {
        text(&self.map, &self.contents.keys, key).map_err(|problem| self.error(problem))
    }

    /// The text of a key that must be there.
    ///
    /// # Errors
    /// [`Error::Gguf`].
    pub fn required_text(&self, key: &str) -> Result<&str, Error> {
        self.text(key)?.ok_or_else(|| self.error(GgufError::Missing { what: format!("the key {key}") }))
    }

    /// Compares metadata with what it must say.
    ///
    /// # Errors
    /// [`Error::Gguf`].
    pub fn check_metadata(&self, keys: &[(String, MetadataValue)]) -> Result<(), Error> {
        let mut bytes = Vec::new();
        for (key, value) in keys {
            let entry = self.contents.keys.get(key);
            let entry = entry.ok_or_else(|| self.error(GgufError::Missing { what: format!("the key {key}") }))?;
            bytes.clear();
            value.encode(&mut bytes);
            if entry.kind != value.kind() || self.map[entry.bytes.clone()] != bytes {
                let expected = show(&bytes, &MetadataEntry { kind: value.kind(), bytes: 0..bytes.len() });
                let found = show(&self.map, entry);
                return Err(self.error(GgufError::Disagrees { key: key.clone(), found, expected }));
            }
        }
        Ok(())
    }

    pub(super) fn error(&self, problem: GgufError) -> Error {
        Error::Gguf { path: self.path.clone(), problem }
    }
}
