//! How durations were spread over an interval, from two histograms.

use std::fmt;

use crate::proto::v1::DurationHistogram;

/// The durations of an interval.
#[derive(Clone, Debug, PartialEq)]
pub struct Spread {
    /// Upper bounds in microseconds, and how often it took at most so long and
    /// longer than the bound before.
    buckets: Vec<(u64, u64)>,
    /// How many there were, with those that took longer than every bound.
    pub count: u64,
    sum_us: u64,
}

/// A duration read off a histogram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Latency {
    /// About so many microseconds.
    Micros(f64),
    /// More than so many, which is the last bound.
    Above(u64),
}

impl Spread {
    /// What a histogram gained from one sample to the next. None: nothing, or
    /// the two do not belong together.
    pub fn between(before: &DurationHistogram, after: &DurationHistogram) -> Option<Self> {
        let is_whole = after.counts.len() == after.bounds_us.len().checked_add(1)?;
        // A server that nothing had happened to yet may leave out the zeros.
        let is_new = before == &DurationHistogram::default();
        if !is_whole || !(is_new || before.bounds_us == after.bounds_us) {
            return None;
        }
        let gained = |at: usize, count: &u64| {
            count.checked_sub(before.counts.get(at).copied().unwrap_or_default())
        };
        let counts: Option<Vec<u64>> =
            after.counts.iter().enumerate().map(|(at, count)| gained(at, count)).collect();
        let counts = counts?;
        let spread = Self {
            count: counts.iter().sum(),
            buckets: after.bounds_us.iter().copied().zip(counts).collect(),
            sum_us: after.sum_us.checked_sub(before.sum_us)?,
        };
        (spread.count > 0).then_some(spread)
    }

    /// The duration that this share of all kept within. Within a bucket they are
    /// taken to be spread evenly, as Prometheus does.
    pub fn percentile(&self, share: f64) -> Latency {
        let rank = share * self.count as f64;
        let (mut below, mut lower) = (0.0, 0);
        for (upper, count) in &self.buckets {
            let count = *count as f64;
            if count > 0.0 && below + count >= rank {
                let width = upper.saturating_sub(lower) as f64;
                return Latency::Micros(lower as f64 + width * (rank - below) / count);
            }
            below += count;
            lower = *upper;
        }
        Latency::Above(lower)
    }

    /// The mean.
    pub fn mean(&self) -> Latency {
        Latency::Micros(self.sum_us as f64 / self.count as f64)
    }
}

impl Latency {
    /// In microseconds, for programs; none if it is not known.
    pub fn micros(self) -> Option<f64> {
        match self {
            Self::Micros(micros) => Some(micros),
            Self::Above(_) => None,
        }
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (above, micros) = match *self {
            Self::Micros(micros) => ("", micros),
            Self::Above(bound) => ("> ", bound as f64),
        };
        // Three digits, and the unit that they fit.
        let (value, unit) = match micros {
            _ if micros < 1e3 => (micros, "µs"),
            _ if micros < 1e6 => (micros / 1e3, "ms"),
            _ => (micros / 1e6, "s"),
        };
        let decimals = match value {
            _ if value < 10.0 => 2,
            _ if value < 100.0 => 1,
            _ => 0,
        };
        formatter.pad(&format!("{above}{value:.decimals$} {unit}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(counts: [u64; 4], sum_us: u64) -> DurationHistogram {
        DurationHistogram {
            bounds_us: vec![100, 200, 400],
            counts: counts.to_vec(),
            count: counts.iter().sum(),
            sum_us,
        }
    }

    fn gained(counts: [u64; 4], sum_us: u64) -> Spread {
        let before = histogram([5, 5, 5, 5], 1_000);
        let after = histogram(counts.map(|count| count + 5), 1_000 + sum_us);
        Spread::between(&before, &after).unwrap()
    }

    #[test]
    fn percentiles_are_those_of_the_interval_alone() {
        let spread = gained([50, 40, 10, 0], 9_000);
        assert_eq!(spread.count, 100);
        assert_eq!(spread.percentile(0.25), Latency::Micros(50.0));
        assert_eq!(spread.percentile(0.5), Latency::Micros(100.0));
        assert_eq!(spread.percentile(0.7), Latency::Micros(150.0));
        assert_eq!(spread.percentile(0.9), Latency::Micros(200.0));
        assert_eq!(spread.percentile(0.95), Latency::Micros(300.0));
        assert_eq!(spread.percentile(1.0), Latency::Micros(400.0));
        assert_eq!(spread.mean(), Latency::Micros(90.0));
    }

    #[test]
    fn what_took_longer_than_every_bound_is_said_to() {
        let spread = gained([98, 0, 0, 2], 1_000_000);
        assert_eq!(spread.percentile(0.98), Latency::Micros(100.0));
        assert_eq!(spread.percentile(0.99), Latency::Above(400));
        assert_eq!(spread.percentile(0.99).to_string(), "> 400 µs");
        assert_eq!(gained([0, 0, 0, 1], 500).percentile(0.5), Latency::Above(400));
        // An empty bucket below the rank is stepped over.
        assert_eq!(gained([0, 0, 4, 0], 1_200).percentile(0.0), Latency::Micros(200.0));
    }

    #[test]
    fn histograms_that_do_not_belong_together_have_no_percentiles() {
        let one = histogram([1, 2, 3, 4], 100);
        assert_eq!(Spread::between(&one, &one), None, "nothing happened");
        let fewer = histogram([1, 2, 2, 9], 200);
        assert_eq!(Spread::between(&one, &fewer), None, "a counter went back");
        assert_eq!(Spread::between(&histogram([0; 4], 200), &one), None, "the sum went back");
        let other = DurationHistogram { bounds_us: vec![1, 2, 3], ..histogram([9; 4], 900) };
        assert_eq!(Spread::between(&one, &other), None, "other bounds");
        let torn = DurationHistogram { counts: vec![9; 3], ..histogram([9; 4], 900) };
        assert_eq!(Spread::between(&one, &torn), None, "a count is missing");
        let none = DurationHistogram::default();
        assert_eq!(Spread::between(&none, &none), None, "a server that knows no histograms");
        assert_eq!(Spread::between(&none, &one).unwrap().count, 10);
    }

    #[test]
    fn a_latency_has_three_digits_and_a_unit() {
        let cases = [
            (0.0, "0.00 µs"),
            (12.34, "12.3 µs"),
            (123.4, "123 µs"),
            (1_234.0, "1.23 ms"),
            (56_789.0, "56.8 ms"),
            (1_500_000.0, "1.50 s"),
        ];
        for (micros, text) in cases {
            assert_eq!(Latency::Micros(micros).to_string(), text);
        }
    }
}
