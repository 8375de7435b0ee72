//! How true what is told is: transcripts of households the model has never heard, whose content is known.

use hearth::listener::Listener;
use serde::Deserialize;

use super::{open, root, said};

#[derive(Deserialize)]
struct Home {
    text: String,
    questions: Vec<Asked>,
}

#[derive(Deserialize)]
struct Asked {
    kind: String,
    question: String,
    answer: serde_json::Value,
}

fn homes() -> Vec<Home> {
    let file = std::fs::read_to_string(root("tests/fixtures/households.jsonl")).unwrap();
    file.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn listener_of(home: &Home) -> Listener {
    let mut listener = open();
    listener.replay(&[said(0.0, 600.0, &home.text)]).unwrap();
    listener
}

/// Whether a sentence says what `truth` says, where "someone" may stand for a name.
fn says(sentence: &str, truth: &str) -> bool {
    let words = |text: &str| -> Vec<String> { text.trim_end_matches('.').split(' ').map(str::to_lowercase).collect() };
    let (sentence, truth) = (words(sentence), words(truth));
    // A name may be two words: "Uncle Joe".
    let same = |truth: &[String]| {
        let alike = |(a, b): (&String, &String)| a == b || a == "someone" || (a == "someone's" && b.ends_with("'s"));
        truth.len() == sentence.len() && sentence.iter().zip(truth).all(alike)
    };
    same(&truth) || same(&truth[1..])
}

#[test]
fn nine_in_ten_sentences_that_are_told_of_unknown_households_are_true() {
    let (mut told, mut right, mut events, mut wholly, mut quoted) = (0, 0, 0, 0, 0);
    let homes = homes();
    for home in &homes {
        let asked = home.questions.iter().find(|asked| asked.kind == "summary").unwrap();
        let answer = listener_of(home).ask(&asked.question).unwrap();
        let truths: Vec<&str> = asked.answer.as_array().unwrap().iter().map(|truth| truth.as_str().unwrap()).collect();
        let sentences: Vec<&str> = answer.text.split_inclusive(". ").map(str::trim).collect();
        let sentences: Vec<_> = sentences.into_iter().filter(|text| *text != "That was not said.").collect();
        let true_ones = sentences.iter().filter(|text| truths.iter().any(|truth| says(text, truth))).count();
        (told, right, events) = (told + sentences.len(), right + true_ones, events + truths.len());
        wholly += usize::from(!sentences.is_empty() && true_ones == sentences.len());
        quoted += usize::from(sentences.is_empty() || !answer.evidence.is_empty());
    }
    println!("told {told}, of them true {right}; events {events}; wholly true {wholly} of {}", homes.len());
    // Measured: 116 of 130 (before the check 67 %), 48 of 60 wholly true (before 22), 116 of 173 events told (before 100).
    assert!(right * 100 >= told * 88 && wholly >= 46 && right * 100 >= events * 62);
    assert_eq!(quoted, homes.len(), "what is told comes with what it rests on");
}

#[test]
fn a_question_about_what_nobody_said_is_not_answered() {
    let mut listener = open();
    listener.replay(&[said(0.0, 4.0, "The car needs gas. I bring it to the garage Tuesday.")]).unwrap();
    for question in ["What is for dinner?", "Whose birthday is it?", "When does the plumber come?"] {
        let answer = listener.ask(question).unwrap();
        assert_eq!((answer.text.as_str(), answer.evidence.len()), ("That was not said.", 0), "{question}");
    }
}
