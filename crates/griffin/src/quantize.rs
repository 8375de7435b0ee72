//! Turns a checkpoint into one GGUF file: packed as the kernels read it, with everything that belongs to the model. No more than
//! a few chunks of a matrix are in memory at a time. The file gets its name only when it is whole and on disk.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use safetensors::tensor::TensorView;

use crate::formats::gguf::{self, GgufWriter, MetadataValue, TensorPlan, TensorType};
use crate::formats::{
    Progress, RowChunks, SafetensorsFiles, Sidecar, SquaredError, TensorGroup, TensorSpec, fingerprint, hash, random,
    random_fingerprint, required_sidecar, sidecar, tensor_specs, widen,
};
use crate::{Config, Error, Quantization};

/// Chunks which are packed at a time, for each thread.
const CHUNKS_PER_THREAD: usize = 2;

/// What quantizing did to the tensors of one group.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct QuantizeStats {
    /// Number of weights.
    pub parameters: u64,
    /// Bytes of the packed weights.
    pub bytes: u64,
    squared_error: SquaredError,
}

impl QuantizeStats {
    /// Mean bits of a packed weight, scales included.
    pub fn bits_per_weight(&self) -> f64 {
        8.0 * self.bytes as f64 / self.parameters.max(1) as f64
    }

    /// The root of the mean squared error, as a share of the root of the mean squared weight.
    pub fn relative_error(&self) -> f64 {
        let SquaredError { error, weights } = self.squared_error;
        if weights > 0.0 { (error / weights).sqrt() } else { 0.0 }
    }

    fn add(&mut self, other: Self) {
        self.parameters += other.parameters;
        self.bytes += other.bytes;
        self.squared_error.error += other.squared_error.error;
        self.squared_error.weights += other.squared_error.weights;
    }
}

/// What quantizing did.
#[derive(Clone, Debug, Default)]
pub struct QuantizeReport {
    /// Of the matrices.
    pub groups: BTreeMap<TensorGroup, QuantizeStats>,
    /// Of norms, convolutions and biases, which are always f32.
    pub small: QuantizeStats,
    /// Bytes of the file.
    pub bytes: u64,
}

impl QuantizeReport {
    /// All tensors together.
    pub fn total(&self) -> QuantizeStats {
        let mut total = self.small;
        self.groups.values().for_each(|stats| total.add(*stats));
        total
    }
}

/// Turns a checkpoint in Hugging Face layout into a GGUF file. The weights pass through memory a few chunks at a time.
///
/// # Errors
/// Any of [`Error`] that concerns the checkpoint's files; [`Error::NotFinite`]; [`Error::Exists`] unless `force`;
/// [`Error::Write`]. A file which had the name before then still has it.
pub fn quantize(
    dir: &Path,
    out: &Path,
    quantization: Quantization,
    force: bool,
    progress: Progress<'_>,
) -> Result<QuantizeReport, Error> {
    let Sidecar { path, text } = required_sidecar(dir, "config.json")?;
    let config = Config::from_json(&text, &path)?;
    let name = std::path::absolute(dir).ok().and_then(|dir| Some(dir.file_name()?.to_string_lossy().into_owned()));
    let mut metadata = metadata(&config, name.as_deref().unwrap_or(gguf::ARCHITECTURE), text, quantization);
    let texts = [
        ("tokenizer.json", gguf::TOKENIZER_KEY),
        ("prompt.json", gguf::PROMPT_KEY),
        ("calibration.json", gguf::CALIBRATION_KEY),
    ];
    for (file, key) in texts {
        metadata.extend(sidecar(dir, file)?.map(|found| (key.into(), MetadataValue::Text(found.text))));
    }
    let files = SafetensorsFiles::open(dir)?;
    let specs = tensor_specs(&config);
    // A missing tensor is reported before the file is begun.
    for spec in &specs {
        files.view(&spec.name, &spec.kind.shape())?;
    }
    let total = config.parameters();
    let report = QuantizeReport::default();
    let mut packing = Packing { out, files: &files, quantization, report, progress, done: 0, total };
    let bytes = write_file(out, force, &metadata, &plans(&specs, quantization, total), |file| {
        let mut hashes = BTreeMap::new();
        for spec in &specs {
            let view = files.view(&spec.name, &spec.kind.shape())?;
            let (written, hash) = rayon::join(|| packing.tensor(spec, &view, file), || hash(&view));
            written?;
            hashes.insert(spec.name.clone(), hash);
        }
        let fingerprint = hex(&fingerprint(&config, &hashes));
        file.replace(gguf::FINGERPRINT_KEY, &fingerprint).map_err(|source| write_error(out, source))
    })?;
    Ok(QuantizeReport { bytes, ..packing.report })
}

