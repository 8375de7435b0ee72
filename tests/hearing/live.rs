//! Hearing that does not wait: looks at what is being said, and what is given up under load.

use hearth::event::GapReason;
use jiff::{SignedDuration, Timestamp};

use super::*;

fn household(frames: usize) -> Vec<Frame> {
    self::frames(&root("examples/household.flac")).into_iter().take(frames).collect()
}

fn end(frame: &Frame) -> Timestamp {
    hearth::clock::after(frame.time, hearth::clock::duration(256))
}

/// Hears frames as they arrive, by a recogniser that takes no time.
fn hear_at_once(hearing: &mut Hearing, frames: Vec<Frame>, vitals: &Vitals) -> Vec<Heard> {
    let mut heard = Vec::new();
    for frame in frames {
        let now = end(&frame);
        hearing.listen(Audio::Frame(Box::new(frame)), vitals);
        while hearing.has_work() {
            heard.extend(hearing.work(now, vitals).unwrap());
            hearing.took(0.6);
        }
    }
    heard.extend(hearing.finish(vitals).unwrap());
    heard
}

#[test]
fn committed_words_come_before_their_utterance_and_stay_as_they_are() {
    let vitals = Vitals::default();
    let mut hearing = Hearing::new(whisper(), "kitchen").live(true);
    let (mut committed, mut early) = (Vec::new(), 0);
    for heard in hear_at_once(&mut hearing, household(900), &vitals) {
        match heard {
            Heard::Hypothesis(said) => {
                assert!(said.committed.starts_with(&committed), "{committed:?} became {:?}", said.committed);
                assert_eq!(said.room, "kitchen");
                committed = said.committed;
            }
            Heard::Utterance(utterance) => {
                let words: Vec<String> = utterance.text.split_whitespace().map(str::to_owned).collect();
                let known = committed.len().min(words.len());
                assert_eq!(committed[..known], words[..known]);
                committed.drain(..known);
                early += known;
            }
            _ => {}
        }
    }
    assert_eq!(committed, [""; 0], "what was committed came out");
    assert!(early * 2 > vitals.words.get() as usize, "{early} of {} words were there early", vitals.words.get());
}

#[test]
fn each_piece_that_whisper_makes_of_a_segment_is_an_utterance() {
    // Four sentences without a pause, one segment: 33.6 to 43 s.
    let said: Vec<Audio> = household(2_690).into_iter().skip(2_100).map(|f| Audio::Frame(Box::new(f))).collect();
    let heard = utterances(hear(&mut Hearing::new(whisper(), "hall"), said, &Vitals::default()));
    let texts: Vec<&str> = heard.iter().map(|utterance| utterance.text.as_str()).collect();
    assert!(texts.len() >= 3 && texts.iter().any(|text| text.starts_with("It is the courier")), "{texts:?}");
    assert!(heard.is_sorted_by(|a, b| a.end <= b.start), "{heard:?}");
}

#[test]
fn what_there_is_no_time_for_is_told_as_a_gap() {
    let vitals = Vitals::default();
    let mut hearing = Hearing::new(whisper(), "kitchen").live(true);
    let frames = household(1_800);
    let late = end(frames.last().unwrap()) + SignedDuration::from_secs(60);
    frames.into_iter().for_each(|frame| hearing.listen(Audio::Frame(Box::new(frame)), &vitals));
    let mut heard = Vec::new();
    while hearing.has_work() {
        heard.extend(hearing.work(late, &vitals).unwrap());
    }
    let gaps: Vec<_> =
        heard.iter().filter_map(|heard| if let Heard::Gap(gap) = heard { Some(gap) } else { None }).collect();
    assert!(
        gaps.len() >= 2 && gaps.iter().all(|gap| gap.reason == GapReason::Overload && gap.from < gap.to),
        "{gaps:?}"
    );
    assert!(heard.iter().any(|heard| matches!(heard, Heard::Utterance(_))), "the last stretch is heard");
    assert!(!heard.iter().any(|heard| matches!(heard, Heard::Hypothesis(_))), "no looks under load");
    let told: f64 = gaps.iter().map(|gap| gap.to.duration_since(gap.from).as_secs_f64()).sum();
    assert!((told - vitals.dropped_samples.get() as f64 / 16_000.0).abs() < 0.01, "{told} s");
}
