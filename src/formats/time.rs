//! Times as files and people state them.
//!
//! `jiff` reads them: it keeps civil times, offsets and instants apart as
//! types, so that a time without an offset cannot pass for an instant.

use jiff::{
    Timestamp,
    civil::{Date, DateTime},
    fmt::rfc2822,
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

/// Reads seconds since 1970, as SendGrid states its times. They are whole.
pub(super) fn parse_epoch(text: &str) -> Option<StatedTime> {
    let instant = Timestamp::from_second(text.trim().parse().ok()?).ok()?;
    Some(to_the_second(instant))
}

/// Reads RFC 2822, such as `Tue, 07 Jan 2025 19:25:45 UTC`.
pub(super) fn parse_rfc2822(text: &str) -> Option<StatedTime> {
    // The RFC knows GMT and +0000. A day of the week that does not fit the
    // date is somebody's slip, and the date counts.
    let text = text.trim();
    let gmt = text.strip_suffix("UTC").map(|before| format!("{before}GMT"));
    let parser = rfc2822::DateTimeParser::new().relaxed_weekday(true);
    parser.parse_timestamp(gmt.as_deref().unwrap_or(text)).ok().map(to_the_second)
}

fn to_the_second(instant: Timestamp) -> StatedTime {
    StatedTime { unix_ms: instant.as_millisecond(), precision: Precision::Second.into() }
}

/// The last millisecond of what was stated: where a suppression ends that ends
/// with a day or a second (R2: the reading that sends less).
#[must_use]
pub fn last_ms(stated: StatedTime) -> i64 {
    let length = match stated.precision() {
        Precision::Unspecified | Precision::Millisecond => 1,
        Precision::Second => 1_000,
        Precision::Minute => 60_000,
        Precision::Day => 86_400_000,
    };
    stated.unix_ms.saturating_add(length - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_dates_and_seconds_are_read() {
        let expected = Some((1_736_277_945_000, Precision::Second));
        let read = |stated: Option<StatedTime>| stated.map(|time| (time.unix_ms, time.precision()));
        for text in [
            "Tue, 07 Jan 2025 19:25:45 UTC",
            "Tue, 07 Jan 2025 19:25:45 GMT",
            "Tue, 7 Jan 2025 22:25:45 +0300",
            "Wed, 07 Jan 2025 19:25:45 +0000",
            "7 Jan 2025 19:25:45 -0000",
        ] {
            assert_eq!(read(parse_rfc2822(text)), expected, "{text}");
        }
        assert_eq!(read(parse_epoch(" 1736277945 ")), expected);
        for text in ["", "soon", "2025-01-07", "Tue, 07 Jan 2025"] {
            assert_eq!(read(parse_rfc2822(text)), None, "{text}");
            assert_eq!(read(parse_epoch(text)), None, "{text}");
        }
    }

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

    #[test]
    fn a_stated_day_ends_with_its_last_millisecond() {
        let last = |text| last_ms(parse_time(text, Offset::UTC).unwrap());
        assert_eq!(last("2025-02-28"), 1_740_787_199_999);
        assert_eq!(last("2025-02-28 10:05:27"), 1_740_737_127_999);
        assert_eq!(last("2025-02-28T10:05:27.250Z"), 1_740_737_127_250);
    }
}