/// Writes a model of random weights as a GGUF file, for measuring speed; it has no tokenizer. Returns the bytes of the file.
///
/// # Errors
/// [`Error::Exists`] unless `force`; [`Error::Write`].
pub fn write_random(
    config: &Config,
    quantization: Quantization,
    seed: u64,
    out: &Path,
    force: bool,
    progress: Progress<'_>,
) -> Result<u64, Error> {
    let total = config.parameters();
    let specs = tensor_specs(config);
    let mut metadata = metadata(config, "random", config.to_json(), quantization);
    for (key, value) in &mut metadata {
        if key == gguf::FINGERPRINT_KEY {
            *value = MetadataValue::Text(hex(&random_fingerprint(config, seed)));
        }
    }
    let mut done = 0;
    write_file(out, force, &metadata, &plans(&specs, quantization, total), |file| {
        for spec in &specs {
            match spec.kind.row_chunks(quantization, total) {
                None => {
                    let mut values = vec![0f32; spec.kind.parameters()];
                    random::vector(seed, &spec.name, &mut values);
                    file.write(&little_endian(&values)).map_err(|source| write_error(out, source))?;
                }
                Some(chunks) => {
                    let draw = |chunk, packed: &mut [u8]| random::chunk(seed, &spec.name, &chunks, chunk, packed);
                    in_order(&chunks, draw, |_, packed, ()| {
                        file.write(packed).map_err(|source| write_error(out, source))
                    })?;
                }
            }
            done += spec.kind.parameters() as u64;
            progress(done, total);
        }
        Ok(())
    })
}

/// The metadata of a file. The fingerprint is written over when all weights are known.
fn metadata(config: &Config, name: &str, json: String, quantization: Quantization) -> Vec<(String, MetadataValue)> {
    let recipe = match quantization {
        Quantization::Auto => "auto",
        Quantization::F32 => "f32",
        Quantization::Q8_0 => "q8_0",
        Quantization::Q4K => "q4_k",
    };
    let texts = [
        (gguf::ARCHITECTURE_KEY, gguf::ARCHITECTURE.to_string()),
        ("general.name", name.into()),
        ("general.quantized_by", concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).into()),
        (gguf::LAYOUT_KEY, gguf::LAYOUT.into()),
        (gguf::RECIPE_KEY, recipe.into()),
        (gguf::FINGERPRINT_KEY, hex(&[0; 32])),
        (gguf::CONFIG_KEY, json),
    ];
    let texts = texts.map(|(key, text)| (key.to_string(), MetadataValue::Text(text)));
    texts.into_iter().chain(config.to_metadata()).collect()
}

fn plans(specs: &[TensorSpec], quantization: Quantization, total: u64) -> Vec<TensorPlan> {
    let plan = |spec: &TensorSpec| {
        let tensor_type = match spec.kind.row_chunks(quantization, total) {
            Some(chunks) => TensorType::Packed(chunks.format),
            None => TensorType::Plain,
        };
        TensorPlan { name: spec.name.clone(), shape: spec.kind.shape(), tensor_type }
    };
    specs.iter().map(plan).collect()
}

/// Weights on their way from a checkpoint into a file.
struct Packing<'a> {
    out: &'a Path,
    files: &'a SafetensorsFiles,
    quantization: Quantization,
    report: QuantizeReport,
    progress: Progress<'a>,
    done: u64,
    total: u64,
}

