//! Whisper models, whole and broken.

use hearth::asr;

use super::ggml::{Form, Ggml};
use super::*;

fn load(path: &Path, language: &str) -> Result<Whisper, asr::AsrError> {
    Whisper::load(path, &AsrConfig { language: language.into(), threads: 1, ..AsrConfig::default() })
}

fn refusal(path: &Path, language: &str) -> String {
    load(path, language).err().expect("it must be refused").to_string()
}

#[test]
fn a_model_cut_short_anywhere_is_refused_before_whisper_reads_it() {
    let whole = std::fs::read(root("models/whisper-tiny.en-q5_1.bin")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.bin");
    let vocabulary = 48 + 8 + 80 * 201 * 4;
    let ends = [0, 3, 4, 5, 47, 50, 1_000, vocabulary + 2, vocabulary + 100, 500_000, 20_000_000, whole.len() - 1];
    for end in ends {
        std::fs::write(&path, &whole[..end]).unwrap();
        let error = refusal(&path, "en");
        assert!(error.contains("cut.bin"), "cut at {end}: {error}");
        assert!(error.contains("damaged") || end < 4 && error.contains("not a Whisper model"), "cut at {end}: {error}");
    }
    // A tensor is missing altogether: the file ends where one does.
    std::fs::write(&path, [&whole[..], &[0; 5]].concat()).unwrap();
    assert!(refusal(&path, "en").contains("damaged"));
}

#[test]
fn a_model_with_lengths_out_of_range_is_refused() {
    let whole = std::fs::read(root("models/whisper-tiny.en-q5_1.bin")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wild.bin");
    let filters = 48;
    let vocabulary = filters + 8 + 80 * 201 * 4;
    for at in [4, 20, 36, 40, filters, filters + 4, vocabulary, vocabulary + 4] {
        for value in [u32::MAX, i32::MAX as u32, 1 << 20] {
            let mut wild = whole.clone();
            wild[at..at + 4].copy_from_slice(&value.to_le_bytes());
            std::fs::write(&path, wild).unwrap();
            let error = refusal(&path, "en");
            assert!(error.contains("wild.bin") && error.contains("damaged"), "{value} at {at}: {error}");
        }
    }
}

#[test]
fn a_file_that_is_not_a_model_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("notes.txt");
    std::fs::write(&text, "We need milk, eggs and tomatoes.").unwrap();
    assert!(refusal(&text, "en").contains("not a Whisper model in ggml format"));
    assert!(refusal(folder.path(), "en").contains("is a folder"));
    assert!(refusal(&folder.path().join("gone.bin"), "en").contains("gone.bin"));
}

#[test]
fn a_changed_bundled_model_is_refused() {
    let mut bytes = std::fs::read(root("models/whisper-tiny.en-q5_1.bin")).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whisper-tiny.en-q5_1.bin");
    std::fs::write(&path, bytes).unwrap();
    std::fs::copy(root("models/SHA256SUMS"), folder.path().join("SHA256SUMS")).unwrap();
    let error = load(&path, "en").err().expect("it must be refused");
    let source = std::error::Error::source(&error).expect("it has a cause").to_string();
    assert!(source.contains("SHA-256"), "{source}");
}

#[test]
fn an_unknown_language_or_one_the_model_lacks_is_refused() {
    let model = root("models/whisper-tiny.en-q5_1.bin");
    assert!(refusal(&model, "klingon").contains("\"klingon\""));
    assert!(refusal(&model, "e\0n").contains("no language"));
    assert!(refusal(&model, "").contains("no language"));
    let german = refusal(&model, "de");
    assert!(german.contains("English only") && german.contains("\"de\""), "{german}");
    let auto = refusal(&model, "auto");
    assert!(auto.contains("several languages") && auto.contains("language = \"en\""), "{auto}");
    assert!(load(&model, "EN").is_ok());
}

#[test]
fn only_languages_that_are_allowed_are_detected() {
    let folder = tempfile::tempdir().unwrap();
    let with = |languages: &[&str]| {
        let path = folder.path().join("all.bin");
        let bundled = Ggml::read(&std::fs::read(root("models/whisper-tiny.en-q5_1.bin")).unwrap());
        std::fs::write(&path, bundled.of_all_languages(2).write()).unwrap();
        let languages = Some(languages.iter().map(|&code| code.into()).collect());
        Whisper::load(&path, &AsrConfig { language: "auto".into(), languages, threads: 1, ..AsrConfig::default() })
    };
    let (code, _) = with(&["en", "fr"]).unwrap().detect_language(&good_morning()).unwrap();
    assert!(["en", "fr"].contains(&code), "the model hears German: {code}");
    let error = with(&["en", "xx"]).err().unwrap().to_string();
    assert!(error.contains("no language \"xx\""), "{error}");
    let error = with(&["yue"]).err().unwrap().to_string();
    assert!(error.contains("does not know") && error.contains("[asr]"), "{error}");
}

#[test]
fn decoding_leaves_nothing_behind() {
    let mut whisper = whisper();
    let samples: Vec<f32> = frames(&root("examples/household.flac")).iter().flat_map(|frame| frame.samples).collect();
    let first = &samples[16_000..46_000];
    let second = &samples[380_000..480_000];
    let before = whisper.decode(first).unwrap();
    assert!(!before.is_empty());
    let other = whisper.decode(second).unwrap();
    assert_ne!(before, other);
    assert_eq!(whisper.decode(first).unwrap(), before);
}

#[test]
fn very_short_audio_can_be_decoded() {
    let mut whisper = whisper();
    for samples in [0, 1, 200, 1_599, 15_999] {
        let pieces = whisper.decode(&vec![0.0; samples]).unwrap();
        assert!(pieces.iter().all(|piece| piece.no_speech.is_finite()), "{pieces:?}");
    }
}

#[test]
fn hot_words_of_any_length_are_accepted() {
    let hot_words = vec!["Kowalczyk".into(), "Größe".repeat(100), "名前".into(), "and then she said ".repeat(200)];
    let settings = AsrConfig { hot_words, threads: 1, ..AsrConfig::default() };
    let mut whisper = Whisper::load(&root("models/whisper-tiny.en-q5_1.bin"), &settings).unwrap();
    whisper.decode(&[0.0; 16_000]).unwrap();
    let settings = AsrConfig { hot_words: vec!["a\0b".into()], ..settings };
    let error = Whisper::load(&root("models/whisper-tiny.en-q5_1.bin"), &settings).err().unwrap().to_string();
    assert!(error.contains("hot_words"), "{error}");
}

/// A second and a half of the household: "Good morning, Emma."
fn good_morning() -> Vec<f32> {
    frames(&root("examples/household.flac")).iter().flat_map(|frame| frame.samples).skip(16_000).take(30_000).collect()
}

/// Loads a model that `make` has made of the bundled one.
fn made(name: &str, language: &str, make: impl FnOnce(Ggml) -> Ggml) -> Whisper {
    let bundled = Ggml::read(&std::fs::read(root("models/whisper-tiny.en-q5_1.bin")).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, make(bundled).write()).unwrap();
    load(&path, language).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn other_quantizations_of_the_same_weights_give_the_same_text() {
    let sound = good_morning();
    let text = |whisper: &mut Whisper| {
        let pieces = whisper.decode(&sound).unwrap();
        pieces.iter().map(|piece| piece.text.as_str()).collect::<Vec<_>>().join(" ")
    };
    let bundled = text(&mut whisper());
    assert!(bundled.contains("Good morning"), "{bundled}");
    for form in [Form::Q5_1, Form::Q8_0, Form::F16] {
        assert_eq!(text(&mut made("other.bin", "en", |model| model.held_as(form))), bundled, "{form:?}");
    }
}

#[test]
fn models_of_other_shapes_are_loaded() {
    // The shapes of tiny, base and small. All weights are zero, so they write nothing.
    for (width, heads, layers, form) in [(384, 6, 4, Form::Q8_0), (512, 8, 6, Form::Q5_1), (768, 12, 12, Form::Q8_0)] {
        let mut whisper = made("shaped.bin", "en", |model| model.of_shape(width, heads, layers, form));
        if width < 768 {
            whisper.decode(&[0.0; 16_000]).unwrap();
        }
    }
}

#[test]
fn the_language_is_detected_once_per_conversation() {
    // German is the third of Whisper's languages.
    let german = |language: &str| made("all.bin", language, |model| model.of_all_languages(2));
    let (code, probability) = german("auto").detect_language(&good_morning()).unwrap();
    assert!(code == "de" && probability > 0.9, "{code} {probability}");

    let stream = play(&root("examples/household.flac")).unwrap();
    let encoded = |whisper: Whisper| {
        let metrics = Metrics::default();
        hear(&mut AsrPipeline::new(whisper), stream[..1_000].iter().cloned(), &metrics);
        assert!(metrics.passes.get() > 2, "{} passes", metrics.passes.get());
        metrics.encoded_samples.get() / metrics.passes.get()
    };
    let told = encoded(german("de"));
    let detected = encoded(german("auto"));
    assert!(detected > told && detected < told + told / 2, "{detected} samples a pass, {told} without detecting");
}
