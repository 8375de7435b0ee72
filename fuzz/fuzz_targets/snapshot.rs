//! Any bytes as a snapshot: refused, or a state that can go on. After the first byte a flag: whether its checksum is mended, so
//! that what it guards is met, too.

#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use griffin::{Model, Options};
use hearth::listener::snapshot::{header, load};
use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};

static FILE: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("hearth-fuzz-{}.snapshot", std::process::id())));

/// The smallest model there can be, as the seeds have it.
static MODEL: LazyLock<Model> = LazyLock::new(|| {
    let gguf = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/gguf/seed-f32"));
    Model::load(&gguf, &Options { threads: 1, ..Options::default() }).expect("`cargo run --example seeds` made it")
});

fuzz_target!(|bytes: &[u8]| {
    let Some((mend, bytes)) = bytes.split_first() else { return };
    let mut bytes = bytes.to_vec();
    if mend % 2 == 1 && bytes.len() >= 44 + 32 {
        // The fingerprint and the checksum are what chance never finds.
        bytes[12..44].copy_from_slice(&MODEL.fingerprint());
        let end = bytes.len() - 32;
        let checksum = Sha256::digest(&bytes[..end]);
        bytes[end..].copy_from_slice(&checksum);
    }
    std::fs::write(&*FILE, &bytes).expect("a temporary file can be written");
    let said = header(&FILE);
    match load(&FILE, &MODEL) {
        Ok((mut state, mark)) => {
            assert_eq!(said.expect("what can be loaded has a header").mark.read, mark.read);
            MODEL.read(&[0, 1], &mut state).expect("a state that was loaded can go on");
        }
        Err(error) => assert!(error.to_string().contains("hearth-fuzz-"), "{error} names no file"),
    }
});
