//! Filler words: utterances that say nothing by themselves, such as "Mm" and "Okay".
//!
//! They are read as everything is, and patterns and triggers are searched in them, but the rules' questions are not asked because of them.
//! "Yes", "no", "yeah" and "uh-huh" are not among them: they answer what somebody asked.

/// Without their hyphens.
const WORDS: [&str; 22] = [
    "ah", "aha", "alright", "anyway", "eh", "er", "erm", "hm", "hmm", "huh", "mhm", "mm", "mmhm", "mmm", "oh", "ok",
    "okay", "right", "so", "uh", "um", "well",
];
/// More of them may mean something.
const MOST: usize = 3;

/// Whether a text holds words of that kind alone.
pub(crate) fn says_nothing(text: &str) -> bool {
    let text = text.to_lowercase().replace('-', "");
    let mut words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).peekable();
    words.peek().is_some() && words.clone().count() <= MOST && words.all(|word| WORDS.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_few_words_that_say_nothing_are_fillers() {
        for filler in ["Mm.", "mm-hm", "Okay, okay.", "Oh. Right, okay!", "Um…", "Hmm?"] {
            assert!(says_nothing(filler), "{filler}");
        }
        for said in
            ["Yes.", "No", "Yeah, okay.", "Uh-huh.", "Oh no!", "Help", "", "…", "oh oh oh oh", "Right, the stove."]
        {
            assert!(!says_nothing(said), "{said}");
        }
        assert!(WORDS.is_sorted());
    }
}
