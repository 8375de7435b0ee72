//! Webhooks against a real HTTP server that fails in every way and comes back: nothing is lost, nothing comes out of order, one that fails
//! holds up no other, and what was forgotten is not sent.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::bad_input::{hearth, write};
use super::forgetting::{holding, store};
use super::harness::{Hearth, ids, samples, transcript};
use super::mosquitto::{LONG, free_address};
use super::receiver::{Answer, Posted, WebhookReceiver};

pub(super) const SECRET: &str = "whsec_aGVhcnRoIGxpc3RlbnMgdG8gYSByb29tIGFuZCB0ZWxscw==";
pub(super) const CONFIG: [&str; 2] = ["--config", "hearth.toml"];

/// A config with a broker inside, no model that reads, and these webhooks.
pub(super) fn settings(webhooks: &str) -> String {
    format!(
        "[source.stdin]\nrate = 16000\n[listener]\nenabled = false\n[store]\ndir = \"state\"\n[mqtt]\nlisten = \"{}\"\n{webhooks}",
        free_address()
    )
}

pub(super) fn webhook(name: &str, url: &str, events: &str) -> String {
    format!("[[webhook]]\nname = \"{name}\"\nurl = \"{url}\"\nevents = {events}\n")
}

/// A hearth that hears what is written to it.
fn listening(dir: &Path, config: &str) -> (Hearth, ChildStdin) {
    write(dir, "webhook.secret", format!("{SECRET}\n"));
    let mut running = Hearth::run_with(dir, config, Stdio::piped());
    let stdin = running.stdin();
    running.until_said("hearth is up");
    (running, stdin)
}

fn say(stdin: &mut ChildStdin, seconds: usize) {
    let bytes: Vec<u8> = samples(seconds).into_iter().chain([0; 32_000]).flat_map(i16::to_le_bytes).collect();
    stdin.write_all(&bytes).unwrap();
}

/// What `hearth status` says of a webhook.
fn told_of(dir: &Path, name: &str) -> Value {
    let output = hearth(dir, &["status", "--json", CONFIG[0], CONFIG[1]]);
    let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    status["tells"]["webhooks"][name].clone()
}

fn until(dir: &Path, name: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + 3 * LONG;
    loop {
        let told = told_of(dir, name);
        if is_so(&told) {
            return told;
        }
        assert!(Instant::now() < end, "{what}: {told}");
        sleep(Duration::from_millis(100));
    }
}

fn id(posted: &Posted) -> String {
    posted.json()["data"]["id"].as_str().unwrap().into()
}

/// Ids of the utterances in the transcript, when `words` were heard and at least `least` utterances.
fn heard(dir: &Path, least: usize, words: &str) -> Vec<String> {
    let end = Instant::now() + 5 * LONG;
    loop {
        let lines = transcript(dir);
        let said = lines.iter().any(|line| line["text"].to_string().to_lowercase().contains(words));
        if said && lines.len() >= least {
            return ids(&lines);
        }
        assert!(Instant::now() < end, "{words:?} is not in {lines:?}");
        sleep(Duration::from_millis(200));
    }
}

/// What the Python of docs/webhooks.md says of a request: whether it raises an error.
pub(super) fn verifies(posted: &Posted, secret: &str) -> bool {
    let docs = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/webhooks.md")).unwrap();
    let (_, after) = docs.split_once("```python\n").expect("docs/webhooks.md has Python");
    let python = after.split("```").next().unwrap();
    let call = "import sys, json\nbody = sys.stdin.buffer.read()\nverify(sys.argv[1], json.loads(sys.argv[2]), body)\n";
    let headers: serde_json::Map<String, Value> =
        posted.headers.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    let mut child = Command::new("python3")
        .args(["-c", &format!("{python}\n{call}"), secret, &Value::from(headers).to_string()])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("these tests need python3");
    child.stdin.take().unwrap().write_all(posted.body.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() || said.contains("not from hearth"), "{said}");
    output.status.success()
}

