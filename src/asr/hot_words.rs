//! Hot words: names and words of a household that Whisper may not know.
//!
//! Whisper writes a word more readily if it stands in the prompt. But a prompt also makes it say sentences twice, or leave them out. So
//! a text without the prompt comes first, and the text with the prompt counts only where it is the same but for a hot word that sounds
//! like what it replaces. The figures behind the thresholds are in `docs/performance.md`.

/// A part of a text sounds like a hot word from this similarity on: 1 minus the Levenshtein distance by the length of the longer.
const ALIKE: f64 = 0.5;
/// Letters by which the rest of the text may differ, for example in an ending.
const OTHER_LETTERS: f64 = 2.0;

/// The hot words of the settings, in the form in which they are compared.
#[derive(Clone, Debug, Default)]
pub(crate) struct HotWords(Vec<HotWord>);

#[derive(Clone, Debug)]
struct HotWord {
    letters: String,
    /// It is so many words long.
    words: usize,
}

impl HotWords {
    pub(crate) fn new(hot_words: &[String]) -> Self {
        let hot = hot_words.iter().map(|hot| {
            let words = normalize(hot);
            HotWord { letters: words.concat(), words: words.len() }
        });
        Self(hot.filter(|hot| hot.words > 0).collect())
    }

    /// Whether something in the text sounds like a hot word and is not that word.
    pub(crate) fn may_be_in(&self, text: &str) -> bool {
        let words = normalize(text);
        let alike = |hot: &HotWord| {
            // An unknown word is often written as several.
            let parts = (1..=hot.words + 1).flat_map(|length| words.windows(length)).map(<[String]>::concat);
            let mut others = parts.filter(|part| !part.contains(&hot.letters));
            others.any(|part| strsim::normalized_levenshtein(&part, &hot.letters) >= ALIKE)
        };
        self.0.iter().any(alike)
    }

    /// Whether the text with the prompt says the same as the one without it, and has more hot words.
    pub(crate) fn improve(&self, without: &str, with: &str) -> bool {
        let (without, with) = (normalize(without), normalize(with));
        let (mut replaced, mut gained) = (0.0, false);
        for hot in &self.0 {
            let (before, after) = (hot.count(&without), hot.count(&with));
            if after < before {
                return false;
            }
            gained |= after > before;
            replaced += (after - before) as f64 * (1.0 - ALIKE) * hot.letters.chars().count() as f64;
        }
        let (without, with) = (without.concat(), with.concat());
        let added = with.chars().count() as f64 - without.chars().count() as f64;
        // A hot word that replaces nothing was not said.
        gained && added <= replaced && strsim::levenshtein(&without, &with) as f64 <= replaced + OTHER_LETTERS
    }

    /// How often hot words are in the text.
    #[cfg(feature = "bench")]
    pub(crate) fn count(&self, text: &str) -> usize {
        let words = normalize(text);
        self.0.iter().map(|hot| hot.count(&words)).sum()
    }
}

impl HotWord {
    fn count(&self, words: &[String]) -> usize {
        words.windows(self.words).filter(|part| part.concat() == self.letters).count()
    }
}

/// The words without case and punctuation.
fn normalize(text: &str) -> Vec<String> {
    let letters = |word: &str| word.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    text.split_whitespace().map(letters).filter(|word: &String| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hot_words(words: &[&str]) -> HotWords {
        HotWords::new(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_prompt_is_tried_only_where_something_sounds_like_a_hot_word() {
        let hot = hot_words(&["Kowalczyk", "Frau Müller", "..."]);
        assert!(hot.may_be_in("Mrs. Koval check is here."), "it is written as two words");
        assert!(hot.may_be_in("Ask frau Miller."));
        assert!(!hot.may_be_in("Mrs. Kowalczyk is here."), "it is there already");
        assert!(!hot.may_be_in("What should we make for dinner tonight?") && !hot.may_be_in(""));
    }

    #[test]
    fn a_text_with_the_prompt_counts_only_if_a_hot_word_replaces_what_sounds_like_it() {
        let hot = hot_words(&["Kowalczyk", "Emma", "Lucas"]);
        assert!(hot.improve("Mrs. Koval check is here.", "Mrs. Kowalczyk is here."));
        assert!(hot.improve("Good morning, Emmer!", "Good morning, Emma."));
        for (without, with) in [
            ("Dinner is ready.", "Dinner is ready. Dinner is ready."),
            ("Good morning, Emmer. How are you?", "Good morning, Emma. How are you? Good morning, Emma."),
            ("Good morning, Emmer. Dinner is ready.", "Good morning, Emma."),
            ("Dinner is ready.", "Emma, Lucas, dinner is ready."),
            ("Emma and Lukas are here.", "Lucas is here."),
            ("Good morning.", "Good morning!"),
            ("", "Emma"),
        ] {
            assert!(!hot.improve(without, with), "{with}");
        }
    }
}
