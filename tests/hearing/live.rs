//! The pipeline for live sources: partial decodes, committed words, and segments dropped under load.

use hearth::asr::decode_scheduler::InterimMode;
use hearth::event::GapReason;
use jiff::{SignedDuration, Timestamp};

use super::*;

fn household(frames: usize) -> Vec<Frame> {
    self::frames(&root("examples/household.flac")).into_iter().take(frames).collect()
}

fn end(frame: &Frame) -> Timestamp {
    hearth::clock::after(frame.time, hearth::clock::duration(256))
}

/// Transcribes frames as they arrive, as if decoding took no time.
fn transcribe_live(pipeline: &mut AsrPipeline, frames: Vec<Frame>, metrics: &Metrics) -> Vec<PipelineEvent> {
    let mut heard = Vec::new();
    for frame in frames {
        let now = end(&frame);
        pipeline.accept(in_the_kitchen(AudioEvent::Frame(Box::new(frame))), metrics);
        while pipeline.has_work() {
            heard.extend(pipeline.step(now, metrics).unwrap());
            pipeline.record_pass(0.6);
        }
    }
    heard.extend(pipeline.finish(metrics).unwrap());
    heard
}

/// Speech without a pause, which is cut in the middle.
fn speech_without_pauses(frames: usize) -> Vec<Frame> {
    let mut all = household(usize::MAX);
    let times: Vec<_> = all.iter().map(|frame| (frame.at, frame.time)).collect();
    all.retain(|frame| frame.samples.iter().any(|sample| sample.abs() > 0.01));
    let joined = all.into_iter().zip(times).map(|(frame, (at, time))| Frame { at, time, ..frame });
    joined.take(frames).collect()
}

#[test]
fn committed_words_come_before_their_utterance_and_never_change() {
    assert_committed_words_stay(household(900));
}

#[test]
fn committed_words_never_change_where_speech_is_cut() {
    assert_committed_words_stay(speech_without_pauses(2_500));
}

