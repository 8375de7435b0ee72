//! What the page shows of the past, read from the database: a search over what was said, and one day.
//!
//! Words that `[privacy]` hides cannot be searched for either: whoever may not see a name would otherwise learn where it was said.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use jiff::{SignedDuration, Timestamp, ZonedDateTime};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::warn;

use super::{ApiState, error, redacted};
use crate::clock::human_time;
use crate::fold::Folded;
use crate::redact::Redactor;
use crate::store::{OutboxLimits, Store, StoreError, TranscriptQuery};

/// The longest text to search for, in characters.
const MAX_SEARCH_CHARS: usize = 200;
/// So many utterances are listed.
const LISTED: usize = 100;
/// So many are looked at where some of them may not be shown.
const LOOKED_AT: usize = 2_000;
/// The longest time that is shown as a day: the longest day has 25 hours.
const LONGEST_DAY: SignedDuration = SignedDuration::from_hours(26);
/// Readings of the database at once, and how long one more waits.
const AT_ONCE: usize = 2;
const WAIT: Duration = Duration::from_secs(10);

/// The database, as the page may read it.
pub(super) struct StoredPast {
    state: PathBuf,
    limits: OutboxLimits,
    slots: Semaphore,
}

/// What the page asks to search for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SearchRequest {
    words: String,
    since: Option<String>,
    until: Option<String>,
    room: Option<String>,
}

/// The time that the page shows as a day; it knows the time zone of who looks at it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DayRequest {
    from: Timestamp,
    to: Timestamp,
}

impl StoredPast {
    pub(super) fn new(state: &Path, limits: OutboxLimits) -> Arc<Self> {
        Arc::new(Self { state: state.into(), limits, slots: Semaphore::new(AT_ONCE) })
    }

    /// Reads the database in a thread where that may take long.
    async fn read<T: Send + 'static>(
        self: Arc<Self>,
        read: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Response> {
        let busy = || refused(StatusCode::SERVICE_UNAVAILABLE, "others are reading what is stored; try again");
        let past = self.clone();
        let slot = timeout(WAIT, self.slots.acquire()).await.map_err(|_| busy())?.map_err(|_| busy())?;
        let task = tokio::task::spawn_blocking(move || read(&Store::open_read_only(&past.state, past.limits)?));
        let found = task.await;
        drop(slot);
        match found {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => {
                warn!(%error, "the page cannot read what is stored");
                Err(refused(StatusCode::SERVICE_UNAVAILABLE, "what is stored cannot be read: hearth's log says why"))
            }
            Err(_) => Err(refused(StatusCode::INTERNAL_SERVER_ERROR, "reading what is stored failed")),
        }
    }
}

fn refused(code: StatusCode, why: &str) -> Response {
    (code, error(why)).into_response()
}

/// Answers a search with the newest utterances that match, oldest first.
pub(super) async fn search(State(api): ApiState, Extension(past): Extension<Arc<StoredPast>>, body: Bytes) -> Response {
    let (request, since, until) = match understand(&body) {
        Ok(request) => request,
        Err(why) => return refused(StatusCode::BAD_REQUEST, &why),
    };
    let redactor = api.redactor.clone();
    let found = past.read(move |store| {
        let SearchRequest { words, room, .. } = &request;
        let room = room.as_deref().map(str::trim).filter(|room| !room.is_empty());
        let found = store.search(&TranscriptQuery { words, since, until, room, limit: LOOKED_AT })?;
        Ok(found.into_iter().filter(|said| may_be_found(&redactor, words, &said.text)).collect::<Vec<_>>())
    });
    match found.await {
        Ok(mut found) => {
            let more = found.len() > LISTED;
            found.truncate(LISTED);
            found.reverse();
            Json(json!({ "status": "ok", "utterances": redacted(&api, &found), "more": more })).into_response()
        }
        Err(refused) => refused,
    }
}

