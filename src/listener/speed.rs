//! How fast this machine is with this model, and what that means for these settings.

use std::fmt;
use std::time::Duration;

use griffin::CHUNK;

use super::asking_steps::AskingStep;
use super::pace::Work;
use super::{Listener, ListenerError};
use crate::config::DigestConfig;

/// Measuring ends after so long each for reading and writing, or after so many tokens.
const MEASURED: Duration = Duration::from_secs(1);
const READ: usize = 4 * CHUNK;
const WRITTEN: u32 = 16;
/// What people say brings so many tokens a second while they talk, and an utterance so many.
const TALK: f64 = 4.0;
const UTTERANCE: f64 = 15.0;
/// Words that are enough for an alert do not wait for longer than this.
const MOMENT: Duration = Duration::from_secs(1);
/// An alert that comes later than this is told of.
const LATE: Duration = Duration::from_secs(15);

/// What was measured, and what it means.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MachineSpeed {
    /// Tokens a second that are read together, and that are written.
    reads: f64,
    writes: f64,
    /// The rules with a question, and the tokens that are read to ask all of them.
    questions: usize,
    question_tokens: usize,
    /// The tokens of a summary.
    summary: usize,
}

impl Listener {
    /// Measures the machine for two seconds at most. The state is not changed.
    ///
    /// # Errors
    /// As [`Listener::hear`].
    pub(crate) fn measure(&self) -> Result<MachineSpeed, ListenerError> {
        let (model, pace) = (&self.reader.model, &self.reader.pace);
        let mut state = model.state();
        // Any tokens take as long. The first pass also brings the weights into memory.
        let tokens: Vec<u32> = (0..CHUNK as u32).map(|token| token % model.config().vocab_size as u32).collect();
        pace.slice(Work::Reading, 1, || model.ingest(&tokens[..1], &mut state))?;
        let (began, mut read) = (pace.now(), 0);
        while read < READ && pace.now() - began < MEASURED {
            pace.slice(Work::Reading, CHUNK, || model.ingest(&tokens, &mut state))?;
            read += CHUNK;
        }
        let reads = read as f64 / (pace.now() - began).as_secs_f64();
        let mut logits = pace.slice(Work::Writing, 1, || model.step(tokens[0], &mut state))?;
        let (began, mut written) = (pace.now(), 0);
        while written < WRITTEN && pace.now() - began < MEASURED {
            let token = logits.argmax();
            pace.slice(Work::Writing, 1, || model.step_into(token, &mut state, &mut logits))?;
            written += 1;
        }
        let writes = f64::from(written) / (pace.now() - began).as_secs_f64();
        let questions: Vec<_> = self.rules.iter().filter_map(|monitor| monitor.question.as_ref()).collect();
        let question_tokens = self.reader.asking_tokens(&questions);
        Ok(MachineSpeed {
            reads,
            writes,
            questions: questions.len(),
            question_tokens,
            summary: super::telling::SUMMARY_TOKENS,
        })
    }
}

impl Listener {
    /// Whether an alert takes more than a moment when an utterance is read and every rule is asked.
    pub(super) fn is_slow(&self) -> bool {
        let Some(token) = self.reader.pace.token_time() else { return false };
        let questions = self.rules.iter().filter_map(|monitor| monitor.question.as_ref());
        let tokens = UTTERANCE + questions.map(|question| question.tokens().len() as f64).sum::<f64>();
        token.mul_f64(tokens) > MOMENT && self.reader.steps.uses(AskingStep::WordsFirst)
    }
}

impl MachineSpeed {
    /// From the end of an utterance's text to an alert, when every rule is asked and nothing else waits.
    fn alert_after(&self) -> Duration {
        Duration::from_secs_f64((UTTERANCE + self.question_tokens as f64) / self.reads)
    }

    /// What does not work with these settings.
    pub(crate) fn warnings(&self, digest: &DigestConfig) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.reads < 2.0 * TALK {
            warnings.push(format!(
                "people who talk say about {TALK:.0} tokens a second, and this machine reads {:.1}: it stays behind while they talk. \
                 Use a smaller model ([listener] model)",
                self.reads
            ));
        }
        let alert = self.alert_after();
        if alert > LATE {
            warnings.push(format!(
                "an alert comes about {} s after the words when all rules are asked. Where utterances wait, only critical rules are \
                 asked each time. Fewer rules with a question, `watch` or `pattern` beside it, or a smaller model make it faster",
                seconds(alert)
            ));
        }
        let summary = Duration::from_secs_f64(self.summary as f64 / self.writes);
        let every = Duration::from_secs_f64(60.0 * digest.every_min);
        if digest.every_min > 0.0 && summary > every {
            warnings.push(format!(
                "a summary of {} tokens takes {} s to write, and one is due every {} s: each second one is given up. \
                 Raise [digest] every_min",
                self.summary,
                seconds(summary),
                seconds(every)
            ));
        }
        warnings
    }
}

fn seconds(time: Duration) -> String {
    let digits = usize::from(time < Duration::from_secs(10));
    format!("{:.digits$}", time.as_secs_f64())
}

impl fmt::Display for MachineSpeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this machine reads {:.0} tokens a second and writes {:.0}", self.reads, self.writes)?;
        match self.questions {
            0 => Ok(()),
            1 => write!(f, "; the question of one rule costs {} tokens", self.question_tokens),
            n => write!(f, "; the questions of {n} rules cost {} tokens", self.question_tokens),
        }?;
        write!(f, ": an alert comes about {} s after the words", seconds(self.alert_after()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seven rules with a 2B model.
    fn speed(reads: f64, writes: f64) -> MachineSpeed {
        MachineSpeed { reads, writes, questions: 7, question_tokens: 110, summary: 128 }
    }

    #[test]
    fn it_says_what_to_expect() {
        assert_eq!(
            speed(22.0, 4.0).to_string(),
            "this machine reads 22 tokens a second and writes 4; the questions of 7 rules cost 110 tokens: an alert comes about 5.7 s \
             after the words"
        );
        let one = MachineSpeed { questions: 1, question_tokens: 15, ..speed(1_000.0, 100.0) };
        assert!(
            one.to_string().ends_with("one rule costs 15 tokens: an alert comes about 0.0 s after the words"),
            "{one}"
        );
    }

    #[test]
    fn it_warns_where_settings_cannot_work() {
        let digest = DigestConfig::default();
        assert_eq!(speed(22.0, 4.0).warnings(&digest), [""; 0]);
        let slow = speed(5.0, 0.1).warnings(&digest);
        assert!(slow[0].contains("reads 5.0") && slow[1].contains("about 25 s after"), "{slow:?}");
        assert!(slow[2].contains("1280 s to write") && slow[2].contains("every 900 s"), "{slow:?}");
        assert_eq!(speed(22.0, 0.1).warnings(&DigestConfig { every_min: 0.0, ..digest }), [""; 0]);
    }
}
