//! Checks a Whisper model file in ggml format before whisper.cpp loads it.
//!
//! whisper.cpp trusts every length in the file, and reads past the end or aborts where one is wrong. So the whole file is walked
//! through first: header, mel filters, vocabulary, tensors, end.
//!
//! The layout is that of `whisper_model_load` in whisper.cpp 1.8: little-endian 32-bit integers throughout.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use super::AsrError;

const MAGIC: u32 = 0x6767_6d6c;
/// The number of tensors outside the layers, and in each layer of the encoder and the decoder.
const OTHER_TENSORS: u64 = 11;
const ENCODER_LAYER_TENSORS: u64 = 15;
const DECODER_LAYER_TENSORS: u64 = 24;
/// Limits far above the largest model there is: 1280 wide, 32 layers, 51,866 tokens.
const MAX_TOKENS: u32 = 1 << 17;
const MAX_NAME: u32 = 256;

/// Walks through the file and checks that it is complete.
///
/// # Errors
/// The file cannot be read, is not in ggml format, or is damaged.
pub(crate) fn check(path: &Path) -> Result<(), AsrError> {
    let unreadable = |source| AsrError::Read { path: path.into(), source };
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.is_dir() {
        return Err(AsrError::Folder { path: path.into() });
    }
    GgmlWalker { path, file: BufReader::new(file), at: 0, length: metadata.len() }.check()
}

struct GgmlWalker<'a> {
    path: &'a Path,
    file: BufReader<File>,
    at: u64,
    length: u64,
}

impl GgmlWalker<'_> {
    fn check(mut self) -> Result<(), AsrError> {
        let foreign = |what| AsrError::NotGgml { path: self.path.into(), what };
        if self.length < 4 {
            return Err(foreign("it is shorter than its magic number"));
        }
        if self.int()? != MAGIC {
            return Err(AsrError::NotGgml {
                path: self.path.into(),
                what: "it does not start with the magic number of ggml",
            });
        }
        // n_vocab, then n_{audio,text}_{ctx,state,head,layer}, n_mels, ftype.
        let [vocabulary, .., mels, _type] = self.ints::<11>()?;
        let encoder = self.header(4)?;
        let decoder = self.header(8)?;
        self.require(encoder <= 128 && decoder <= 128 && mels <= 256, "its header is out of range")?;
        self.require(vocabulary <= MAX_TOKENS, "its vocabulary is too large")?;

        let [filters, bins] = self.ints()?;
        self.require(filters == mels && bins <= 1 << 12, "its mel filters do not fit its header")?;
        self.skip(u64::from(filters) * u64::from(bins) * 4)?;

        let [tokens] = self.ints()?;
        self.require(tokens <= vocabulary, "its vocabulary is longer than its header says")?;
        for _ in 0..tokens {
            let length = self.int()?;
            self.require(length <= MAX_NAME, "a token is too long")?;
            self.skip(length.into())?;
        }

        let mut tensors = 0;
        while self.at < self.length {
            self.tensor()?;
            tensors += 1;
        }
        let expected =
            OTHER_TENSORS + ENCODER_LAYER_TENSORS * u64::from(encoder) + DECODER_LAYER_TENSORS * u64::from(decoder);
        self.require(tensors == expected, "tensors are missing")
    }

    fn tensor(&mut self) -> Result<(), AsrError> {
        let [dimensions, name, kind] = self.ints()?;
        self.require(
            (1..=4).contains(&dimensions) && (1..=MAX_NAME).contains(&name),
            "the header of a tensor is out of range",
        )?;
        let mut elements = 1u64;
        for _ in 0..dimensions {
            elements = elements.saturating_mul(self.int()?.into());
        }
        self.skip(name.into())?;
        let Some((block, bytes)) = block(kind) else { return self.require(false, "a tensor is of an unknown type") };
        self.require(elements.is_multiple_of(block), "a tensor does not fill its last block")?;
        self.skip((elements / block).saturating_mul(bytes))
    }

    /// The header's integer with that index, counted after the magic number.
    fn header(&mut self, index: u64) -> Result<u32, AsrError> {
        let back = self.at;
        self.seek(4 * (index + 1))?;
        let value = self.int()?;
        self.seek(back)?;
        Ok(value)
    }

    fn ints<const N: usize>(&mut self) -> Result<[u32; N], AsrError> {
        let mut values = [0; N];
        for value in &mut values {
            *value = self.int()?;
        }
        Ok(values)
    }

    fn int(&mut self) -> Result<u32, AsrError> {
        let mut bytes = [0; 4];
        match self.file.read_exact(&mut bytes) {
            Ok(()) => self.at += 4,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Err(self.damage("it ends too early")),
            Err(source) => return Err(AsrError::Read { path: self.path.into(), source }),
        }
        Ok(u32::from_le_bytes(bytes))
    }

    fn skip(&mut self, bytes: u64) -> Result<(), AsrError> {
        let to = self.at.saturating_add(bytes);
        self.require(to <= self.length, "it ends too early")?;
        self.file.seek_relative(bytes as i64).map_err(|source| AsrError::Read { path: self.path.into(), source })?;
        self.at = to;
        Ok(())
    }

    fn seek(&mut self, to: u64) -> Result<(), AsrError> {
        self.file.seek(SeekFrom::Start(to)).map_err(|source| AsrError::Read { path: self.path.into(), source })?;
        self.at = to;
        Ok(())
    }

    fn require(&self, holds: bool, what: &'static str) -> Result<(), AsrError> {
        if holds { Ok(()) } else { Err(self.damage(what)) }
    }

    fn damage(&self, what: &'static str) -> AsrError {
        AsrError::Damaged { path: self.path.into(), at: self.at, what }
    }
}

/// Elements and bytes of one block of a ggml type (`ggml.h`, `ggml-common.h`), for the types that Whisper models come in.
fn block(kind: u32) -> Option<(u64, u64)> {
    Some(match kind {
        0 => (1, 4),      // f32
        1 => (1, 2),      // f16
        2 => (32, 18),    // q4_0
        3 => (32, 20),    // q4_1
        6 => (32, 22),    // q5_0
        7 => (32, 24),    // q5_1
        8 => (32, 34),    // q8_0
        10 => (256, 84),  // q2_K
        11 => (256, 110), // q3_K
        12 => (256, 144), // q4_K
        13 => (256, 176), // q5_K
        14 => (256, 210), // q6_K
        _ => return None,
    })
}
