//! The scores as text.

use std::fmt::{self, Display, Formatter};

use super::play::AnswerCounts;
use super::report::{JudgeReport, SOURCES, SourceScores};
use super::truth::TruthCounts;

impl Display for JudgeReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}{}", self.model, if self.stopped { "; it was stopped, so only a part was judged" } else { "" })?;
        if self.exchanges > 0 {
            self.alerts(f)?;
            self.recall(f)?;
            self.reliability(f)?;
        }
        self.harmless(f)?;
        self.answers(f)?;
        let seconds = &self.seconds;
        if seconds.reading_mean > 0.0 {
            let (mean, p95) = (seconds.reading_mean, seconds.reading_p95);
            write!(f, "\na reading of an utterance with the rules' questions: {mean:.3} s, p95 {p95:.3} s")?;
        }
        if seconds.questions_mean > 0.0 {
            write!(f, "; the questions about all eight kinds: {:.3} s", seconds.questions_mean)?;
        }
        Ok(())
    }
}

impl JudgeReport {
    fn alerts(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nalerts of the rules in {} exchanges", self.exchanges)?;
        writeln!(f, "{:<10}{:>6}{:>9}{:>9}", "kind", "n", "recall", "false")?;
        for kind in &self.kinds {
            let (recall, false_ones) = (share(kind.alert_recall), percent(kind.alert_false));
            writeln!(f, "{:<10}{:>6}{recall:>9}{false_ones:>9}", kind.kind.name(), kind.of[0])?;
        }
        let (recall, false_ones) = (share(self.mean.alert_recall), percent(self.mean.alert_false));
        writeln!(f, "{:<16}{recall:>9}{false_ones:>9}", "mean")?;
        if let Some(worst) = self.cross_talk_worst.as_ref().filter(|worst| worst.share > 0.0) {
            let (of, raised) = (worst.of.name(), worst.raised.name());
            writeln!(f, "the worst cross-talk: {raised} in {:.1} % of the exchanges about {of}", 100.0 * worst.share)?;
        }
        Ok(())
    }

