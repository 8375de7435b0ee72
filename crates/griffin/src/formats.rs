//! Where weights come from, and where they go: safetensors and GGUF files, and random numbers.
//!
//! A tensor that a [`WeightLoader`] hands out has the shape that was asked for. The weights of a GGUF file are in memory once,
//! as the file is mapped.

pub mod gguf;
mod inspect;
mod mmap;
pub(crate) mod random;
mod row_chunks;
mod safetensors;
mod sidecar;
mod tensors;
mod weight_matrix;

use std::collections::BTreeMap;
use std::path::Path;

use memmap2::Advice;
use sha2::{Digest, Sha256};

use crate::options::Quantization;
use crate::{Config, Error};
use gguf::{Gguf, GgufError, TensorType};
use weight_matrix::Bytes;

pub use inspect::{GroupSummary, ModelSummary, summary, verify};
pub(crate) use row_chunks::{RowChunks, SquaredError};
pub(crate) use safetensors::{SafetensorsFiles, hash, widen};
pub(crate) use sidecar::required as required_sidecar;
pub use sidecar::{Sidecar, sidecar};
pub use tensors::TensorGroup;
pub(crate) use tensors::{TensorKind, TensorSource, TensorSpec, tensor_specs};
pub(crate) use weight_matrix::WeightMatrix;

/// Is called with the number of parameters that are done, and their total.
pub type Progress<'p> = &'p mut (dyn FnMut(u64, u64) + Send);

/// Where tensors come from.
enum WeightSource {
    Safetensors(SafetensorsFiles),
    Gguf { file: Gguf, fingerprint: [u8; 32] },
    Random { seed: u64 },
}

/// A model's weights, being read.
pub(crate) struct WeightLoader<'p> {
    config: Config,
    quantization: Quantization,
    source: WeightSource,
    /// Of every tensor handed out: SHA-256 of its dtype, shape and bytes.
    hashes: BTreeMap<String, [u8; 32]>,
    progress: Option<Progress<'p>>,
    done: u64,
    total: u64,
}

impl<'p> WeightLoader<'p> {
    /// Opens a directory in Hugging Face layout, to be packed as `quantization` says, or a GGUF file, which is packed already.
    ///
    /// # Errors
    /// Any of [`Error`] that concerns files.
    pub(crate) fn open(path: &Path, quantization: Quantization, progress: Progress<'p>) -> Result<Self, Error> {
        let config = Config::load(path)?;
        let source = if sidecar::is_file(path) {
            let gguf = Gguf::open(path)?;
            gguf.check_metadata(&config.to_metadata())?;
            // Where the system refuses to read ahead, pages are read when they are first used.
            let _ = gguf.map().advise(Advice::WillNeed);
            let fingerprint = stored_fingerprint(&gguf)?;
            WeightSource::Gguf { file: gguf, fingerprint }
        } else {
            WeightSource::Safetensors(SafetensorsFiles::open(path)?)
        };
        Ok(Self { progress: Some(progress), ..Self::new(config, quantization, source) })
    }

    /// Weights drawn at random.
    pub(crate) fn random(config: Config, quantization: Quantization, seed: u64) -> Self {
        Self::new(config, quantization, WeightSource::Random { seed })
    }

    fn new(config: Config, quantization: Quantization, source: WeightSource) -> Self {
        let total = config.parameters();
        Self { config, quantization, source, hashes: BTreeMap::new(), progress: None, done: 0, total }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// SHA-256 over the settings that matter to the arithmetic and every tensor handed out, by name, whichever shard it lay in.
    /// A GGUF file has that of the checkpoint it was made from.
    ///
    /// All bytes are hashed, for a fine-tuned checkpoint may differ in a few weights only. Hashing runs beside packing.
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        match &self.source {
            WeightSource::Safetensors(_) => fingerprint(&self.config, &self.hashes),
            WeightSource::Gguf { fingerprint, .. } => *fingerprint,
            WeightSource::Random { seed } => random_fingerprint(&self.config, *seed),
        }
    }

    fn note(&mut self, parameters: usize) {
        self.done += parameters as u64;
        if let Some(progress) = &mut self.progress {
            progress(self.done, self.total);
        }
    }
}

