//! Which words and times come out of recordings, silence and noise.

use hearth::event::{AudioGap, GapReason};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::*;

/// What was said in a recording: a line of its .jsonl.
#[derive(Deserialize)]
struct Said {
    start: f64,
    end: f64,
    text: String,
}

fn household() -> Vec<Said> {
    let text = std::fs::read_to_string(root("examples/household.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Words without case and punctuation; small numbers as digits, since Whisper writes them either way.
fn words(text: &str) -> Vec<String> {
    let plain = text.to_lowercase().replace('’', "'").replace('-', " ");
    let letters = |word: &str| word.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
    let words = plain.split_whitespace().map(letters).filter(|word| !word.is_empty());
    let digits = |word: String| match word.as_str() {
        "seven" => "7".into(),
        "nine" => "9".into(),
        "ten" => "10".into(),
        _ => word,
    };
    words.map(digits).collect()
}

/// Word error rate: substitutions, insertions and deletions for each word of the reference (Levenshtein distance).
fn word_error_rate(reference: &str, heard: &str) -> f64 {
    let reference = words(reference);
    let heard = words(heard);
    let mut row: Vec<usize> = (0..=heard.len()).collect();
    for (n, wanted) in reference.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], n + 1);
        for (m, got) in heard.iter().enumerate() {
            let substituted = diagonal + usize::from(wanted != got);
            diagonal = row[m + 1];
            row[m + 1] = substituted.min(row[m] + 1).min(diagonal + 1);
        }
    }
    row[heard.len()] as f64 / reference.len() as f64
}

#[test]
fn the_word_error_rate_counts_substitutions_insertions_and_deletions() {
    assert_eq!(word_error_rate("one two three four", "One, two, three, four!"), 0.0);
    assert_eq!(word_error_rate("one two three four", "one three five four"), 0.5);
    assert_eq!(word_error_rate("at ten", "at 10 now"), 0.5);
}

#[test]
fn the_bundled_household_is_transcribed_with_its_times() {
    let said = household();
    let metrics = Metrics::default();
    let stream = play(&root("examples/household.flac")).unwrap();
    let AudioEvent::Frame(first) = &stream[0] else { panic!("a file starts with a frame") };
    let origin = first.time;
    let count = stream.len() as u64;
    let heard = utterances(hear(&mut AsrPipeline::new(whisper()), stream, &metrics));

    let texts = |all: Vec<&str>| all.join(" ");
    let reference = texts(said.iter().map(|said| said.text.as_str()).collect());
    let text = texts(heard.iter().map(|utterance| utterance.text.as_str()).collect());
    let rate = word_error_rate(&reference, &text);
    assert!(rate < 0.06, "{:.1} %: {text}", rate * 100.0);

    for utterance in &heard {
        let second = |time: Timestamp| time.duration_since(origin).as_secs_f64();
        let start = second(utterance.start);
        let end = second(utterance.end);
        assert!(start < end, "{utterance:?}");
        assert!(said.iter().any(|said| start < said.end && said.start < end), "nobody spoke then: {utterance:?}");
        assert!(utterance.confidence > 0.3 && utterance.confidence <= 1.0, "{utterance:?}");
        assert_eq!(utterance.room, "kitchen");
        assert_eq!(utterance.text, utterance.text.trim());
    }
    for pair in heard.windows(2) {
        assert!(pair[0].id < pair[1].id && pair[0].start <= pair[1].start, "{pair:?}");
    }
    assert_eq!(metrics.heard_samples.get(), count * 256);
    assert_eq!(metrics.utterances.get(), heard.len() as u64);
    assert_eq!(metrics.words.get(), heard.iter().map(|utterance| utterance.words() as u64).sum::<u64>());
    assert!(metrics.decoded_samples.get() < metrics.heard_samples.get());
}

/// The same sound with its level changed by so many decibels.
fn at_level(stream: &[AudioEvent], change_db: f32) -> impl Iterator<Item = AudioEvent> {
    stream.iter().cloned().map(move |event| match event {
        AudioEvent::Frame(mut frame) => {
            frame.samples = frame.samples.map(|sample| sample * 10f32.powf(change_db / 20.0));
            AudioEvent::Frame(frame)
        }
        other => other,
    })
}

#[test]
fn quiet_speech_is_heard_as_loud_speech_is() {
    // Twenty seconds at about -22 dB of full scale, and 32 dB below that.
    let stream = &play(&root("examples/household.flac")).unwrap()[..1_250];
    let heard = |change_db| {
        let heard =
            utterances(hear(&mut AsrPipeline::new(whisper()), at_level(stream, change_db), &Metrics::default()));
        heard.into_iter().map(|utterance| utterance.text + " ").collect::<String>()
    };
    let (loud, quiet) = (heard(0.0), heard(-32.0));
    assert!(words(&loud).len() > 20, "{loud}");
    assert!(word_error_rate(&loud, &quiet) < 0.1, "{loud}\n{quiet}");
}

#[test]
fn a_gap_ends_the_segment_and_comes_after_its_utterance() {
    let stream = play(&root("examples/household.flac")).unwrap();
    // "Good morning, Emma." ends behind the second second; nothing tells the segmenter so but the gap.
    let mut cut: Vec<AudioEvent> = stream[..180].to_vec();
    let AudioEvent::Frame(last) = cut.last().unwrap() else { panic!("a file has frames") };
    let from = last.time;
    let to = last.time + SignedDuration::from_secs(60);
    cut.push(AudioEvent::Gap(AudioGap { from, to, reason: GapReason::Muted }));
    let heard = hear(&mut AsrPipeline::new(whisper()), cut, &Metrics::default());
    let [.., PipelineEvent::Utterance(before, _), PipelineEvent::Gap(gap)] = &heard[..] else { panic!("{heard:?}") };
    assert!(before.text.contains("morning"), "{before:?}");
    assert_eq!((gap.from, gap.to, gap.reason), (from, to, GapReason::Muted));
    assert!(before.id < gap.id);
}

