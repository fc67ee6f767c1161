//! Histograms: how often a measured value fell between which bounds.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Instant,
};

/// Upper bounds of durations in µs, inclusive: from a batch of a few thousand
/// recipients to a disk that hardly answers.
const DURATIONS_US: &[u64] = &[
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000,
];
/// Upper bounds of sizes of groups: from a single change to a full group of an
/// import.
const SIZES: &[u64] = &[1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000];

/// A histogram that many threads add to: two atomic additions a value.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    per_unit: u64,
    /// One more than bounds: the last is for what lies above all of them.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// What a histogram held at some moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    /// Upper bounds, inclusive, ascending.
    pub bounds: &'static [u64],
    /// How many make one of the unit that people are told in.
    per_unit: u64,
    /// How many values fell up to each bound and above the one before; the last
    /// is for what lies above all bounds.
    pub counts: Vec<u64>,
    /// All values together.
    pub sum: u64,
}

impl Histogram {
    /// Of durations in µs.
    #[must_use]
    pub fn of_durations() -> Self {
        Self::new(DURATIONS_US, 1_000_000)
    }

    /// Of sizes of groups.
    #[must_use]
    pub fn of_sizes() -> Self {
        Self::new(SIZES, 1)
    }

    fn new(bounds: &'static [u64], per_unit: u64) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, per_unit, counts, sum: AtomicU64::new(0) }
    }

    /// Adds a value.
    pub fn observe(&self, value: u64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get(at) {
            count.fetch_add(1, Relaxed);
        }
        self.sum.fetch_add(value, Relaxed);
    }

    /// Adds the time that has passed since `begun`, in µs.
    pub fn observe_since(&self, begun: Instant) {
        self.observe(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
    }

    /// What it holds now. Values that come meanwhile may be in the sum and not
    /// yet in the counts, or the other way round.
    #[must_use]
    pub fn read(&self) -> Distribution {
        Distribution {
            bounds: self.bounds,
            per_unit: self.per_unit,
            counts: self.counts.iter().map(|count| count.load(Relaxed)).collect(),
            sum: self.sum.load(Relaxed),
        }
    }
}

impl Distribution {
    /// How many values there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// One of its values in the unit that people are told in: seconds for
    /// durations.
    #[must_use]
    pub fn in_units(&self, value: u64) -> f64 {
        value as f64 / self.per_unit as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_falls_under_the_first_bound_that_holds_it() {
        let histogram = Histogram::new(&[10, 100], 1);
        for value in [0, 10, 11, 100, 101, 5_000] {
            histogram.observe(value);
        }
        let read = histogram.read();
        assert_eq!(read.counts, [2, 2, 2], "a bound is inside");
        assert_eq!((read.count(), read.sum), (6, 5_222));
    }

    #[test]
    fn bounds_ascend() {
        for bounds in [DURATIONS_US, SIZES] {
            assert!(bounds.is_sorted_by(|a, b| a < b), "{bounds:?}");
        }
    }
}