impl Packing<'_> {
    fn tensor(&mut self, spec: &TensorSpec, view: &TensorView<'_>, file: &mut GgufFile) -> Result<(), Error> {
        match spec.kind.row_chunks(self.quantization, self.total) {
            None => self.vector(spec, view, file),
            Some(chunks) => self.matrix(spec, &chunks, view, file),
        }
    }

    fn not_finite(&self, spec: &TensorSpec) -> Error {
        Error::NotFinite { path: self.files.dir().into(), tensor: spec.name.clone() }
    }

    fn vector(&mut self, spec: &TensorSpec, view: &TensorView<'_>, file: &mut GgufFile) -> Result<(), Error> {
        let mut values = vec![0f32; spec.kind.parameters()];
        widen(view, 0, &mut values);
        if !values.iter().all(|value| value.is_finite()) {
            return Err(self.not_finite(spec));
        }
        file.write(&little_endian(&values)).map_err(|source| write_error(self.out, source))?;
        let parameters = values.len() as u64;
        self.report.small.add(QuantizeStats { parameters, bytes: 4 * parameters, ..QuantizeStats::default() });
        self.done += parameters;
        (self.progress)(self.done, self.total);
        Ok(())
    }

    fn matrix(
        &mut self,
        spec: &TensorSpec,
        chunks: &RowChunks,
        view: &TensorView<'_>,
        file: &mut GgufFile,
    ) -> Result<(), Error> {
        let mut stats = QuantizeStats::default();
        let pack = |chunk, packed: &mut [u8]| {
            let values = chunks.read(view, chunk);
            chunks.pack(&values, packed);
            chunks.squared_error(&values, packed)
        };
        in_order(chunks, pack, |chunk, packed, squared_error: SquaredError| {
            if !squared_error.weights.is_finite() || !squared_error.error.is_finite() {
                return Err(self.not_finite(spec));
            }
            file.write(packed).map_err(|source| write_error(self.out, source))?;
            let parameters = (chunks.rows_of(chunk) * chunks.columns) as u64;
            stats.add(QuantizeStats { parameters, bytes: packed.len() as u64, squared_error });
            self.done += parameters;
            (self.progress)(self.done, self.total);
            Ok(())
        })?;
        let group = spec.kind.group().expect("only matrices have chunks, and each belongs to a group");
        self.report.groups.entry(group).or_default().add(stats);
        Ok(())
    }
}

/// Makes chunks in parallel and gives them to `take` in their order, a few at a time.
fn in_order<T: Send>(
    chunks: &RowChunks,
    make: impl Fn(usize, &mut [u8]) -> T + Sync,
    mut take: impl FnMut(usize, &[u8], T) -> Result<(), Error>,
) -> Result<(), Error> {
    let all: Vec<usize> = (0..chunks.count()).collect();
    for few in all.chunks(CHUNKS_PER_THREAD * rayon::current_num_threads()) {
        let made = few.par_iter().map(|&chunk| {
            let mut packed = vec![0; chunks.bytes_of(chunk)];
            let result = make(chunk, &mut packed);
            (chunk, packed, result)
        });
        for (chunk, packed, result) in made.collect::<Vec<_>>() {
            take(chunk, &packed, result)?;
        }
    }
    Ok(())
}

type GgufFile = GgufWriter<BufWriter<File>>;

/// Writes a file that gets its name at the very end, whole and on disk; returns its bytes.
fn write_file(
    out: &Path,
    force: bool,
    metadata: &[(String, MetadataValue)],
    plans: &[TensorPlan],
    work: impl FnOnce(&mut GgufFile) -> Result<(), Error> + Send,
) -> Result<u64, Error> {
    if !force && out.symlink_metadata().is_ok() {
        return Err(Error::Exists { path: out.into() });
    }
    let failed = |source| write_error(out, source);
    let mut part = out.as_os_str().to_owned();
    part.push(".part");
    let part = PartialFile(PathBuf::from(part));
    let file = File::create(&part.0).map_err(failed)?;
    let mut writer = GgufWriter::begin(BufWriter::with_capacity(1 << 20, file), metadata, plans).map_err(failed)?;
    work(&mut writer)?;
    let file = writer.finish().and_then(|buffer| buffer.into_inner().map_err(io::IntoInnerError::into_error));
    let file = file.map_err(failed)?;
    file.sync_all().map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    std::fs::rename(&part.0, out).map_err(failed)?;
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    Ok(bytes)
}

/// A file that is removed unless it was renamed.
struct PartialFile(PathBuf);

impl Drop for PartialFile {
    fn drop(&mut self) {
        // Once it was renamed, there is nothing under this name any more.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn write_error(out: &Path, source: io::Error) -> Error {
    Error::Write { path: out.into(), source }
}

fn little_endian(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
