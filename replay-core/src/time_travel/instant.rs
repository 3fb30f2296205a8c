//! Instants as people write them.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};

use crate::{Error, Result};

/// An instant as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParsedInstant {
    /// It was written with its zone.
    Zoned(DateTime<Utc>),
    /// It was written without a zone, and here it is as if it had been UTC. Whoever uses it should say so.
    Naive(DateTime<Utc>),
}

impl ParsedInstant {
    /// Takes an instant with a zone (RFC 3339: `2026-03-01T12:00:00+01:00`, `2026-03-01 11:00:00.5Z`), or without one
    /// (`2026-03-01T12:00:00`, `2026-03-01 12:00`, `2026-03-01`).
    ///
    /// # Errors
    /// `Invalid` for anything else.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if let Ok(zoned) = DateTime::parse_from_rfc3339(text) {
            return Ok(Self::Zoned(zoned.with_timezone(&Utc)));
        }
        let formats = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"];
        let naive = formats.iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok());
        let naive = naive.or_else(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().map(|date| NaiveDateTime::new(date, NaiveTime::MIN)));
        naive.map(|naive| Self::Naive(naive.and_utc())).ok_or_else(|| {
            Error::invalid("parse instant", format!("`{text}` is not an instant")).hint("write it as in 2026-03-01T12:00:00Z")
        })
    }

    /// The instant; one that was written without a zone as if it had been UTC.
    pub fn as_utc(self) -> DateTime<Utc> {
        match self {
            Self::Zoned(instant) | Self::Naive(instant) => instant,
        }
    }
}

/// Takes an instant of any zone, as RFC 3339 writes it, and gives it in UTC.
///
/// # Errors
/// `Invalid` if it has no zone, since then it is no instant, and for text that is none at all.
pub fn parse_instant(text: &str) -> Result<DateTime<Utc>> {
    match ParsedInstant::parse(text)? {
        ParsedInstant::Zoned(instant) => Ok(instant),
        ParsedInstant::Naive(_) => Err(Error::invalid("parse instant", format!("`{}` has no zone", text.trim()))
            .hint("add the zone, as in 2026-03-01T12:00:00Z or 2026-03-01T12:00:00+01:00")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_zone_is_taken_and_none_is_refused() {
        let noon = parse_instant("2026-03-01T12:00:00Z").unwrap();
        for text in ["2026-03-01T13:00:00+01:00", "2026-03-01T06:30:00-05:30", " 2026-03-01T12:00:00.000000Z "] {
            assert_eq!(parse_instant(text).unwrap(), noon, "{text}");
        }
        for text in ["2026-03-01T12:00:00", "2026-03-01 12:00", "2026-03-01 12:00:00.000"] {
            assert_eq!(ParsedInstant::parse(text).unwrap(), ParsedInstant::Naive(noon), "{text}");
            let error = parse_instant(text).unwrap_err();
            assert!(error.detail().unwrap().contains("has no zone") && error.advice().is_some(), "{error:?}");
        }
        assert!(matches!(ParsedInstant::parse("2026-03-01").unwrap(), ParsedInstant::Naive(_)));
        for text in ["", "yesterday", "2026-13-01T00:00:00Z", "12:00"] {
            assert!(ParsedInstant::parse(text).is_err(), "{text}");
        }
    }
}
