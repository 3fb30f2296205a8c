//! Instants and durations as people type them, and as they are shown.

use std::{str::FromStr, time::Duration};

use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat, TimeDelta, TimeZone, Utc};
use replay::{Error, Result};

/// Units of durations, the longest first, with their length in milliseconds.
const UNITS: &[(&str, u64)] = &[("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// What an instant was taken for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Instant {
    pub(crate) at: DateTime<Utc>,
    /// Set if no zone was given and UTC was assumed.
    pub(crate) assumed_utc: bool,
}

/// Takes `100ms`, `30s`, `2h`, `30d`, `1h30m`.
///
/// # Errors
/// `Invalid` for anything else.
pub(crate) fn parse_duration(text: &str) -> Result<Duration> {
    let wrong = || Error::invalid("parse", format!("`{text}` is not a duration")).hint("write 100ms, 30s, 5m, 2h, 30d or 1h30m");
    let mut rest = text.trim();
    let mut millis = 0.0_f64;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        let tail = &rest[digits..];
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == &tail[..letters]).ok_or_else(wrong)?;
        #[expect(clippy::cast_precision_loss, reason = "units are far below 2^52")]
        let unit = *unit as f64;
        millis += number * unit;
        rest = &tail[letters..];
    }
    Duration::try_from_secs_f64(millis / 1000.0).map_err(|_| wrong())
}

/// Takes an RFC 3339 instant, a duration (ago), `now`, or a local time followed by an offset or the name of a zone. Without a
/// zone UTC is assumed.
///
/// # Errors
/// `Invalid` for anything else, and for a local time that does not exist or exists twice in its zone.
pub(crate) fn parse_instant(text: &str, now: DateTime<Utc>) -> Result<Instant> {
    let text = text.trim();
    let known = |at| Ok(Instant { at, assumed_utc: false });
    if text.eq_ignore_ascii_case("now") {
        return known(now);
    }
    if let Ok(ago) = parse_duration(text.strip_suffix(" ago").unwrap_or(text)) {
        let ago = TimeDelta::from_std(ago).ok().and_then(|ago| now.checked_sub_signed(ago));
        return ago.map_or_else(|| Err(Error::invalid("parse", format!("`{text}` is too long ago"))), known);
    }
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return known(at.to_utc());
    }
    if let Some(naive) = parse_naive(text) {
        return Ok(Instant { at: naive.and_utc(), assumed_utc: true });
    }
    if let Some((naive, zone)) = split_zone(text) {
        return in_zone(naive, zone, text).and_then(known);
    }
    Err(Error::invalid("parse", format!("`{text}` is not an instant"))
        .hint("write 2026-11-21T10:30:00Z, 2026-11-21T10:30+01:00, \"2026-11-21 10:30 Europe/Berlin\", or 2h for two hours ago"))
}

fn parse_naive(text: &str) -> Option<NaiveDateTime> {
    let formats = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"];
    let with_time = formats.iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok());
    with_time.or_else(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().and_then(|date| date.and_hms_opt(0, 0, 0)))
}

/// Splits off the zone: after the last blank, or from the sign of an offset behind the time.
fn split_zone(text: &str) -> Option<(NaiveDateTime, &str)> {
    let after_date = text.get(10..)?;
    let sign = after_date.find(['+', '-', 'Z', 'z']).map(|at| at + 10);
    let splits = [text.rfind(' '), sign];
    splits.into_iter().flatten().find_map(|at| Some((parse_naive(text[..at].trim_end())?, text[at..].trim())))
}

