//! Where models are looked for, and whether they match `SHA256SUMS`; fetching them is in [`fetch`].
//!
//! A model that is listed in a `SHA256SUMS` is either intact or refused.

pub mod fetch;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};
use thiserror::Error;

/// The list of hashes in a models directory, in the form `sha256sum` writes and reads.
const SUMS: &str = "SHA256SUMS";

/// Where fetched models go if hearth is installed: beside its state.
const FETCHED: &str = "/var/lib/hearth/models";
/// Where they go otherwise.
const HERE: &str = "models";

#[derive(Debug, Error)]
pub enum ModelError {
    #[error(
        "there is no model named {name:?}; looked in {}. Put it into one of these, point HEARTH_MODELS at its folder, or \
         write a path with a slash in it",
        places(looked)
    )]
    NotFound { name: String, looked: Vec<PathBuf> },
    #[error("there is no model at {path}; give the path of a file or folder, or the name of a bundled model")]
    NoSuchPath { path: PathBuf },
    #[error("cannot read {path} to verify it")]
    Read { path: PathBuf, source: io::Error },
    #[error("line {line} of {path} is not \"<SHA-256>  <file>\" as sha256sum writes it")]
    BadSums { path: PathBuf, line: usize },
    #[error(
        "{path} is not what {sums} says it is: SHA-256 {found} instead of {expected}. It is damaged or was replaced: fetch \
         it again, or take its line out of {SUMS} if you changed it on purpose"
    )]
    Mismatch { path: PathBuf, sums: PathBuf, found: String, expected: String },
}

/// Each place once; the current folder has a name.
fn places(looked: &[PathBuf]) -> String {
    let mut places: Vec<String> = Vec::new();
    for place in looked {
        let place = if place.as_os_str().is_empty() { ".".into() } else { place.display().to_string() };
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places.join(", ")
}

/// Finds a model. A bare name is looked for where models may lie: `$HEARTH_MODELS`, `<config_dir>`, `<config_dir>/models`,
/// `<folder of hearth>/../share/hearth/models`, `/var/lib/hearth/models`, `/usr/share/hearth/models`, `./models`, and the
/// `models` folder of a source tree that hearth was built in. A path is relative to `config_dir`.
///
/// # Errors
/// There is no such model; the error lists where it was looked for.
pub(crate) fn resolve(value: &Path, config_dir: &Path) -> Result<PathBuf, ModelError> {
    if !is_bare(value) {
        let path = config_dir.join(value);
        return if path.exists() { Ok(path) } else { Err(ModelError::NoSuchPath { path }) };
    }
    let looked = search_path(std::env::var_os("HEARTH_MODELS"), config_dir, std::env::current_exe().ok().as_deref());
    match looked.iter().map(|place| place.join(value)).find(|path| path.exists()) {
        Some(path) => Ok(path),
        None => Err(ModelError::NotFound { name: value.display().to_string(), looked }),
    }
}

/// The bundled model that reads along.
const DEMO: &str = "recurrentgemma-nano";

/// What a model is called where it speaks to people: the name of its file or folder, and of the bundled one that it is a demo model.
pub(crate) fn title(model: &Path) -> String {
    let name = model.file_name().unwrap_or(model.as_os_str()).to_string_lossy();
    if name == DEMO { format!("{name} (demo model)") } else { name.into_owned() }
}

/// Finds a model and verifies it: [`resolve`], then [`verify`].
///
/// # Errors
/// Those of both.
pub fn find(value: &Path, config_dir: &Path) -> Result<PathBuf, ModelError> {
    let path = resolve(value, config_dir)?;
    verify(&path)?;
    Ok(path)
}

/// The directories that [`resolve`] searches for a config in `config_dir`, of those that exist.
pub(crate) fn places_of(config_dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<(PathBuf, PathBuf)> = Vec::new();
    for place in search_path(std::env::var_os("HEARTH_MODELS"), config_dir, std::env::current_exe().ok().as_deref()) {
        if let Ok(real) = place.canonicalize()
            && real.is_dir()
            && found.iter().all(|(other, _)| *other != real)
        {
            found.push((real, place));
        }
    }
    found.into_iter().map(|(_, place)| place).collect()
}

/// The directory for fetched models; [`resolve`] searches it.
pub(crate) fn home() -> PathBuf {
    let named = std::env::var_os("HEARTH_MODELS").filter(|value| !value.is_empty()).map(PathBuf::from);
    let installed = Path::new(FETCHED).parent().is_some_and(Path::is_dir);
    named.unwrap_or_else(|| if installed { FETCHED.into() } else { HERE.into() })
}

fn is_bare(value: &Path) -> bool {
    let mut components = value.components();
    // "models/" has one component but was written as a path.
    let written_as_path = value.as_os_str().as_encoded_bytes().contains(&b'/');
    matches!(components.next(), Some(Component::Normal(_))) && components.next().is_none() && !written_as_path
}

fn search_path(variable: Option<OsString>, config_dir: &Path, executable: Option<&Path>) -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> = variable.filter(|value| !value.is_empty()).map(PathBuf::from).into_iter().collect();
    places.extend([config_dir.into(), config_dir.join("models")]);
    let beside = executable.and_then(Path::parent);
    places.extend(beside.and_then(Path::parent).map(|prefix| prefix.join("share/hearth/models")));
    places.extend([FETCHED.into(), "/usr/share/hearth/models".into(), HERE.into()]);
    let ancestors = beside.into_iter().flat_map(Path::ancestors).map(|folder| folder.join("models"));
    places.extend(ancestors.filter(|models| models.join(SUMS).is_file()));
    places
}

