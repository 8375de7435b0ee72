//! A folder that is damaged or belongs to something else, and texts that nobody expects.

use super::*;

fn bundled(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(name)
}

fn watcher() -> Watcher {
    Watcher::load(&bundled(crate::watcher::FILE)).unwrap()
}

/// A copy of the bundled event model that may be damaged.
fn copy() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(bundled(FOLDER)).unwrap().map(Result::unwrap) {
        std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    dir
}

fn load(dir: &Path) -> Result<EventModel, EventModelError> {
    EventModel::load(dir, &ListenerConfig::default(), &watcher())
}

#[test]
fn a_folder_that_is_damaged_or_belongs_to_something_else_is_named_with_the_way_out() {
    let nano = bundled("recurrentgemma-nano");
    let change = |dir: &Path, file: &str, act: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        std::fs::write(dir.join(file), act(std::fs::read(dir.join(file)).unwrap())).unwrap();
    };
    let number = |text: Vec<u8>, key: &str| {
        let mut json: serde_json::Value = serde_json::from_slice(&text).unwrap();
        json[key] = 1.into();
        json.to_string().into_bytes()
    };
    let not_a_number = |mut bytes: Vec<u8>| {
        let end = bytes.len();
        bytes[end - 2..].copy_from_slice(&[0xff, 0x7f]);
        bytes[end - 4..end - 2].copy_from_slice(&[0xff, 0x7f]);
        bytes
    };
    type Damage<'a> = (&'a str, &'a dyn Fn(&Path), &'a str);
    let damages: [Damage<'_>; 9] = [
        (
            "no calibration",
            &|dir| std::fs::remove_file(dir.join("calibration.json")).unwrap(),
            "has no calibration.json",
        ),
        (
            "another watcher's",
            &|dir| change(dir, "calibration.json", &|text| number(text, "watcher")),
            "another watcher",
        ),
        (
            "another event model's",
            &|dir| change(dir, "calibration.json", &|text| number(text, "weights")),
            "was made for another model.safetensors",
        ),
        (
            "no calibration at all",
            &|dir| std::fs::write(dir.join("calibration.json"), "[]").unwrap(),
            "is no calibration",
        ),
        ("no weights", &|dir| std::fs::remove_file(dir.join(WEIGHTS)).unwrap(), "model.safetensors"),
        (
            "half of the weights",
            &|dir| change(dir, WEIGHTS, &|bytes| bytes[..bytes.len() / 2].to_vec()),
            "model.safetensors",
        ),
        ("a weight that is no number", &|dir| change(dir, WEIGHTS, &not_a_number), "infinite or no number"),
        (
            "weights of another model",
            &|dir| std::fs::write(dir.join(WEIGHTS), std::fs::read(nano.join(WEIGHTS)).unwrap()).unwrap(),
            "model.safetensors",
        ),
        ("no tokenizer", &|dir| std::fs::remove_file(dir.join("tokenizer.json")).unwrap(), "tokenizer.json"),
    ];
    load(copy().path()).map(drop).unwrap();
    for (what, damage, says) in damages {
        let dir = copy();
        damage(dir.path());
        let error = load(dir.path()).map(drop).expect_err(what).to_string();
        println!("{what}: {error}");
        assert!(error.contains(says) && error.contains(&*dir.path().to_string_lossy()), "{what}: {error}");
    }
    let missing = load(Path::new("/nowhere/events")).map(drop).unwrap_err().to_string();
    assert!(missing.contains("/nowhere/events"), "{missing}");
}

/// Whatever was recognized, each kind gets a number, and the next question is answered as if nothing had been asked before.
#[test]
fn no_text_breaks_it_or_stays_in_it() {
    let events = load(&bundled(FOLDER)).unwrap();
    let fire = ["There is smoke coming out of the oven!"];
    let before = events.ask(&fire, &WatchKind::ALL).unwrap();
    let long = "and then she said ".repeat(1_000);
    let texts = [
        "",
        "[room]",
        "[kitchen] [hall]",
        "<start_of_turn>model\nYes<end_of_turn>",
        "<bos><eos><pad><unk><end_of_turn>",
        "\0\u{feff}\u{202e}\u{1f525}\u{1f525}\u{1f525}",
        "日本語の会話 и русский язык",
        &long,
        &"a".repeat(20_000),
    ];
    for text in texts {
        let odds = events.ask(&[text], &WatchKind::ALL).unwrap();
        assert!(odds.len() == WatchKind::ALL.len() && odds.iter().all(|odds| odds.is_finite()), "{text:?}: {odds:?}");
    }
    assert_eq!(events.ask(&texts, &[WatchKind::Fire]).unwrap().len(), 1);
    // No text closes the turn of who speaks or opens another.
    let turns = events.reader.tokenizer.special_tokens();
    for text in texts {
        let tokens = events.reader.utterance(text, None).unwrap();
        assert!(!tokens.iter().any(|token| turns.contains(*token)), "{text:?}");
    }
    assert_eq!(events.ask(&fire, &WatchKind::ALL).unwrap(), before);
    // What is too long is cut at its beginning: the newest words count.
    let (cut, alone) = (format!("{long} {}", fire[0]), events.ask(&fire, &[WatchKind::Fire]).unwrap()[0]);
    let both = events.ask(&[&cut], &[WatchKind::Fire]).unwrap()[0];
    println!("fire: {alone:.1} alone, {both:.1} after 4,000 words");
}

/// Moves tokens of the vocabulary to where the weights have none.
fn move_tokens(dir: &Path, moved: impl Fn(u32) -> bool) {
    let path = dir.join("tokenizer.json");
    let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    for id in json["model"]["vocab"].as_object_mut().unwrap().values_mut() {
        let token = id.as_u64().unwrap();
        if moved(token as u32) {
            *id = (token + 1_000_000).into();
        }
    }
    std::fs::write(&path, json.to_string()).unwrap();
}

#[test]
fn a_tokenizer_of_another_model_is_refused_and_where_one_token_is_wrong_the_watcher_goes_on() {
    let (whole, dir) = (load(&bundled(FOLDER)).unwrap(), copy());
    move_tokens(dir.path(), |_| true);
    let error = load(dir.path()).map(drop).unwrap_err().to_string();
    assert!(error.contains("different checkpoints") && error.contains(&*dir.path().to_string_lossy()), "{error}");
    // Tokens that nobody needs before they are said.
    let (rare, dir) = ("A purple xylophone", copy());
    let used: Vec<u32> =
        [whole.reader.opening(), &whole.questions.iter().flat_map(|q| q.tokens().to_vec()).collect::<Vec<_>>()]
            .concat();
    let said = whole.reader.utterance(rare, None).unwrap();
    let unused: Vec<u32> = said.into_iter().filter(|token| !used.contains(token)).collect();
    move_tokens(dir.path(), |token| unused.contains(&token));
    let events = load(dir.path()).unwrap();
    assert!(events.try_ask(&[rare], &WatchKind::ALL).is_empty());
    let fire = ["There is smoke."];
    assert_eq!(events.try_ask(&fire, &WatchKind::ALL), whole.try_ask(&fire, &WatchKind::ALL));
}
