//! A text as it is compared: without accents, curly quotation marks, hyphens of other kinds and invisible characters.
//!
//! The same word can be written in many ways that look alike: `é` as one character or as two, `O’Brien` and `O'Brien`. Each character of the
//! text as it is compared knows where it stands in the text as it was written.

use std::ops::Range;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::canonical_combining_class;

/// A text as it is compared.
pub(crate) struct Folded {
    pub(crate) text: String,
    /// Of each byte of `text`, the bytes of the character it comes from.
    origins: Vec<Range<usize>>,
}

impl Folded {
    pub(crate) fn new(written: &str) -> Self {
        let mut folded =
            Self { text: String::with_capacity(written.len()), origins: Vec::with_capacity(written.len()) };
        for (start, character) in written.char_indices() {
            let end = start + character.len_utf8();
            let before = folded.text.len();
            for part in std::iter::once(character).nfkd() {
                folded.push(part);
            }
            if folded.text.len() > before {
                folded.origins.resize(folded.text.len(), start..end);
            } else if let Some(last) = folded.origins.last().cloned() {
                // An accent or an invisible character goes with what it follows.
                let of_last = folded.origins.iter_mut().rev().take_while(|origin| **origin == last);
                of_last.for_each(|origin| origin.end = end);
            }
        }
        folded
    }

    fn push(&mut self, part: char) {
        match part {
            // Soft hyphen, marks of direction, joiners, byte-order mark.
            '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' => {}
            accent if canonical_combining_class(accent) != 0 => {}
            '‘' | '’' | '‛' | '′' | 'ʼ' | '`' | '´' => self.text.push('\''),
            '‐' | '‑' | '‒' | '–' | '—' | '―' | '−' => self.text.push('-'),
            'ß' | 'ẞ' => self.text.push_str("ss"),
            'æ' | 'Æ' => self.text.push_str("ae"),
            'œ' | 'Œ' => self.text.push_str("oe"),
            'ø' | 'Ø' => self.text.push('o'),
            'ł' | 'Ł' => self.text.push('l'),
            'đ' | 'Đ' | 'ð' | 'Ð' => self.text.push('d'),
            'ı' => self.text.push('i'),
            part => self.text.push(part),
        }
    }

    /// Where a part of the text as it is compared, which is not empty, stands in the text as it was written.
    pub(crate) fn written(&self, part: Range<usize>) -> Range<usize> {
        self.origins[part.start].start..self.origins[part.end - 1].end
    }
}
