//! A checkpoint becomes one GGUF file: packed as the kernels read it, with everything that belongs to the model.
//!
//! Owns the file's making and what the packing cost. Refuses to know the format's bytes. Invariants: no more than a few slabs of
//! a matrix are in memory; the file bears its name only when it is whole and on disk.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use safetensors::tensor::TensorView;

use super::attached::{Attached, attached, required};
use super::gguf::{self, Kind, Plan, Value, Writer};
use super::weights::{
    Files, Group, Part, Progress, Slabs, fingerprint, hash, parts, random, random_fingerprint, widen,
};
use super::{Config, Error};
use crate::Quantization;

/// Slabs that are packed at a time, for each thread.
const SLABS_PER_THREAD: usize = 2;

/// What quantising did to the matrices of one group.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Share {
    pub parameters: u64,
    /// Packed.
    pub bytes: u64,
    /// Σ (w − ŵ)² over Σ w².
    off: f64,
    all: f64,
}

impl Share {
    pub fn bits_per_weight(&self) -> f64 {
        8.0 * self.bytes as f64 / self.parameters.max(1) as f64
    }

    /// The root of the mean squared error, as a share of the root of the mean squared weight.
    pub fn relative_error(&self) -> f64 {
        if self.all > 0.0 { (self.off / self.all).sqrt() } else { 0.0 }
    }

    fn of(parameters: usize) -> Self {
        Self { parameters: parameters as u64, ..Self::default() }
    }

    fn add(&mut self, other: Self) {
        self.parameters += other.parameters;
        self.bytes += other.bytes;
        self.off += other.off;
        self.all += other.all;
    }
}

/// What quantising did.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub groups: BTreeMap<Group, Share>,
    /// Norms, convolutions, biases: always f32.
    pub small: Share,
    /// Of the file.
    pub bytes: u64,
}

impl Report {
    /// All weights together.
    pub fn total(&self) -> Share {
        let mut total = self.small;
        self.groups.values().for_each(|share| total.add(*share));
        total
    }
}

/// Turns a checkpoint in Hugging Face layout into a GGUF file. The weights pass through memory a few slabs at a time.
///
/// # Errors
/// Any of [`Error`] that concerns the checkpoint's files; [`Error::NotFinite`]; [`Error::Exists`] unless `force`;
/// [`Error::Write`]. What bore the name before then still does.
pub fn quantise(
    dir: &Path,
    out: &Path,
    weights: Quantization,
    force: bool,
    progress: Progress<'_>,
) -> Result<Report, Error> {
    let Attached { path, text } = required(dir, "config.json")?;
    let config = Config::from_json(&text, &path)?;
    let name = std::path::absolute(dir).ok().and_then(|dir| Some(dir.file_name()?.to_string_lossy().into_owned()));
    let mut keys = keys(&config, name.as_deref().unwrap_or(gguf::ARCHITECTURE), text, weights);
    for (file, key) in [("tokenizer.json", gguf::TOKENIZER_KEY), ("prompt.json", gguf::PROMPT_KEY)] {
        keys.extend(attached(dir, file)?.map(|found| (key.into(), Value::Text(found.text))));
    }
    let files = Files::open(dir)?;
    let parts = parts(&config);
    for part in &parts {
        files.view(&part.name, &part.role.shape())?;
    }
    let total = config.parameters();
    let mut pass = Pass { out, files: &files, report: Report::default(), progress, done: 0, total };
    let bytes = write(out, force, &keys, &plans(&parts, weights, total), |file| {
        let mut hashes = BTreeMap::new();
        for part in &parts {
            let view = files.view(&part.name, &part.role.shape())?;
            let (written, hash) = rayon::join(|| pass.part(part, &view, weights, file), || hash(&view));
            written?;
            hashes.insert(part.name.clone(), hash);
        }
        let fingerprint = hex(&fingerprint(&config, &hashes));
        file.replace(gguf::FINGERPRINT_KEY, &fingerprint).map_err(|source| unwritable(out, source))
    })?;
    Ok(Report { bytes, ..pass.report })
}

/// Writes a model of random weights, for measuring speed; it has no tokenizer.
///
/// # Errors
/// [`Error::Exists`] unless `force`; [`Error::Write`].
pub fn write_random(
    config: &Config,
    weights: Quantization,
    seed: u64,
    out: &Path,
    force: bool,
    progress: Progress<'_>,
) -> Result<u64, Error> {
    let total = config.parameters();
    let parts = parts(config);
    let mut keys = keys(config, "random", config.to_json(), weights);
    let fingerprint = Value::Text(hex(&random_fingerprint(config, seed)));
    keys.iter_mut().filter(|(key, _)| key == gguf::FINGERPRINT_KEY).for_each(|(_, value)| *value = fingerprint.clone());
    let mut done = 0;
    write(out, force, &keys, &plans(&parts, weights, total), |file| {
        for part in &parts {
            match part.role.slabs(weights, total) {
                None => {
                    let mut values = vec![0f32; part.role.parameters()];
                    random::vector(seed, &part.name, &mut values);
                    file.write(&plain(&values)).map_err(|source| unwritable(out, source))?;
                }
                Some(slabs) => {
                    let draw = |slab, packed: &mut [u8]| random::slab(seed, &part.name, &slabs, slab, packed);
                    in_order(&slabs, draw, |_, packed, ()| {
                        file.write(packed).map_err(|source| unwritable(out, source))
                    })?;
                }
            }
            done += part.role.parameters() as u64;
            progress(done, total);
        }
        Ok(())
    })
}

