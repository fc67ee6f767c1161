//! How a row stands to the three business days within which it must be
//! registered. The limit is read as one for consents and refusals alike.

use super::{business_days_left, deadline, words::SOURCE_2015};

/// How a row stands to its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Consents from before the law have none.
    NoLimit,
    /// In time; so many business days are left after today.
    Left(u32),
    /// Too late.
    Past,
    /// The holidays of the year are not known.
    Unknown,
}

impl Standing {
    /// How a row with this source and time stands at `now_ms`.
    #[must_use]
    pub fn of(source: &str, consent_time_ms: i64, now_ms: i64) -> Self {
        if source == SOURCE_2015 {
            return Self::NoLimit;
        }
        match deadline(consent_time_ms) {
            None => Self::Unknown,
            Some(deadline) if now_ms > deadline => Self::Past,
            Some(deadline) => {
                business_days_left(deadline, now_ms).map_or(Self::Unknown, Self::Left)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::time, *};

    #[test]
    fn a_row_is_in_time_until_the_third_business_day_ends() {
        let at = |text| time::parse(text).unwrap();
        // Friday 13 June 2025; Wednesday 18 June is the third business day.
        let standing = |now| Standing::of("HS_WEB", at("2025-06-13 09:00:00"), at(now));
        assert_eq!(standing("2025-06-13 10:00:00"), Standing::Left(3));
        assert_eq!(standing("2025-06-17 10:00:00"), Standing::Left(1));
        assert_eq!(standing("2025-06-18 23:59:59"), Standing::Left(0));
        assert_eq!(standing("2025-06-19 00:00:00"), Standing::Past);
        assert_eq!(Standing::of("HS_2015", 0, at("2025-06-19 00:00:00")), Standing::NoLimit);
        assert_eq!(Standing::of("HS_WEB", 0, at("2025-06-19 00:00:00")), Standing::Unknown);
    }
}
