//! A full disk while messages wait. Only root can mount one: `make test-root`.

use std::io::Write;
use std::path::Path;
use std::process::Command as Process;

use hearth::store::{self};

use crate::harness::*;
use crate::mosquitto::{Mosquitto, Subscriber};

#[test]
#[ignore = "needs root, to mount a small file system: make test-root"]
fn a_full_disk_delays_removal_from_the_outbox_but_repeats_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let small = dir.path().join("small");
    std::fs::create_dir(&small).unwrap();
    run_as_root("mount", &["-t", "tmpfs", "-o", "size=4m", "hearth"], &small);
    let broker = Mosquitto::anywhere(dir.path());
    let subscriber = Subscriber::new(broker.address, "hearth/home/utterance", None);
    let link = NetworkLink::before(broker.address);
    link.close();
    let mut node = PublishingNode::start(&small, &external(link.address), Vec::new());
    let said: Vec<String> = (0..40).map(|n| node.say(n).to_string()).collect();
    let mut filler = std::fs::File::create(small.join("filler")).unwrap();
    while filler.write_all(&[0; 4096]).is_ok() {}
    drop(filler);
    let error = node.store.record_utterance(&utterance(99), &[]).unwrap_err();
    assert!(matches!(error, store::StoreError::Full { .. }), "{error}");

    link.open();
    let heard: Vec<String> = (0..40).map(|_| subscriber.next().json()["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(heard, said);
    std::fs::remove_file(small.join("filler")).unwrap();
    eventually("the outbox is emptied when there is room again", || node.store.outbox_len().unwrap() == 0);
    let last = node.say(100).to_string();
    assert_eq!(subscriber.next().json()["id"], last, "nothing was repeated");
    assert_eq!(node.drain().left, 0);
    run_as_root("umount", &[], &small);
}

fn run_as_root(program: &str, arguments: &[&str], path: &Path) {
    let output = Process::new(program).args(arguments).arg(path).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}