/// Compares a model, a file or a folder, with the `SHA256SUMS` beside it. What is not listed is accepted.
///
/// # Errors
/// A file cannot be read or has another hash, or the list is damaged.
pub(crate) fn verify(model: &Path) -> Result<(), ModelError> {
    let Some(Listed { sums, files }) = listed(model)? else { return Ok(()) };
    files.iter().try_for_each(|(expected, path)| compare(path, expected, &sums))
}

/// Whether a `SHA256SUMS` lists the model.
///
/// # Errors
/// The list cannot be read.
pub(crate) fn is_listed(model: &Path) -> Result<bool, ModelError> {
    Ok(listed(model)?.is_some_and(|listed| !listed.files.is_empty()))
}

/// The hashes and paths of a model's files that a list has.
struct Listed {
    sums: PathBuf,
    files: Vec<(String, PathBuf)>,
}

fn listed(model: &Path) -> Result<Option<Listed>, ModelError> {
    let model = std::path::absolute(model).map_err(|source| ModelError::Read { path: model.into(), source })?;
    // A file may be a model of its own or a part of one: its folder may be the models directory or lie in it.
    let nearest = model.ancestors().skip(1).take(2).find(|directory| directory.join(SUMS).is_file());
    let Some(directory) = nearest else { return Ok(None) };
    let sums = directory.join(SUMS);
    let all = read_sums(&sums)?.into_iter().map(|(hash, name)| (hash, directory.join(name)));
    Ok(Some(Listed { files: all.filter(|(_, path)| path.starts_with(&model)).collect(), sums }))
}

fn read_sums(path: &Path) -> Result<Vec<(String, PathBuf)>, ModelError> {
    let text = std::fs::read_to_string(path).map_err(|source| ModelError::Read { path: path.into(), source })?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| {
            let bad = || ModelError::BadSums { path: path.into(), line: index + 1 };
            let (hash, name) = line.split_once(' ').ok_or_else(bad)?;
            // The second separator is a space for text and a star for binary files; they mean the same here.
            let name = name.strip_prefix([' ', '*']).unwrap_or(name);
            let is_hash = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
            if is_hash && !name.is_empty() { Ok((hash.to_ascii_lowercase(), name.into())) } else { Err(bad()) }
        })
        .collect()
}

fn compare(path: &Path, expected: &str, sums: &Path) -> Result<(), ModelError> {
    let found = hash(path).map_err(|source| ModelError::Read { path: path.into(), source })?;
    if found == expected {
        return Ok(());
    }
    Err(ModelError::Mismatch { path: path.into(), sums: sums.into(), found, expected: expected.into() })
}

