//! Who speaks, from the sound to the broker: a daemon with `[speakers]`, and `hearth speakers` beside it.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::harness::{HEARTH, Hearth, config, household, is_farewell, samples, transcript, until, wav};
use super::mosquitto::{Mosquitto, Subscriber};

fn speakers(dir: &Path, args: &[&str]) -> Output {
    let config = dir.join("hearth.toml");
    Command::new(HEARTH).arg("speakers").args(args).arg("--config").arg(config).env("TZ", "UTC").output().unwrap()
}

fn told(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn refused(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A recording of these stretches of the household, in seconds.
fn recording(dir: &Path, name: &str, stretches: &[(f64, f64)]) -> String {
    let all = samples(30);
    let at = |seconds: f64| (seconds * 16_000.0) as usize;
    let pause = [0; 12_000];
    let cut: Vec<i16> =
        stretches.iter().flat_map(|(from, to)| [&pause[..], &all[at(*from)..at(*to)], &pause[..]].concat()).collect();
    let folder = dir.join(name);
    std::fs::create_dir(&folder).unwrap();
    wav(&folder, &cut).display().to_string()
}

fn said(listener: &Subscriber) -> Vec<Value> {
    let mut all = Vec::new();
    until(listener, |heard| {
        if heard.topic == "hearth/home/utterance" {
            all.push(heard.json());
        }
        is_farewell(heard)
    });
    all
}

#[test]
fn people_are_told_by_their_voices_and_by_nothing_where_it_is_off() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let url = format!("mqtt://{}", broker.address);
    let clip = recording(dir.path(), "short", &[(0.5, 6.4)]);
    let off = config(Path::new(&clip), "fast", &url, "[listener]\nenabled = false\n");
    std::fs::write(dir.path().join("hearth.toml"), &off).unwrap();
    let error = refused(&speakers(dir.path(), &["list"]));
    assert!(error.contains("let hearth run once first"), "{error}");
    assert!(!dir.path().join("state").exists(), "it made nothing");

    let listener = Subscriber::new(broker.address, "#", None);
    let (status, log) = Hearth::run(dir.path(), &off).wait();
    assert!(status.success(), "{log}");
    let heard = said(&listener);
    assert!(!heard.is_empty() && heard.iter().all(|said| said.get("speaker").is_none()), "{heard:?}");
    assert_eq!(told(&speakers(dir.path(), &["list"])), "", "nothing is stored where it is off");

    let on = config(&household(), "fast", &url, "[listener]\nenabled = false\n[speakers]\nenabled = true\n");
    std::fs::write(dir.path().join("hearth.toml"), &on).unwrap();
    // Who says what stands in examples/household.jsonl.
    let emma = recording(dir.path(), "emma", &[(6.9, 11.1), (16.2, 18.2), (27.2, 29.4)]);
    let jack = recording(dir.path(), "jack", &[(3.6, 6.3), (11.6, 15.8)]);
    let both = recording(dir.path(), "both", &[(3.6, 6.3), (6.9, 11.1), (11.6, 15.8)]);
    let silence = recording(dir.path(), "silence", &[(20.0, 24.0), (20.0, 24.0)]);
    let enroll = |name: &str, file: &str| speakers(dir.path(), &["enroll", name, file]);
    for (name, file, reason) in [
        ("Emma", &silence, "s of speech were heard, and 5 s are needed"),
        ("Emma", &both, "does not sound like one person"),
        ("voice 3", &emma, "is the number of a voice without a name"),
        ("a\nb", &emma, "cannot be part of it"),
        ("Emma", &"nothing.wav".to_string(), "cannot read nothing.wav"),
    ] {
        let error = refused(&enroll(name, file));
        assert!(error.contains(reason), "{name} {file}: {error}");
    }
    assert!(told(&enroll("Emma", &emma)).contains("Emma: the voice is enrolled, by"));
    assert!(told(&enroll("emma", &emma)).contains("Emma: more of the voice is enrolled"));
    assert!(refused(&enroll("Emma", &jack)).contains("does not sound like the Emma who is enrolled"));
    assert!(refused(&enroll("Anna", &emma)).contains("this sounds like Emma"));
    told(&enroll("Jack", &jack));

    let (status, log) = Hearth::run(dir.path(), &on).wait();
    assert!(status.success(), "{log}");
    let heard = said(&listener);
    let by = |words: &str| {
        let said = heard.iter().find(|said| said["text"].as_str().unwrap().contains(words));
        said.map(|said| said["speaker"].as_str().unwrap_or("nobody").to_string())
    };
    let script = [
        ("heart pills", "Jack"),
        ("forgot them", "Emma"),
        ("dentist", "Emma"),
        ("courier", "Jack"),
        ("toaster", "Emma"),
    ];
    let told_right = script.iter().filter(|(words, name)| by(words).as_deref() == Some(*name)).count();
    assert!(told_right >= 3, "{heard:#?}");
    for (words, name) in script {
        let by = by(words).unwrap_or("nobody".into());
        assert!(by == name || by == "nobody" || by.starts_with("voice"), "{words} was said by {name}, not by {by}");
    }
    assert!(
        transcript(dir.path()).iter().all(|line| line.get("speaker").is_none()),
        "names can be forgotten, lines cannot"
    );

    let subtitles = |dir: &Path| {
        let config = dir.join("hearth.toml");
        let run = Command::new(HEARTH).args(["export", "--format", "srt", "--config"]).arg(config).output().unwrap();
        told(&run)
    };
    let before = subtitles(dir.path());
    assert!(before.contains("\nEmma: ") && before.contains("\nJack: "), "{before}");
    told(&speakers(dir.path(), &["rename", "Emma", "Sophie"]));
    assert!(refused(&speakers(dir.path(), &["rename", "Sophie", "Jack"])).contains("there is a Jack already"));
    assert!(told(&speakers(dir.path(), &["forget", "jack"])).contains("Jack: the voice is deleted"));
    assert!(refused(&speakers(dir.path(), &["forget", "Jack"])).contains("nobody is called \"Jack\"; known are"));
    let after = subtitles(dir.path());
    assert!(after.contains("\nSophie: ") && !after.contains("Emma: ") && !after.contains("Jack: "), "{after}");
    let list = told(&speakers(dir.path(), &["list", "--json"]));
    assert!(list.contains("\"name\":\"Sophie\"") && !list.contains("Jack"), "{list}");
}
