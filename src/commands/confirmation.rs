//! A request over the broker to forget more than an hour is confirmed.
//!
//! The first request is answered with a token and with what it would delete, the second has the token and deletes it. Whoever may
//! only publish sees no answer, so one message that went astray, or an automation with a wrong number, deletes no day of text.

use std::time::{Duration, Instant};

use ulid::Ulid;

use super::Forget;

/// Up to so many minutes are forgotten without a second request.
pub(crate) const FREE_MINUTES: f64 = 60.0;
/// How long a token is valid.
const VALID: Duration = Duration::from_secs(120);

/// The request that waits for its confirmation.
#[derive(Debug, Default)]
pub(crate) struct ForgetConfirmation(Option<UnconfirmedForget>);

#[derive(Debug)]
struct UnconfirmedForget {
    token: String,
    minutes: f64,
    asked: Instant,
}

impl ForgetConfirmation {
    /// None when the request may be carried out; else the token that its repetition must have. A token is used once.
    pub(crate) fn demand(&mut self, request: &Forget, now: Instant) -> Option<String> {
        if request.minutes <= FREE_MINUTES {
            return None;
        }
        let confirmed = self.0.as_ref().is_some_and(|waits| {
            request.confirm.as_deref() == Some(&*waits.token)
                && request.minutes == waits.minutes
                && now.duration_since(waits.asked) < VALID
        });
        if confirmed {
            self.0 = None;
            return None;
        }
        let token = Ulid::generate().to_string();
        self.0 = Some(UnconfirmedForget { token: token.clone(), minutes: request.minutes, asked: now });
        Some(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_request_needs_its_own_token_within_two_minutes_and_a_token_is_used_once() {
        let now = Instant::now();
        let mut confirmation = ForgetConfirmation::default();
        let request = |minutes, confirm: Option<&str>| Forget { minutes, confirm: confirm.map(Into::into) };
        assert_eq!(confirmation.demand(&request(60.0, None), now), None);
        let token = confirmation.demand(&request(90.0, None), now).unwrap();
        assert!(confirmation.demand(&request(900.0, Some(&token)), now).is_some(), "it was given for another time");
        assert!(confirmation.demand(&request(90.0, Some(&token)), now).is_some(), "a newer one took its place");
        let token = confirmation.demand(&request(90.0, None), now).unwrap();
        assert_eq!(confirmation.demand(&request(90.0, Some(&token)), now + VALID / 2), None);
        let again = confirmation.demand(&request(90.0, Some(&token)), now).unwrap();
        assert_ne!(again, token);
        assert!(confirmation.demand(&request(90.0, Some(&again)), now + VALID).is_some(), "it is too old");
    }
}
