//! Weights: where a checkpoint keeps them, and the forms they take in memory.
//!
//! Owns shards, names, dtypes and quantisation. Refuses to know what a matrix is for. Invariant: a tensor that was handed out
//! has the shape that was asked for, and its bytes are part of the checkpoint's fingerprint.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QMatMul, QStorage, QTensor};
use candle_core::safetensors::MmapedSafetensors;
use candle_core::{Device, Module, Tensor};
use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use sha2::{Digest, Sha256};

use super::Error;
use super::tensor::values;

/// Elements that are widened or quantised at a time: 4 MiB of f32, so loading needs little more than the model itself.
const SLAB: usize = 1 << 20;

/// Progress of a load: called with the parameters that are in memory and their total.
pub type Progress<'p> = &'p mut (dyn FnMut(u64, u64) + Send);

/// How a matrix is held in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    F32,
    /// 8 bits a weight and a scale for each 32.
    Q8_0,
    /// 4 bits a weight, a 6-bit scale and minimum for each 32, two f16 for each 256.
    Q4K,
}

impl Form {
    /// The block type for rows of `columns`: the next finer one when a row is no whole number of blocks.
    fn block(self, columns: usize) -> Option<GgmlDType> {
        let fits = |block: GgmlDType| columns.is_multiple_of(block.block_size());
        match self {
            Self::Q4K if fits(GgmlDType::Q4K) => Some(GgmlDType::Q4K),
            Self::Q4K | Self::Q8_0 if fits(GgmlDType::Q8_0) => Some(GgmlDType::Q8_0),
            _ => None,
        }
    }
}

/// A weight matrix [o, i], one row per output.
#[derive(Debug)]
pub enum Matrix {
    Dense(Tensor),
    Quantised { product: QMatMul, rows: Arc<QTensor> },
}

impl Matrix {
    /// x [t, i] → x·Wᵀ [t, o].
    pub fn apply(&self, x: &Tensor) -> Result<Tensor, Error> {
        Ok(match self {
            Self::Dense(weight) if x.dim(0)? == 1 => {
                let y = matrix_by_vector(&values(weight)?, &values(x)?); // [o]
                Tensor::from_vec(y, (1, weight.dim(0)?), &Device::Cpu)?
            }
            Self::Dense(weight) => x.matmul(&weight.t()?)?,
            Self::Quantised { product, .. } => product.forward(x)?,
        })
    }

    /// The rows of some outputs, f32 [t, i]; the only ones that are dequantised.
    pub fn rows(&self, ids: &[u32]) -> Result<Tensor, Error> {
        let ids = Tensor::new(ids, &Device::Cpu)?; // [t]
        Ok(match self {
            Self::Dense(weight) => weight.index_select(&ids, 0)?,
            Self::Quantised { rows, .. } => rows.embedding(&ids)?,
        })
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Dense(weight) => 4 * weight.elem_count() as u64,
            Self::Quantised { rows, .. } => rows.storage_size_in_bytes() as u64,
        }
    }
}

/// W [o, i] · x [i] → [o].
///
/// Plain loops, since candle's matmul asks the system for its processors at each call: 50 µs, ten times what the product of a
/// small model takes.
fn matrix_by_vector(weight: &[f32], x: &[f32]) -> Vec<f32> {
    let at_once = (SLAB / 4 / x.len()).max(1);
    weight.par_chunks_exact(x.len()).with_min_len(at_once).map(|row| dot(row, x)).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0f32; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

/// A checkpoint that is being read.
pub struct Checkpoint<'p> {
    files: Files,
    /// Of every tensor handed out: SHA-256 of its dtype, shape and bytes.
    hashes: BTreeMap<String, [u8; 32]>,
    progress: Progress<'p>,
    done: u64,
    total: u64,
}

impl<'p> Checkpoint<'p> {
    /// Opens the shards in `dir`; `total` is how many parameters will be read.
    ///
    /// # Errors
    /// [`Error::NoWeights`], [`Error::MissingShard`], [`Error::Safetensors`], [`Error::Json`], [`Error::Read`].
    pub fn open(dir: &Path, total: u64, progress: Progress<'p>) -> Result<Self, Error> {
        Ok(Self { files: Files::open(dir)?, hashes: BTreeMap::new(), progress, done: 0, total })
    }

