//! The registry's times: `YYYY-MM-DD HH:mm:ss`, in Turkey time.

use jiff::{Timestamp, civil::DateTime, tz::Offset};

/// The registry states all its times at UTC+3 (R12).
const TURKEY: Offset = Offset::constant(3);
const FORM: &str = "%Y-%m-%d %H:%M:%S";

/// Reads a time, in ms, if it is spelled exactly as the registry spells it.
/// What a lenient reader would correct (spaces, a 60th second, one digit for
/// two) the registry refuses.
#[must_use]
pub fn parse(text: &str) -> Option<i64> {
    let civil = DateTime::strptime(FORM, text).ok()?;
    let unix_ms = TURKEY.to_timestamp(civil).ok()?.as_millisecond();
    (format(unix_ms) == text).then_some(unix_ms)
}

/// Writes a time, to the second that it lies in; empty beyond the year 9999.
#[must_use]
pub fn format(unix_ms: i64) -> String {
    let instant = Timestamp::from_millisecond(unix_ms.div_euclid(1_000) * 1_000);
    instant.map_or_else(|_| String::new(), |at| TURKEY.to_datetime(at).strftime(FORM).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_spelling_is_a_time() {
        // 2020-07-08 04:07:07 UTC.
        assert_eq!(parse("2020-07-08 07:07:07"), Some(1_594_181_227_000));
        assert_eq!(format(1_594_181_227_999), "2020-07-08 07:07:07");
        assert_eq!(format(-1), "1970-01-01 02:59:59");
        let wrong = [
            "2020-07-08 07:07:60",
            "2020-07-08 24:00:00",
            "2020-02-30 07:07:07",
            "2020-7-8 07:07:07",
            "2020-07-08  07:07:07",
            " 2020-07-08 07:07:07",
            "2020-07-08 07:07:07 ",
            "2020-07-08T07:07:07",
            "2020-07-08 07:07",
            "08.07.2020 07:07:07",
            "",
        ];
        for text in wrong {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