fn assert_committed_words_stay(frames: Vec<Frame>) {
    let metrics = Metrics::default();
    let mut pipeline = AsrPipeline::new(whisper()).live(InterimMode::Adaptive);
    let mut committed = Vec::new();
    let mut early = 0;
    let mut last = Timestamp::MIN;
    for heard in transcribe_live(&mut pipeline, frames, &metrics) {
        match heard {
            PipelineEvent::Hypothesis(said) => {
                assert!(said.committed.starts_with(&committed), "{committed:?} became {:?}", said.committed);
                assert_eq!(said.room, "kitchen");
                committed = said.committed;
            }
            PipelineEvent::Utterance(utterance, _) => {
                assert!(last <= utterance.start && utterance.start <= utterance.end, "{last}: {utterance:?}");
                last = utterance.end;
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
    assert!(early * 2 > metrics.words.get() as usize, "{early} of {} words were there early", metrics.words.get());
}

#[test]
fn a_cut_that_lies_seconds_back_does_not_count_as_load() {
    let mut frames = speech_without_pauses(1_400);
    // The best place for a cut after twelve seconds: the segment that comes out then ended almost three seconds ago.
    frames[572..582].iter_mut().for_each(|frame| frame.samples.fill(0.0));
    let mut pipeline = AsrPipeline::new(whisper()).live(InterimMode::Adaptive);
    let heard = transcribe_live(&mut pipeline, frames, &Metrics::default());
    let starts = heard.iter().filter_map(|heard| match heard {
        PipelineEvent::Hypothesis(said) if !said.committed.is_empty() => Some(said.start),
        _ => None,
    });
    let starts: std::collections::BTreeSet<Timestamp> = starts.collect();
    assert!(starts.len() >= 2, "what follows the cut is decoded, too: {starts:?}");
}

#[test]
fn discarded_audio_never_comes_out() {
    let metrics = Metrics::default();
    let mut pipeline = AsrPipeline::new(whisper()).live(InterimMode::Adaptive);
    for frame in household(190) {
        pipeline.accept(in_the_kitchen(AudioEvent::Frame(Box::new(frame))), &metrics);
    }
    assert!(pipeline.has_work());
    pipeline.discard_all();
    assert!(!pipeline.has_work());
    assert_eq!(pipeline.finish(&metrics).unwrap(), []);
}

#[test]
fn each_text_segment_of_whisper_is_an_utterance() {
    // Four sentences without a pause, one segment: 33.6 to 43 s.
    let said: Vec<AudioEvent> =
        household(2_690).into_iter().skip(2_100).map(|f| AudioEvent::Frame(Box::new(f))).collect();
    let heard = utterances(hear(&mut AsrPipeline::new(whisper()), said, &Metrics::default()));
    let texts: Vec<&str> = heard.iter().map(|utterance| utterance.text.as_str()).collect();
    assert!(texts.len() >= 3 && texts.iter().any(|text| text.starts_with("It is the courier")), "{texts:?}");
    assert!(heard.is_sorted_by(|a, b| a.end <= b.start), "{heard:?}");
}

#[test]
fn dropped_segments_are_reported_as_overload_gaps() {
    let metrics = Metrics::default();
    let mut pipeline = AsrPipeline::new(whisper()).live(InterimMode::Adaptive);
    let frames = household(2_040);
    let late = end(frames.last().unwrap()) + SignedDuration::from_secs(60);
    frames.into_iter().for_each(|frame| pipeline.accept(in_the_kitchen(AudioEvent::Frame(Box::new(frame))), &metrics));
    let mut heard = Vec::new();
    while pipeline.has_work() {
        heard.extend(pipeline.step(late, &metrics).unwrap());
    }
    let gaps: Vec<_> =
        heard.iter().filter_map(|heard| if let PipelineEvent::Gap(gap) = heard { Some(gap) } else { None }).collect();
    assert!(
        gaps.len() >= 2 && gaps.iter().all(|gap| gap.reason == GapReason::Overload && gap.from < gap.to),
        "{gaps:?}"
    );
    assert!(heard.iter().any(|heard| matches!(heard, PipelineEvent::Utterance(..))), "the last segment is decoded");
    assert!(!heard.iter().any(|heard| matches!(heard, PipelineEvent::Hypothesis(_))), "no partial decodes under load");
    let told: f64 = gaps.iter().map(|gap| gap.to.duration_since(gap.from).as_secs_f64()).sum();
    assert!((told - metrics.dropped_samples.get() as f64 / 16_000.0).abs() < 0.01, "{told} s");
}

#[test]
fn rooms_are_independent_streams() {
    let metrics = Metrics::default();
    let mut pipeline = AsrPipeline::new(whisper());
    let mut heard = Vec::new();
    for frame in household(700) {
        for room in ["hall", "kitchen"] {
            let sound = RoomAudio { room: room.into(), event: AudioEvent::Frame(Box::new(frame.clone())) };
            heard.extend(pipeline.push(sound, &metrics).unwrap());
        }
    }
    heard.extend(pipeline.finish(&metrics).unwrap());
    let said = |room: &str| {
        let of_it = utterances(heard.clone()).into_iter().filter(|utterance| utterance.room == room);
        of_it.map(|utterance| (utterance.start, utterance.text)).collect::<Vec<_>>()
    };
    assert!(said("hall").len() >= 2, "{heard:?}");
    assert_eq!(said("hall"), said("kitchen"), "the other room changes nothing");
}

#[test]
fn sources_run_in_parallel_and_one_that_fails_stops_all() {
    let one = root("examples/household.flac");
    let gone = root("examples/gone.flac");
    let hall = |path: &Path, pace| ("hall".to_owned(), playing(path, pace).1);
    let run = |sources: [(String, SourceConfig); 2]| {
        let (sender, receiver) = sync_channel(100_000);
        let ended = audio::run(&sources, Path::new(""), sender, &SourceControl::default(), &Metrics::default());
        (ended, receiver.into_iter().collect::<Vec<RoomAudio>>())
    };
    let (ended, heard) = run([playing(&one, PlaybackPace::Fast), hall(&one, PlaybackPace::Fast)]);
    ended.unwrap();
    let of = |room: &str| heard.iter().filter(|sound| &*sound.room == room).count();
    assert!(of("hall") > 6_000 && of("hall") == of("kitchen") && of("hall") * 2 == heard.len());
    for sources in [
        [playing(&one, PlaybackPace::RealTime), hall(&gone, PlaybackPace::Fast)],
        [hall(&gone, PlaybackPace::Fast), playing(&one, PlaybackPace::RealTime)],
    ] {
        let (ended, _) = run(sources);
        assert!(ended.unwrap_err().to_string().contains("gone.flac"), "not after a minute and a half of the other");
    }
}
