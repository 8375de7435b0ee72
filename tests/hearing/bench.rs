//! `hearth bench hearing` over a folder of two recordings, one with speech and one without.

use std::process::Command;

use super::*;

#[test]
fn a_folder_is_measured_and_a_missing_manifest_is_an_error() {
    let home = tempfile::tempdir().unwrap();
    // The first eighteen seconds of the bundled recording, and a second of silence.
    let household = std::fs::read(root("examples/household.flac")).unwrap();
    std::fs::write(home.path().join("morning.flac"), &household[..household.len() / 8]).unwrap();
    let format = hound::WavSpec {
        channels: 1,
        sample_rate: 16_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut silence = hound::WavWriter::create(home.path().join("silence.wav"), format).unwrap();
    (0..16_000).for_each(|_| silence.write_sample(0i16).unwrap());
    silence.finalize().unwrap();
    let bench = |folder: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hearth"));
        command.args(["bench", "hearing"]).arg(folder).args(["--cost", "0.5,0", "--threads", "1", "--json"]);
        command.arg("--plot").arg(home.path().join("latency.svg")).output().unwrap()
    };
    let told = String::from_utf8(bench(home.path()).stderr).unwrap();
    assert!(told.contains("holds no manifest.tsv"), "{told}");

    let manifest = "file\treference\tset\nmorning.flac\tgood morning emma how are you\thome\nsilence.wav\t\tquiet\n";
    std::fs::write(home.path().join("manifest.tsv"), manifest).unwrap();
    let measured = bench(home.path());
    let out = String::from_utf8(measured.stdout).unwrap();
    let err = String::from_utf8_lossy(&measured.stderr);
    let report: serde_json::Value = serde_json::from_str(out.lines().last().unwrap_or_default()).expect(&err);
    let number = |key: &str| report[key].as_f64().unwrap_or_else(|| panic!("{key} in {report}"));
    assert_eq!(report["by_set"]["home"]["words"], 6, "{report}");
    assert!(number("latency_p50_s") >= 0.5 && number("latency_p50_s") <= number("latency_p95_s"), "{report}");
    for key in ["wer", "wer_offline", "cpu_s_per_hour_speech", "cpu_s_per_hour_silence", "rss_bytes"] {
        assert!(number(key) > 0.0 || key.starts_with("wer"), "{key}: {report}");
    }
    for key in ["revisions", "noise_words_per_hour", "dropped_s"] {
        assert_eq!(number(key), 0.0, "{key}: {report}");
    }
    assert!(std::fs::read_to_string(home.path().join("latency.svg")).unwrap().starts_with("<svg"));
}
