//! Times as files and people state them.
//!
//! `jiff` reads them: it keeps civil times, offsets and instants apart as
//! types, so that a time without an offset cannot pass for an instant.

use jiff::{
    Timestamp,
    civil::{Date, DateTime},
    tz::Offset,
};

use crate::proto::v1::{Precision, StatedTime};

/// Reads RFC 3339 (`2025-02-28T10:05:27.250Z`), `YYYY-MM-DD HH:MM:SS` (to the
/// second) or `YYYY-MM-DD` (to the day); the latter two are at `offset`. RFC
/// 3339 without a fraction is to the second as well: the writer rounded it.
/// A whole day is never cut short to an instant: how it counts follows from
/// its precision.
#[must_use]
pub fn parse_time(text: &str, offset: Offset) -> Option<StatedTime> {
    let text = text.trim();
    let (instant, precision) = match text.len() {
        10 => {
            let day = Date::strptime("%Y-%m-%d", text).ok()?;
            (offset.to_timestamp(day.to_datetime(jiff::civil::Time::midnight())), Precision::Day)
        }
        19 => {
            let second = DateTime::strptime("%Y-%m-%d %H:%M:%S", text).ok()?;
            (offset.to_timestamp(second), Precision::Second)
        }
        _ => {
            let fraction = text.contains(['.', ',']);
            let precision = if fraction { Precision::Millisecond } else { Precision::Second };
            (text.parse::<Timestamp>(), precision)
        }
    };
    let unix_ms = instant.ok()?.as_millisecond();
    Some(StatedTime { unix_ms, precision: precision.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, hours: i8) -> Option<(i64, Precision)> {
        let stated = parse_time(text, Offset::constant(hours))?;
        Some((stated.unix_ms, stated.precision()))
    }

    #[test]
    fn precision_follows_the_spelling() {
        let second = Some((1_740_737_127_000, Precision::Second));
        assert_eq!(read("2025-02-28 10:05:27", 0), second);
        assert_eq!(read("2025-02-28 13:05:27", 3), second);
        assert_eq!(read("2025-02-28T10:05:27Z", 3), second);
        assert_eq!(read("2025-02-28T13:05:27+03:00", 0), second);
        let exact = Some((1_740_737_127_250, Precision::Millisecond));
        assert_eq!(read("2025-02-28T10:05:27.250Z", 0), exact);
        assert_eq!(read(" 2025-02-28 ", 0), Some((1_740_700_800_000, Precision::Day)));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in ["", "yesterday", "2025-02-30", "2025-02-28 25:00:00", "28.02.2025", "2025"] {
            assert_eq!(read(text, 0), None, "{text}");
        }
        assert_eq!(read("2025-02-28T10:05:27.250", 0), None, "no offset, no instant");
    }
}
