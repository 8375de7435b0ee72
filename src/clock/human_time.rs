//! Points in time as people write them: `18:00`, `yesterday 18:00`, `10m`, a date, RFC 3339. None of them may be in the future.

use jiff::civil::{Date, DateTime, Time};
use jiff::{Span, Timestamp, ToSpan, ZonedDateTime};

/// Why a text is no usable time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TimeError {
    #[error(
        "\"{0}\" is no time: say \"18:00\", \"yesterday 18:00\", \"2026-03-01\", \"2026-03-01 18:00\", \"10m\" or \"7d\" \
         (ago), or write it as RFC 3339 has it"
    )]
    NoTime(String),
    #[error("\"{0}\" has not come yet")]
    Future(String),
}

/// The time that `text` means at `now`, in its time zone. A time of day without a day is the last such time; a day without a time
/// is its end, or now if it has not ended.
///
/// # Errors
/// The text is no time, or a time in the future.
pub(crate) fn parse(text: &str, now: &ZonedDateTime) -> Result<Timestamp, TimeError> {
    let text = text.trim();
    let found = match text.parse::<Timestamp>() {
        Ok(time) => Some(time),
        Err(_) => local(text, now).or_else(|| ago(text, now)),
    };
    let found = found.ok_or_else(|| TimeError::NoTime(text.into()))?;
    if found > now.timestamp() { Err(TimeError::Future(text.into())) } else { Ok(found) }
}

/// As [`parse`], for the time from which on something is meant: a day without a time is its beginning.
///
/// # Errors
/// As [`parse`].
pub(crate) fn since(text: &str, now: &ZonedDateTime) -> Result<Timestamp, TimeError> {
    let day = day(text.trim(), now.date());
    let begins = day.and_then(|day| day.to_datetime(Time::midnight()).to_zoned_datetime(now.time_zone().clone()).ok());
    match begins {
        Some(begins) if begins > *now => Err(TimeError::Future(text.trim().into())),
        Some(begins) => Ok(begins.timestamp()),
        None => parse(text, now),
    }
}

fn day(text: &str, today: Date) -> Option<Date> {
    match text {
        "today" => Some(today),
        "yesterday" => today.yesterday().ok(),
        // A date and a time are parsed as a date, too.
        text if text.contains(['T', ' ']) => None,
        text => text.parse().ok(),
    }
}

fn ago(text: &str, now: &ZonedDateTime) -> Option<Timestamp> {
    let span: Span = text.trim_end_matches("ago").parse().ok()?;
    now.checked_sub(span.abs()).ok().map(|then| then.timestamp())
}

fn local(text: &str, now: &ZonedDateTime) -> Option<Timestamp> {
    let today = now.date();
    let at = |date: Date, time: Time| {
        date.to_datetime(time).to_zoned_datetime(now.time_zone().clone()).ok().map(|it| it.timestamp())
    };
    let end = |date: Date| {
        let end = at(date.tomorrow().ok()?, Time::midnight())?;
        Some(if date == today { end.min(now.timestamp()) } else { end })
    };
    let (on, time) = text.split_once(' ').unwrap_or((text, ""));
    match (day(on, today), of_day(time.trim()), of_day(text)) {
        (Some(day), Some(time), _) => at(day, time),
        (Some(day), None, _) if time.is_empty() => end(day),
        (None, _, Some(time)) => {
            let then = at(today, time)?;
            if then <= now.timestamp() { Some(then) } else { at(today.checked_sub(1.day()).ok()?, time) }
        }
        _ => {
            let then: DateTime = text.parse().ok()?;
            at(then.date(), then.time())
        }
    }
}

fn of_day(text: &str) -> Option<Time> {
    ["%H:%M:%S", "%H:%M"].iter().find_map(|format| Time::strptime(format, text).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Half past nine in the morning of a Monday, in summer, two hours east.
    fn now() -> ZonedDateTime {
        "2026-06-01T09:30:00+02:00[Europe/Berlin]".parse().unwrap()
    }

    fn said(text: &str) -> String {
        match parse(text, &now()) {
            Ok(time) => time.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn times_mean_what_people_mean_by_them() {
        for (text, means) in [
            ("09:00", "2026-06-01T07:00:00Z"),
            ("8:05", "2026-06-01T06:05:00Z"),
            ("18:00", "2026-05-31T16:00:00Z"),
            ("18:00:30", "2026-05-31T16:00:30Z"),
            ("today 9:00", "2026-06-01T07:00:00Z"),
            ("yesterday 18:00", "2026-05-31T16:00:00Z"),
            ("yesterday", "2026-05-31T22:00:00Z"),
            ("today", "2026-06-01T07:30:00Z"),
            ("2026-05-20", "2026-05-20T22:00:00Z"),
            ("2026-05-20 18:00", "2026-05-20T16:00:00Z"),
            ("2026-05-20T18:00", "2026-05-20T16:00:00Z"),
            ("2026-01-20 18:00", "2026-01-20T17:00:00Z"),
            ("2026-05-20T18:00:00Z", "2026-05-20T18:00:00Z"),
            ("2026-05-20T18:00:00+05:00", "2026-05-20T13:00:00Z"),
            ("10m", "2026-06-01T07:20:00Z"),
            ("10 minutes ago", "2026-06-01T07:20:00Z"),
            ("1h30m", "2026-06-01T06:00:00Z"),
            ("7d", "2026-05-25T07:30:00Z"),
        ] {
            assert_eq!(said(text), means, "{text}");
        }
    }

    #[test]
    fn what_is_meant_from_a_day_on_begins_with_it() {
        for (text, means) in [
            ("today", "2026-05-31T22:00:00Z"),
            ("yesterday", "2026-05-30T22:00:00Z"),
            ("2026-05-20", "2026-05-19T22:00:00Z"),
            ("2026-05-20 18:00", "2026-05-20T16:00:00Z"),
            ("2026-05-20T18:00", "2026-05-20T16:00:00Z"),
            ("18:00", "2026-05-31T16:00:00Z"),
            ("10m", "2026-06-01T07:20:00Z"),
        ] {
            assert_eq!(since(text, &now()).unwrap().to_string(), means, "{text}");
        }
        assert!(since("2026-06-02", &now()).unwrap_err().to_string().contains("has not come yet"));
        assert!(since("soon", &now()).unwrap_err().to_string().contains("is no time"));
    }

    #[test]
    fn texts_that_are_no_time_and_future_times_are_refused() {
        for text in ["", "soon", "25:00", "18", "2026-13-01", "yesterday noon", "-", "ago", "1e9"] {
            assert!(said(text).contains("is no time"), "{text}: {}", said(text));
        }
        for text in ["2027-01-01", "today 23:00", "2026-06-01T07:31:00Z"] {
            assert!(said(text).contains("has not come yet"), "{text}: {}", said(text));
        }
    }
}
