//! What the answer of a receiver means. A message is given up only where the receiver says of this very message that it will never take it;
//! what a person can mend at either end is waited for.

use std::time::Duration;

use hyper::StatusCode;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

/// However long a receiver asks to be left alone, it is tried again after this time.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// What becomes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PostVerdict {
    /// The receiver has it.
    Delivered,
    /// It is sent again, after `wait` at the earliest. The reason is a sentence without its end, about the receiver.
    Later { reason: String, wait: Option<Duration> },
    /// The receiver will never take it.
    Refused { reason: String },
}

impl PostVerdict {
    pub(super) fn later(reason: impl Into<String>) -> Self {
        Self::Later { reason: reason.into(), wait: None }
    }

    /// Of an answer, with the header `Retry-After` where there is one.
    pub(super) fn of(status: StatusCode, retry_after: Option<&str>, now: Timestamp) -> Self {
        let code = status.as_u16();
        let wait = retry_after.and_then(|text| wait(text, now));
        let later = |reason: String| Self::Later { reason, wait };
        match code {
            200..=299 => Self::Delivered,
            300..=399 => later(format!(
                "answers {code}, which points to another address: set its url to that one; hearth follows none"
            )),
            401 | 403 | 407 => later(format!(
                "refuses hearth ({code}): compare its secret with the one in secret_file, and look whether it wants something else"
            )),
            404 | 405 => later(format!("knows no such address ({code}): check its url")),
            410 => Self::Refused {
                reason: "says that this address is gone for good (410): remove this [[webhook]], or set its new url"
                    .into(),
            },
            408 | 409 | 421 | 423 | 425 => later(format!("cannot take it now ({code})")),
            429 => later("is sent more than it wants (429)".into()),
            400..=499 => Self::Refused { reason: format!("does not take such a message ({code})") },
            _ => later(format!("answers with an error of its own ({code})")),
        }
    }
}

/// The header `Retry-After`: seconds, or a date (RFC 9110, 10.2.3).
fn wait(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let seconds = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = DateTimeParser::new().parse_timestamp(text).ok()?;
            Duration::try_from(at.duration_since(now)).unwrap_or_default()
        }
    };
    Some(seconds.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: u16, retry_after: Option<&str>) -> PostVerdict {
        let now = "2026-01-01T12:00:00Z".parse().unwrap();
        PostVerdict::of(StatusCode::from_u16(code).unwrap(), retry_after, now)
    }

    #[test]
    fn only_what_will_never_be_taken_is_given_up() {
        assert!((200..300).all(|code| of(code, None) == PostVerdict::Delivered));
        let given_up: Vec<u16> =
            (300..600).filter(|code| matches!(of(*code, None), PostVerdict::Refused { .. })).collect();
        for code in [400, 410, 413, 415, 422, 451] {
            assert!(given_up.contains(&code), "{code}");
        }
        for code in [301, 401, 403, 404, 408, 425, 429, 500, 502, 503, 504, 599] {
            assert!(!given_up.contains(&code), "{code}");
        }
        let told = |code| match of(code, None) {
            PostVerdict::Later { reason, .. } | PostVerdict::Refused { reason } => reason,
            PostVerdict::Delivered => String::new(),
        };
        assert!(told(401).contains("secret_file") && told(410).contains("remove this [[webhook]]"));
    }

    #[test]
    fn the_receiver_says_when_it_is_tried_again() {
        let waits = |text| match of(429, Some(text)) {
            PostVerdict::Later { wait, .. } => wait.map(|wait| wait.as_secs()),
            _ => None,
        };
        assert_eq!(waits("120"), Some(120));
        assert_eq!(waits("Thu, 01 Jan 2026 12:01:00 GMT"), Some(60));
        assert_eq!(waits("Thu, 01 Jan 2026 11:01:00 GMT"), Some(0));
        assert_eq!(waits("999999999999"), Some(24 * 3600));
        assert_eq!(waits("soon"), None);
    }
}
