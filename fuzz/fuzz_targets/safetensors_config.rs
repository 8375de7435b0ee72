//! Any bytes as a `config.json` and a `model.safetensors`.

#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use griffin::Quantization;
use griffin::{Model, Options, verify};
use libfuzzer_sys::fuzz_target;

static DIR: LazyLock<PathBuf> = LazyLock::new(|| {
    let dir = std::env::temp_dir().join(format!("hearth-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a temporary directory can be made");
    dir
});

fuzz_target!(|bytes: &[u8]| {
    let Some((length, rest)) = bytes.split_first_chunk() else { return };
    let (config, weights) = rest.split_at(rest.len().min(u16::from_le_bytes(*length).into()));
    for (name, bytes) in [("config.json", config), ("model.safetensors", weights)] {
        std::fs::write(DIR.join(name), bytes).expect("a temporary file can be written");
    }
    let sound = verify(&DIR, &mut |_, _| ()).is_ok();
    let options = Options { weights: Quantization::Q4K, threads: 1, ..Options::default() };
    match Model::load(&DIR, &options) {
        Ok(model) => {
            let last = model.config().vocab_size as u32 - 1;
            model.read(&[0, last], &mut model.state()).expect("a model that was loaded can read");
        }
        Err(error) => assert!(!sound, "what is sound can be loaded: {error}"),
    }
});
