//! A full and a read-only disk. Only root can mount one: `make test-root`.

use std::path::{Path, PathBuf};
use std::process::Command;

use hearth::store::{Store, StoreError};

use crate::*;

#[test]
#[ignore = "needs root, to mount a small file system: make test-root"]
fn a_full_disk_is_an_error_and_loses_nothing_that_was_stored() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path());
    let full = mount(dir.path());
    std::fs::write(full.join("photo"), [0; 64 << 10]).unwrap();
    let mut store = open(&full);
    let mut stored = 0;
    let error = loop {
        match store.record_utterance(&utterance(stored, &"many words ".repeat(500)), &[message("u", stored)]) {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Full { .. }) && error.may_pass(), "{error:?}");
    assert!(error.to_string().contains("hearth.db") && error.to_string().contains("full"), "{error}");
    drop(store);
    // Opening needs some free space.
    std::fs::remove_file(full.join("photo")).unwrap();
    let store = open(&full);
    assert_eq!(store.utterances_after(0, 100_000).unwrap().len(), stored as usize);
    assert_eq!(store.outbox_len().unwrap(), stored as u64);
    drop(store);
    assert!(Command::new("umount").arg(&full).status().unwrap().success());
}

#[test]
#[ignore = "needs root, to mount a small file system: make test-root"]
fn a_read_only_file_system_is_an_error_that_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let small = mount(dir.path());
    let sealed = |options: &str| {
        assert!(Command::new("mount").args(["-o", options]).arg(&small).status().unwrap().success());
    };
    sealed("remount,ro");
    let error = Store::open(&small, ROOMY).unwrap_err().to_string();
    assert!(error.contains("hearth.db cannot be opened for writing") && error.contains("ead-only"), "{error}");
    let error = Store::open(&small.join("deeper"), ROOMY).unwrap_err().to_string();
    assert!(error.contains("deeper cannot be made") && error.contains("[store] dir"), "{error}");
    sealed("remount,rw");
    let mut store = open(&small);
    assert!(store.enqueue(&[message("u", 1)]).is_ok());
    drop(store);
    assert!(Command::new("umount").arg(&small).status().unwrap().success());
}

/// Mounts a file system of 2 MiB below `dir`.
fn mount(dir: &Path) -> PathBuf {
    let small = dir.join("small");
    std::fs::create_dir(&small).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "hearth"]).arg(&small).status().unwrap();
    assert!(mounted.success(), "a small file system can only be mounted as root");
    small
}
