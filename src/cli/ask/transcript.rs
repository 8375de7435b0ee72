//! Reads a transcript from a file and divides it into utterances. No text is lost; an error names the line.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

/// The utterances of a transcript file, in order.
///
/// # Errors
/// The file cannot be read, is not UTF-8 or JSON, or holds no text.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<String>> {
    let name = if path == Path::new("-") { "standard input".into() } else { path.display().to_string() };
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut bytes).context("standard input cannot be read")?;
    } else {
        bytes = std::fs::read(path).with_context(|| format!("the transcript {name} cannot be read"))?;
    }
    let text = match std::str::from_utf8(&bytes) {
        Ok(text) => text.trim_start_matches('\u{feff}'),
        Err(error) => {
            let line = 1 + bytes[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count();
            bail!("{name} is not UTF-8 text: line {line}, byte {}; convert it first", error.valid_up_to());
        }
    };
    let utterances = utterances(text).with_context(|| format!("{name} is no transcript"))?;
    ensure!(!utterances.is_empty(), "{name} holds no text: there is nothing to ask about");
    Ok(utterances)
}

/// Plain text by lines and sentences, or the `text` of each line of JSON.
fn utterances(text: &str) -> anyhow::Result<Vec<String>> {
    #[derive(Deserialize)]
    struct JsonLine {
        text: Option<String>,
    }
    let mut found = Vec::new();
    let json = text.trim_start().starts_with('{');
    for (line, number) in text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty()) {
        if json {
            // A line without text is a gap or the like.
            let said: JsonLine = serde_json::from_str(line).with_context(|| format!("line {number} is not JSON"))?;
            found.extend(said.text.filter(|text| !text.trim().is_empty()));
        } else {
            found.extend(sentences(line).map(str::to_string));
        }
    }
    Ok(found)
}

/// Divides a line after each ".", "!" or "?" that is followed by a space, so that a transcript on one line is read in pieces as short
/// as utterances.
pub(crate) fn sentences(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line.trim();
    std::iter::from_fn(move || {
        let ends = rest.char_indices().zip(rest.chars().skip(1));
        let cut = ends.into_iter().find(|((_, c), next)| matches!(c, '.' | '!' | '?') && next.is_whitespace());
        let (head, tail) = cut.map_or((rest, ""), |((at, _), _)| rest.split_at(at + 1));
        rest = tail.trim_start();
        (!head.is_empty()).then_some(head)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_text_is_cut_at_lines_and_sentence_ends() {
        let read = utterances("Good morning. How are you?  Fine!\r\n\n At 7.30 sharp... ok\n").unwrap();
        assert_eq!(read, ["Good morning.", "How are you?", "Fine!", "At 7.30 sharp...", "ok"]);
    }

    #[test]
    fn lines_of_json_give_their_text_and_a_broken_one_its_number() {
        let read =
            utterances("{\"text\": \"Hello. You.\", \"start\": 1}\n{\"gap\": true}\n{\"text\": \" \"}\n").unwrap();
        assert_eq!(read, ["Hello. You."]);
        let problem = utterances("{\"text\": \"a\"}\n\n{\"text\": \n").unwrap_err();
        assert_eq!(problem.to_string(), "line 3 is not JSON");
    }

    #[test]
    fn an_error_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            read(&path).unwrap_err().to_string()
        };
        assert!(read(&dir.path().join("none.txt")).unwrap_err().to_string().contains("none.txt cannot be read"));
        assert!(file("empty.txt", b" \n").ends_with("empty.txt holds no text: there is nothing to ask about"));
        assert!(file("latin.txt", b"a\nb\nGr\xfc\xdfe").contains("latin.txt is not UTF-8 text: line 3, byte 6"));
    }

    proptest! {
        #[test]
        fn cutting_sentences_loses_nothing(line in "[a-z .!?é…]{0,60}") {
            let again = sentences(&line).collect::<Vec<_>>().join(" ");
            let words = |text: &str| text.split_whitespace().map(String::from).collect::<Vec<_>>();
            prop_assert_eq!(words(&again), words(&line));
        }
    }
}
