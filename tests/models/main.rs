//! Models from a hub: whole and right, or not at all.
#![allow(clippy::disallowed_methods, reason = "a test is its own supervisor")]

mod commands;
mod hub;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use hearth::models::fetch::catalog::{self, CatalogEntry};
use hearth::models::fetch::hub::{Hub as Client, Token};
use hearth::models::fetch::{FetchError, FetchEvent, Fetcher, RetryPolicy};
use hub::{COMMIT, Faults, Hub, sha256};
use proptest::prelude::*;

const FILE: &str = "ggml-tiny.en-q5_1.bin";
const INDEX: &str = r#"{"metadata": {}, "weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}"#;

fn whisper() -> CatalogEntry {
    catalog::find("whisper-tiny.en-q5_1").unwrap()
}

fn gemma() -> CatalogEntry {
    catalog::find("recurrentgemma-2b-it").unwrap()
}

/// Bytes that differ from place to place.
fn noise(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(2_654_435_761) >> 7) as u8 ^ seed).collect()
}

/// Fetches with so many tries and no pause; returns what was told too.
fn fetch_with(
    hub: &Hub,
    entry: &CatalogEntry,
    to: &Path,
    tries: u32,
    token: Option<&str>,
) -> (Result<(), FetchError>, Vec<String>) {
    let token = token.map(|token| Token::new(token, "the test").unwrap());
    let client = Client::new(&hub.endpoint(), token).unwrap();
    let mut told = Vec::new();
    let mut tell = |event: FetchEvent<'_>| match event {
        FetchEvent::Bytes { done, size, .. } => assert!(done <= size),
        other => told.push(format!("{other:?}")),
    };
    let retry = RetryPolicy { tries, pause: Duration::ZERO };
    let fetched = Fetcher { hub: client, retry, tell: &mut tell }.fetch(entry, to);
    if let Ok(path) = &fetched {
        assert!(path.starts_with(to) && path.exists(), "{}", path.display());
    }
    (fetched.map(drop), told)
}

fn fetch(hub: &Hub, entry: &CatalogEntry, to: &Path, tries: u32) -> Result<(), FetchError> {
    fetch_with(hub, entry, to, tries, None).0
}

/// The names in a folder.
fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A hub with one file of Whisper's, and a folder to fetch it into.
fn one_file(faults: Faults) -> (Hub, Vec<u8>, tempfile::TempDir) {
    let bytes = noise(600_000, 0);
    (Hub::start(&[(FILE, &bytes)], faults), bytes, tempfile::tempdir().unwrap())
}

#[test]
fn a_complete_file_gets_its_own_name_and_is_readable_by_all() {
    let (hub, bytes, dir) = one_file(Faults::default());
    let to = dir.path().join("new/models");
    fetch(&hub, &whisper(), &to, 1).unwrap();
    assert_eq!(names(&to), [FILE]);
    let path = to.join(FILE);
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    let paths: Vec<String> = hub.requests().iter().map(|r| format!("{} {} {}", r.at, r.method, r.path)).collect();
    let url = |revision: &str| format!("/ggerganov/whisper.cpp/resolve/{revision}/{FILE}");
    let expected = [
        format!("hub HEAD {}", url("main")),
        format!("hub GET {}", url(COMMIT)),
        format!("store GET /{FILE}?signature=s"),
    ];
    assert_eq!(paths, expected);
}

#[test]
fn a_broken_download_is_continued() {
    let (hub, bytes, dir) = one_file(Faults { cuts: vec![250_000, 0, 100_000], ..Faults::default() });
    fetch(&hub, &whisper(), dir.path(), 3).unwrap();
    assert_eq!(std::fs::read(dir.path().join(FILE)).unwrap(), bytes);
    let went_on = |at: u32| Some(format!("bytes={at}-"));
    assert_eq!(hub.ranges(), [None, went_on(250_000), went_on(250_000), went_on(350_000)]);
}

