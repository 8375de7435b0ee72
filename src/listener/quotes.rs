//! What alerts quote of what was said.

use super::prompt;
use crate::event::{Evidence, GroundedSentence, Utterance};

/// At most so many utterances since the last evaluation are quoted as evidence, each cut at so many characters.
const QUOTES: usize = 3;
const QUOTE_CHARS: usize = 300;

pub(super) fn quote(utterance: &Utterance) -> Evidence {
    let text = prompt::one_line(&utterance.text);
    cut_quote(Evidence { utterance: utterance.id, time: utterance.start, room: utterance.room.clone(), text })
}

pub(super) fn cut_quote(mut quote: Evidence) -> Evidence {
    if let Some((end, _)) = quote.text.char_indices().nth(QUOTE_CHARS) {
        quote.text.truncate(end);
        quote.text.push('…');
    }
    quote
}

pub(super) fn cut_quotes(GroundedSentence { text, evidence }: GroundedSentence) -> GroundedSentence {
    GroundedSentence { text, evidence: evidence.into_iter().map(cut_quote).collect() }
}

pub(super) fn keep_last(quotes: &mut Vec<Evidence>, quote: Evidence) {
    if quotes.len() == QUOTES {
        quotes.remove(0);
    }
    quotes.push(quote);
}