#[test]
fn nothing_is_lost_or_out_of_order_and_one_that_fails_holds_up_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let good = WebhookReceiver::new(&[]);
    let failing = free_address();
    let hooks = webhook("good", &good.url(), "[\"utterance\", \"gap\"]")
        + &webhook("bad", &format!("http://{failing}/hook"), "[\"utterance\"]");
    let config = settings(&hooks);
    let (running, mut stdin) = listening(dir.path(), &config);
    // Nobody listens there: the connection is refused.
    say(&mut stdin, 20);
    let first = heard(dir.path(), 3, "");
    let arrived: Vec<Posted> = first.iter().map(|_| good.next_taken()).collect();
    assert_eq!(arrived.iter().map(id).collect::<Vec<_>>(), first, "the good one has all of them, in order");
    let told = until(dir.path(), "bad", "it fails", |told| told["failed"].as_u64() > Some(0));
    assert!(told["error"].as_str().unwrap().contains("cannot be reached"), "{told}");
    assert_eq!(
        (told["sent"].as_u64(), told["waiting"].as_u64() >= Some(first.len() as u64)),
        (Some(0), true),
        "{told}"
    );
    assert_eq!(told_of(dir.path(), "good")["error"], Value::Null);

    // Each is a message as it is described, signed, and told by its headers.
    let posted = &arrived[0];
    assert_eq!((posted.path.as_str(), posted.header("content-type")), ("/hook", "application/json"));
    assert!(posted.header("user-agent").starts_with("hearth/"));
    let body = posted.json();
    assert_eq!((&body["type"], &body["node"]), (&"utterance".into(), &"home".into()));
    assert_eq!(body["timestamp"], body["data"]["time"]);
    assert!(verifies(posted, SECRET));
    assert!(!verifies(posted, "whsec_YW5vdGhlcg=="), "another secret");
    let forged = Posted { body: posted.body.replace("utterance", "utterancE"), ..posted.clone() };
    assert!(!verifies(&forged, SECRET), "another body");

    // It is killed, and comes back to a receiver that fails in every way.
    running.kill();
    drop(stdin);
    let bad = WebhookReceiver::at(
        failing,
        &[
            Answer::Status(500, None),
            Answer::CloseMidway,
            Answer::EndWithin,
            Answer::Status(429, Some("2")),
            Answer::Hang,
        ],
    );
    let (running, mut stdin) = listening(dir.path(), &config);
    let refused = bad.next();
    say(&mut stdin, 12);
    let all = heard(dir.path(), first.len() + 1, "");
    let mut attempts = vec![refused.clone()];
    // It is killed again while the receiver holds a message.
    while bad.left() > 0 {
        attempts.push(bad.next());
    }
    running.kill();
    drop(stdin);
    let (running, stdin) = listening(dir.path(), &config);
    let mut taken: Vec<Posted> = Vec::new();
    while taken.len() < all.len() {
        taken.push(bad.next_taken());
    }
    assert_eq!(taken.iter().map(id).collect::<Vec<_>>(), all, "each came once, in order");
    let of_first = |posted: &Posted| posted.header("webhook-id") == taken[0].header("webhook-id");
    assert!(attempts.iter().all(of_first), "attempts have the id of the message");
    assert!(taken.iter().all(|posted| verifies(posted, SECRET)));
    let distinct: BTreeSet<_> = taken.iter().map(|posted| posted.header("webhook-id")).collect();
    assert_eq!(distinct.len(), taken.len(), "each message has an id of its own");
    let told = until(dir.path(), "bad", "nothing waits", |told| told["waiting"] == 0);
    assert_eq!((&told["error"], &told["dropped"]), (&Value::Null, &0.into()), "{told}");
    drop(stdin);
    let (status, said) = running.wait();
    assert!(status.success(), "{said}");
    assert!(!said.contains("aGVhcnRoIG") && !said.contains("/hook"), "{said}");
}