    fn recall(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\nrecall where 0.5, 2 and 5 % of the other exchanges would be false yeses, one reading right after the exchange"
        )?;
        writeln!(f, "{:<16}{}", "", SOURCES.map(|source| format!("  {source:<22}")).concat())?;
        let row = |f: &mut Formatter<'_>, name: &str, n: String, part: &dyn Fn(&str) -> [Option<f64>; 3]| {
            let cells =
                SOURCES.map(|source| format!("  {:<22}", part(source).map(|x| format!("{:<6}", share(x))).concat()));
            writeln!(f, "{name:<10}{n:>6}{}", cells.concat().trim_end())
        };
        for kind in &self.kinds {
            row(f, kind.kind.name(), kind.of[0].to_string(), &|source| kind.sources[source].same)?;
        }
        let mean = |source: &str| -> &SourceScores { &self.mean.sources[source] };
        row(f, "mean", String::new(), &|source| mean(source).same)?;
        if SOURCES.iter().any(|source| mean(source).kept[0].is_some()) {
            row(f, "half 1", String::new(), &|source| mean(source).kept)?;
            let cells = SOURCES.map(|source| {
                format!("  {:<22}", mean(source).kept_false.map(|x| format!("{:<7}", percent(x))).concat())
            });
            writeln!(f, "{:<16}{}", "  its false", cells.concat().trim_end())?;
            writeln!(f, "(half 1: the mean on half 1 of the exchanges, with the thresholds of half 0)")?;
        }
        if let [Some(recall), Some(false_ones)] = mean("model").even {
            writeln!(f, "the model's yes from 50 % on: recall {recall:.2}, false {:.1} %", 100.0 * false_ones)?;
        }
        Ok(())
    }

    fn reliability(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (source, bins) in &self.reliability {
            writeln!(
                f,
                "\nreadings by the probability of the {}",
                if *source == "model" { "model" } else { "daemon (published)" }
            )?;
            writeln!(f, "{:<12}{:>9}{:>9}{:>22}", "", "readings", "true", "if 1 in 100 were true")?;
            for (tenth, bin) in bins.iter().enumerate().filter(|(_, bin)| bin.readings > 0) {
                let observed = bin.true_ones as f64 / bin.readings as f64;
                let range = format!("{} to {} %", 10 * tenth, 10 * tenth + 10);
                let weighted = percent(bin.true_at_one_in_100);
                writeln!(f, "{range:<12}{:>9}{:>9}{weighted:>22}", bin.readings, percent(Some(observed)))?;
            }
        }
        Ok(())
    }

    fn harmless(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let heard = self.harmless.iter().filter(|talk| talk.hours > 0.0);
        for (index, talk) in heard.enumerate() {
            if index == 0 {
                writeln!(f, "\nfalse alarms in talk without an event")?;
            }
            let (count, hours) = (talk.alerts.len(), talk.hours);
            let mut rules: Vec<&str> = talk.alerts.iter().map(String::as_str).collect();
            rules.sort_unstable();
            rules.dedup();
            let each = rules.into_iter().map(|rule| {
                let times = talk.alerts.iter().filter(|name| *name == rule).count();
                format!("{rule} {times}")
            });
            let each = each.collect::<Vec<_>>().join(", ");
            let each = if each.is_empty() { each } else { format!(": {each}") };
            writeln!(f, "{}, {hours:.1} hours: {count}, {:.2} an hour{each}", talk.name, count as f64 / hours)?;
        }
        Ok(())
    }

    fn answers(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let households = &self.households;
        let [hits, false_alarms, missed] = households.alerts;
        let rows: [(&str, AnswerCounts); 4] = [
            ("facts right, of exchanges", self.answers.facts),
            ("\"not said\" right, of exchanges", self.answers.not_said),
            ("\"not said\" right, of others", self.answers.not_said_elsewhere),
            ("facts right, of households", households.facts),
        ];
        let truths: [(&str, [TruthCounts; 2]); 3] = [
            ("answers to \"summarize\"", households.summaries),
            ("summaries of all", households.digests),
            ("… of 600 words and more", households.long_digests),
        ];
        if rows.iter().any(|(_, counts)| counts.of > 0) {
            let [a, b, c, d] = ["as written", "as told", "told holds it", "told \"not said\""];
            writeln!(f, "\n{:<34}{a:>20}{b:>20}{c:>20}{d:>20}", "answers, word by word")?;
        }
        for (name, counts) in rows.into_iter().filter(|(_, counts)| counts.of > 0) {
            let AnswerCounts { written, told, held, silent, of } = counts;
            let [a, b, c, d] = [written, told, held, silent].map(|count| of_all(count, of));
            writeln!(f, "{name:<34}{a:>20}{b:>20}{c:>20}{d:>20}")?;
        }
        if hits + false_alarms + missed > 0 {
            let f1 = 2.0 * hits as f64 / (2 * hits + false_alarms + missed) as f64;
            writeln!(
                f,
                "yes/no questions of households: F1 {f1:.3} ({hits} right, {false_alarms} false, {missed} missed)"
            )?;
        }
        if let Some(own) = &self.own_questions {
            let auc = share(own.auc);
            writeln!(f, "own yes/no questions, {} readings: AUC {auc}, right at 50 % {:.2}", own.readings, own.right)?;
        }
        for (name, [written, told]) in truths.into_iter().filter(|(_, [written, _])| written.texts > 0) {
            writeln!(f, "\n{:<34}{:>20}{:>20}", format!("{name} ({})", written.texts), "as written", "as told")?;
            let row = |f: &mut Formatter<'_>, name: &str, part: &dyn Fn(&TruthCounts) -> (usize, usize)| {
                let cell = |counts| {
                    let (some, all) = part(counts);
                    of_all(some, all)
                };
                writeln!(f, "{name:<34}{:>20}{:>20}", cell(&written), cell(&told))
            };
            row(f, "sentences that are true", &|counts| (counts.true_sentences, counts.sentences))?;
            row(f, "texts that are wholly true", &|counts| (counts.wholly_true, counts.texts))?;
            row(f, "told of what could be told", &|counts| (counts.told_events, counts.events))?;
        }
        Ok(())
    }
}

fn share(share: Option<f64>) -> String {
    share.map_or("–".into(), |share| format!("{share:.2}"))
}

fn percent(share: Option<f64>) -> String {
    share.map_or("–".into(), |share| format!("{:.1} %", 100.0 * share))
}

fn of_all(some: usize, all: usize) -> String {
    format!("{some} of {all} = {:.0} %", 100.0 * some as f64 / all.max(1) as f64)
}
