//! Turkish business days, and until when a consent must be registered (R12).
//!
//! A consent taken outside of İYS must be registered within three business
//! days. The day of the consent does not count; Saturdays, Sundays and public
//! holidays do not count; half days do. The time ends with the third day, in
//! Turkey time.

use std::ops::RangeInclusive;

use jiff::{
    Timestamp,
    civil::{Date, Weekday},
    tz::Offset,
};

use super::holidays::{
    DEMOCRACY_DAY, DEMOCRACY_DAY_SINCE, FEASTS, FIXED, KURBAN_DAYS, RAMAZAN_DAYS,
};

/// Turkey has kept UTC+3 all year since September 2016. Before that its winters
/// were at UTC+2; the registry states all its times at UTC+3 (R12).
const TURKEY: Offset = Offset::constant(3);

/// Business days within which a consent must be registered.
const DAYS_TO_REGISTER: u32 = 3;

/// The years whose holidays are known.
#[must_use]
pub fn years() -> RangeInclusive<i16> {
    let year = |feasts: Option<&(Date, Date)>| feasts.map_or(0, |(ramazan, _)| ramazan.year());
    year(FEASTS.first())..=year(FEASTS.last())
}

/// The last millisecond at which the registration of a consent given at
/// `consent_time_ms` is still in time.
///
/// None if that depends on a year outside of [`years`]: whoever must decide
/// then has to refuse (A1).
#[must_use]
pub fn deadline(consent_time_ms: i64) -> Option<i64> {
    third_day_counted_by(is_business_day, consent_time_ms)
}

/// The [`deadline`] for whoever must not answer late: in years whose holidays
/// are not known every weekday counts, so it is never later than the true one.
///
/// None if the calendar does not reach so far.
#[must_use]
pub fn certain_deadline(consent_time_ms: i64) -> Option<i64> {
    let may_count = |day| Some(is_business_day(day).unwrap_or_else(|| !is_weekend(day)));
    third_day_counted_by(may_count, consent_time_ms)
}

/// The last millisecond of the third day after a consent that counts.
fn third_day_counted_by(
    counts: impl Fn(Date) -> Option<bool>,
    consent_time_ms: i64,
) -> Option<i64> {
    let mut day = day_of(consent_time_ms)?;
    let mut counted = 0;
    while counted < DAYS_TO_REGISTER {
        day = day.tomorrow().ok()?;
        counted += u32::from(counts(day)?);
    }
    let following = day.tomorrow().ok()?.to_datetime(jiff::civil::Time::midnight());
    Some(TURKEY.to_timestamp(following).ok()?.as_millisecond() - 1)
}

/// How many business days are left after today, at `now_ms`, up to the day of
/// a deadline; 0 on that day and after it.
///
/// None if a year outside of [`years`] is among them.
#[must_use]
pub fn business_days_left(deadline_ms: i64, now_ms: i64) -> Option<u32> {
    let (last, mut day) = (day_of(deadline_ms)?, day_of(now_ms)?);
    let mut left = 0;
    while day < last {
        day = day.tomorrow().ok()?;
        left += u32::from(is_business_day(day)?);
    }
    Some(left)
}

/// The day in Turkey at an instant.
fn day_of(unix_ms: i64) -> Option<Date> {
    Some(TURKEY.to_datetime(Timestamp::from_millisecond(unix_ms).ok()?).date())
}

/// Whether a day counts; None if the holidays of its year are not known.
fn is_business_day(day: Date) -> Option<bool> {
    let (ramazan, kurban) = FEASTS.iter().find(|(ramazan, _)| ramazan.year() == day.year())?;
    let of_feast = |first: &Date, days: i32| {
        // Both dates are in one year, so the difference is in days.
        (0..days).contains(&(day - *first).get_days())
    };
    let in_year = (day.month(), day.day());
    let is_holiday = is_weekend(day)
        || FIXED.contains(&in_year)
        || (in_year == DEMOCRACY_DAY && day.year() >= DEMOCRACY_DAY_SINCE)
        || of_feast(ramazan, RAMAZAN_DAYS)
        || of_feast(kurban, KURBAN_DAYS);
    Some(!is_holiday)
}

fn is_weekend(day: Date) -> bool {
    matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday)
}

#[cfg(test)]
mod tests {
    use jiff::civil::{DateTime, date};

    use super::*;

    fn at(text: &str) -> i64 {
        let civil: DateTime = text.parse().unwrap();
        TURKEY.to_timestamp(civil).unwrap().as_millisecond()
    }

    fn deadline_day(consent: &str) -> Option<String> {
        let end = deadline(at(consent))?;
        assert_ne!(day_of(end), day_of(end + 1), "the deadline is the end of a day");
        Some(day_of(end)?.to_string())
    }

