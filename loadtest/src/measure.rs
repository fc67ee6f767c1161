//! What is counted while a run goes on, and the tables and plots of it.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::{
    document::{Axis, Cell, Plot, Series, Table},
    failure::Failure,
};

/// The width of a point of throughput over time.
pub const SLOT: Duration = Duration::from_millis(100);
/// Points of a plot at most; more cannot be told apart on a screen.
const MAX_POINTS: usize = 600;
/// The longest latency that is told apart: a minute.
const LONGEST_NS: u64 = 60_000_000_000;
const PERCENTILES: [f64; 6] = [50.0, 90.0, 99.0, 99.9, 99.99, 100.0];

/// The time that counts. What was answered before is the warm-up.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// When counting begins.
    pub begin: Instant,
    /// When it ends; sending ends then, too.
    pub end: Instant,
}

impl Window {
    /// A window that opens after the warm-up.
    pub fn after(warm_up: Duration, length: Duration) -> Self {
        let begin = Instant::now() + warm_up;
        Self { begin, end: begin + length }
    }
}

/// Latencies, and work done over time.
#[derive(Clone, Debug)]
pub struct Recorder {
    window: Window,
    latencies: Histogram<u64>,
    /// Work done in each slot.
    slots: Vec<u64>,
    work: u64,
    last: Instant,
}

impl Recorder {
    /// Records what happens in this window.
    ///
    /// # Errors
    /// None in practice: the bounds of the histogram are fixed.
    pub fn new(window: Window) -> Result<Self, Failure> {
        let latencies = Histogram::new_with_bounds(1, LONGEST_NS, 3)?;
        Ok(Self { window, latencies, slots: Vec::new(), work: 0, last: window.begin })
    }

    /// Records a call that counts at an instant: when it ended, or when it was
    /// due where calls come at a given rate.
    pub fn record(&mut self, at: Instant, latency: Duration, work: u64) {
        if at < self.window.begin || at >= self.window.end {
            return;
        }
        self.latencies.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
        let since = at.saturating_duration_since(self.window.begin);
        let slot = usize::try_from(since.as_millis() / SLOT.as_millis()).unwrap_or(usize::MAX);
        if slot >= self.slots.len() {
            self.slots.resize(slot + 1, 0);
        }
        if let Some(done) = self.slots.get_mut(slot) {
            *done += work;
        }
        self.work += work;
        self.last = self.last.max(at);
    }

    /// Adds what another recorder of the same window saw.
    ///
    /// # Errors
    /// None in practice: all histograms have the same bounds.
    pub fn add(&mut self, other: &Self) -> Result<(), Failure> {
        self.latencies.add(&other.latencies)?;
        if self.slots.len() < other.slots.len() {
            self.slots.resize(other.slots.len(), 0);
        }
        for (sum, slot) in self.slots.iter_mut().zip(&other.slots) {
            *sum += slot;
        }
        self.work += other.work;
        self.last = self.last.max(other.last);
        Ok(())
    }

    /// The work done.
    pub fn work(&self) -> u64 {
        self.work
    }

    /// The calls that ended.
    pub fn calls(&self) -> u64 {
        self.latencies.len()
    }

    /// From the begin of the window to its end, or to the last record if that
    /// is what ended the run.
    pub fn seconds(&self, until_last: bool) -> f64 {
        let end = if until_last { self.last } else { self.window.end };
        (end - self.window.begin).as_secs_f64()
    }

