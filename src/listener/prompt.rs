//! How text is presented to a model: preamble, form of an utterance, form of a question, words for yes and no.
//!
//! It comes from `prompt.json`, beside a model's weights or inside its GGUF file; the defaults are for Gemma's instruct models. What
//! people say is made one line without control characters before it is put into a template, so it can end no paragraph and no turn.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The file beside a model's weights.
pub(crate) const FILE: &str = "prompt.json";

/// What is wrong with a prompt file.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    #[error(transparent)]
    Read(#[from] griffin::Error),
    /// The source names the key, and line and column.
    #[error("{path} is no prompt file: {source}")]
    Parse { path: PathBuf, source: serde_json::Error },
    #[error("{path}: \"{key}\" must hold {placeholder} once, where the text is to stand")]
    Placeholder { path: PathBuf, key: &'static str, placeholder: &'static str },
    #[error("{path}: \"{key}\" is empty: write the words, or leave it out for the usual ones")]
    Empty { path: PathBuf, key: &'static str },
    #[error("{path}: \"{key}\" is empty: name at least one word the model may answer with")]
    NoWord { path: PathBuf, key: &'static str },
}

/// How text is presented to one model. Every key may be left out of the file and then is as for Gemma's instruct models; only
/// `gap`, `speaker` and `summary_words` are then none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Prompt {
    /// The text that the model reads before the first utterance; ends with a line break.
    pub preamble: String,
    /// An utterance; holds `{text}`.
    pub(crate) utterance: String,
    /// The text before an utterance when there is more than one room; holds `{room}`, or is empty for a model that was not trained
    /// on rooms.
    pub(crate) room: String,
    /// The text before what somebody said who is known; holds `{speaker}`. If it is left out, speakers are not mentioned, which is
    /// right for a model that saw none in training.
    #[serde(default)]
    pub(crate) speaker: String,
    /// The end of the user's turn in a fork; holds `{question}`.
    pub(crate) question: String,
    /// Words that begin an answer of yes and of no; the first token of each counts.
    pub(crate) yes: Vec<String>,
    pub(crate) no: Vec<String>,
    pub(crate) questions: Questions,
    /// The text for a stretch that was not heard; may hold `{seconds}`. If it is left out, gaps are not mentioned, which is
    /// right for a model that saw none in training.
    #[serde(default)]
    pub(crate) gap: Option<String>,
    /// The word for a person who cannot be named.
    pub(crate) someone: String,
    /// False for a model that takes one person for another: it names nobody.
    pub(crate) names_persons: bool,
    /// The answer where nothing that was said answers the question.
    pub(crate) not_said: String,
    /// A sentence of a summary that quotes what somebody said; holds `{text}`.
    pub(crate) quote: String,
    /// An answer that quotes what comes nearest to the question; holds `{text}`.
    pub(crate) nearest: String,
    /// For a model whose answers are mostly wrong: questions are answered by quotes alone.
    pub(crate) quotes_answers: bool,
    /// For a model that only tells what was said last: for a summary it reads the talk again, and tells a part after every so many
    /// words.
    #[serde(default)]
    pub(crate) summary_words: Option<NonZeroUsize>,
}

/// Questions that the listener asks by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Questions {
    pub(crate) summary: String,
}

impl Default for Questions {
    fn default() -> Self {
        let summary = "Summarize what was said most recently in the transcript above in at most three short sentences: what \
                       was planned, decided, needed or happened, with names and times. Do not invent anything.";
        Self { summary: summary.into() }
    }
}

impl Default for Prompt {
    /// For Gemma's instruct models.
    fn default() -> Self {
        let words = |list: [&str; 4]| list.map(String::from).to_vec();
        Self {
            preamble: "You are listening to a household. This is the running transcript of what a microphone heard, written \
                       by a speech recognizer that makes mistakes and does not tell who speaks. Questions about it follow \
                       at its end; answer them briefly, from the transcript alone, with most weight on what was said last.\n"
                .into(),
            utterance: " {text}".into(),
            room: "[{room}] ".into(),
            speaker: "{speaker}: ".into(),
            question: "\n\n{question}".into(),
            yes: words(["Yes", " Yes", "yes", " yes"]),
            no: words(["No", " No", "no", " no"]),
            questions: Questions::default(),
            gap: Some(" (… {seconds} seconds missing …)".into()),
            someone: "someone".into(),
            names_persons: true,
            not_said: "That was not said.".into(),
            quote: "Someone said: “{text}”".into(),
            nearest: "What comes nearest: “{text}”".into(),
            quotes_answers: false,
            summary_words: None,
        }
    }
}

