//! Quantization: where a model keeps them, and the forms they take in memory.
//!
//! Owns the recipes (which form for which matrix), the three sources (a checkpoint in Hugging Face layout, a GGUF file, chance)
//! and what comes with a model's weights. Refuses to know how a matrix is multiplied. Invariants: a tensor that was handed out
//! has the shape that was asked for; its bytes in the checkpoint are part of the fingerprint, and quantising keeps that; the
//! weights of a GGUF file are in memory once, as the file.

mod inspect;
mod matrix;
mod parts;
pub(super) mod random;
mod safetensors;
mod slabs;

use std::collections::BTreeMap;
use std::path::Path;

use memmap2::Advice;
use sha2::{Digest, Sha256};

use super::attached::is_file;
use super::gguf::{self, Gguf, Kind, Problem};
use super::kernel::Form;
use super::{Config, Error};
use crate::Quantization;
use matrix::Bytes;

pub use inspect::{Content, Summary, check, summary};
pub use matrix::Matrix;
pub(super) use parts::{Part, Role, parts};
pub(super) use safetensors::{Files, hash, widen};
pub(super) use slabs::Slabs;

/// Parameters from which weights are quantised unless the settings say otherwise.
const LARGE: u64 = 500_000_000;

/// Progress: called with the parameters that are done and their total.
pub type Progress<'p> = &'p mut (dyn FnMut(u64, u64) + Send);

/// What a matrix is for, which decides its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// Also the head.
    Embedding,
    Mlp,
    /// The linear layers around the recurrence.
    Recurrent,
    /// The block-diagonal matrices of the RG-LRU.
    Gates,
    /// Queries and the output.
    Attention,
    /// What the window holds.
    KeysValues,
}

impl Group {
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedding => "embedding",
            Self::Mlp => "mlp",
            Self::Recurrent => "recurrent",
            Self::Gates => "gates",
            Self::Attention => "attention",
            Self::KeysValues => "keys, values",
        }
    }

    /// The form of a matrix: what the recipe wants, or the next finer one that rows of so many columns fit.
    ///
    /// In nearly all of the weights 4 bits serve. Gates are raised to the power of time, and one head of keys and values is what
    /// all queries read: together they are one weight in eighty, and stay at 8. Queries and the output at 4 instead cost the
    /// bundled model 0.0005 of perplexity (`quantize --perplexity` before and after, on 25,017 tokens of household talk that are not
    /// in the repository: 3.2270, 3.2275; f32 3.2057).
    pub fn form(self, weights: Quantization, parameters: u64, columns: usize) -> Form {
        let wanted = match (weights, self) {
            (Quantization::F32, _) => Form::F32,
            (Quantization::Auto, _) if parameters < LARGE => Form::F32,
            (Quantization::Auto | Quantization::Q8_0, _) | (Quantization::Q4K, Self::Gates | Self::KeysValues) => {
                Form::Q8_0
            }
            (Quantization::Q4K, _) => Form::Q4K,
        };
        let rank = |form| match form {
            Form::Q4K => 0,
            Form::Q8_0 => 1,
            Form::F32 => 2,
        };
        let finer = [Form::Q4K, Form::Q8_0].into_iter().filter(|form| rank(*form) >= rank(wanted));
        finer.into_iter().find(|form| form.fits(columns)).unwrap_or(Form::F32)
    }
}

impl Role {
    /// Of a matrix.
    pub fn group(&self) -> Option<Group> {
        match *self {
            Self::Vector(_) => None,
            Self::Matrix { group, .. } => Some(group),
            Self::Gates { .. } => Some(Group::Gates),
        }
    }

    /// How it is packed by a recipe.
    pub fn slabs(&self, weights: Quantization, parameters: u64) -> Option<Slabs> {
        let columns = match *self {
            Self::Vector(_) => return None,
            Self::Matrix { columns, .. } => columns,
            Self::Gates { block, .. } => block,
        };
        Slabs::new(self, self.group()?.form(weights, parameters, columns))
    }
}

/// Where tensors come from.
enum Source {
    Files(Files),
    /// And the fingerprint that it holds.
    Gguf(Gguf, [u8; 32]),
    Random(u64),
}

/// A model's weights, being read.
pub struct Checkpoint<'p> {
    config: Config,
    weights: Quantization,
    source: Source,
    /// Of every tensor handed out: SHA-256 of its dtype, shape and bytes.
    hashes: BTreeMap<String, [u8; 32]>,
    progress: Option<Progress<'p>>,
    done: u64,
    total: u64,
}

impl<'p> Checkpoint<'p> {
    /// Opens a directory in Hugging Face layout, to be packed as `weights` says, or a GGUF file, which is packed already.
    ///
    /// # Errors
    /// Any of [`Error`] that concerns files.
    pub fn open(path: &Path, weights: Quantization, progress: Progress<'p>) -> Result<Self, Error> {
        let config = Config::load(path)?;
        let source = if is_file(path) {
            let gguf = Gguf::open(path)?;
            gguf.must_say(&config.keys())?;
            // Reading ahead is a favour: where the system refuses it, pages come as they are met.
            let _ = gguf.map().advise(Advice::WillNeed);
            let fingerprint = stored_fingerprint(&gguf)?;
            Source::Gguf(gguf, fingerprint)
        } else {
            Source::Files(Files::open(path)?)
        };
        Ok(Self { progress: Some(progress), ..Self::new(config, weights, source) })
    }

