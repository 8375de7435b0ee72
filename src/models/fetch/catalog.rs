//! The models that can be fetched by name: repositories, files, sizes and licenses.

use serde::Deserialize;

use super::FetchError;

/// The default hub.
pub(crate) const HUB: &str = "https://huggingface.co";

/// A model that can be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogEntry {
    /// The name that people give.
    pub(crate) name: String,
    /// Owner and repository on the hub.
    pub(crate) repo: &'static str,
    pub(crate) parts: Parts,
    /// Approximate size in bytes; the hub gives the exact one.
    pub(crate) about_bytes: u64,
    pub(crate) license: &'static str,
    /// Its license must be accepted on the hub first.
    pub(crate) gated: bool,
}

/// The files of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Parts {
    /// One file, which keeps its name.
    File(String),
    /// A folder in Hugging Face layout: [`FOLDER`], and weights in one file or in the shards that [`INDEX`] names.
    Folder,
}

/// The files of every folder apart from its weights.
pub(crate) const FOLDER: [&str; 2] = ["config.json", "tokenizer.json"];
/// The list of shards, if the weights are in more than one file.
pub(crate) const INDEX: &str = "model.safetensors.index.json";
/// The weights, if they are in one file.
pub(crate) const WEIGHTS: &str = "model.safetensors";

const GEMMA: &str = "Gemma Terms of Use";

/// Parameters in bf16.
const RECURRENTGEMMA: [(&str, &str, u64); 4] = [
    ("recurrentgemma-2b-it", "google/recurrentgemma-2b-it", 5_370),
    ("recurrentgemma-2b", "google/recurrentgemma-2b", 5_370),
    ("recurrentgemma-9b-it", "google/recurrentgemma-9b-it", 17_200),
    ("recurrentgemma-9b", "google/recurrentgemma-9b", 17_200),
];

/// whisper.cpp's own conversions, with their megabytes. `.en` models know only English, and better.
const WHISPER: [(&str, u64); 33] = [
    ("tiny", 78),
    ("tiny-q5_1", 32),
    ("tiny-q8_0", 44),
    ("tiny.en", 78),
    ("tiny.en-q5_1", 32),
    ("tiny.en-q8_0", 44),
    ("base", 148),
    ("base-q5_1", 60),
    ("base-q8_0", 82),
    ("base.en", 148),
    ("base.en-q5_1", 60),
    ("base.en-q8_0", 82),
    ("small", 488),
    ("small-q5_1", 190),
    ("small-q8_0", 264),
    ("small.en", 488),
    ("small.en-q5_1", 190),
    ("small.en-q8_0", 264),
    ("medium", 1_534),
    ("medium-q5_0", 539),
    ("medium-q8_0", 823),
    ("medium.en", 1_534),
    ("medium.en-q5_0", 539),
    ("medium.en-q8_0", 823),
    ("large-v2", 3_095),
    ("large-v2-q5_0", 1_081),
    ("large-v2-q8_0", 1_656),
    ("large-v3", 3_095),
    ("large-v3-q5_0", 1_081),
    ("large-v3-turbo", 1_625),
    ("large-v3-turbo-q5_0", 574),
    ("large-v3-turbo-q8_0", 874),
    ("large-v1", 3_095),
];

/// Everything that can be fetched by name.
pub fn entries() -> impl Iterator<Item = CatalogEntry> {
    let gemma = RECURRENTGEMMA.iter().map(|&(name, repo, megabytes)| CatalogEntry {
        name: name.into(),
        repo,
        parts: Parts::Folder,
        about_bytes: megabytes * 1_000_000,
        license: GEMMA,
        gated: true,
    });
    let whisper = WHISPER.iter().map(|&(form, megabytes)| CatalogEntry {
        name: format!("whisper-{form}"),
        repo: "ggerganov/whisper.cpp",
        parts: Parts::File(format!("ggml-{form}.bin")),
        about_bytes: megabytes * 1_000_000,
        license: "MIT",
        gated: false,
    });
    gemma.chain(whisper)
}