impl Prompt {
    /// Reads the prompt of a model from its directory or its GGUF file; a model without one gets the defaults.
    ///
    /// # Errors
    /// The file cannot be read, is no JSON of this form, or a template lacks its placeholder.
    pub(crate) fn load(model: &Path) -> Result<Self, PromptError> {
        match griffin::sidecar(model, FILE)? {
            Some(found) => Self::parse(&found.text, &found.path),
            None => Ok(Self::default()),
        }
    }

    fn parse(text: &str, path: &Path) -> Result<Self, PromptError> {
        let path = || path.to_path_buf();
        let prompt: Self = serde_json::from_str(text).map_err(|source| PromptError::Parse { path: path(), source })?;
        let frames = [
            ("utterance", "{text}", &prompt.utterance),
            ("room", "{room}", &prompt.room),
            ("speaker", "{speaker}", &prompt.speaker),
            ("question", "{question}", &prompt.question),
            ("quote", "{text}", &prompt.quote),
            ("nearest", "{text}", &prompt.nearest),
        ];
        for (key, placeholder, frame) in frames {
            let may_be_none = ["room", "speaker"].contains(&key) && frame.is_empty();
            if !may_be_none && frame.matches(placeholder).count() != 1 {
                return Err(PromptError::Placeholder { path: path(), key, placeholder });
            }
        }
        for (key, word) in [("someone", &prompt.someone), ("not_said", &prompt.not_said)] {
            if word.trim().is_empty() {
                return Err(PromptError::Empty { path: path(), key });
            }
        }
        for (key, words) in [("yes", &prompt.yes), ("no", &prompt.no)] {
            if words.iter().all(|word| word.trim().is_empty()) {
                return Err(PromptError::NoWord { path: path(), key });
            }
        }
        Ok(prompt)
    }

    /// The same with another preamble, if one is given. It ends with a line break.
    pub(crate) fn with_preamble(mut self, preamble: Option<&str>) -> Self {
        if let Some(text) = preamble {
            self.preamble = format!("{}\n", text.trim_end());
        }
        self
    }

    /// An utterance as the model reads it; none for an empty text. `room` is repeated with each utterance, because the state does
    /// not keep what was said long ago word by word.
    pub fn utterance(&self, text: &str, room: Option<&str>) -> Option<String> {
        self.said(text, room, None)
    }

    /// An utterance as the model reads it, with who said it.
    pub fn said(&self, text: &str, room: Option<&str>, speaker: Option<&str>) -> Option<String> {
        let text = one_line(text);
        let by = speaker.map_or_else(String::new, |name| fill(&self.speaker, "{speaker}", &one_line(name)));
        (!text.is_empty()).then(|| fill(&self.utterance, "{text}", &format!("{}{by}{text}", self.in_room(room))))
    }

    fn in_room(&self, room: Option<&str>) -> String {
        room.map_or_else(String::new, |room| fill(&self.room, "{room}", &one_line(room)))
    }

    /// The end of the user's turn in a fork.
    pub fn question(&self, question: &str) -> String {
        fill(&self.question, "{question}", &one_line(question))
    }

    /// The text for a stretch of `seconds` that was not heard; none if this prompt has none.
    pub fn gap(&self, seconds: f64, room: Option<&str>) -> Option<String> {
        let words = fill(self.gap.as_ref()?, "{seconds}", &format!("{:.0}", seconds.max(0.0)));
        let words = format!("{}{}", self.in_room(room), words.trim_start());
        Some(format!(" {words}"))
    }
}