#[test]
fn the_next_run_continues_where_the_last_gave_up() {
    let (hub, bytes, dir) = one_file(Faults { cuts: vec![250_000], ..Faults::default() });
    let error = fetch(&hub, &whisper(), dir.path(), 1).unwrap_err();
    assert!(error.to_string().contains("broke at 250000 of 600000 bytes of ggml-tiny.en-q5_1.bin"), "{error}");
    assert_eq!(names(dir.path()), [format!("{FILE}.{}.part", &sha256(&bytes)[..12])]);
    hub.requests();
    let (done, told) = fetch_with(&hub, &whisper(), dir.path(), 1, None);
    done.unwrap();
    assert_eq!(hub.ranges(), [Some("bytes=250000-".into())]);
    assert!(told.contains(&format!("Begin {{ file: {FILE:?}, at: 250000, size: 600000 }}")), "{told:?}");
    assert_eq!(std::fs::read(dir.path().join(FILE)).unwrap(), bytes);
    assert_eq!(names(dir.path()), [FILE]);
}

#[test]
fn a_server_that_cannot_continue_starts_from_the_beginning() {
    for fault in [Faults { no_ranges: true, ..Faults::default() }, Faults { part_from: Some(0), ..Faults::default() }] {
        let (hub, bytes, dir) = one_file(Faults { cuts: vec![250_000], ..fault });
        let (done, told) = fetch_with(&hub, &whisper(), dir.path(), 2, None);
        done.unwrap();
        assert!(told.contains(&format!("Anew {{ file: {FILE:?} }}")), "{told:?}");
        assert_eq!(std::fs::read(dir.path().join(FILE)).unwrap(), bytes);
    }
}

#[test]
fn a_range_that_was_not_requested_is_refused() {
    let (hub, _, dir) = one_file(Faults { part_from: Some(7), ..Faults::default() });
    let error = fetch(&hub, &whisper(), dir.path(), 1).unwrap_err();
    assert!(error.to_string().contains("a part that was not asked for (bytes 7-599999/600000)"), "{error}");
}

#[test]
fn a_partial_file_of_another_version_is_not_continued() {
    let (hub, _, dir) = one_file(Faults { cuts: vec![250_000], ..Faults::default() });
    fetch(&hub, &whisper(), dir.path(), 1).unwrap_err();
    let newer = noise(600_000, 1);
    hub.set(FILE, &newer);
    hub.requests();
    fetch(&hub, &whisper(), dir.path(), 1).unwrap();
    assert_eq!(hub.ranges(), [None]);
    assert_eq!(std::fs::read(dir.path().join(FILE)).unwrap(), newer);
    assert_eq!(names(dir.path()), [FILE], "the old part is gone");
}

#[test]
fn a_wrong_hash_is_refused_and_both_hashes_are_named() {
    let (hub, bytes, dir) = one_file(Faults { lies: true, ..Faults::default() });
    let error = fetch(&hub, &whisper(), dir.path(), 5).unwrap_err();
    assert!(matches!(error, FetchError::Mismatch { .. }), "{error}");
    let told = error.to_string();
    assert!(told.contains(&sha256(&bytes)) && told.contains(&"0".repeat(64)) && told.contains(FILE), "{told}");
    assert_eq!(names(dir.path()), [""; 0]);
    assert_eq!(hub.ranges().len(), 1, "a lie is not asked for again");
}

#[test]
fn more_bytes_than_named_are_refused() {
    let (hub, _, dir) = one_file(Faults { surplus: 1, ..Faults::default() });
    let error = fetch(&hub, &whisper(), dir.path(), 5).unwrap_err();
    assert!(error.to_string().contains("longer than the 600000 bytes"), "{error}");
    assert_eq!(names(dir.path()), [""; 0]);
}