/// A search, and its times.
fn understand(body: &[u8]) -> Result<(SearchRequest, Option<Timestamp>, Option<Timestamp>), String> {
    let request: SearchRequest = serde_json::from_slice(body).map_err(|error| {
        format!("a search is an object with words, and with since, until and room if you like: {error}")
    })?;
    if !request.words.chars().any(char::is_alphanumeric) {
        return Err("there is no word to search for".into());
    }
    let chars = request.words.chars().count();
    if chars > MAX_SEARCH_CHARS {
        return Err(format!("a search has at most {MAX_SEARCH_CHARS} characters, this one has {chars}"));
    }
    let now = ZonedDateTime::now();
    let time = |text: &Option<String>| {
        let text = text.as_deref().map(str::trim).filter(|text| !text.is_empty());
        text.map(|text| human_time::parse(text, &now)).transpose().map_err(|error| error.to_string())
    };
    let (since, until) = (time(&request.since)?, time(&request.until)?);
    if since.zip(until).is_some_and(|(since, until)| since >= until) {
        return Err("nothing lies between these times: the first one must be earlier".into());
    }
    Ok((request, since, until))
}

/// Whether the words are in the text as it is shown, too.
fn may_be_found(redactor: &Redactor, words: &str, text: &str) -> bool {
    let shown = redactor.text(text);
    if shown == text {
        return true;
    }
    let parts = |text: &str| {
        let folded = Folded::new(text).text.to_lowercase();
        let parts = folded.split(|between: char| !between.is_alphanumeric()).map(String::from);
        parts.filter(|part| !part.is_empty()).collect::<Vec<_>>()
    };
    let shown = parts(&shown);
    // What stands in place of a name is no word that was said; such a text was found by other words.
    let mut phrases = words.split_whitespace().map(parts).filter(|phrase| !phrase.is_empty());
    phrases.all(|phrase| shown.windows(phrase.len()).any(|part| part == phrase))
}

/// Answers with what happened in the time that the page shows as a day.
pub(super) async fn day(State(api): ApiState, Extension(past): Extension<Arc<StoredPast>>, body: Bytes) -> Response {
    let Ok(DayRequest { from, to }) = serde_json::from_slice(&body) else {
        return refused(
            StatusCode::BAD_REQUEST,
            "a day is an object with two times, from and to, as RFC 3339 has them",
        );
    };
    let long = to.duration_since(from);
    if long <= SignedDuration::ZERO || long > LONGEST_DAY {
        let hours = LONGEST_DAY.as_hours();
        return refused(StatusCode::BAD_REQUEST, &format!("from must be before to, and at most {hours} hours"));
    }
    match past.read(move |store| store.day(from, to)).await {
        Ok(day) => Json(json!({ "status": "ok", "day": redacted(&api, &day) })).into_response(),
        Err(refused) => refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PrivacyConfig;

    #[test]
    fn what_is_hidden_cannot_be_found() {
        let privacy =
            PrivacyConfig { redact: vec!["Anna Maria".into()], redact_numbers: true, ..PrivacyConfig::default() };
        let redactor = Redactor::new(&privacy);
        let text = "Anna Maria, the café's code is 4417.";
        for words in ["Anna", "maria", "4417", "code 4417", "Anna-Maria"] {
            assert!(!may_be_found(&redactor, words, text), "{words}");
        }
        for words in ["code", "cafe's", "CAFÉ code", "the code!"] {
            assert!(may_be_found(&redactor, words, text), "{words}");
        }
        assert!(may_be_found(&Redactor::new(&PrivacyConfig::default()), "4417", text));
    }

    #[test]
    fn a_search_that_cannot_be_is_answered_by_a_sentence() {
        let asked = |body: &str| understand(body.as_bytes()).map(|_| ()).unwrap_err();
        for (body, why) in [
            ("", "a search is an object with words"),
            ("[]", "a search is an object with words"),
            (r#"{"words":"x","page":2}"#, "unknown field `page`"),
            (r#"{"words":" ?! "}"#, "there is no word to search for"),
            (r#"{"words":"x","since":"the day of the bike"}"#, "\"the day of the bike\" is no time"),
            (r#"{"words":"x","until":"2900-01-01"}"#, "has not come yet"),
            (r#"{"words":"x","since":"1h","until":"2h"}"#, "the first one must be earlier"),
        ] {
            assert!(asked(body).contains(why), "{body}: {}", asked(body));
        }
        let long = json!({ "words": "é".repeat(201) }).to_string();
        assert!(asked(&long).contains("at most 200 characters, this one has 201"));
        let (request, since, until) = understand(br#"{"words":"x","since":"","room":"den"}"#).unwrap();
        assert_eq!((request.room.as_deref(), since, until), (Some("den"), None, None));
    }
}