#[test]
fn silence_gives_only_progress() {
    let origin: Timestamp = "2026-01-01T08:00:00Z".parse().unwrap();
    let clock = hearth::clock::SampleClock::starting_at(origin);
    let silent =
        |n: i64| AudioEvent::Frame(Box::new(Frame { at: n * 256, time: clock.time(n * 256), samples: [0.0; 256] }));
    let metrics = Metrics::default();
    let heard = hear(&mut AsrPipeline::new(whisper()), (0..625).map(silent), &metrics);
    let times: Vec<Timestamp> = heard
        .iter()
        .map(|heard| match heard {
            PipelineEvent::Progress(time) => *time,
            other => panic!("ten silent seconds made {other:?}"),
        })
        .collect();
    assert_eq!(times.len(), 10);
    assert_eq!(times[0], origin);
    assert_eq!(metrics.decoded_samples.get(), 0);
}

#[test]
fn synthetic_noise_makes_no_words() {
    let clock = hearth::clock::SampleClock::starting_at(Timestamp::UNIX_EPOCH);
    let mut random = 1u32;
    let mut noise = || {
        // xorshift32
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        0.1 * random as i32 as f32 / i32::MAX as f32
    };
    let noisy =
        (0..1_250).map(|n| Frame { at: n * 256, time: clock.time(n * 256), samples: std::array::from_fn(|_| noise()) });
    let stream: Vec<AudioEvent> = noisy.map(|frame| AudioEvent::Frame(Box::new(frame))).collect();
    let metrics = Metrics::default();
    let heard = utterances(hear(&mut AsrPipeline::new(whisper()), stream, &metrics));
    assert_eq!(heard, [], "words in twenty seconds of white noise");
}

/// What is heard with these settings.
fn heard_with(sound: &[AudioEvent], settings: AsrConfig) -> Vec<Utterance> {
    let settings = AsrConfig { threads: 1, ..settings };
    let whisper = Whisper::load(&root("models/whisper-tiny.en-q5_1.bin"), &settings).unwrap();
    utterances(hear(&mut AsrPipeline::new(whisper), sound.iter().cloned(), &Metrics::default()))
}

/// What is written with these hot words, an utterance a line.
fn written(sound: &[AudioEvent], hot_words: &[&str]) -> String {
    let hot_words = hot_words.iter().map(|word| (*word).to_owned()).collect();
    let heard = heard_with(sound, AsrConfig { hot_words, ..AsrConfig::default() });
    heard.into_iter().map(|utterance| utterance.text + "\n").collect()
}

#[test]
fn hot_words_help_where_they_are_said_and_change_nothing_else() {
    let said = &play(&root("examples/everyday.flac")).unwrap()[3_300..3_810];
    let without = written(said, &[]);
    assert!(without.contains("killed over"), "the test wants a word that is misheard: {without}");
    let with = written(said, &["Grandpa", "Grans", "keeled", "quick"]);
    // Whether a full stop or a comma stands after a word differs between processors.
    assert_eq!(words_of(&with), words_of(&without.replace("killed", "keeled")), "it sounds like one of them");
    assert_eq!(written(said, &["Lucas", "Beatrix", "Kowalczyk"]), without, "none of them is said");

    let morning = &play(&root("examples/household.flac")).unwrap()[..1_200];
    let right = written(morning, &[]);
    assert_eq!(written(morning, &["Help", "Emma", "Lucas", "risotto"]), right, "what is said is written already");
}

/// The words of a text in lower case, without marks.
fn words_of(text: &str) -> Vec<String> {
    let bare = |word: &str| word.trim_matches(|mark: char| !mark.is_alphanumeric()).to_lowercase();
    text.split_whitespace().map(bare).collect()
}

/// "Smoke!" by espeak-ng and "Dad!" by flite, of the exclamations that `tools/exclamations.py` makes for choosing settings.
#[test]
fn words_that_are_called_out_are_heard_and_longer_speech_stays_as_it_is() {
    let called_out = play(&root("tests/fixtures/sound/called-out.flac")).unwrap();
    let heard = heard_with(&called_out, AsrConfig::default());
    let text: Vec<&str> = heard.iter().map(|utterance| utterance.text.as_str()).collect();
    assert_eq!(words_of(&text.join(" ")), ["smoke", "dad"]);
    assert!(heard.iter().all(|utterance| utterance.confidence < 0.5), "the bonus is no confidence: {heard:?}");

    let off = |sound: &[AudioEvent]| heard_with(sound, AsrConfig { called_out: Vec::new(), ..AsrConfig::default() });
    let without: String = off(&called_out).into_iter().map(|utterance| utterance.text + " ").collect();
    assert!(!without.contains("moke") && !without.contains("Dad"), "the test wants words that are misheard: {without}");

    let morning = &play(&root("examples/household.flac")).unwrap()[..1_200];
    let texts = |heard: Vec<Utterance>| heard.into_iter().map(|utterance| utterance.text).collect::<Vec<_>>();
    assert_eq!(texts(heard_with(morning, AsrConfig::default())), texts(off(morning)));
}
