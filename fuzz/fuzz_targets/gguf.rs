//! Any bytes as a GGUF file.

#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use griffin::{Model, Options, sidecar, summary, verify};
use libfuzzer_sys::fuzz_target;

static FILE: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("hearth-fuzz-{}.gguf", std::process::id())));

fuzz_target!(|bytes: &[u8]| {
    std::fs::write(&*FILE, bytes).expect("a temporary file can be written");
    let _ = sidecar(&FILE, "prompt.json");
    let _ = summary(&FILE);
    let sound = verify(&FILE, &mut |_, _| ()).is_ok();
    match Model::load(&FILE, &Options { threads: 1, ..Options::default() }) {
        Ok(model) => {
            let mut state = model.state();
            let last = model.config().vocab_size as u32 - 1;
            model.read(&[0, last], &mut state).expect("a model that was loaded can read");
        }
        Err(error) => assert!(!sound, "what is sound can be loaded: {error}"),
    }
});