    /// A small tensor, as f32.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::Shape`], [`Error::Dtype`].
    pub fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, Error> {
        let view = self.files.view(name, shape)?;
        let mut values = vec![0f32; shape.iter().product()];
        widen(&view, 0, &mut values);
        let hash = hash(&view);
        self.note(name, hash, values.len());
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
    }

    /// A matrix [rows, columns].
    ///
    /// # Errors
    /// As [`Checkpoint::tensor`].
    pub fn matrix(&mut self, name: &str, rows: usize, columns: usize, form: Form) -> Result<Matrix, Error> {
        let view = self.files.view(name, &[rows, columns])?;
        let (matrix, hash) = match form.block(columns) {
            None => {
                let mut values = vec![0f32; rows * columns];
                let slabs = values.par_chunks_mut(SLAB).enumerate();
                let fill = || slabs.for_each(|(i, slab)| widen(&view, i * SLAB, slab));
                let ((), hash) = rayon::join(fill, || hash(&view));
                (Matrix::Dense(Tensor::from_vec(values, (rows, columns), &Device::Cpu)?), hash)
            }
            Some(block) => {
                let (blocks, hash) = rayon::join(|| quantise(&view, rows, columns, block), || hash(&view));
                let storage = QStorage::from_data(blocks?.concat().into(), &Device::Cpu, block)?;
                let rows = Arc::new(QTensor::new(storage, (rows, columns))?);
                (Matrix::Quantised { product: QMatMul::from_arc(rows.clone())?, rows }, hash)
            }
        };
        self.note(name, hash, rows * columns);
        Ok(matrix)
    }

    /// SHA-256 over every tensor handed out, by name, whichever shard it lay in.
    ///
    /// Every byte counts: a fine-tuned checkpoint may differ in a few weights only. Hashing runs beside widening and quantising,
    /// at over 1 GB/s a core, so it costs less than reading the file did.
    pub fn fingerprint(&self, settings: &str) -> [u8; 32] {
        let mut all = Sha256::new();
        all.update(settings);
        for (name, hash) in &self.hashes {
            all.update((name.len() as u64).to_le_bytes());
            all.update(name);
            all.update(hash);
        }
        all.finalize().into()
    }

    fn note(&mut self, name: &str, hash: [u8; 32], parameters: usize) {
        self.hashes.insert(name.into(), hash);
        self.done += parameters as u64;
        (self.progress)(self.done, self.total);
    }
}

fn hash(view: &TensorView<'_>) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(format!("{:?} {:?}\n", view.dtype(), view.shape()));
    hash.update(view.data());
    hash.finalize().into()
}

/// The elements from `start` on, as f32.
fn widen(view: &TensorView<'_>, start: usize, out: &mut [f32]) {
    fn each<const N: usize>(bytes: &[u8], start: usize, out: &mut [f32], value: impl Fn([u8; N]) -> f32) {
        let (values, _) = bytes.as_chunks::<N>();
        for (out, bytes) in out.iter_mut().zip(&values[start..]) {
            *out = value(*bytes);
        }
    }
    match view.dtype() {
        Dtype::F16 => each(view.data(), start, out, |bytes| f16::from_le_bytes(bytes).to_f32()),
        Dtype::BF16 => each(view.data(), start, out, |bytes| bf16::from_le_bytes(bytes).to_f32()),
        _ => each(view.data(), start, out, f32::from_le_bytes),
    }
}

/// The blocks of a matrix, a slab of rows at a time.
fn quantise(view: &TensorView<'_>, rows: usize, columns: usize, block: GgmlDType) -> Result<Vec<Vec<u8>>, Error> {
    let step = (SLAB / columns).max(1);
    let starts: Vec<usize> = (0..rows).step_by(step).collect();
    let slab = |&row: &usize| -> Result<Vec<u8>, Error> {
        let count = step.min(rows - row);
        let mut values = vec![0f32; count * columns];
        widen(view, row * columns, &mut values);
        let values = Tensor::from_vec(values, (count, columns), &Device::Cpu)?;
        Ok(QTensor::quantize(&values, block)?.data()?.into_owned())
    };
    starts.par_iter().map(slab).collect()
}