#[test]
fn a_folder_is_fetched_with_all_shards_of_one_commit_and_only_once() {
    let (one, two) = (noise(300_000, 1), noise(100_000, 2));
    let files: [(&str, &[u8]); 5] = [
        ("config.json", b"{}"),
        ("tokenizer.json", b"{\"model\": {}}"),
        ("model.safetensors.index.json", INDEX.as_bytes()),
        ("model-00001-of-00002.safetensors", &one),
        ("model-00002-of-00002.safetensors", &two),
    ];
    let hub = Hub::start(&files, Faults::default());
    let dir = tempfile::tempdir().unwrap();
    fetch(&hub, &gemma(), dir.path(), 1).unwrap();
    let folder = dir.path().join("recurrentgemma-2b-it");
    for (name, bytes) in files {
        assert_eq!(std::fs::read(folder.join(name)).unwrap(), bytes, "{name}");
    }
    assert_eq!(names(&folder).len(), files.len());
    let main = hub.requests().iter().filter(|request| request.path.contains("/main/")).count();
    assert_eq!(main, 2, "only the first file is described at what main is, through one redirect");

    let (done, told) = fetch_with(&hub, &gemma(), dir.path(), 1, None);
    done.unwrap();
    assert_eq!(hub.requests().iter().filter(|request| request.method == "GET").count(), 0);
    assert_eq!(told.iter().filter(|event| event.starts_with("Present")).count(), files.len(), "{told:?}");

    // Of the right size, and wrong.
    std::fs::write(folder.join("model-00001-of-00002.safetensors"), noise(300_000, 9)).unwrap();
    std::fs::write(folder.join("config.json"), "[]").unwrap();
    fetch(&hub, &gemma(), dir.path(), 1).unwrap();
    assert_eq!(std::fs::read(folder.join("model-00001-of-00002.safetensors")).unwrap(), one);
    assert_eq!(std::fs::read(folder.join("config.json")).unwrap(), b"{}");
}

#[test]
fn a_small_file_is_verified_too() {
    let hub = Hub::start(
        &[("config.json", b"{}"), ("tokenizer.json", b"{}"), ("model.safetensors", b"w")],
        Faults::default(),
    );
    let dir = tempfile::tempdir().unwrap();
    fetch(&hub, &gemma(), dir.path(), 1).unwrap();
    assert_eq!(names(&dir.path().join("recurrentgemma-2b-it")), ["config.json", "model.safetensors", "tokenizer.json"]);
    hub.misbehave(Faults { lies: true, ..Faults::default() });
    let error = fetch(&hub, &gemma(), dir.path(), 1).unwrap_err().to_string();
    assert!(error.starts_with("config.json did not arrive") && error.contains(&"0".repeat(40)), "{error}");
}

#[test]
fn an_index_cannot_name_a_file_outside_of_its_folder() {
    let index = INDEX.replace("model-00002", "../../model-00002");
    let hub = Hub::start(
        &[("config.json", b"{}"), ("tokenizer.json", b"{}"), ("model.safetensors.index.json", index.as_bytes())],
        Faults::default(),
    );
    let error = fetch(&hub, &gemma(), tempfile::tempdir().unwrap().path(), 1).unwrap_err().to_string();
    assert!(error.contains("model.safetensors.index.json of google/recurrentgemma-2b-it"), "{error}");
    assert!(error.contains("../../model-00002-of-00002.safetensors"), "{error}");
}

#[test]
fn a_gated_model_says_where_its_license_is_accepted_and_how_a_token_is_given() {
    let hub = Hub::start(&[], Faults { token: Some("hf_right".into()), ..Faults::default() });
    let told = |token| fetch_with(&hub, &gemma(), Path::new("/nowhere"), 3, token).0.unwrap_err().to_string();
    let page = "https://huggingface.co/google/recurrentgemma-2b-it";
    for part in [page, "https://huggingface.co/settings/tokens", "HF_TOKEN", "--token-file"] {
        assert!(told(None).contains(part), "{}", told(None));
    }
    assert!(told(Some("hf_wrong")).starts_with("the hub does not take the token"), "{}", told(Some("hf_wrong")));
    hub.misbehave(Faults { token: Some("hf_right".into()), not_accepted: true, ..Faults::default() });
    assert!(told(Some("hf_right")).contains(&format!("accept the license at {page}")), "{}", told(Some("hf_right")));
    assert_eq!(hub.requests().iter().filter(|request| request.at == "store").count(), 0);
}

#[test]
fn the_token_goes_to_the_hub_and_not_to_its_storage_host() {
    let files: [(&str, &[u8]); 3] = [("config.json", b"{}"), ("tokenizer.json", b"{}"), ("model.safetensors", b"w")];
    let hub = Hub::start(&files, Faults { token: Some("hf_right".into()), ..Faults::default() });
    let dir = tempfile::tempdir().unwrap();
    fetch_with(&hub, &gemma(), dir.path(), 1, Some("hf_right")).0.unwrap();
    let requests = hub.requests();
    let with_token = |at| requests.iter().filter(|r| r.at == at).map(|r| r.header("authorization").is_some()).collect();
    let (hub_saw, store_saw): (Vec<bool>, Vec<bool>) = (with_token("hub"), with_token("store"));
    assert!(hub_saw.len() > 6 && hub_saw.iter().all(|saw| *saw), "{hub_saw:?}");
    assert_eq!(store_saw, [false]);
}

