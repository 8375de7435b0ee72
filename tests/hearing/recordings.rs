//! Tests on recordings that may not be part of this repository. `make test-recordings` runs them with HEARTH_FIXTURES set to the
//! folder that holds the recordings.

use super::*;

fn fixtures() -> PathBuf {
    let folder = std::env::var_os("HEARTH_FIXTURES").map(PathBuf::from).expect("HEARTH_FIXTURES names a folder");
    // The tests run in the repository's root.
    root("").join(folder)
}

#[test]
#[ignore = "needs recordings outside this repository: HEARTH_FIXTURES=..."]
fn recorded_noise_makes_at_most_one_word() {
    let metrics = Metrics::default();
    let mut pipeline = AsrPipeline::new(whisper());
    let mut heard = Vec::new();
    let clips = ["silence", "things_ceiling-fan", "things_boiling-water", "things_typewriter", "nature_river"];
    for clip in clips.map(|clip| fixtures().join(format!("noise/noise_moodist-{clip}.flac"))) {
        heard.extend(utterances(hear(&mut pipeline, play(&clip).unwrap(), &metrics)));
    }
    let words: usize = heard.iter().map(Utterance::words).sum();
    assert!(words <= 1, "{words} words in two minutes of noise: {heard:?}");
    // Most of the noise is not decoded at all.
    assert!(metrics.decoded_samples.get() < metrics.heard_samples.get() / 4);
}