/// The safetensors files of a checkpoint, memory-mapped.
struct Files {
    dir: PathBuf,
    files: Vec<(PathBuf, MmapedSafetensors)>,
    /// Which file holds a tensor.
    place: HashMap<String, usize>,
}

impl Files {
    fn open(dir: &Path) -> Result<Self, Error> {
        let mut files = Vec::new();
        let mut place = HashMap::new();
        for path in shards(dir)? {
            // SAFETY: the mapping is only read, and dropped once the weights were copied out of it. A checkpoint that is
            // written to or truncated during those seconds would break this; nothing in hearth writes to one.
            let file = unsafe { MmapedSafetensors::new(&path) };
            let file = file.map_err(|error| unreadable(&path, error))?;
            place.extend(file.tensors().into_iter().map(|(name, _)| (name, files.len())));
            files.push((path, file));
        }
        Ok(Self { dir: dir.into(), files, place })
    }

    fn view(&self, name: &str, shape: &[usize]) -> Result<TensorView<'_>, Error> {
        let missing = || Error::MissingTensor { path: self.dir.clone(), tensor: name.into() };
        let (path, file) = &self.files[*self.place.get(name).ok_or_else(missing)?];
        let view = file.get(name)?;
        if view.shape() != shape {
            let (expected, found) = (shape.to_vec(), view.shape().to_vec());
            return Err(Error::Shape { path: path.clone(), tensor: name.into(), expected, found });
        }
        if !matches!(view.dtype(), Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            let found = format!("{:?}", view.dtype());
            return Err(Error::Dtype { path: path.clone(), tensor: name.into(), found });
        }
        Ok(view)
    }
}

fn unreadable(path: &Path, error: candle_core::Error) -> Error {
    let path = path.to_path_buf();
    match std::fs::File::open(&path) {
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => Error::MissingShard { path },
        Err(source) => Error::Read { path, source },
        Ok(_) => {
            let mut reason: &dyn std::error::Error = &error;
            while let Some(source) = reason.source() {
                reason = source;
            }
            Error::Safetensors { path, reason: reason.to_string() }
        }
    }
}

/// The files of a checkpoint: one, those an index names, or `model-00001-of-0000N.safetensors` without an index.
fn shards(dir: &Path) -> Result<BTreeSet<PathBuf>, Error> {
    let single = dir.join("model.safetensors");
    if single.exists() {
        return Ok([single].into());
    }
    let index = dir.join("model.safetensors.index.json");
    if index.exists() {
        return indexed(dir, &index);
    }
    let entries = std::fs::read_dir(dir).map_err(|source| Error::Read { path: dir.into(), source })?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let Some(count) = names.filter_map(|name| shard_count(&name)).max() else {
        return Err(Error::NoWeights { dir: dir.into() });
    };
    Ok((1..=count).map(|i| dir.join(format!("model-{i:05}-of-{count:05}.safetensors"))).collect())
}

/// N of `model-00001-of-0000N.safetensors`.
fn shard_count(name: &str) -> Option<usize> {
    let (number, count) = name.strip_prefix("model-")?.strip_suffix(".safetensors")?.split_once("-of-")?;
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    (digits(number) && digits(count)).then(|| count.parse().ok()).flatten()
}

fn indexed(dir: &Path, index: &Path) -> Result<BTreeSet<PathBuf>, Error> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let text = std::fs::read_to_string(index).map_err(|source| Error::Read { path: index.into(), source })?;
    let json = |source| Error::Json { path: index.into(), source };
    let names = serde_json::from_str::<Index>(&text).map_err(json)?.weight_map.into_values();
    // A name is a file in the same directory, whatever the index says.
    let names = names.filter_map(|name| Some(dir.join(Path::new(&name).file_name()?)));
    let files = names.collect::<BTreeSet<_>>();
    if files.is_empty() { Err(Error::NoWeights { dir: dir.into() }) } else { Ok(files) }
}