    #[test]
    fn the_third_business_day_after_the_consent_is_the_last() {
        let cases = [
            // Monday to Thursday; at any time of the day.
            ("2025-06-16T00:00:00", "2025-06-19"),
            ("2025-06-16T23:59:59", "2025-06-19"),
            // Over a weekend, and from within one.
            ("2025-06-19T12:00:00", "2025-06-24"),
            ("2025-06-21T12:00:00", "2025-06-25"),
            // The end of a year: 1 January 2025 is a Wednesday.
            ("2024-12-30T12:00:00", "2025-01-03"),
            ("2024-12-31T12:00:00", "2025-01-06"),
            // Ramazan 2025: Sunday 30 March to Tuesday 1 April; its eve is a Saturday.
            ("2025-03-28T12:00:00", "2025-04-04"),
            // Kurban 2024: Sunday 16 to Wednesday 19 June.
            ("2024-06-13T12:00:00", "2024-06-21"),
            // Kurban 2020 crosses a month: Friday 31 July to Monday 3 August.
            ("2020-07-30T12:00:00", "2020-08-06"),
            // The eve of Kurban 2026 (Tuesday 26 May) is a half day, and counts.
            ("2026-05-22T12:00:00", "2026-06-01"),
            // 28 October 2025 is a half day, and counts; the 29th does not.
            ("2025-10-27T12:00:00", "2025-10-31"),
            // 15 July is a holiday since 2017 only.
            ("2016-07-13T12:00:00", "2016-07-18"),
            ("2021-07-14T12:00:00", "2021-07-26"),
            // 23 April, 1 May, 19 May and 30 August on working days.
            ("2025-04-22T12:00:00", "2025-04-28"),
            ("2025-04-30T12:00:00", "2025-05-06"),
            ("2025-05-16T12:00:00", "2025-05-22"),
            ("2024-08-29T12:00:00", "2024-09-04"),
        ];
        for (consent, last) in cases {
            assert_eq!(deadline_day(consent).as_deref(), Some(last), "{consent}");
        }
    }

    #[test]
    fn a_day_begins_at_midnight_in_turkey() {
        // 21:00 UTC of Sunday is Monday in Turkey.
        let monday: Timestamp = "2025-06-15T21:00:00Z".parse().unwrap();
        assert_eq!(deadline(monday.as_millisecond()), Some(at("2025-06-20T00:00:00") - 1));
        assert_eq!(deadline(monday.as_millisecond() - 1), Some(at("2025-06-19T00:00:00") - 1));
    }

    #[test]
    fn a_year_without_holidays_is_never_guessed() {
        assert_eq!(years(), 2015..=2032);
        assert_eq!(deadline_day("2032-12-27T12:00:00").as_deref(), Some("2032-12-30"));
        assert_eq!(deadline_day("2032-12-29T12:00:00"), None);
        assert_eq!(deadline_day("2014-12-29T12:00:00"), None);
        assert_eq!(deadline(i64::MAX), None);
        assert_eq!(business_days_left(at("2033-01-05T00:00:00"), at("2032-12-30T00:00:00")), None);
    }

    #[test]
    fn a_certain_deadline_is_the_deadline_or_an_earlier_one() {
        for day in ["2025-06-16", "2024-06-13", "2026-05-22", "2032-12-27"] {
            let given = at(&format!("{day}T12:00:00"));
            assert_eq!(certain_deadline(given), deadline(given), "{day}");
        }
        // 30 and 31 December 2032 are working days, and then comes a weekend.
        // 1 January 2014 was a Wednesday and a holiday, and is counted.
        for (given, last) in [("2032-12-29", "2033-01-03"), ("2013-12-30", "2014-01-02")] {
            let end = certain_deadline(at(&format!("{given}T12:00:00"))).unwrap();
            assert_eq!(day_of(end).unwrap().to_string(), last, "{given}");
        }
        assert_eq!(certain_deadline(i64::MAX), None);
    }

    #[test]
    fn the_days_left_are_those_after_today() {
        let end = deadline(at("2025-06-19T12:00:00")).unwrap();
        let left = |now: &str| business_days_left(end, at(now)).unwrap();
        // Thursday; Friday, Monday and Tuesday are the three days.
        assert_eq!(left("2025-06-19T12:00:00"), 3);
        assert_eq!(left("2025-06-20T00:00:00"), 2);
        assert_eq!(left("2025-06-22T23:59:59"), 2);
        assert_eq!(left("2025-06-23T00:00:00"), 1);
        assert_eq!(left("2025-06-24T23:59:59"), 0);
        assert_eq!(left("2025-07-01T12:00:00"), 0);
    }

    #[test]
    fn the_table_of_feasts_has_a_row_a_year_and_moves_as_the_moon_does() {
        for ((ramazan, kurban), year) in FEASTS.iter().zip(years()) {
            assert_eq!((ramazan.year(), kurban.year()), (year, year));
            // Two lunar months and nine days lie between the two feasts.
            assert!((67..=69).contains(&(*kurban - *ramazan).get_days()), "{year}");
        }
        for pair in FEASTS.windows(2) {
            for (earlier, later) in [(pair[0].0, pair[1].0), (pair[0].1, pair[1].1)] {
                assert!((353..=356).contains(&(later - earlier).get_days()), "{later}");
            }
        }
        // Ramazan 2028 is Saturday 26 to Monday 28 February; a leap day follows.
        assert_eq!(is_business_day(date(2028, 2, 28)), Some(false));
        assert_eq!(is_business_day(date(2028, 2, 29)), Some(true));
    }
}