/// The keys of a file; the fingerprint is still to come.
fn keys(config: &Config, name: &str, json: String, weights: Quantization) -> Vec<(String, Value)> {
    let recipe = match weights {
        Quantization::Auto => "auto",
        Quantization::F32 => "f32",
        Quantization::Q8_0 => "q8_0",
        Quantization::Q4K => "q4_k",
    };
    let texts = [
        (gguf::ARCHITECTURE_KEY, gguf::ARCHITECTURE.to_string()),
        ("general.name", name.into()),
        ("general.quantized_by", concat!("hearth ", env!("CARGO_PKG_VERSION")).into()),
        (gguf::LAYOUT_KEY, gguf::LAYOUT.into()),
        (gguf::RECIPE_KEY, recipe.into()),
        (gguf::FINGERPRINT_KEY, hex(&[0; 32])),
        (gguf::CONFIG_KEY, json),
    ];
    let texts = texts.map(|(key, text)| (key.to_string(), Value::Text(text)));
    texts.into_iter().chain(config.keys()).collect()
}

fn plans(parts: &[Part], weights: Quantization, total: u64) -> Vec<Plan> {
    let plan = |part: &Part| {
        let kind = part.role.slabs(weights, total).map_or(Kind::Plain, |slabs| Kind::Packed(slabs.form));
        Plan { name: part.name.clone(), shape: part.role.shape(), kind }
    };
    parts.iter().map(plan).collect()
}

/// Quantization on their way from a checkpoint into a file.
struct Pass<'a> {
    out: &'a Path,
    files: &'a Files,
    report: Report,
    progress: Progress<'a>,
    done: u64,
    total: u64,
}

impl Pass<'_> {
    fn part(
        &mut self,
        part: &Part,
        view: &TensorView<'_>,
        weights: Quantization,
        file: &mut Target,
    ) -> Result<(), Error> {
        let not_finite = || Error::NotFinite { path: self.files.dir().into(), tensor: part.name.clone() };
        let broken = |source| unwritable(self.out, source);
        let Some(slabs) = part.role.slabs(weights, self.total) else {
            let mut values = vec![0f32; part.role.parameters()];
            widen(view, 0, &mut values);
            if !values.iter().all(|value| value.is_finite()) {
                return Err(not_finite());
            }
            file.write(&plain(&values)).map_err(broken)?;
            self.report.small.add(Share { bytes: 4 * values.len() as u64, ..Share::of(values.len()) });
            self.tell(values.len());
            return Ok(());
        };
        let mut share = Share::default();
        let pack = |slab, packed: &mut [u8]| {
            let values = slabs.read(view, slab);
            slabs.pack(&values, packed);
            slabs.error(&values, packed)
        };
        let (progress, done, total) = (&mut self.progress, &mut self.done, self.total);
        in_order(&slabs, pack, |slab, packed, (off, all): (f64, f64)| {
            if !all.is_finite() || !off.is_finite() {
                return Err(not_finite());
            }
            file.write(packed).map_err(broken)?;
            let parameters = slabs.rows_of(slab) * slabs.columns;
            share.add(Share { bytes: packed.len() as u64, off, all, ..Share::of(parameters) });
            *done += parameters as u64;
            progress(*done, total);
            Ok(())
        })?;
        let group = part.role.group().expect("what is packed is a matrix, and those belong to a group");
        self.report.groups.entry(group).or_default().add(share);
        Ok(())
    }

    fn tell(&mut self, parameters: usize) {
        self.done += parameters as u64;
        (self.progress)(self.done, self.total);
    }
}

/// Makes slabs in parallel and gives them to `take` in their order, a few at a time.
fn in_order<T: Send>(
    slabs: &Slabs,
    make: impl Fn(usize, &mut [u8]) -> T + Sync,
    mut take: impl FnMut(usize, &[u8], T) -> Result<(), Error>,
) -> Result<(), Error> {
    let all: Vec<usize> = (0..slabs.count()).collect();
    for few in all.chunks(SLABS_PER_THREAD * rayon::current_num_threads()) {
        let made = few.par_iter().map(|&slab| {
            let mut packed = vec![0; slabs.bytes_of(slab)];
            let told = make(slab, &mut packed);
            (slab, packed, told)
        });
        for (slab, packed, told) in made.collect::<Vec<_>>() {
            take(slab, &packed, told)?;
        }
    }
    Ok(())
}

type Target = Writer<BufWriter<File>>;

/// Writes a file that gets its name at the very end, whole and on disk; returns its bytes.
fn write(
    out: &Path,
    force: bool,
    keys: &[(String, Value)],
    plans: &[Plan],
    work: impl FnOnce(&mut Target) -> Result<(), Error> + Send,
) -> Result<u64, Error> {
    if !force && out.symlink_metadata().is_ok() {
        return Err(Error::Exists { path: out.into() });
    }
    let broken = |source| unwritable(out, source);
    let mut part = out.as_os_str().to_owned();
    part.push(".part");
    let part = Unfinished(PathBuf::from(part));
    let file = File::create(&part.0).map_err(broken)?;
    let mut writer = Writer::begin(BufWriter::with_capacity(1 << 20, file), keys, plans).map_err(broken)?;
    work(&mut writer)?;
    let file = writer.finish().and_then(|buffer| buffer.into_inner().map_err(io::IntoInnerError::into_error));
    let file = file.map_err(broken)?;
    file.sync_all().map_err(broken)?;
    let bytes = file.metadata().map_err(broken)?.len();
    std::fs::rename(&part.0, out).map_err(broken)?;
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(broken)?;
    Ok(bytes)
}

/// A file that goes when it does not get its name.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Once it has its name there is nothing here any more.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn unwritable(out: &Path, source: io::Error) -> Error {
    Error::Write { path: out.into(), source }
}

fn plain(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
