//! Whom a voice is taken for.

use hearth::event::{Speaker, StoredVoice, VOICE_DIMENSIONS, VoiceEmbedding, Voiceprint};
use hearth::speakers::enrollment::{EnrollmentError, check_name, check_sound};
use hearth::speakers::recognition::{KnownVoice, Recognized, known, recognize};

use super::{encoder, samples};

/// A mixture of two directions that have nothing in common: alike to the first by `share`.
fn mixed(first: usize, second: usize, share: f32) -> VoiceEmbedding {
    let rest = (1.0 - share * share).sqrt();
    let mut numbers = vec![0.0; VOICE_DIMENSIONS];
    numbers[first] = share;
    numbers[second] = rest;
    VoiceEmbedding::new(numbers).unwrap()
}

fn heard(embedding: VoiceEmbedding, seconds: f32) -> Voiceprint {
    Voiceprint { embedding, model: "model".into(), seconds, unity: 1.0 }
}

/// People whose voices are alike to none of the others.
fn people(names: &[String]) -> Vec<KnownVoice> {
    let stored = |(n, name): (usize, &String)| StoredVoice {
        speaker: Some(name.clone()),
        model: "model".into(),
        embedding: Some(mixed(n, 255, 1.0)),
        seconds: 10.0,
    };
    known(&names.iter().enumerate().map(stored).collect::<Vec<_>>(), "model").0
}

fn name(recognized: Recognized) -> Option<String> {
    match recognized {
        Recognized::Known(Speaker { name, confidence }) => {
            assert!((0.0..=1.0).contains(&confidence));
            Some(name)
        }
        _ => None,
    }
}

#[test]
fn who_is_known_is_named_and_who_is_not_is_new_or_nobody() {
    let known = people(&["Emma".into(), "Jack".into()]);
    let told = |voice: &Voiceprint| recognize(voice, &known, &[]);
    assert_eq!(name(told(&heard(mixed(0, 200, 0.95), 4.0))).as_deref(), Some("Emma"));
    assert_eq!(told(&heard(mixed(200, 201, 0.9), 4.0)), Recognized::New);
    assert_eq!(told(&heard(mixed(200, 201, 0.9), 1.0)), Recognized::Nobody, "a word is too little for a new voice");
    assert_eq!(told(&heard(mixed(0, 1, 0.72), 4.0)), Recognized::Nobody, "between two people nobody is named");
    assert_eq!(told(&heard(mixed(0, 200, 0.95), 0.5)), Recognized::Nobody, "half a second is too little");
    let two = Voiceprint { unity: 0.4, ..heard(mixed(0, 200, 0.95), 4.0) };
    assert_eq!(told(&two), Recognized::Nobody, "two people spoke");
}

#[test]
fn a_voice_without_a_name_is_known_again() {
    let unnamed = people(&["voice 1".into()]);
    assert_eq!(name(recognize(&heard(mixed(0, 200, 0.95), 3.0), &[], &unnamed)).as_deref(), Some("voice 1"));
    assert_eq!(recognize(&heard(mixed(9, 200, 0.95), 3.0), &[], &unnamed), Recognized::New);
    let enrolled = people(&["Emma".into()]);
    let told = recognize(&heard(mixed(0, 200, 0.95), 3.0), &enrolled, &unnamed);
    assert_eq!(name(told).as_deref(), Some("Emma"), "a name goes before a number");
}

#[test]
fn two_hundred_people_are_told_apart() {
    let names: Vec<String> = (0..200).map(|n| format!("Person {n:03}")).collect();
    let known = people(&names);
    for (n, wanted) in names.iter().enumerate() {
        assert_eq!(name(recognize(&heard(mixed(n, 250, 0.9), 4.0), &known, &[])).as_ref(), Some(wanted));
    }
}

#[test]
fn what_is_not_fit_to_know_a_person_by_is_refused_with_the_reason() {
    let sound = |voices: &[Voiceprint]| check_sound(voices).unwrap_err();
    assert_eq!(sound(&[]), EnrollmentError::TooLittle { seconds: 0.0 });
    assert_eq!(sound(&[heard(mixed(0, 1, 1.0), 3.0)]), EnrollmentError::TooLittle { seconds: 3.0 });
    let two = [heard(mixed(0, 9, 1.0), 4.0), heard(mixed(1, 9, 1.0), 4.0)];
    assert!(matches!(sound(&two), EnrollmentError::Several { .. }));
    check_sound(&[heard(mixed(0, 9, 0.95), 4.0), heard(mixed(0, 8, 0.95), 4.0)]).unwrap();

    let known = people(&["Emma".into(), "Jack".into()]);
    let problem =
        |name: &str, voice: VoiceEmbedding| check_name(name, &voice, &known).map_err(|error| error.to_string());
    problem("Emma", mixed(0, 9, 0.9)).unwrap();
    problem("Sophie", mixed(7, 9, 0.9)).unwrap();
    let another = problem("emma", mixed(7, 9, 0.9)).unwrap_err();
    assert!(another.contains("does not sound like the Emma") && another.contains("--force"), "{another}");
    let alike = problem("Sophie", mixed(1, 9, 0.9)).unwrap_err();
    assert!(alike.contains("sounds like Jack"), "{alike}");
}

#[test]
fn two_voices_in_one_piece_of_sound_differ_and_one_does_not() {
    let (encoder, sound) = (encoder(), samples("examples/household.flac"));
    let at = |seconds: f64| (seconds * 16_000.0) as usize;
    // A says a sentence from 6.94 to 11.06 s, and B from 11.65 to 15.74 s.
    let unity = |from: f64, to: f64| encoder.voiceprint(&sound[at(from)..at(to)]).unwrap().unwrap().unity;
    let (a, b, both) = (unity(6.9, 11.1), unity(11.6, 15.8), unity(8.5, 14.0));
    assert!(a > 0.8 && b > 0.8 && both < 0.7, "{a} {b} {both}");
}
