//! `hearth transcribe` reads what people have. The recordings are the first 3.4 seconds of the demo's, written by ffmpeg 5.1.

use super::*;

/// What is said in each of them, as whisper-tiny hears it.
const SAID: &str = "Good morning, Emma, how are you?";

fn sound(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sound").join(name).display().to_string()
}

fn transcribe(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hearth")).arg("transcribe").args(args).stdin(Stdio::null()).output().unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Fails with one sentence, and nothing of a library before it.
fn refuses(args: &[&str], words: &[&str]) {
    let output = transcribe(args);
    let told = told(&output);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {told}");
    assert!(output.stdout.is_empty() && told.lines().count() == 1 && told.starts_with("hearth: "), "{args:?}: {told}");
    for word in words {
        assert!(told.contains(word), "{args:?} does not say {word:?}: {told}");
    }
}

#[test]
fn every_format_that_people_have_is_read() {
    let names = ["mp3", "m4a", "aac", "ogg", "mp4", "mkv"].map(|ending| format!("morning.{ending}"));
    for name in names.iter().map(String::as_str).chain(["morning-alac.m4a"]) {
        let output = transcribe(&[&sound(name), "--json"]);
        let said = lines(&output);
        assert!(said.len() == 1 && output.stderr.is_empty(), "{name}: {output:?}");
        let said: Value = serde_json::from_str(&said[0]).unwrap();
        // Two channels at another rate are heard as two sentences.
        let text = said["text"].as_str().unwrap().replace(". How", ", how");
        assert_eq!((text.as_str(), &said["file"]), (SAID, &sound(name).into()), "{name}");
        let (start, end) = (said["start"].as_f64().unwrap(), said["end"].as_f64().unwrap());
        assert!((0.3..1.3).contains(&start) && (2.4..3.5).contains(&end), "{name}: {start} {end}");
    }
}

#[test]
fn what_cannot_be_decoded_is_named_in_one_sentence() {
    for name in ["morning.opus", "morning.webm"] {
        refuses(&[&sound(name)], &[name, "as Opus, which hearth cannot decode", "ffmpeg -i INPUT out.flac"]);
    }
    refuses(&[&sound("silent-film.mp4")], &["silent-film.mp4 holds no sound track"]);
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    refuses(&[manifest], &["Cargo.toml is not audio that hearth can read", "MP3"]);
    refuses(&["/none/a.mp3"], &["cannot read /none/a.mp3"]);
    let folder = tempfile::tempdir().unwrap();
    refuses(&[folder.path().to_str().unwrap()], &["holds no recordings: none ends in .wav"]);
    refuses(&["-", "-"], &["standard input can be read once only"]);
    refuses(&["-"], &["is empty"]);
    refuses(&[&sound("morning.mp3"), "--model", "none.bin"], &["there is no model named \"none.bin\""]);
    refuses(&[&sound("morning.mp3"), "-o", "/none/a.doc"], &["/none/a.doc does not say how to write it"]);
    refuses(&[&sound("morning.mp3"), &sound("morning.ogg"), "--format", "srt"], &["need a file each", "--output"]);
}

#[test]
fn a_file_that_is_cut_off_gives_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["morning.mp3", "morning.ogg", "morning.aac"] {
        let whole = fs::read(sound(name)).unwrap();
        let path = dir.path().join(name);
        fs::write(&path, &whole[..whole.len() * 17 / 20]).unwrap();
        let said = lines(&transcribe(&[path.to_str().unwrap()])).join(" ");
        assert!(said.contains("Good morning, Emma"), "{name}: {said}");
    }
}

#[test]
fn standard_input_is_read_from_a_file_and_from_a_pipe() {
    let hearth = || {
        let mut hearth = Command::new(env!("CARGO_BIN_EXE_hearth"));
        hearth.args(["transcribe", "-", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        hearth
    };
    let check = |what: &str, output: &Output| {
        let said: Value = serde_json::from_str(&lines(output)[0]).unwrap();
        let text = said["text"].as_str().unwrap().replace(". How", ", how");
        assert_eq!((text.as_str(), &said["file"]), (SAID, &"standard input".into()), "{what}");
    };
    let file = fs::File::open(sound("morning.mp4")).unwrap();
    check("a file", &hearth().stdin(file).output().unwrap());
    for name in ["morning.mp3", "morning.ogg", "morning.aac"] {
        let mut child = hearth().stdin(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), &fs::read(sound(name)).unwrap()).unwrap();
        check(name, &child.wait_with_output().unwrap());
    }
    // Its index is behind what it tells of, as in most files.
    let mut child = hearth().stdin(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), &fs::read(sound("morning.mp4")).unwrap()).unwrap();
    let output = child.wait_with_output().unwrap();
    let told = told(&output);
    assert!(told.starts_with("hearth: standard input is an MP4") && told.ends_with("give the file itself\n"), "{told}");
}

#[test]
fn a_folder_gives_a_file_for_each_recording_and_replaces_none_unasked() {
    let dir = tempfile::tempdir().unwrap();
    let (talk, out) = (dir.path().join("talk"), dir.path().join("out"));
    fs::create_dir_all(talk.join("may")).unwrap();
    fs::copy(sound("morning.mp3"), talk.join("a.mp3")).unwrap();
    fs::copy(sound("morning.ogg"), talk.join("may/b.OGG")).unwrap();
    fs::copy(sound("morning.opus"), talk.join("voice.opus")).unwrap();
    fs::write(talk.join("notes.txt"), "no recording").unwrap();
    let args = [talk.to_str().unwrap(), "--format", "srt", "--output", out.to_str().unwrap()];
    let output = transcribe(&args);
    let said = told(&output);
    assert!(output.status.code() == Some(1) && output.stdout.is_empty(), "{output:?}");
    assert!(
        said.contains("voice.opus is stored as Opus") && said.ends_with("1 of 3 files could not be transcribed\n"),
        "{said}"
    );
    let subtitles = fs::read_to_string(out.join("a.srt")).unwrap();
    assert!(subtitles.starts_with("1\n00:00:0") && subtitles.ends_with(&format!("\n{SAID}\n")), "{subtitles}");
    assert!(fs::read_to_string(out.join("may/b.srt")).unwrap().contains(SAID));
    let names: Vec<_> = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.len() == 2, "nothing half-written stays: {names:?}");

    fs::write(out.join("a.srt"), "mine").unwrap();
    let again = told(&transcribe(&args));
    assert!(again.contains("a.srt is there already: --force replaces it") && again.contains("3 of 3 files"), "{again}");
    assert_eq!(fs::read_to_string(out.join("a.srt")).unwrap(), "mine");
    assert!(told(&transcribe(&[&args[..], &["--force", "-q"]].concat())).starts_with("hearth: the sound of "));
    assert!(fs::read_to_string(out.join("a.srt")).unwrap().contains(SAID));

    let vtt = dir.path().join("one.vtt");
    assert!(transcribe(&[&sound("morning.m4a"), "-o", vtt.to_str().unwrap()]).status.success());
    assert!(fs::read_to_string(&vtt).unwrap().starts_with("WEBVTT\n\n00:00:0"), "the name says how");
}
