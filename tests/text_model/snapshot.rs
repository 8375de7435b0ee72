//! A state on disk: the same when it comes back, and refused when anything is wrong with it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use griffin::Quantization;
use griffin::kernels::Kernel;
use griffin::{KvCacheType, Model, State};
use hearth::listener::snapshot::{self, ReadPosition, SnapshotError};
use jiff::Timestamp;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::{bits, load, load_for, runner, tiny, tiny_dir};

/// An instant without a fraction of a nanosecond, as everywhere.
const MARK: ReadPosition = ReadPosition { read: 7, time: Timestamp::constant(1_700_000_000, 123_456_789) };

fn state_after(model: &Model, tokens: &[u32]) -> State {
    let mut state = model.state();
    model.ingest(tokens, &mut state).unwrap();
    state
}

/// A directory with a snapshot of the tiny model in it.
fn saved(model: &Model) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let tokens: Vec<u32> = (0..20).collect();
    snapshot::save(&path, &state_after(model, &tokens), model.fingerprint(), &MARK).unwrap();
    (dir, path)
}

fn refusal(path: &Path, model: &Model) -> SnapshotError {
    match snapshot::load(path, model) {
        Ok(_) => panic!("{} was taken", path.display()),
        Err(error) => error,
    }
}

#[test]
fn restoring_a_snapshot_gives_the_same_state_and_the_same_predictions() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let rings = [KvCacheType::F32, KvCacheType::I16];
    let models = |kernel| rings.map(|ring| load_for(kernel, &tiny_dir(), Quantization::F32, ring));
    for model in Kernel::available().flat_map(models) {
        let mut runner = runner(16);
        let law = |(tokens, read, nanos): (Vec<u32>, i64, i64)| {
            let mut state = state_after(&model, &tokens);
            let mark = ReadPosition { read, time: Timestamp::from_nanosecond(nanos.into()).unwrap() };
            snapshot::save(&path, &state, model.fingerprint(), &mark).unwrap();
            let header = snapshot::header(&path).unwrap();
            prop_assert_eq!((header.mark, header.tokens_read), (mark, state.tokens_read()));
            let (mut restored, restored_mark) = snapshot::load(&path, &model).unwrap();
            prop_assert_eq!(bits(&restored), bits(&state));
            prop_assert_eq!(restored_mark, mark);
            for token in [5, 9, 2] {
                prop_assert_eq!(model.step(token, &mut restored).unwrap(), model.step(token, &mut state).unwrap());
            }
            Ok(())
        };
        let inputs = (prop::collection::vec(0u32..96, 0..40), any::<i64>(), any::<i64>());
        runner.run(&inputs, law).unwrap();
    }
}

#[test]
fn a_snapshot_outlives_a_change_of_the_ring_and_of_the_weights() {
    let model = tiny();
    let (_dir, path) = saved(&model);
    let other = load(&tiny_dir(), Quantization::Q8_0, KvCacheType::I16);
    let (state, _) = snapshot::load(&path, &other).unwrap();
    assert_eq!(state.tokens_read(), 20);
    assert_eq!(state.bytes(), other.state().bytes());
}

#[test]
fn a_snapshot_cut_at_any_place_is_refused() {
    let model = tiny();
    let (_dir, path) = saved(&model);
    let whole = std::fs::read(&path).unwrap();
    // Around every boundary of the header and the note, within leaves, and within the checksum.
    let places = (0..140).chain((140..whole.len()).step_by(97)).chain(whole.len() - 40..whole.len());
    for length in places {
        std::fs::write(&path, &whole[..length]).unwrap();
        let error = refusal(&path, &model);
        assert!(matches!(error, SnapshotError::Damaged { .. }), "{length} bytes: {error}");
    }
    std::fs::write(&path, [&whole[..], &[0]].concat()).unwrap();
    assert!(matches!(refusal(&path, &model), SnapshotError::Damaged { .. }), "a byte too many");
}

#[test]
fn a_snapshot_with_any_bit_turned_is_refused() {
    let model = tiny();
    let (_dir, path) = saved(&model);
    let whole = std::fs::read(&path).unwrap();
    let mut runner = runner(200);
    let law = |(place, bit): (usize, u8)| {
        let mut bytes = whole.clone();
        bytes[place] ^= 1 << bit;
        std::fs::write(&path, &bytes).unwrap();
        refusal(&path, &model);
        Ok(())
    };
    runner.run(&(0..whole.len(), 0u8..8), law).unwrap();
}

/// A file as the version before this one wrote it.
fn in_version_1(model: &Model, state: &State, note: &[u8]) -> Vec<u8> {
    let mut bytes = b"HEARTHST".to_vec();
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(model.fingerprint());
    bytes.extend(state.tokens_read().to_le_bytes());
    bytes.extend((note.len() as u32).to_le_bytes());
    bytes.extend(note);
    let leaves = state.tensors();
    bytes.extend((leaves.len() as u32).to_le_bytes());
    for leaf in leaves {
        bytes.push(leaf.name.len() as u8);
        bytes.extend(leaf.name.as_bytes());
        bytes.extend([u8::from(leaf.half), leaf.shape.len() as u8]);
        leaf.shape.iter().for_each(|&size| bytes.extend((size as u32).to_le_bytes()));
        bytes.extend(&leaf.bytes);
    }
    sealed(bytes)
}

fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let checksum = Sha256::digest(&bytes);
    bytes.extend_from_slice(&checksum);
    bytes
}

#[test]
fn a_snapshot_of_an_older_hearth_is_taken() {
    let model = tiny();
    let (_dir, path) = saved(&model);
    let state = state_after(&model, &(0..20).collect::<Vec<_>>());
    std::fs::write(&path, in_version_1(&model, &state, b"{\"read\":3}")).unwrap();
    let (restored, mark) = snapshot::load(&path, &model).unwrap();
    assert_eq!((bits(&restored), mark.read), (bits(&state), 3));
    assert_eq!(mark, snapshot::header(&path).unwrap().mark);
    std::fs::write(&path, in_version_1(&model, &state, b"{\"red\":3}")).unwrap();
    assert!(matches!(refusal(&path, &model), SnapshotError::Damaged { .. }));
}

#[test]
fn lengths_that_lie_under_a_right_checksum_are_refused() {
    let model = tiny();
    let (_dir, path) = saved(&model);
    let state = state_after(&model, &(0..20).collect::<Vec<_>>());
    let note = 8 + 4 + 32 + 8;
    let count = note + 4 + b"{\"read\":3}".len();
    let lies = |whole: &[u8], place: usize| {
        let mut bytes = whole[..whole.len() - 32].to_vec();
        bytes[place..place + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        std::fs::write(&path, sealed(bytes)).unwrap();
        let error = refusal(&path, &model);
        assert!(matches!(error, SnapshotError::Damaged { .. } | SnapshotError::State { .. }), "at {place}: {error}");
    };
    let plain = in_version_1(&model, &state, b"{\"read\":3}");
    for place in [note, count, count + 4, count + 4 + 1 + 4, count + 4 + 1 + 4 + 1, count + 4 + 1 + 4 + 2] {
        lies(&plain, place);
    }
    snapshot::save(&path, &state, model.fingerprint(), &MARK).unwrap();
    let packed = std::fs::read(&path).unwrap();
    // The size of what is packed, and what zstd says of it.
    for place in [note + 16, note + 20, note + 24, note + 28] {
        lies(&packed, place);
    }
}

#[test]
fn each_fault_has_its_own_words() {
    let model = tiny();
    let (dir, path) = saved(&model);
    let whole = std::fs::read(&path).unwrap();
    let says = |bytes: &[u8], expected: &str| {
        std::fs::write(&path, bytes).unwrap();
        let message = refusal(&path, &model).to_string();
        assert!(message.contains(expected), "{message:?} should say {expected:?}");
        assert!(message.contains(path.to_str().unwrap()), "{message:?} should name the file");
    };
    says(b"", "is damaged: it ends too soon");
    says(b"{\"json\": true}", "is not a snapshot of hearth");
    let mut other_version = whole.clone();
    other_version[8] = 9;
    says(&other_version, "has format 9, and this hearth reads formats 1 and 2");
    says(&[&whole[..], &vec![0; 4 << 20]].concat(), "this model's can have");
    let mut flipped = whole.clone();
    flipped[200] ^= 1;
    says(&flipped, "its checksum does not match");
    let missing = refusal(&dir.path().join("nothing"), &model);
    assert!(matches!(missing, SnapshotError::Missing { .. }), "{missing}");
}

#[test]
fn a_snapshot_of_another_model_is_refused() {
    let model = tiny();
    let (dir, path) = saved(&model);
    let other_dir = dir.path().join("other");
    std::fs::create_dir(&other_dir).unwrap();
    std::fs::copy(tiny_dir().join("config.json"), other_dir.join("config.json")).unwrap();
    // One weight in its last bit: the first of the last tensor's.
    let mut weights = std::fs::read(tiny_dir().join("model.safetensors")).unwrap();
    let last = weights.len() - 4;
    weights[last] ^= 1;
    std::fs::write(other_dir.join("model.safetensors"), weights).unwrap();
    let other = load(&other_dir, Quantization::F32, KvCacheType::F32);
    assert!(matches!(refusal(&path, &other), SnapshotError::OtherModel { .. }));
    // Nor does it matter that a larger model's file is larger than ours can be.
    let bytes = [std::fs::read(&path).unwrap(), vec![0; 4 << 20]].concat();
    std::fs::write(&path, bytes).unwrap();
    assert!(matches!(refusal(&path, &other), SnapshotError::OtherModel { .. }));
}

#[test]
fn saving_is_private_and_leaves_the_old_file_when_it_fails() {
    let model = tiny();
    let (dir, path) = saved(&model);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    let before = std::fs::read(&path).unwrap();
    let state = state_after(&model, &[1, 2, 3]);
    // A directory where the temporary file should go stands for a disk that cannot be written.
    std::fs::create_dir(dir.path().join("state.part")).unwrap();
    let error = snapshot::save(&path, &state, model.fingerprint(), &MARK).unwrap_err();
    assert!(error.to_string().contains("cannot be written"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_bad_file_is_kept_aside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    std::fs::write(&path, b"whatever").unwrap();
    let aside = snapshot::set_aside(&path).unwrap();
    assert!(aside.to_str().unwrap().contains("state.bad-20"), "{}", aside.display());
    assert_eq!(std::fs::read(&aside).unwrap(), b"whatever");
    assert!(!path.exists());
}
