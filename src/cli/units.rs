//! Durations and times as people write and read them.

use std::time::Duration;

use time::OffsetDateTime;

/// A text that is no duration.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is not a duration: write a whole number and a unit, such as 90s, 15m, 8h or 7d")]
pub(super) struct DurationError(String);

/// Reads `90s`, `15m`, `1h30m`, `7d`: at least one second.
pub(super) fn duration(text: &str) -> Result<Duration, DurationError> {
    parse_seconds(text).filter(|seconds| *seconds > 0).map(Duration::from_secs).ok_or(DurationError(text.to_owned()))
}

fn parse_seconds(text: &str) -> Option<u64> {
    let (mut total, mut rest, mut last) = (0_u64, text, u64::MAX);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let unit = match rest.as_bytes()[digits] {
            b's' => 1,
            b'm' => 60,
            b'h' => 3600,
            b'd' => 86_400,
            _ => return None,
        };
        if unit >= last {
            return None;
        }
        last = unit;
        total = total.checked_add(number.checked_mul(unit)?)?;
        rest = &rest[digits + 1..];
    }
    Some(total)
}

/// A time for people and for JSON: RFC 3339, whole seconds, UTC.
pub(super) fn timestamp(at: OffsetDateTime) -> String {
    let at = at.to_offset(time::UtcOffset::UTC);
    let (date, h, m, s) = (at.date(), at.hour(), at.minute(), at.second());
    format!("{date}T{h:02}:{m:02}:{s:02}Z")
}

/// How long ago or ahead, in the two largest units: `3d4h`, `12m5s`, `0s`.
pub(super) fn rough(span: time::Duration) -> String {
    let seconds = span.whole_seconds().unsigned_abs();
    let units = [(86_400, 'd'), (3600, 'h'), (60, 'm'), (1, 's')];
    let first = units.iter().position(|(size, _)| seconds >= *size).unwrap_or(3);
    let mut text = format!("{}{}", seconds / units[first].0, units[first].1);
    if let Some((size, letter)) = units.get(first + 1) {
        let rest = seconds % units[first].0 / size;
        if rest > 0 {
            text.push_str(&format!("{rest}{letter}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn durations_are_numbers_with_units_in_falling_order() {
        for (text, seconds) in
            [("1s", 1), ("90s", 90), ("15m", 900), ("1h30m", 5400), ("7d", 604_800), ("1d1s", 86_401)]
        {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        let bad = ["", "0s", "1", "h", "1h1h", "1m1h", "-1s", "1.5h", "1 h", "1w", "99999999999999999999d", "1\u{e9}"];
        for text in bad {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn spans_show_their_two_largest_units() {
        for (seconds, text) in [(0, "0s"), (59, "59s"), (60, "1m"), (725, "12m5s"), (86_400, "1d"), (270_001, "3d3h")] {
            assert_eq!(rough(time::Duration::seconds(seconds)), text);
            assert_eq!(rough(time::Duration::seconds(-seconds)), text);
        }
    }

    #[test]
    fn times_are_shown_in_utc() {
        assert_eq!(timestamp(datetime!(2026-01-02 03:04:05.678 +01:00)), "2026-01-02T02:04:05Z");
    }
}