/// The text as one line: runs of white space become one space, other control characters are removed. ▁ counts as white space,
/// because Gemma's tokenizer writes a space so.
pub(crate) fn one_line(text: &str) -> String {
    let words = text
        .split(|c: char| c.is_whitespace() || c == '▁')
        .map(|word| word.chars().filter(|c| !c.is_control()).collect::<String>());
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

fn fill(template: &str, placeholder: &str, value: &str) -> String {
    template.replacen(placeholder, value, 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn problem(text: &str) -> String {
        Prompt::parse(text, Path::new("m/prompt.json")).unwrap_err().to_string()
    }

    #[test]
    fn a_file_may_leave_out_what_is_as_for_gemma() {
        let prompt = Prompt::parse(r#"{"yes": ["Ja"], "no": ["Nein"]}"#, Path::new("prompt.json")).unwrap();
        assert_eq!(prompt.yes, ["Ja"]);
        assert_eq!(prompt.preamble, Prompt::default().preamble);
        assert_eq!(prompt.gap(3.0, None), None, "without a text for gaps there is none");
        assert_eq!(Prompt::default().gap(2.6, None).unwrap(), " (… 3 seconds missing …)");
        assert_eq!(Prompt::default().gap(2.6, Some("hall")).unwrap(), " [hall] (… 3 seconds missing …)");
    }

    #[test]
    fn a_model_without_a_prompt_file_has_gemmas() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Prompt::load(dir.path()).unwrap(), Prompt::default());
    }

    #[test]
    fn broken_files_are_named_with_the_place() {
        assert_eq!(
            problem("{\"preambel\": \"x\"}"),
            "m/prompt.json is no prompt file: unknown field `preambel`, expected one of `preamble`, `utterance`, `room`, \
             `speaker`, `question`, `yes`, `no`, `questions`, `gap`, `someone`, `names_persons`, `not_said`, `quote`, `nearest`, `quotes_answers`, `summary_words` at line 1 column 11"
        );
        assert_eq!(problem("{"), "m/prompt.json is no prompt file: EOF while parsing an object at line 1 column 1");
        assert!(problem("{\"questions\": {\"sumary\": \"\"}}").contains("unknown field `sumary`"));
        assert!(problem("{\n \"yes\": \"Yes\"}").ends_with("expected a sequence at line 2 column 13"));
        assert!(problem("{\"utterance\": \" text\"}").contains("\"utterance\" must hold {text} once"));
        assert!(problem("{\"question\": \"{question}{question}\"}").contains("\"question\" must hold {question} once"));
        assert!(problem("{\"no\": [\" \"]}").contains("\"no\" is empty"));
        assert!(problem("{\"someone\": \"\"}").contains("\"someone\" is empty"));
        assert!(problem("{\"summary_words\": 0}").contains("expected a nonzero"));
        assert!(problem("{\"room\": \"in a room\"}").contains("\"room\" must hold {room} once"));
        let no_rooms = Prompt::parse("{\"room\": \"\"}", Path::new("prompt.json")).unwrap();
        assert_eq!(no_rooms.utterance("Hello.", Some("hall")).unwrap(), " Hello.");
    }

    #[test]
    fn a_preamble_from_the_config_ends_its_line() {
        let prompt = Prompt::default().with_preamble(Some("Listen.\n\n"));
        assert_eq!(prompt.preamble, "Listen.\n");
        assert_eq!(Prompt::default().with_preamble(None), Prompt::default());
    }

    #[test]
    fn what_is_said_is_put_in_once_and_on_one_line() {
        let prompt = Prompt::default();
        assert_eq!(prompt.utterance(" Good\n\nmorning,\t{text} \u{7}", None).unwrap(), " Good morning, {text}");
        assert_eq!(prompt.said("Hello.", Some("hall"), Some("Emma")).unwrap(), " [hall] Emma: Hello.");
        let silent = Prompt::parse("{}", Path::new("prompt.json")).unwrap();
        assert_eq!(silent.said("Hello.", None, Some("Emma")).unwrap(), " Hello.", "it was not trained on speakers");
        assert_eq!(prompt.utterance("\n ▁\u{0}", Some("hall")), None);
        assert_eq!(prompt.utterance("good▁morning▁", Some("hall\n")).unwrap(), " [hall] good morning");
        assert_eq!(prompt.question("Is it\n\n{question}?"), "\n\nIs it {question}?");
    }

    proptest! {
        #[test]
        fn plain_text_is_one_line_and_stays_as_it_is(text in ".*") {
            let once = one_line(&text);
            prop_assert!(!once.contains(char::is_control) && once.trim() == once);
            prop_assert_eq!(one_line(&once), once);
        }
    }
}