impl TensorSource for WeightLoader<'_> {
    fn vector(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let count = shape.iter().product();
        let values = match &self.source {
            WeightSource::Safetensors(files) => {
                let view = files.view(name, shape)?;
                let mut values = vec![0f32; count];
                widen(&view, 0, &mut values);
                self.hashes.insert(name.into(), hash(&view));
                values
            }
            WeightSource::Gguf { file, .. } => plain(file, name, shape)?,
            WeightSource::Random { seed } => {
                let mut values = vec![0f32; count];
                random::vector(*seed, name, &mut values);
                values
            }
        };
        self.note(count);
        Ok(values)
    }

    fn matrix(&mut self, name: &str, kind: TensorKind) -> Result<WeightMatrix, Error> {
        let row_chunks = || kind.row_chunks(self.quantization, self.total).expect("only matrices are packed");
        let matrix = match &self.source {
            WeightSource::Safetensors(files) => {
                let view = files.view(name, &kind.shape())?;
                let chunks = row_chunks();
                let pack = || WeightMatrix::fill(&chunks, |chunk, out| chunks.pack(&chunks.read(&view, chunk), out));
                let (matrix, hash) = rayon::join(pack, || hash(&view));
                self.hashes.insert(name.into(), hash);
                matrix
            }
            WeightSource::Gguf { file, .. } => mapped(file, name, &kind)?,
            WeightSource::Random { seed } => {
                let chunks = row_chunks();
                WeightMatrix::fill(&chunks, |chunk, out| random::chunk(*seed, name, &chunks, chunk, out))
            }
        };
        self.note(kind.parameters());
        Ok(matrix)
    }
}

pub(crate) fn fingerprint(config: &Config, hashes: &BTreeMap<String, [u8; 32]>) -> [u8; 32] {
    let mut all = Sha256::new();
    all.update(config.identity());
    for (name, hash) in hashes {
        all.update((name.len() as u64).to_le_bytes());
        all.update(name);
        all.update(hash);
    }
    all.finalize().into()
}

pub(crate) fn random_fingerprint(config: &Config, seed: u64) -> [u8; 32] {
    Sha256::new().chain_update(format!("random {seed} {}", config.to_json())).finalize().into()
}

fn stored_fingerprint(gguf: &Gguf) -> Result<[u8; 32], Error> {
    let text = gguf.required_text(gguf::FINGERPRINT_KEY)?;
    let mut bytes = [0; 32];
    let digits = text.as_bytes().as_chunks::<2>().0;
    let whole = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    for (byte, digits) in bytes.iter_mut().zip(digits).filter(|_| whole) {
        let digits = std::str::from_utf8(digits).expect("hexadecimal digits are ASCII");
        *byte = u8::from_str_radix(digits, 16).expect("two hexadecimal digits are a byte");
    }
    if whole {
        return Ok(bytes);
    }
    let what = gguf::FINGERPRINT_KEY.into();
    let found = format!("{:?}", text.chars().take(70).collect::<String>());
    Err(gguf.error(GgufError::Bad { what, found, expected: "64 hexadecimal digits".into() }))
}

fn find<'g>(gguf: &'g Gguf, name: &str, shape: &[usize]) -> Result<&'g gguf::TensorInfo, Error> {
    let path = || gguf.path().to_path_buf();
    let missing = || Error::MissingTensor { path: path(), tensor: name.into() };
    let tensor = gguf.tensor(name).ok_or_else(missing)?;
    if tensor.shape == shape {
        return Ok(tensor);
    }
    Err(Error::Shape { path: path(), tensor: name.into(), expected: shape.to_vec(), found: tensor.shape.clone() })
}

fn plain(gguf: &Gguf, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
    let tensor = find(gguf, name, shape)?;
    if tensor.tensor_type != TensorType::Plain {
        return Err(gguf.error(GgufError::Type { tensor: name.into(), found: tensor.tensor_type.id() }));
    }
    let (values, _) = gguf.map()[tensor.bytes.clone()].as_chunks();
    Ok(values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

fn mapped(gguf: &Gguf, name: &str, kind: &TensorKind) -> Result<WeightMatrix, Error> {
    let tensor = find(gguf, name, &kind.shape())?;
    let TensorType::Packed(format) = tensor.tensor_type else {
        return Err(gguf.error(GgufError::Type { tensor: name.into(), found: tensor.tensor_type.id() }));
    };
    let chunks = RowChunks::new(kind, format).expect("only matrices are packed");
    Ok(WeightMatrix::new(&chunks, Bytes::Mapped { map: gguf.map().clone(), range: tensor.bytes.clone() }))
}
