//! The figures of `hearth bench hearing`: how rates are computed from sums, and how they are printed.
//!
//! A figure for which there was no audio is none, never 0.

use crate::cli::output::stdout;
use std::collections::BTreeMap;
use std::io::Write;

use serde::Serialize;

/// What was measured. Rates and shares are fractions of 1.
#[derive(Debug, Default, Serialize)]
pub(crate) struct HearingReport {
    pub(crate) wer: f64,
    pub(crate) wer_offline: f64,
    pub(crate) by_set: BTreeMap<String, SetScores>,
    /// Seconds from the end of a word until it is committed.
    pub(crate) latency_p50_s: Option<f64>,
    pub(crate) latency_p95_s: Option<f64>,
    /// All latencies, sorted.
    #[serde(skip)]
    pub(crate) latencies: Vec<f64>,
    /// Seconds from the end of a word to its utterance, which is what is stored and read by the model.
    pub(crate) stored_p50_s: Option<f64>,
    pub(crate) stored_p95_s: Option<f64>,
    pub(crate) revisions: usize,
    pub(crate) noise_words_per_hour: Option<f64>,
    pub(crate) cpu_s_per_hour_speech: Option<f64>,
    pub(crate) cpu_s_per_hour_silence: f64,
    /// The share of the time of the recordings with speech in which something was decoded.
    pub(crate) busy: f64,
    /// Tokens per second that a RecurrentGemma model read meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) read_beside_tok_s: Option<f64>,
    pub(crate) rss_bytes: u64,
    pub(crate) dropped_s: f64,
    pub(crate) speech_s: f64,
    pub(crate) noise_s: f64,
    pub(crate) words: usize,
    pub(crate) hot_words: HotWordScores,
}

/// How often hot words were said and written.
#[derive(Debug, Default, Serialize)]
pub(crate) struct HotWordScores {
    pub(crate) said: usize,
    pub(crate) written: usize,
    /// Written more often than they were said.
    pub(crate) invented: usize,
}

impl HotWordScores {
    /// Adds a recording.
    pub(crate) fn add(&mut self, said: usize, written: usize) {
        self.said += said;
        self.written += said.min(written);
        self.invented += written.saturating_sub(said);
    }
}

/// Words, errors and latencies of one set of recordings.
#[derive(Debug, Default, Serialize)]
pub(crate) struct SetScores {
    pub(crate) wer: f64,
    pub(crate) wer_offline: f64,
    pub(crate) words: usize,
    pub(crate) latency_p50_s: Option<f64>,
    pub(crate) latency_p95_s: Option<f64>,
    #[serde(skip)]
    pub(crate) errors: usize,
    #[serde(skip)]
    pub(crate) errors_offline: usize,
    /// Seconds from the end of each recognized word until it was committed, sorted.
    #[serde(skip)]
    pub(crate) latencies: Vec<f64>,
}

impl SetScores {
    pub(crate) fn add(&mut self, other: &Self) {
        self.words += other.words;
        self.errors += other.errors;
        self.errors_offline += other.errors_offline;
        let rate = |errors| errors as f64 / self.words.max(1) as f64;
        self.wer = rate(self.errors);
        self.wer_offline = rate(self.errors_offline);
        self.latencies.extend(&other.latencies);
        self.latencies.sort_by(f64::total_cmp);
        self.latency_p50_s = quantile(&self.latencies, 0.5);
        self.latency_p95_s = quantile(&self.latencies, 0.95);
    }
}

/// Sums over all recordings, from which the rates are computed.
#[derive(Debug, Default)]
pub(crate) struct ReplayTotals {
    pub(crate) speech_s: f64,
    pub(crate) busy_s: f64,
    pub(crate) speech_cpu_s: f64,
    pub(crate) noise_s: f64,
    pub(crate) noise_words: usize,
}

impl HearingReport {
    /// Computes the rates from the sums.
    pub(crate) fn set_rates(&mut self, totals: &ReplayTotals) {
        let ReplayTotals { speech_s, busy_s, speech_cpu_s, noise_s, noise_words } = *totals;
        self.speech_s = speech_s;
        self.noise_s = noise_s;
        if speech_s > 0.0 {
            self.busy = busy_s / speech_s;
            self.cpu_s_per_hour_speech = Some(3600.0 * speech_cpu_s / speech_s);
        }
        self.noise_words_per_hour = (noise_s > 0.0).then(|| 3600.0 * noise_words as f64 / noise_s);
        let mut all = SetScores::default();
        self.by_set.values().for_each(|set| all.add(set));
        self.wer = all.wer;
        self.wer_offline = all.wer_offline;
        self.words = all.words;
        self.latency_p50_s = all.latency_p50_s;
        self.latency_p95_s = all.latency_p95_s;
        self.latencies = all.latencies;
    }