fn hash(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut block = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut block)?;
        if read == 0 {
            break;
        }
        hasher.update(&block[..read]);
    }
    Ok(hex::encode(hasher.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    #[test]
    fn a_place_is_named_once() {
        let looked = ["", "models", "/usr/share/hearth/models", "models"].map(PathBuf::from);
        assert_eq!(places(&looked), "., models, /usr/share/hearth/models");
    }

    #[test]
    fn the_bundled_model_is_called_what_it_is() {
        assert_eq!(title(Path::new("recurrentgemma-nano")), "recurrentgemma-nano (demo model)");
        assert_eq!(
            title(Path::new("/usr/share/hearth/models/recurrentgemma-nano")),
            "recurrentgemma-nano (demo model)"
        );
        assert_eq!(title(Path::new("/srv/2b-it.gguf")), "2b-it.gguf");
    }

    #[test]
    fn a_bare_name_is_looked_for_and_the_error_lists_where() {
        let config = tempfile::tempdir().unwrap();
        let error = resolve(Path::new("nobody.bin"), config.path()).unwrap_err().to_string();
        assert!(error.contains("\"nobody.bin\""), "{error}");
        assert!(error.contains(&config.path().join("models").display().to_string()), "{error}");
        assert!(error.contains("/usr/share/hearth/models") && error.contains("HEARTH_MODELS"), "{error}");

        std::fs::create_dir(config.path().join("models")).unwrap();
        std::fs::write(config.path().join("models/nobody.bin"), "hello").unwrap();
        assert_eq!(resolve(Path::new("nobody.bin"), config.path()).unwrap(), config.path().join("models/nobody.bin"));
    }

    #[test]
    fn the_variable_comes_first_and_the_source_tree_last() {
        let tree = tempfile::tempdir().unwrap();
        let models = tree.path().join("models");
        std::fs::create_dir(&models).unwrap();
        std::fs::write(models.join(SUMS), "").unwrap();
        let executable = tree.path().join("target/release/hearth");
        let places = search_path(Some("/mine".into()), Path::new("/etc/hearth"), Some(&executable));
        assert_eq!(places.first().unwrap(), Path::new("/mine"));
        assert_eq!(places[1..3], [Path::new("/etc/hearth"), Path::new("/etc/hearth/models")]);
        assert_eq!(places[3], tree.path().join("target/share/hearth/models"));
        assert_eq!(places.last().unwrap(), &models);
    }

    #[test]
    fn a_path_is_relative_to_the_config() {
        let config = tempfile::tempdir().unwrap();
        std::fs::write(config.path().join("own.bin"), "hello").unwrap();
        assert_eq!(resolve(Path::new("./own.bin"), config.path()).unwrap(), config.path().join("./own.bin"));
        let error = resolve(Path::new("../other.bin"), config.path()).unwrap_err();
        assert!(matches!(error, ModelError::NoSuchPath { .. }), "{error}");
    }

    #[test]
    fn the_bundled_models_are_intact() {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
        verify(&models.join("whisper-tiny.en-q5_1.bin")).unwrap();
        verify(&models.join("recurrentgemma-nano")).unwrap();
        verify(&models.join("recurrentgemma-nano/model.safetensors")).unwrap();
    }

    #[test]
    fn a_changed_or_missing_file_of_a_listed_model_is_refused() {
        let models = tempfile::tempdir().unwrap();
        let nano = models.path().join("nano");
        std::fs::create_dir(&nano).unwrap();
        std::fs::write(nano.join("a"), "hello").unwrap();
        std::fs::write(models.path().join("whisper.bin"), "hello").unwrap();
        let sums = format!("{HELLO}  nano/a\n{HELLO} *whisper.bin\n");
        std::fs::write(models.path().join(SUMS), sums).unwrap();
        verify(&nano).unwrap();
        verify(&models.path().join("whisper.bin")).unwrap();

        std::fs::write(nano.join("a"), "hullo").unwrap();
        let error = verify(&nano).unwrap_err();
        assert!(matches!(&error, ModelError::Mismatch { path, .. } if path == &nano.join("a")), "{error}");
        verify(&models.path().join("whisper.bin")).unwrap();

        std::fs::remove_file(nano.join("a")).unwrap();
        assert!(matches!(verify(&nano).unwrap_err(), ModelError::Read { .. }));
    }

    #[test]
    fn an_unlisted_model_is_accepted_and_a_broken_list_is_not() {
        let models = tempfile::tempdir().unwrap();
        let own = models.path().join("own.bin");
        std::fs::write(&own, "anything").unwrap();
        verify(&own).unwrap();
        std::fs::write(models.path().join(SUMS), format!("{HELLO}  other\nnonsense\n")).unwrap();
        let error = verify(&own).unwrap_err();
        assert!(matches!(error, ModelError::BadSums { line: 2, .. }), "{error}");
    }
}