#[test]
fn a_busy_hub_is_asked_again_and_then_given_up() {
    let (hub, bytes, dir) = one_file(Faults { busy: 2, ..Faults::default() });
    let (done, told) = fetch_with(&hub, &whisper(), dir.path(), 3, None);
    done.unwrap();
    assert_eq!(told.iter().filter(|event| event.starts_with("Again")).count(), 2, "{told:?}");
    assert_eq!(std::fs::read(dir.path().join(FILE)).unwrap(), bytes);
    hub.misbehave(Faults { busy: 100, ..Faults::default() });
    let error = fetch(&hub, &whisper(), dir.path(), 3).unwrap_err().to_string();
    assert_eq!(error, "127.0.0.1 is busy (HTTP 503); try again later");
}

#[test]
fn without_a_network_the_host_is_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let client = Client::new(&endpoint, None).unwrap();
    let retry = RetryPolicy { tries: 2, pause: Duration::ZERO };
    let error = Fetcher { hub: client, retry, tell: &mut |_| {} }.fetch(&whisper(), Path::new("/nowhere")).unwrap_err();
    assert_eq!(error.to_string(), "cannot reach 127.0.0.1; check the network, or name a mirror with --endpoint");
}

#[test]
fn a_download_without_enough_space_is_not_begun() {
    let (hub, _, dir) = one_file(Faults { size: Some(1 << 60), ..Faults::default() });
    let error = fetch(&hub, &whisper(), dir.path(), 1).unwrap_err().to_string();
    assert!(error.contains("1152921504606846976 more bytes are needed") && error.contains("--to"), "{error}");
    assert_eq!(hub.ranges(), [None; 0]);
}

#[test]
fn a_server_that_is_no_hub_is_named_as_such() {
    let (hub, _, dir) = one_file(Faults { silent: true, ..Faults::default() });
    let told = || fetch(&hub, &whisper(), dir.path(), 1).unwrap_err().to_string();
    assert!(told().contains("it names no hash; is the endpoint right?"), "{}", told());
    hub.misbehave(Faults { circles: true, ..Faults::default() });
    assert!(told().contains("redirects without end"), "{}", told());
    let other = catalog::find("whisper-base").unwrap();
    hub.misbehave(Faults::default());
    let error = fetch(&hub, &other, dir.path(), 1).unwrap_err().to_string();
    assert!(error.starts_with("ggerganov/whisper.cpp has no ggml-base.bin"), "{error}");
}

#[test]
fn two_processes_do_not_write_one_file() {
    let (hub, bytes, dir) = one_file(Faults::default());
    let part = dir.path().join(format!("{FILE}.{}.part", &sha256(&bytes)[..12]));
    let other = std::fs::File::create(&part).unwrap();
    other.lock().unwrap();
    let error = fetch(&hub, &whisper(), dir.path(), 1).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{} is being fetched already", part.display())), "{error}");
    drop(other);
    fetch(&hub, &whisper(), dir.path(), 1).unwrap();
}

#[test]
fn however_often_the_connection_breaks_the_file_is_intact() {
    let config = ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let inputs = (0..80_000usize, proptest::collection::vec(0..40_000usize, 0..5), any::<bool>(), 0..100_000usize);
    let law = |(len, cuts, no_ranges, left): (usize, Vec<usize>, bool, usize)| {
        let bytes = noise(len, 3);
        let hub = Hub::start(&[(FILE, &bytes)], Faults { cuts, no_ranges, ..Faults::default() });
        let dir = tempfile::tempdir().unwrap();
        // What an earlier run left may be longer than the file, but it is of this file, or the hash tells.
        let part = dir.path().join(format!("{FILE}.{}.part", &sha256(&bytes)[..12]));
        std::fs::write(&part, noise(left, 3)).unwrap();
        fetch(&hub, &whisper(), dir.path(), 20).unwrap();
        prop_assert!(std::fs::read(dir.path().join(FILE)).unwrap() == bytes);
        prop_assert_eq!(names(dir.path()), [FILE]);
        Ok(())
    };
    runner.run(&inputs, law).unwrap();
}
