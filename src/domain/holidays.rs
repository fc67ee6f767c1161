//! The public holidays of Turkey, as data.
//!
//! Law 2429 of 1981 on national and public holidays names them, with its later
//! changes: 1 May since 2009, 15 July since 2017 (law 6752). The first days of
//! the two religious feasts are those of the calendar of Diyanet, the Turkish
//! directorate of religious affairs, which publishes them for years ahead; other
//! countries keep some of these feasts a day later. When a year is added here,
//! take it from that calendar.
//!
//! Not here are the half days (the afternoon of 28 October and of the days
//! before the two feasts) and the days off that the government now and then
//! gives its own staff: they are business days. Both are the stricter reading,
//! since it makes the time to register a consent end earlier.

use jiff::civil::{Date, date};

/// Days of the same date every year, as (month, day).
pub(super) const FIXED: [(i8, i8); 6] = [(1, 1), (4, 23), (5, 1), (5, 19), (8, 30), (10, 29)];

/// 15 July, and the first year in which it is a holiday.
pub(super) const DEMOCRACY_DAY: (i8, i8) = (7, 15);
/// See [`DEMOCRACY_DAY`].
pub(super) const DEMOCRACY_DAY_SINCE: i16 = 2017;

/// Days of Ramazan Bayramı.
pub(super) const RAMAZAN_DAYS: i32 = 3;
/// Days of Kurban Bayramı.
pub(super) const KURBAN_DAYS: i32 = 4;

/// The first days of Ramazan Bayramı and of Kurban Bayramı, a pair a year
/// without a gap. Outside of these years no business day is known.
pub(super) const FEASTS: [(Date, Date); 18] = [
    (date(2015, 7, 17), date(2015, 9, 24)),
    (date(2016, 7, 5), date(2016, 9, 12)),
    (date(2017, 6, 25), date(2017, 9, 1)),
    (date(2018, 6, 15), date(2018, 8, 21)),
    (date(2019, 6, 4), date(2019, 8, 11)),
    (date(2020, 5, 24), date(2020, 7, 31)),
    (date(2021, 5, 13), date(2021, 7, 20)),
    (date(2022, 5, 2), date(2022, 7, 9)),
    (date(2023, 4, 21), date(2023, 6, 28)),
    (date(2024, 4, 10), date(2024, 6, 16)),
    (date(2025, 3, 30), date(2025, 6, 6)),
    (date(2026, 3, 20), date(2026, 5, 27)),
    (date(2027, 3, 9), date(2027, 5, 16)),
    (date(2028, 2, 26), date(2028, 5, 5)),
    (date(2029, 2, 14), date(2029, 4, 24)),
    (date(2030, 2, 4), date(2030, 4, 13)),
    (date(2031, 1, 24), date(2031, 4, 2)),
    (date(2032, 1, 14), date(2032, 3, 22)),
];
