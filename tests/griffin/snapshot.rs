//! A state on disk: the same when it comes back, and refused when anything is wrong with it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use hearth::config::Weights;
use hearth::griffin::kernel::Kernel;
use hearth::griffin::{Model, RingType, State};
use hearth::listener::snapshot::{self, Error, NOTE_MAX};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::{bits, load, load_for, runner, tiny, tiny_dir};

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
    snapshot::save(&path, &state_after(model, &tokens), model.fingerprint(), b"{\"heard\": 3}").unwrap();
    (dir, path)
}

fn refusal(path: &Path, model: &Model) -> Error {
    match snapshot::load(path, model) {
        Ok(_) => panic!("{} was taken", path.display()),
        Err(error) => error,
    }
}

#[test]
fn restoring_a_snapshot_gives_the_same_state_and_the_same_predictions() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let rings = [RingType::F32, RingType::F16];
    let models = |kernel| rings.map(|ring| load_for(kernel, &tiny_dir(), Weights::F32, ring));
    for model in Kernel::available().flat_map(models) {
        let mut runner = runner(16);
        let law = |(tokens, note): (Vec<u32>, Vec<u8>)| {
            let mut state = state_after(&model, &tokens);
            snapshot::save(&path, &state, model.fingerprint(), &note).unwrap();
            let (mut restored, restored_note) = snapshot::load(&path, &model).unwrap();
            prop_assert_eq!(bits(&restored), bits(&state));
            prop_assert_eq!(restored_note, note);
            for token in [5, 9, 2] {
                prop_assert_eq!(model.step(token, &mut restored).unwrap(), model.step(token, &mut state).unwrap());
            }
            Ok(())
        };
        let inputs = (prop::collection::vec(0u32..96, 0..40), prop::collection::vec(any::<u8>(), 0..100));
        runner.run(&inputs, law).unwrap();
    }
}

#[test]
fn a_snapshot_outlives_a_change_of_the_ring_and_of_the_weights() {
    let model = tiny();
    let (_dir, path) = saved(&model);
    let other = load(&tiny_dir(), Weights::Q8_0, RingType::F16);
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
        assert!(matches!(error, Error::Damaged { .. }), "{length} bytes: {error}");
    }
    std::fs::write(&path, [&whole[..], &[0]].concat()).unwrap();
    assert!(matches!(refusal(&path, &model), Error::Damaged { .. }), "a byte too many");
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

#[test]
fn lengths_that_lie_under_a_right_checksum_are_refused() {
    let model = tiny();
    let (_dir, path) = saved(&model);
    let whole = std::fs::read(&path).unwrap();
    let note = 8 + 4 + 32 + 8;
    let count = note + 4 + b"{\"heard\": 3}".len();
    for place in [note, count, count + 4, count + 4 + 1 + 4, count + 4 + 1 + 4 + 1, count + 4 + 1 + 4 + 2] {
        let mut bytes = whole[..whole.len() - 32].to_vec();
        bytes[place..place + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        let checksum = Sha256::digest(&bytes);
        bytes.extend_from_slice(&checksum);
        std::fs::write(&path, &bytes).unwrap();
        let error = refusal(&path, &model);
        assert!(matches!(error, Error::Damaged { .. } | Error::State { .. }), "at {place}: {error}");
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
    says(&other_version, "has format 9, and this hearth reads format 1");
    says(&[&whole[..], &vec![0; 4 << 20]].concat(), "this model's can have");
    let mut flipped = whole.clone();
    flipped[200] ^= 1;
    says(&flipped, "its checksum does not match");
    let missing = refusal(&dir.path().join("nothing"), &model);
    assert!(matches!(missing, Error::Missing { .. }), "{missing}");
}

#[test]
fn a_snapshot_of_another_model_is_refused() {
    let model = tiny();
    let (dir, path) = saved(&model);
    let other_dir = super::files::copy_with(&tiny_dir(), dir.path(), |tensors| {
        // One weight of one tensor, in its last bit.
        tensors.iter_mut().find(|tensor| tensor.name == "model.final_norm.weight").unwrap().bytes[0] ^= 1;
    });
    let other = load(&other_dir, Weights::F32, RingType::F32);
    assert!(matches!(refusal(&path, &other), Error::OtherModel { .. }));
    // Nor does it matter that a larger model's file is larger than ours can be.
    let bytes = [std::fs::read(&path).unwrap(), vec![0; 4 << 20]].concat();
    std::fs::write(&path, bytes).unwrap();
    assert!(matches!(refusal(&path, &other), Error::OtherModel { .. }));
}

#[test]
fn saving_is_private_and_leaves_the_old_file_when_it_fails() {
    let model = tiny();
    let (dir, path) = saved(&model);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    let before = std::fs::read(&path).unwrap();
    let state = state_after(&model, &[1, 2, 3]);
    let too_long = snapshot::save(&path, &state, model.fingerprint(), &vec![0; NOTE_MAX + 1]);
    assert!(matches!(too_long, Err(Error::Note { .. })));
    // A directory where the temporary file should go stands for a disk that cannot be written.
    std::fs::create_dir(dir.path().join("state.part")).unwrap();
    let error = snapshot::save(&path, &state, model.fingerprint(), b"").unwrap_err();
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
