//! Voices in the store: how they are kept, renamed, forgotten and refused.

use hearth::config::{Keep, StoreConfig};
use hearth::event::{Message, Speaker, StoredVoice, Utterance, VOICE_DIMENSIONS, VoiceEmbedding, Voiceprint};
use hearth::speakers::recognition;
use hearth::store::{OutboxLimits, Store};
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;
use ulid::Ulid;

fn open() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), OutboxLimits::from(&StoreConfig::default())).unwrap();
    (dir, store)
}

/// A voice that is like others of the same number only.
fn voice(number: usize) -> Voiceprint {
    let numbers = (0..VOICE_DIMENSIONS).map(|n| if n % 16 == number { 1.0 } else { 0.05 }).collect();
    let embedding = VoiceEmbedding::new(numbers).unwrap();
    Voiceprint { embedding, model: "model".into(), seconds: 3.0, unity: 1.0 }
}

fn say(store: &mut Store, minutes_ago: i64, speaker: Option<&str>, voice: Option<&Voiceprint>) -> Utterance {
    let start = Timestamp::now() - SignedDuration::from_mins(minutes_ago);
    let speaker = speaker.map(|name| Speaker { name: name.into(), confidence: 0.9 });
    let (room, text) = ("hall".into(), "Good evening.".into());
    let said =
        Utterance { id: Ulid::generate(), start, end: start, room, text, confidence: 0.9, no_speech: 0.0, speaker };
    store.record_spoken(&said, voice, &[]).unwrap();
    said
}

fn names(store: &Store) -> Vec<Option<String>> {
    let said = store.utterances_after(0, 100).unwrap();
    said.into_iter().map(|(_, said)| said.speaker.map(|speaker| speaker.name)).collect()
}

fn enrolled(store: &Store) -> Vec<(Option<String>, bool)> {
    store.enrolled_voices().unwrap().into_iter().map(|voice| (voice.speaker, voice.embedding.is_some())).collect()
}

#[test]
fn an_utterance_is_stored_with_its_speaker_and_its_voice() {
    let (_dir, mut store) = open();
    let said = say(&mut store, 5, Some("Emma"), Some(&voice(1)));
    say(&mut store, 4, None, None);
    assert_eq!(names(&store), [Some("Emma".into()), None]);
    let stored = store.voice_of(said.id).unwrap().unwrap();
    assert!(stored.embedding.unwrap().similarity(&voice(1).embedding) > 0.999);
    assert_eq!((stored.speaker.as_deref(), stored.seconds), (Some("Emma"), 3.0));
    assert_eq!(store.voice_of(Ulid::generate()).unwrap(), None);
}

#[test]
fn a_voice_without_a_name_is_named_later_with_all_that_was_said() {
    let (_dir, mut store) = open();
    assert_eq!((store.next_voice_number().unwrap(), store.next_voice_number().unwrap()), (1, 2));
    for minutes in 1..30 {
        say(&mut store, minutes, Some("voice 1"), Some(&voice(1)));
    }
    say(&mut store, 1, Some("voice 12"), Some(&voice(2)));
    store.rename_speaker("voice 1", "Emma").unwrap();
    let (emma, _) = recognition::known(&store.enrolled_voices().unwrap(), "model");
    assert_eq!((emma.len(), emma[0].name.as_str()), (1, "Emma"));
    assert_eq!(enrolled(&store).len(), 20, "the newest are enough");
    assert_eq!(names(&store).iter().filter(|name| name.as_deref() == Some("Emma")).count(), 29);
    assert_eq!(store.unnamed_voices(100).unwrap().len(), 1, "the other voice without a name stays as it is");
}

#[test]
fn that_was_emma() {
    let (_dir, mut store) = open();
    let said = say(&mut store, 5, None, Some(&voice(1)));
    store.enroll_utterance("Emma", said.id).unwrap();
    assert_eq!(enrolled(&store), [(Some("Emma".into()), true)]);
    assert_eq!(names(&store), [Some("Emma".into())]);
    store.enroll_utterance("Jack", said.id).unwrap();
    assert_eq!(enrolled(&store), [(Some("Jack".into()), true)], "it was Jack after all");
}

#[test]
fn voices_go_with_what_was_said_when_it_is_forgotten() {
    let (_dir, mut store) = open();
    store.enroll("Emma", &[voice(1)]).unwrap();
    let before = say(&mut store, 90, Some("Emma"), Some(&voice(1)));
    let after = say(&mut store, 10, None, Some(&voice(2)));
    store.enroll_utterance("Jack", after.id).unwrap();
    store.forget(Timestamp::now() - SignedDuration::from_mins(30), None).unwrap();
    assert!(store.voice_of(before.id).unwrap().is_some() && store.voice_of(after.id).unwrap().is_none());
    assert_eq!(enrolled(&store), [(Some("Emma".into()), true)], "what Jack was enrolled by is forgotten, too");
}

#[test]
fn voices_grow_old_with_what_was_said_and_enrolled_ones_do_not() {
    let (_dir, mut store) = open();
    store.enroll("Emma", &[voice(1)]).unwrap();
    let old = say(&mut store, 60 * 24 * 40, Some("Emma"), Some(&voice(1)));
    let new = say(&mut store, 10, Some("Emma"), Some(&voice(1)));
    let read = store.newest().unwrap();
    store.enforce(Timestamp::now(), "30 days".parse::<Keep>().unwrap(), read).unwrap();
    assert!(store.voice_of(old.id).unwrap().is_none() && store.voice_of(new.id).unwrap().is_some());
    store.enforce(Timestamp::now(), Keep::Nothing, read).unwrap();
    assert!(store.voice_of(new.id).unwrap().is_none());
    assert_eq!(enrolled(&store), [(Some("Emma".into()), true)]);
}

#[test]
fn a_person_who_is_forgotten_is_nowhere() {
    let (dir, mut store) = open();
    store.enroll("Emma", &[voice(1), voice(1)]).unwrap();
    let said = say(&mut store, 10, Some("Emma"), Some(&voice(1)));
    let other = say(&mut store, 9, Some("Jack"), Some(&voice(2)));
    let message = |speaker: &str| {
        let payload = format!(r#"{{"text":"Good evening.","speaker":"{speaker}","speaker_confidence":0.9}}"#);
        Message::plain("hearth/home/utterance", payload, false)
    };
    store.enqueue(&[message("Emma"), message("Jack")]).unwrap();
    store.forget_speaker("emma").unwrap();
    assert_eq!((enrolled(&store), names(&store)), (vec![], vec![None, Some("Jack".into())]));
    assert!(store.voice_of(said.id).unwrap().is_none() && store.voice_of(other.id).unwrap().is_some());
    drop(store);
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(4).any(|part| part == b"Emma"), "the name is still in a file");
    }
}

#[test]
fn voices_of_another_model_and_damaged_ones_are_named_and_not_used() {
    let stored = |speaker: &str, model: &str, whole: bool| StoredVoice {
        speaker: Some(speaker.into()),
        model: model.into(),
        embedding: whole.then(|| voice(1).embedding),
        seconds: 3.0,
    };
    let voices = [stored("Emma", "model", true), stored("Jack", "other", true), stored("Emma", "model", false)];
    let (known, refused) = recognition::known(&voices, "model");
    assert_eq!(known.iter().map(|known| known.name.as_str()).collect::<Vec<_>>(), ["Emma"]);
    assert_eq!(refused, ["Jack", "Emma"]);
}