/// Finds a model by name. It may also be written as on the hub: `google/recurrentgemma-2b-it`, `ggml-base.en.bin`, `base.en`.
///
/// # Errors
/// [`FetchError::Unknown`], with the nearest name.
pub fn find(name: &str) -> Result<CatalogEntry, FetchError> {
    let wanted = name.trim().to_ascii_lowercase();
    let bare = wanted.rsplit_once('/').map_or(wanted.as_str(), |(_, bare)| bare);
    let bare = bare.strip_suffix(".bin").unwrap_or(bare);
    let form = bare.strip_prefix("ggml-").unwrap_or(bare);
    let means = |entry: &CatalogEntry| entry.name == bare || entry.name.strip_prefix("whisper-") == Some(form);
    entries().find(means).ok_or_else(|| {
        let near = |entry: &CatalogEntry| (strsim::jaro_winkler(&entry.name, bare) * 1e6) as u64;
        let nearest = entries().max_by_key(near).expect("the catalog is not empty").name;
        FetchError::Unknown { name: name.into(), nearest }
    })
}

/// The address of a file of a repository.
pub(crate) fn url(endpoint: &str, repo: &str, revision: &str, file: &str) -> String {
    format!("{}/{repo}/resolve/{revision}/{file}", endpoint.trim_end_matches('/'))
}

/// The page on which a license is accepted.
pub(crate) fn page(repo: &str) -> String {
    format!("{HUB}/{repo}")
}

#[derive(Deserialize)]
struct ShardIndex {
    weight_map: std::collections::BTreeMap<String, String>,
}

/// The shards that an [`INDEX`] names, each once, in order.
///
/// # Errors
/// The list is damaged, or names a file outside of its own folder.
pub(crate) fn shards(index: &str) -> Result<Vec<String>, String> {
    let index: ShardIndex = serde_json::from_str(index).map_err(|error| error.to_string())?;
    let shards: std::collections::BTreeSet<String> = index.weight_map.into_values().collect();
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match shards.iter().find(|name| !name.ends_with(".safetensors") || !name.chars().all(fine)) {
        Some(bad) => Err(format!("{bad:?} is no name of a shard")),
        None if shards.is_empty() => Err("it names no shard".into()),
        None => Ok(shards.into_iter().collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_again_and_names_one_model() {
        let names: Vec<String> = entries().map(|entry| entry.name).collect();
        for name in &names {
            assert_eq!(&find(name).unwrap().name, name);
            assert_eq!(names.iter().filter(|other| *other == name).count(), 1, "{name}");
        }
    }

    #[test]
    fn a_model_is_found_by_its_names_on_the_hub() {
        for name in ["whisper-base.en-q5_1", "base.en-q5_1", "ggml-base.en-q5_1.bin", "ggerganov/ggml-base.en-q5_1.bin"]
        {
            assert_eq!(find(name).unwrap().parts, Parts::File("ggml-base.en-q5_1.bin".into()), "{name}");
        }
        for name in ["recurrentgemma-2b-it", "google/recurrentgemma-2b-it", "RecurrentGemma-2B-it"] {
            assert_eq!(find(name).unwrap().repo, "google/recurrentgemma-2b-it", "{name}");
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest() {
        let told = |name| find(name).unwrap_err().to_string();
        assert!(told("recurentgemma-2b").contains("did you mean recurrentgemma-2b?"), "{}", told("recurentgemma-2b"));
        assert!(
            told("whisper-base.en-q4_1").contains("did you mean whisper-base.en"),
            "{}",
            told("whisper-base.en-q4_1")
        );
    }

    #[test]
    fn a_url_is_the_hubs() {
        let expected = "https://huggingface.co/google/recurrentgemma-2b/resolve/main/config.json";
        assert_eq!(url(HUB, "google/recurrentgemma-2b", "main", "config.json"), expected);
        assert_eq!(url("https://huggingface.co/", "google/recurrentgemma-2b", "main", "config.json"), expected);
    }

    #[test]
    fn an_index_names_each_shard_once_and_nothing_outside() {
        let index = |shard: &str| {
            format!(r#"{{"metadata": {{}}, "weight_map": {{"a": "m-2.safetensors", "b": "{shard}", "c": "{shard}"}}}}"#)
        };
        assert_eq!(shards(&index("m-1.safetensors")).unwrap(), ["m-1.safetensors", "m-2.safetensors"]);
        for bad in ["../m.safetensors", "/etc/m.safetensors", "m/x.safetensors", "m.bin", "a b.safetensors"] {
            assert!(shards(&index(bad)).unwrap_err().contains(bad), "{bad}");
        }
        assert_eq!(shards(r#"{"weight_map": {}}"#).unwrap_err(), "it names no shard");
        assert!(shards("{").is_err() && shards("[]").is_err());
    }
}