fn in_zone(naive: NaiveDateTime, zone: &str, text: &str) -> Result<DateTime<Utc>> {
    if zone.eq_ignore_ascii_case("z") || zone.eq_ignore_ascii_case("utc") {
        return Ok(naive.and_utc());
    }
    let found = if let Ok(offset) = chrono::FixedOffset::from_str(zone) {
        offset.from_local_datetime(&naive).map(|at| at.to_utc())
    } else if zone.eq_ignore_ascii_case("local") {
        chrono::Local.from_local_datetime(&naive).map(|at| at.to_utc())
    } else {
        let zone = chrono_tz::Tz::from_str_insensitive(zone).map_err(|_| {
            Error::invalid("parse", format!("`{zone}` is not a time zone"))
                .hint("write an offset such as +01:00, or a name such as Europe/Berlin")
        })?;
        zone.from_local_datetime(&naive).map(|at| at.to_utc())
    };
    found.single().ok_or_else(|| {
        Error::invalid("parse", format!("`{text}` does not exist or exists twice, for the clocks are changed then")).hint("give the offset")
    })
}

/// An instant in RFC 3339, UTC, to the microsecond.
pub(crate) fn show(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// A duration in a few characters: `3.2 ms`, `410 ms`, `1.4 s`, `2 m 05 s`, `3 h 20 m`, `2 d 4 h`.
pub(crate) fn show_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 if duration.as_micros() < 10_000 => format!("{:.1} ms", duration.as_secs_f64() * 1000.0),
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..3600 => format!("{} m {:02} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {:02} m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// How long ago an instant was, in one unit: `2 h ago`.
pub(crate) fn show_ago(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let seconds = (now - at).num_seconds();
    match seconds {
        ..0 => "in the future".to_owned(),
        0..1 => "now".to_owned(),
        1..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} m ago", seconds / 60),
        3600..86_400 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-11-21T12:00:00Z".parse().unwrap()
    }

    fn instant(text: &str) -> String {
        let parsed = parse_instant(text, now()).unwrap();
        format!("{}{}", show(parsed.at), if parsed.assumed_utc { " assumed" } else { "" })
    }

    #[test]
    fn instants_are_taken_in_any_zone_and_told_in_utc() {
        assert_eq!(instant("2026-11-21T10:30:00.5Z"), "2026-11-21T10:30:00.500000Z");
        assert_eq!(instant("2026-11-21T10:30:00+01:00"), "2026-11-21T09:30:00.000000Z");
        assert_eq!(instant("2026-11-21 10:30 +01:00"), "2026-11-21T09:30:00.000000Z");
        assert_eq!(instant("2026-11-21T10:30-05:00"), "2026-11-21T15:30:00.000000Z");
        assert_eq!(instant("2026-07-21 10:30 Europe/Berlin"), "2026-07-21T08:30:00.000000Z");
        assert_eq!(instant("2h"), "2026-11-21T10:00:00.000000Z");
        assert_eq!(instant("1h30m ago"), "2026-11-21T10:30:00.000000Z");
        assert_eq!(instant("now"), "2026-11-21T12:00:00.000000Z");
    }

    #[test]
    fn an_instant_without_a_zone_is_taken_as_utc_and_says_so() {
        assert_eq!(instant("2026-11-21 10:30"), "2026-11-21T10:30:00.000000Z assumed");
        assert_eq!(instant("2026-11-21"), "2026-11-21T00:00:00.000000Z assumed");
    }

    #[test]
    fn what_is_no_instant_is_refused() {
        for wrong in ["", "yesterday", "10:30", "2026-13-01", "2026-11-21T10:30 Mars/Base", "2026-03-29 02:30 Europe/Berlin", "2x"] {
            assert!(parse_instant(wrong, now()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(parse_duration("100ms").unwrap(), Duration::from_millis(100));
        assert_eq!(parse_duration("1h30m").unwrap(), Duration::from_mins(90));
        assert_eq!(parse_duration("1.5s").unwrap(), Duration::from_millis(1500));
        for wrong in ["", "5", "s", "-1s", "1 s", "1y", "1e9s", "99999999999999999999w"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_are_shown_in_a_few_characters() {
        let show = |millis| show_duration(Duration::from_millis(millis));
        assert_eq!([show(3), show(410), show(1400), show(125_000), show(90_000_000)], ["3.0 ms", "410 ms", "1.4 s", "2 m 05 s", "1 d 1 h"]);
    }
}