    /// Computes the distribution of the latencies until words are in an utterance.
    pub(crate) fn set_stored_latencies(&mut self, stored: &mut [f64]) {
        stored.sort_by(f64::total_cmp);
        self.stored_p50_s = quantile(stored, 0.5);
        self.stored_p95_s = quantile(stored, 0.95);
    }

    pub(crate) fn show(&self) -> anyhow::Result<()> {
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        if self.words > 0 {
            let late = |time: Option<f64>| time.map_or("–".into(), |time| format!("{time:.2} s"));
            writeln!(
                stdout(),
                "{:<28} {:>8} {:>9} {:>9} {:>8} {:>8}",
                "set",
                "words",
                "errors",
                "offline",
                "p50",
                "p95"
            )?;
            for (name, set) in &self.by_set {
                let SetScores { words, wer, wer_offline, latency_p50_s, latency_p95_s, .. } = set;
                let p50 = late(*latency_p50_s);
                let p95 = late(*latency_p95_s);
                writeln!(
                    stdout(),
                    "{name:<28} {words:>8} {:>9} {:>9} {p50:>8} {p95:>8}",
                    percent(*wer),
                    percent(*wer_offline)
                )?;
            }
            writeln!(
                stdout(),
                "{:<28} {:>8} {:>9} {:>9}\n",
                "all",
                self.words,
                percent(self.wer),
                percent(self.wer_offline)
            )?;
        }
        let row = |what: &str, value: String| writeln!(stdout(), "{what:<52} {value}");
        if let (Some(p50), Some(p95)) = (self.latency_p50_s, self.latency_p95_s) {
            row("from a word's end until it is committed", format!("p50 {p50:.2} s, p95 {p95:.2} s"))?;
        }
        if let (Some(p50), Some(p95)) = (self.stored_p50_s, self.stored_p95_s) {
            row("and to the utterance that is stored", format!("p50 {p50:.2} s, p95 {p95:.2} s"))?;
        }
        let HotWordScores { said, written, invented } = self.hot_words;
        if said + invented > 0 {
            row(
                "hot words that were said and written",
                format!("{written} of {said}, and {invented} that were not said"),
            )?;
        }
        row("committed words that changed", self.revisions.to_string())?;
        if let Some(words) = self.noise_words_per_hour {
            row("words per hour where nobody speaks", format!("{words:.1} ({:.0} s of audio)", self.noise_s))?;
        }
        if let Some(cpu) = self.cpu_s_per_hour_speech {
            row("processor seconds per hour of speech", format!("{cpu:.0} ({:.0} s of audio)", self.speech_s))?;
        }
        let core = percent(self.cpu_s_per_hour_silence / 3600.0);
        row("processor seconds per hour of silence", format!("{:.1} ({core} of a core)", self.cpu_s_per_hour_silence))?;
        if self.busy > 0.0 {
            row("share of the time decoding, where people speak", percent(self.busy))?;
        }
        if let Some(speed) = self.read_beside_tok_s {
            row("tokens per second that a model read meanwhile", format!("{speed:.1}"))?;
        }
        row("memory at most", format!("{:.0} MB", self.rss_bytes as f64 / 1e6))?;
        row("sound dropped", format!("{:.1} s", self.dropped_s))?;
        Ok(())
    }
}

fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    Some(sorted[(last as f64 * q).round() as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_rate_of_all_sets_is_weighted_by_words() {
        let mut all = SetScores::default();
        all.add(&SetScores { words: 10, errors: 5, errors_offline: 1, ..SetScores::default() });
        all.add(&SetScores { words: 30, errors: 5, errors_offline: 3, ..SetScores::default() });
        assert_eq!((all.wer, all.wer_offline), (0.25, 0.1));
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[1.0, 2.0, 3.0], 0.5), Some(2.0));
    }

    #[test]
    fn rates_come_from_sums_and_a_rate_without_audio_is_none() {
        let mut report = HearingReport::default();
        report.set_rates(&ReplayTotals {
            speech_s: 1800.0,
            busy_s: 900.0,
            speech_cpu_s: 60.0,
            ..ReplayTotals::default()
        });
        assert_eq!((report.busy, report.cpu_s_per_hour_speech), (0.5, Some(120.0)));
        assert_eq!(report.noise_words_per_hour, None);
        report.set_rates(&ReplayTotals { noise_s: 7200.0, noise_words: 4, ..ReplayTotals::default() });
        assert_eq!((report.cpu_s_per_hour_speech, report.noise_words_per_hour), (Some(120.0), Some(2.0)));
    }
}
