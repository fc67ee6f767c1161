//! Times as they are stated and as the rules compare them (R2, R6).
//!
//! All times are milliseconds since 1970-01-01T00:00:00Z.

/// How exactly a time was stated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// To the millisecond.
    Millisecond = 1,
    /// To the second.
    Second = 2,
    /// To the minute.
    Minute = 3,
    /// To the day, which begins at the stated millisecond.
    Day = 4,
}

impl Precision {
    /// The precision with this stored number.
    #[must_use]
    pub fn from_tag(tag: i32) -> Option<Self> {
        [Self::Millisecond, Self::Second, Self::Minute, Self::Day]
            .into_iter()
            .find(|each| *each as i32 == tag)
    }

    /// The length of the interval that a time of this precision stands for, in ms.
    fn length(self) -> i64 {
        match self {
            Self::Millisecond => 1,
            Self::Second => 1_000,
            Self::Minute => 60_000,
            Self::Day => 86_400_000,
        }
    }
}

/// A time as somebody stated it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StatedTime {
    /// A millisecond within the stated interval; its first one for a day.
    pub unix_ms: i64,
    /// How exactly it was stated.
    pub precision: Precision,
}

impl StatedTime {
    /// The first millisecond of the stated interval: when a grant counts from.
    #[must_use]
    pub fn first(self) -> i64 {
        match self.precision {
            // Days begin at a different millisecond in each time zone, and
            // only the caller knows which one was meant.
            Precision::Day | Precision::Millisecond => self.unix_ms,
            precision => self.unix_ms - self.unix_ms.rem_euclid(precision.length()),
        }
    }

    /// The last millisecond of the stated interval: when a withdrawal or a
    /// suppression counts from.
    #[must_use]
    pub fn last(self) -> i64 {
        self.first() + (self.precision.length() - 1)
    }
}

/// Times outside this range are not times of consents but broken input: before
/// the year 1900 or from the year 2300 on. The bounds keep all sums of times
/// and validities far from overflow.
pub const PLAUSIBLE: std::ops::Range<i64> = -2_208_988_800_000..10_413_792_000_000;

/// The instant of a decision (R6).
///
/// The two differ only while the clock stands behind a time it has shown
/// before: then nothing that expired comes back, and no block ends early.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// What the ends of consents are compared with: max(clock, high-water mark).
    pub consents: i64,
    /// What the ends of suppressions are compared with: the clock.
    pub suppressions: i64,
}

impl Now {
    /// The instant `time`, for a clock that never stepped back.
    #[must_use]
    pub fn at(time: i64) -> Self {
        Self { consents: time, suppressions: time }
    }
}