    /// Quantization drawn at random.
    pub fn random(config: Config, weights: Quantization, seed: u64) -> Self {
        Self::new(config, weights, Source::Random(seed))
    }

    fn new(config: Config, weights: Quantization, source: Source) -> Self {
        let total = config.parameters();
        Self { config, weights, source, hashes: BTreeMap::new(), progress: None, done: 0, total }
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// A small tensor.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::Shape`], [`Error::Dtype`].
    pub fn vector(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let count = shape.iter().product();
        let values = match &self.source {
            Source::Files(files) => {
                let view = files.view(name, shape)?;
                let mut values = vec![0f32; count];
                widen(&view, 0, &mut values);
                self.hashes.insert(name.into(), hash(&view));
                values
            }
            Source::Gguf(gguf, _) => plain(gguf, name, shape)?,
            Source::Random(seed) => {
                let mut values = vec![0f32; count];
                random::vector(*seed, name, &mut values);
                values
            }
        };
        self.note(count);
        Ok(values)
    }

    /// A matrix [rows, columns].
    ///
    /// # Errors
    /// As [`Checkpoint::vector`].
    pub fn matrix(&mut self, name: &str, group: Group, rows: usize, columns: usize) -> Result<Matrix, Error> {
        self.packed(name, &Role::Matrix { group, rows, columns })
    }

    /// A gate of the RG-LRU: one [block, block] for each head, which checkpoints hold input-major. The matrix has one row for
    /// each output, as all have.
    ///
    /// # Errors
    /// As [`Checkpoint::vector`].
    pub fn gates(&mut self, name: &str, heads: usize, block: usize) -> Result<Matrix, Error> {
        self.packed(name, &Role::Gates { heads, block })
    }

    fn packed(&mut self, name: &str, role: &Role) -> Result<Matrix, Error> {
        let slabs = || role.slabs(self.weights, self.total).expect("only matrices are packed");
        let matrix = match &self.source {
            Source::Files(files) => {
                let view = files.view(name, &role.shape())?;
                let slabs = slabs();
                let pack = || Matrix::fill(&slabs, |slab, out| slabs.pack(&slabs.read(&view, slab), out));
                let (matrix, hash) = rayon::join(pack, || hash(&view));
                self.hashes.insert(name.into(), hash);
                matrix
            }
            Source::Gguf(gguf, _) => mapped(gguf, name, role)?,
            Source::Random(seed) => {
                let slabs = slabs();
                Matrix::fill(&slabs, |slab, out| random::slab(*seed, name, &slabs, slab, out))
            }
        };
        self.note(role.parameters());
        Ok(matrix)
    }

    /// SHA-256 over the settings that matter to the arithmetic and every tensor handed out, by name, whichever shard it lay in.
    /// A GGUF file has that of the checkpoint it was made from.
    ///
    /// Every byte counts: a fine-tuned checkpoint may differ in a few weights only. Hashing runs beside packing, at over 1 GB/s
    /// a core, so it costs less than reading the file did.
    pub fn fingerprint(&self) -> [u8; 32] {
        match &self.source {
            Source::Files(_) => fingerprint(&self.config, &self.hashes),
            Source::Gguf(_, fingerprint) => *fingerprint,
            Source::Random(seed) => random_fingerprint(&self.config, *seed),
        }
    }

    fn note(&mut self, parameters: usize) {
        self.done += parameters as u64;
        if let Some(progress) = &mut self.progress {
            progress(self.done, self.total);
        }
    }
}

pub(super) fn fingerprint(config: &Config, hashes: &BTreeMap<String, [u8; 32]>) -> [u8; 32] {
    let mut all = Sha256::new();
    all.update(config.identity());
    for (name, hash) in hashes {
        all.update((name.len() as u64).to_le_bytes());
        all.update(name);
        all.update(hash);
    }
    all.finalize().into()
}

pub(super) fn random_fingerprint(config: &Config, seed: u64) -> [u8; 32] {
    Sha256::new().chain_update(format!("random {seed} {config:?}")).finalize().into()
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
    let (what, found) = (gguf::FINGERPRINT_KEY.into(), format!("{:?}", text.chars().take(70).collect::<String>()));
    Err(gguf.error(Problem::Bad { what, found, expected: "64 hexadecimal digits".into() }))
}

fn find<'g>(gguf: &'g Gguf, name: &str, shape: &[usize]) -> Result<&'g gguf::Tensor, Error> {
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
    if tensor.kind != Kind::Plain {
        return Err(gguf.error(Problem::Type { tensor: name.into(), found: tensor.kind.id() }));
    }
    let (values, _) = gguf.map()[tensor.bytes.clone()].as_chunks();
    Ok(values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

fn mapped(gguf: &Gguf, name: &str, role: &Role) -> Result<Matrix, Error> {
    let tensor = find(gguf, name, &role.shape())?;
    let Kind::Packed(form) = tensor.kind else {
        return Err(gguf.error(Problem::Type { tensor: name.into(), found: tensor.kind.id() }));
    };
    let slabs = Slabs::new(role, form).expect("only matrices are packed");
    Ok(Matrix::new(&slabs, Bytes::Mapped { map: gguf.map().clone(), range: tensor.bytes.clone() }))
}