    /// Work done a second in each slot.
    pub fn rates(&self) -> impl ExactSizeIterator<Item = f64> + '_ {
        self.slots.iter().map(|work| *work as f64 / SLOT.as_secs_f64())
    }

    /// The latency that this percentage of calls did not exceed, in µs.
    pub fn percentile(&self, percent: f64) -> f64 {
        self.latencies.value_at_percentile(percent) as f64 / 1e3
    }

    /// The rows of a table: a percentile and its latency in µs; nothing where
    /// there were too few calls to tell it.
    pub fn percentile_rows(&self) -> Vec<Vec<Cell>> {
        let row = |percent: f64| {
            let (name, needed) = if percent < 100.0 {
                (format!("p{percent}"), 100.0 / (100.0 - percent))
            } else {
                ("max".to_owned(), 1.0)
            };
            // Half a call of room for rounding.
            let is_known = self.calls() as f64 + 0.5 >= needed;
            let value = if is_known { self.percentile(percent) } else { f64::NAN };
            vec![Cell::Text(name), Cell::Number(value)]
        };
        PERCENTILES.into_iter().map(row).collect()
    }

    /// Latency in ms up to the last percentile that the calls can tell, at most
    /// 99.99; x is 1/(1-p).
    pub fn percentile_series(&self, name: &str) -> Series {
        let most = (self.calls() as f64).clamp(1.0, 10_000.0);
        // Twenty points a power of ten.
        let count = (0_u32..).take_while(|step| 10_f64.powf(f64::from(*step) / 20.0) <= most);
        let point = |step: u32| {
            let x = 10_f64.powf(f64::from(step) / 20.0);
            (x, self.percentile(100.0 * (1.0 - 1.0 / x)) / 1e3)
        };
        Series { name: name.to_owned(), points: count.map(point).collect() }
    }

    /// Work done a second over the seconds of the window.
    pub fn rate_series(&self, name: &str) -> Series {
        let width = self.slots.len().div_ceil(MAX_POINTS).max(1);
        // The last slot may have been cut short.
        let whole = self.slots.get(..self.slots.len().saturating_sub(1)).unwrap_or_default();
        let point = |(at, slots): (usize, &[u64])| {
            let seconds = SLOT.as_secs_f64() * slots.len() as f64;
            let middle = SLOT.as_secs_f64() * (at * width) as f64 + seconds / 2.0;
            (middle, slots.iter().sum::<u64>() as f64 / seconds)
        };
        let points = whole.chunks(width).enumerate().map(point).collect();
        Series { name: name.to_owned(), points }
    }
}

/// A table of percentiles in µs.
pub fn latency_table(caption: &str, recorder: &Recorder) -> Table {
    Table {
        caption: caption.to_owned(),
        columns: vec!["percentile".to_owned(), "µs".to_owned()],
        rows: recorder.percentile_rows(),
    }
}

/// A plot of latencies by percentile.
pub fn latency_plot(caption: &str, series: Vec<Series>) -> Plot {
    Plot {
        caption: caption.to_owned(),
        x: Axis::percentiles(),
        y: Axis { label: "ms".to_owned(), logarithmic: true },
        series,
    }
}

/// A plot of work over time.
pub fn rate_plot(what: &str, series: Vec<Series>) -> Plot {
    Plot {
        caption: format!("Throughput over time: {what} a second"),
        x: Axis { label: "seconds".to_owned(), logarithmic: false },
        y: Axis { label: format!("{what}/s"), logarithmic: false },
        series,
    }
}

/// The middle value; the mean of the two middle ones of an even number.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get((sorted.len() - 1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorder(calls: u64) -> Recorder {
        let window = Window::after(Duration::from_secs(1), Duration::from_secs(10));
        let mut recorder = Recorder::new(window).unwrap();
        for call in 0..calls {
            // 1 µs, 2 µs, … each at its own ms.
            let at = window.begin + Duration::from_millis(call);
            recorder.record(at, Duration::from_micros(call + 1), 2);
        }
        recorder
    }

    #[test]
    fn percentiles_are_those_of_the_calls() {
        let recorder = recorder(1000);
        for (percent, expected) in [(50.0, 500.0), (99.0, 990.0), (100.0, 1000.0)] {
            let found = recorder.percentile(percent);
            assert!((found - expected).abs() < 1.0, "p{percent}: {found}");
        }
        let series = recorder.percentile_series("calls");
        // A thousand calls tell nothing of the slowest in ten thousand.
        assert!((series.points.last().unwrap().0 - 1000.0).abs() < 1.0);
        assert!(series.points.is_sorted_by(|one, other| one.1 <= other.1));
    }

    #[test]
    fn only_what_falls_into_the_window_counts() {
        let mut recorder = recorder(1000);
        assert_eq!((recorder.calls(), recorder.work()), (1000, 2000));
        let Window { begin, end } = recorder.window;
        recorder.record(begin - Duration::from_millis(1), Duration::ZERO, 1);
        recorder.record(end, Duration::ZERO, 1);
        assert_eq!(recorder.calls(), 1000);
        assert!((recorder.seconds(false) - 10.0).abs() < 1e-9);
        assert!((recorder.seconds(true) - 0.999).abs() < 1e-9);
    }

    #[test]
    fn throughput_is_work_by_slot() {
        let rates: Vec<f64> = recorder(1000).rates().collect();
        assert_eq!(rates, [2000.0; 10]);
        let mut sum = recorder(1000);
        sum.add(&recorder(1000)).unwrap();
        assert_eq!(sum.rate_series("both").points.first(), Some(&(0.05, 4000.0)));
        assert_eq!(sum.work(), 4000);
    }

    #[test]
    fn a_median_is_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
    }
}
