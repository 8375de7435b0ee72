//! How long the listener takes to read a token, in samples.
//!
//! Only time spent on reading counts, not on questions or waiting.

use std::time::Duration;

use jiff::Timestamp;

use crate::live::TokenCost;
use crate::process::resident_bytes;

/// A sample is made when so many tokens were read, or after so long if there were fewer.
const TOKENS: u64 = 256;
const AFTER: Duration = Duration::from_secs(60);

/// Sums up what was read since the last sample.
#[derive(Default)]
pub(crate) struct TokenRateMeter {
    tokens: u64,
    spent: Duration,
    last: Option<Duration>,
}

impl TokenRateMeter {
    /// `tokens` were read in `spent`, until `now`. Returns a sample, with the state's age of `read` tokens and its surprise, when one is due.
    pub(crate) fn add(
        &mut self,
        tokens: u64,
        spent: Duration,
        now: Duration,
        (read, surprise): (u64, Option<f64>),
    ) -> Option<TokenCost> {
        self.tokens += tokens;
        self.spent += spent;
        let late = self.last.is_none_or(|last| now - last >= AFTER);
        if self.tokens == 0 || (self.tokens < TOKENS && !late) {
            return None;
        }
        let us_per_token = self.spent.as_secs_f64() * 1e6 / self.tokens as f64;
        *self = Self { last: Some(now), ..Self::default() };
        Some(TokenCost { time: Timestamp::now(), tokens: read, us_per_token, surprise, rss_bytes: resident_bytes() })
    }
}
