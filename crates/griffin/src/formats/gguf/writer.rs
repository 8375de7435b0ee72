//! Writes GGUF: the header first, then the tensors in the order in which they were announced. A file whose
//! [`GgufWriter::finish`] returned can be read by [`super::Header::parse`].

use std::collections::BTreeMap;
use std::io::{self, Seek, SeekFrom, Write};

use super::{ALIGNMENT, ARRAY, BOOL, F32, F64, MAGIC, TEXT, TensorType, U32, U64, VERSION};

/// The value of a key.
#[derive(Clone, Debug, PartialEq)]
pub enum MetadataValue {
    U32(u32),
    U64(u64),
    F32(f32),
    F64(f64),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
}

impl MetadataValue {
    pub(super) fn kind(&self) -> u32 {
        match self {
            Self::U32(_) => U32,
            Self::U64(_) => U64,
            Self::F32(_) => F32,
            Self::F64(_) => F64,
            Self::Bool(_) => BOOL,
            Self::Text(_) => TEXT,
            Self::Texts(_) => ARRAY,
        }
    }

    /// The bytes that follow its type in a file.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::U32(value) => out.extend(value.to_le_bytes()),
            Self::U64(value) => out.extend(value.to_le_bytes()),
            Self::F32(value) => out.extend(value.to_le_bytes()),
            Self::F64(value) => out.extend(value.to_le_bytes()),
            Self::Bool(value) => out.push(u8::from(*value)),
            Self::Text(value) => text(value, out),
            Self::Texts(values) => {
                out.extend(TEXT.to_le_bytes());
                out.extend((values.len() as u64).to_le_bytes());
                values.iter().for_each(|value| text(value, out));
            }
        }
    }
}

fn text(text: &str, out: &mut Vec<u8>) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// A tensor that will be written.
#[derive(Clone, Debug)]
pub struct TensorPlan {
    pub name: String,
    /// Outermost dimension first.
    pub shape: Vec<usize>,
    pub tensor_type: TensorType,
}

impl TensorPlan {
    /// Bytes of the tensor.
    ///
    /// # Panics
    /// If the type cannot have the shape.
    pub fn bytes(&self) -> usize {
        self.tensor_type.bytes(&self.shape).expect("a planned tensor has a type that fits its shape")
    }
}

/// A file being written.
pub struct GgufWriter<W> {
    out: W,
    /// Where each text begins, by its key.
    texts: BTreeMap<String, (u64, usize)>,
    /// Bytes that each tensor, from the last to the next one, still needs.
    left: Vec<usize>,
    written: usize,
}

impl<W: Write + Seek> GgufWriter<W> {
    /// Writes the header. The alignment is added to the keys.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn begin(mut out: W, keys: &[(String, MetadataValue)], tensors: &[TensorPlan]) -> io::Result<Self> {
        let mut header = Vec::new();
        let mut texts = BTreeMap::new();
        header.extend(MAGIC);
        header.extend(VERSION.to_le_bytes());
        header.extend((tensors.len() as u64).to_le_bytes());
        header.extend((keys.len() as u64 + 1).to_le_bytes());
        let alignment = (super::ALIGNMENT_KEY.to_string(), MetadataValue::U32(ALIGNMENT as u32));
        for (key, value) in std::iter::once(&alignment).chain(keys) {
            text(key, &mut header);
            header.extend(value.kind().to_le_bytes());
            if let MetadataValue::Text(text) = value {
                texts.insert(key.clone(), (header.len() as u64 + 8, text.len()));
            }
            value.encode(&mut header);
        }
        let mut offset = 0u64;
        for tensor in tensors {
            text(&tensor.name, &mut header);
            header.extend((tensor.shape.len() as u32).to_le_bytes());
            tensor.shape.iter().rev().for_each(|size| header.extend((*size as u64).to_le_bytes()));
            header.extend(tensor.tensor_type.id().to_le_bytes());
            header.extend(offset.to_le_bytes());
            offset += tensor.bytes().next_multiple_of(ALIGNMENT) as u64;
        }
        header.resize(header.len().next_multiple_of(ALIGNMENT), 0);
        out.write_all(&header)?;
        Ok(Self { out, texts, left: tensors.iter().rev().map(TensorPlan::bytes).collect(), written: 0 })
    }

    /// Writes the next bytes of the current tensor; behind its last byte the next tensor becomes the current one.
    ///
    /// # Errors
    /// Those of the file.
    ///
    /// # Panics
    /// If there are more bytes than the tensor has.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let left = self.left.last_mut().expect("bytes belong to a tensor");
        *left = left.checked_sub(bytes.len()).expect("bytes belong to one tensor");
        self.out.write_all(bytes)?;
        self.written += bytes.len();
        if *left == 0 {
            self.left.pop();
            let padding = self.written.next_multiple_of(ALIGNMENT) - self.written;
            self.out.write_all(&[0; ALIGNMENT][..padding])?;
            self.written += padding;
        }
        Ok(())
    }

    /// Replaces the text of a key by another of the same length, which was not known at first.
    ///
    /// # Errors
    /// Those of the file.
    ///
    /// # Panics
    /// If there is no such text.
    pub fn replace(&mut self, key: &str, text: &str) -> io::Result<()> {
        let &(at, length) = self.texts.get(key).expect("a text is replaced that was written");
        assert_eq!(length, text.len(), "a text is replaced by one of its length");
        self.out.seek(SeekFrom::Start(at))?;
        self.out.write_all(text.as_bytes())?;
        self.out.seek(SeekFrom::End(0))?;
        Ok(())
    }

    /// Flushes, and gives back what was written to.
    ///
    /// # Errors
    /// Those of the file.
    ///
    /// # Panics
    /// If a tensor is not whole.
    pub fn finish(mut self) -> io::Result<W> {
        assert!(self.left.is_empty(), "all tensors were written");
        self.out.flush()?;
        Ok(self.out)
    }
}
