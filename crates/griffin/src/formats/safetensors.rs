//! The safetensors files of a checkpoint in Hugging Face layout. A tensor that is handed out has the shape which was asked for, and
//! lies in its file whole.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::tensor::{Metadata, TensorView};
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};

use super::mmap::map;
use crate::Error;

/// The files, memory-mapped.
pub(crate) struct SafetensorsFiles {
    dir: PathBuf,
    files: Vec<SafetensorsFile>,
    /// Which file holds a tensor.
    place: HashMap<String, usize>,
}

struct SafetensorsFile {
    path: PathBuf,
    map: Arc<Mmap>,
    /// Where the tensors begin.
    start: usize,
    header: Metadata,
}

impl SafetensorsFiles {
    /// # Errors
    /// [`Error::NoWeights`], [`Error::MissingShard`], [`Error::Safetensors`], [`Error::Json`], [`Error::Read`].
    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
        let mut files = Vec::new();
        let mut place = HashMap::new();
        for path in shards(dir)? {
            let file = SafetensorsFile::open(path)?;
            place.extend(file.header.offset_keys().into_iter().map(|name| (name, files.len())));
            files.push(file);
        }
        Ok(Self { dir: dir.into(), files, place })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.map.len() as u64).sum()
    }

    /// # Errors
    /// [`Error::MissingTensor`], [`Error::Shape`], [`Error::Dtype`].
    pub(crate) fn view(&self, name: &str, shape: &[usize]) -> Result<TensorView<'_>, Error> {
        let missing = || Error::MissingTensor { path: self.dir.clone(), tensor: name.into() };
        let file = &self.files[*self.place.get(name).ok_or_else(missing)?];
        let info = file.header.info(name).ok_or_else(missing)?;
        if info.shape != shape {
            let expected = shape.to_vec();
            let found = info.shape.clone();
            return Err(Error::Shape { path: file.path.clone(), tensor: name.into(), expected, found });
        }
        if !matches!(info.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            let found = format!("{:?}", info.dtype);
            return Err(Error::Dtype { path: file.path.clone(), tensor: name.into(), found });
        }
        let (start, end) = info.data_offsets;
        let bytes = file.map.get(file.start + start..file.start + end);
        let view = bytes.and_then(|bytes| TensorView::new(info.dtype, info.shape.clone(), bytes).ok());
        view.ok_or_else(|| Error::Safetensors { path: file.path.clone(), reason: format!("{name} lies outside") })
    }
}

impl SafetensorsFile {
    fn open(path: PathBuf) -> Result<Self, Error> {
        let map = map(&path).map_err(|error| match error {
            Error::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                Error::MissingShard { path: path.clone() }
            }
            error => error,
        })?;
        match SafeTensors::read_metadata(&map) {
            Ok((length, header)) => Ok(Self { path, start: 8 + length, header, map }),
            Err(error) => Err(Error::Safetensors { path, reason: error.to_string() }),
        }
    }
}

/// SHA-256 of a tensor's dtype, shape and bytes.
pub(crate) fn hash(view: &TensorView<'_>) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(format!("{:?} {:?}\n", view.dtype(), view.shape()));
    hash.update(view.data());
    hash.finalize().into()
}

/// The elements from `start` on, as f32.
pub(crate) fn widen(view: &TensorView<'_>, start: usize, out: &mut [f32]) {
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
    if digits(number) && digits(count) { count.parse().ok() } else { None }
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
