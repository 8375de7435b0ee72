//! The arguments of `hearth bench hearing`.

use std::path::PathBuf;

use super::replay::DecodeCost;
use crate::asr::decode_scheduler::InterimMode;
use crate::config::AsrConfig;

/// Measure hearing over a folder of recordings with a manifest.tsv.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchHearingArgs {
    /// A folder that holds a manifest.tsv, or whose folders do
    pub(super) folder: PathBuf,
    /// As fast as the machine can: only words, no latency, and no decoding before a segment has ended
    #[arg(long, conflicts_with_all = ["cost", "plot"])]
    pub(super) fast: bool,
    /// Decode each segment once, as on a machine without time for more
    #[arg(long)]
    pub(super) no_looks: bool,
    /// Decode the last 30 s every second and commit only what two decodes agree on, as whisper_streaming does; for comparison
    #[arg(long, conflicts_with_all = ["fast", "no_looks"])]
    pub(super) agreement: bool,
    /// Decode the last 10 s every 3 s, whatever is said, as whisper.cpp's own `stream` does; for comparison
    #[arg(long, conflicts_with_all = ["fast", "no_looks", "agreement"])]
    pub(super) stream: bool,
    /// Encode 30 s for every decode, as other programs do, not only the audio and some silence after it
    #[arg(long)]
    pub(super) whole: bool,
    /// Hot words, divided by commas: recordings in which one is said are a set, and all others are another one
    #[arg(long, value_name = "WORDS", value_delimiter = ',')]
    pub(super) hot_words: Vec<String>,
    /// Give every decode the hot words as a prompt, as other programs do; for comparison
    #[arg(long, requires = "hot_words")]
    pub(super) prompt_always: bool,
    /// Only recordings of this set; may be given more than once
    #[arg(long = "set", value_name = "SET")]
    pub(super) sets: Vec<String>,
    /// Only every N-th recording, in their order: a sample of all sets
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) every: u16,
    /// Seconds that a decode of 30 s takes on the simulated clock, and each token: for figures that do not depend on the machine
    #[arg(long, value_name = "PASS,TOKEN", value_parser = pass_cost)]
    pub(super) cost: Option<DecodeCost>,
    /// A bundled model's name, or the path of a Whisper model in ggml form
    #[arg(long, default_value_os_t = AsrConfig::default().model)]
    pub(super) model: PathBuf,
    /// ISO 639-1, or "auto"
    #[arg(long, default_value_t = AsrConfig::default().language)]
    pub(super) language: String,
    /// 0: one less than the machine has cores, at most 4
    #[arg(long, default_value_t = 0)]
    pub(super) threads: usize,
    /// Let this RecurrentGemma model read without pause meanwhile, as the daemon's does when it has fallen behind
    #[arg(long, value_name = "MODEL", conflicts_with = "cost")]
    pub(super) beside: Option<PathBuf>,
    /// Threads of that model; 0: one per core, and one for a small model
    #[arg(long, value_name = "N", default_value_t = 0, requires = "beside")]
    pub(super) beside_threads: usize,
    /// Draw a histogram of the latency
    #[arg(long, value_name = "FILE.svg")]
    pub(super) plot: Option<PathBuf>,
    /// Write every word with its time to this file, one line of JSON for each recording
    #[arg(long, value_name = "FILE.jsonl")]
    pub(super) words: Option<PathBuf>,
    /// The result as JSON on the last line
    #[arg(long)]
    pub(super) json: bool,
}

fn pass_cost(text: &str) -> Result<DecodeCost, String> {
    let parts = text.split_once(',').and_then(|(pass, token)| Some((pass.parse().ok()?, token.parse().ok()?)));
    match parts {
        Some((pass_s, token_s)) if pass_s >= 0.0 && token_s >= 0.0 => Ok(DecodeCost { pass_s, token_s }),
        _ => Err(format!("\"{text}\" is not two numbers of seconds such as 0.75,0.008")),
    }
}

impl BenchHearingArgs {
    pub(super) fn interim_mode(&self) -> InterimMode {
        if self.no_looks {
            InterimMode::Off
        } else if self.agreement {
            InterimMode::EverySecond
        } else {
            InterimMode::Adaptive
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decode_cost_is_two_numbers() {
        assert_eq!(pass_cost("0.75,0.008"), Ok(DecodeCost { pass_s: 0.75, token_s: 0.008 }));
        for wrong in ["", "1", "a,b", "-1,0", "NaN,0"] {
            assert!(pass_cost(wrong).unwrap_err().contains("0.75,0.008"), "{wrong}");
        }
    }
}