#[test]
fn a_message_that_will_never_be_taken_is_given_up_told_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let hook = WebhookReceiver::new(&[Answer::Status(410, None), Answer::Status(422, None)]);
    let config = settings(&webhook("x", &hook.url(), "[\"utterance\"]"));
    let (mut running, mut stdin) = listening(dir.path(), &config);
    say(&mut stdin, 20);
    let all = heard(dir.path(), 3, "");
    assert_eq!([id(&hook.next()), id(&hook.next())], all[..2]);
    assert_eq!(id(&hook.next_taken()), all[2], "the next is sent all the same");
    running.until_said("remove this [[webhook]]");
    running.until_said("does not take such a message (422)");
    let told = until(dir.path(), "x", "nothing waits", |told| told["waiting"] == 0);
    assert_eq!((&told["dropped"], &told["failed"]), (&2.into(), &2.into()), "{told}");
    let text = hearth(dir.path(), &["status", CONFIG[0], CONFIG[1]]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("webhook  x: 0 waiting") && text.contains("2 given up"), "{text}");
}

#[test]
fn what_is_forgotten_or_not_named_is_not_sent_and_names_are_redacted() {
    let dir = tempfile::tempdir().unwrap();
    let address = free_address();
    let privacy = "[privacy]\nredact = [\"dinner\"]\n";
    let config = settings(&webhook("x", &format!("http://{address}/"), "[\"utterance\", \"health\"]")) + privacy;
    let (running, mut stdin) = listening(dir.path(), &config);
    say(&mut stdin, 11);
    let heard_then = heard(dir.path(), 2, "half past");
    until(dir.path(), "x", "it waits", |told| told["waiting"].as_u64() > Some(1));
    assert!(!holding(&dir.path().join("state"), "dinner").is_empty());
    let forgot = hearth(dir.path(), &["forget", "1h", "--yes", CONFIG[0], CONFIG[1]]);
    assert!(forgot.status.success(), "{forgot:?}");
    until(dir.path(), "x", "only health waits", |told| told["waiting"] == 1);
    assert_eq!(holding(&dir.path().join("state"), "dinner"), Vec::<String>::new());

    let hook = WebhookReceiver::at(address, &[]);
    let health = hook.next_taken().json();
    assert_eq!((&health["type"], &health["data"]["listening"]), (&"health".into(), &true.into()));
    say(&mut stdin, 11);
    let now = heard(dir.path(), 2, "half past");
    let mut said: Vec<Posted> = Vec::new();
    while said.iter().filter(|posted| posted.json()["type"] == "utterance").count() < now.len() {
        said.push(hook.next_taken());
    }
    assert!(said.iter().all(|posted| !heard_then.contains(&id(posted))), "what was forgotten came");
    let text: String = said.iter().map(|posted| posted.body.as_str()).collect();
    assert!(!text.contains("dinner") && text.contains("[name]"), "{text}");
    // A mute is no event of these, but health says so at once.
    assert!(hearth(dir.path(), &["mute", CONFIG[0], CONFIG[1]]).status.success());
    while hook.next_taken().json()["data"]["listening"] != false {}
    drop(running);
}

#[test]
fn what_waits_for_a_webhook_that_is_removed_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let gone = format!("http://{}/", free_address());
    let config = settings(&webhook("gone", &gone, "[\"utterance\", \"listening\"]"));
    let (running, mut stdin) = listening(dir.path(), &config);
    say(&mut stdin, 12);
    heard(dir.path(), 1, "");
    until(dir.path(), "gone", "both wait", |told| told["waiting"].as_u64() >= Some(2));
    running.terminate();
    drop(stdin);
    assert!(running.wait().0.success(), "a dead receiver holds up no shutdown");
    let count = || {
        let waiting = Command::new("python3")
            .args(["-c", "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute(\"SELECT count(*) FROM outbox WHERE destination <> ''\").fetchone()[0])"])
            .arg(store(dir.path()).path())
            .output()
            .unwrap();
        String::from_utf8_lossy(&waiting.stdout).trim().parse::<u64>().unwrap()
    };
    let before = count();
    assert!(before >= 2);
    let (mut running, _stdin) =
        listening(dir.path(), &config.replace("[\"utterance\", \"listening\"]", "[\"listening\"]"));
    running.until_said("they are deleted");
    assert!((1..before).contains(&count()), "only what it is still told of waits");
    running.kill();
    let (_running, _stdin) = listening(dir.path(), &settings(""));
    assert_eq!(count(), 0);
}
