//! Snapshots, and what is kept beside them: after a restart everything continues as before.

use std::path::Path;

use hearth::listener::ListenerOutcome;
use hearth::listener::snapshot::ReadPosition;
use hearth::listener::snapshot_store::SnapshotStore;
use sha2::{Digest, Sha256};

use super::{add, at, follow, household, leaves, open};

#[test]
fn after_a_restart_everything_continues_as_before() {
    let talk = household();
    let dir = tempfile::tempdir().unwrap();
    let history = SnapshotStore::open(dir.path()).unwrap();
    let (mut steady, mut first) = (open(), open());
    let steady_told = follow(&mut steady, &talk);

    // The snapshot is older than the memory: what was said between them is replayed, and tells nothing.
    let mut told = ListenerOutcome::default();
    for (i, utterance) in talk[..14].iter().enumerate() {
        if i == 10 {
            first.save(&history, &ReadPosition { read: 10, time: utterance.start }).unwrap();
        }
        first.hear(utterance).unwrap();
        add(&mut told, first.consider(utterance.end).unwrap());
    }
    let mut second = open();
    let (state, mark) = second.load_latest(&history, |_| true).unwrap().unwrap();
    assert_eq!(mark, ReadPosition { read: 10, time: talk[10].start });
    second.resume(Some(state));
    talk[..10].iter().for_each(|utterance| second.remember(utterance));
    second.recall(&first.memory()).unwrap();
    second.replay(&talk[10..14]).unwrap();
    assert_eq!(leaves(&second), leaves(&first));
    add(&mut told, follow(&mut second, &talk[14..]));

    assert_eq!(leaves(&second), leaves(&steady));
    let brief = |o: &ListenerOutcome| o.alerts.iter().map(|a| (a.rule.clone(), a.phase, a.time)).collect::<Vec<_>>();
    assert_eq!(brief(&told), brief(&steady_told));
    let texts = |o: &ListenerOutcome| o.digests.iter().map(|d| (d.from, d.words, d.text.clone())).collect::<Vec<_>>();
    assert_eq!(texts(&told), texts(&steady_told));
}

/// The files in the directory of snapshots.
fn snapshots(dir: &Path) -> Vec<String> {
    let files = std::fs::read_dir(dir.join("snapshots")).unwrap();
    let mut names: Vec<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_damaged_snapshot_is_replaced_by_an_older_one_and_those_of_another_model_stay() {
    let dir = tempfile::tempdir().unwrap();
    let history = SnapshotStore::open(dir.path()).unwrap();
    let mut listener = open();
    for (read, utterance) in household()[..4].iter().enumerate() {
        listener.hear(utterance).unwrap();
        listener.save(&history, &ReadPosition { read: read as i64 + 1, time: utterance.end }).unwrap();
    }
    let kept: Vec<_> = history.list().unwrap().into_iter().map(|kept| kept.path).collect();
    let whole = std::fs::read(&kept[0]).unwrap();
    std::fs::write(&kept[0], &whole[..whole.len() / 2]).unwrap();
    // What it is, its version, and then nothing.
    std::fs::write(&kept[1], &whole[..12]).unwrap();
    let mut other = std::fs::read(&kept[2]).unwrap();
    other[20] ^= 1;
    std::fs::write(&kept[2], sealed(&other)).unwrap();

    let beside = SnapshotStore::read_only(dir.path());
    let read = |history| listener.load_latest(history, |_| true).unwrap().map(|(_, mark)| mark.read);
    let before = snapshots(dir.path());
    assert_eq!(read(&beside), Some(1));
    assert_eq!(snapshots(dir.path()), before, "reading changes nothing");
    assert_eq!(read(&history), Some(1));
    let aside = snapshots(dir.path()).into_iter().filter(|name| name.contains(".bad-")).count();
    assert_eq!((aside, snapshots(dir.path()).len()), (2, 4));
    assert!(listener.load_latest(&history, |mark| mark.read < 1).unwrap().is_none());

    // What is forgotten goes with every file that may know of it.
    history.forget(2).unwrap();
    assert_eq!(snapshots(dir.path()).len(), 1);
    history.forget(1).unwrap();
    assert!(snapshots(dir.path()).is_empty());
}

/// With the checksum that belongs to it.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    let content = &bytes[..bytes.len() - 32];
    [content, &Sha256::digest(content)].concat()
}

#[test]
fn the_single_snapshot_of_an_older_hearth_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let mut listener = open();
    listener.hear(&household()[0]).unwrap();
    let history = SnapshotStore::open(dir.path()).unwrap();
    listener.save(&history, &ReadPosition { read: 1, time: at(1.0) }).unwrap();
    let path = history.list().unwrap().remove(0).path;
    std::fs::rename(path, dir.path().join("state.snapshot")).unwrap();
    let history = SnapshotStore::open(dir.path()).unwrap();
    let (state, mark) = listener.load_latest(&history, |_| true).unwrap().unwrap();
    assert_eq!((state.tokens_read(), mark.read), (listener.state().tokens_read(), 1));
    assert!(!dir.path().join("state.snapshot").exists());
}

#[test]
fn unreadable_persisted_state_changes_nothing() {
    let mut listener = open();
    let before = listener.memory();
    assert!(listener.recall("{").unwrap_err().to_string().contains("starts empty"));
    assert_eq!(listener.memory(), before);
}

#[test]
fn persisted_state_holds_no_words() {
    let mut listener = open();
    follow(&mut listener, &household()[..14]);
    let memory = listener.memory();
    for word in ["Grandma", "pills", "bathroom", "courier"] {
        assert!(!memory.contains(word), "{word} is in {memory}");
    }
}
