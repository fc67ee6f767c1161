//! The text that Prometheus reads (exposition format 0.0.4).

use std::fmt::{Display, Write};

use super::Distribution;

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, from zero at the start.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How often values fell between which bounds.
    Histogram,
}

impl Kind {
    /// As the format names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric: its name, and what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name, with its unit.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// What it says, in a sentence.
    pub help: &'static str,
    /// The names of its labels.
    pub labels: &'static [&'static str],
}

/// A page of metrics being written.
#[derive(Debug, Default)]
pub struct Page(String);

impl Page {
    /// A metric without labels.
    pub fn value(&mut self, metric: &Metric, value: impl Display) {
        self.values(metric, [([""; 0], value)]);
    }

    /// A metric with labels: one value for each set of them, in the order of
    /// the metric's names.
    pub fn values<const N: usize, L: AsRef<str>, V: Display>(
        &mut self,
        metric: &Metric,
        values: impl IntoIterator<Item = ([L; N], V)>,
    ) {
        self.head(metric);
        for (labels, value) in values {
            let named = metric.labels.iter().copied().zip(labels.iter().map(AsRef::as_ref));
            self.sample(metric.name, "", named, value);
        }
    }

    /// A histogram without labels.
    pub fn histogram(&mut self, metric: &Metric, read: &Distribution) {
        self.head(metric);
        let mut below = 0;
        let bounds = read.bounds.iter().map(|bound| read.in_units(*bound).to_string());
        for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(&read.counts) {
            below += count;
            self.sample(metric.name, "_bucket", [("le", bound.as_str())], below);
        }
        self.sample(metric.name, "_sum", [], read.in_units(read.sum));
        self.sample(metric.name, "_count", [], read.count());
    }

    /// The page as it is served.
    #[must_use]
    pub fn into_text(self) -> String {
        self.0
    }

    fn head(&mut self, metric: &Metric) {
        let Metric { name, kind, help, .. } = metric;
        self.put(format_args!("# HELP {name} {help}\n# TYPE {name} {}\n", kind.name()));
    }

    fn sample<'l>(
        &mut self,
        name: &str,
        suffix: &str,
        labels: impl IntoIterator<Item = (&'l str, &'l str)>,
        value: impl Display,
    ) {
        self.put(format_args!("{name}{suffix}"));
        let mut before = '{';
        for (label, text) in labels {
            self.put(format_args!("{before}{label}=\"{}\"", escaped(text)));
            before = ',';
        }
        let end = if before == ',' { "}" } else { "" };
        self.put(format_args!("{end} {value}\n"));
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.0.write_fmt(text);
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Histogram;

    const DENIED: Metric = Metric {
        name: "denied_total",
        kind: Kind::Counter,
        help: "Calls denied.",
        labels: &["reason", "brand"],
    };
    const TOOK: Metric =
        Metric { name: "took_seconds", kind: Kind::Histogram, help: "How long.", labels: &[] };

    #[test]
    fn labels_are_named_in_order_and_escaped() {
        let mut page = Page::default();
        page.values(&DENIED, [(["a", "b\"\\\n"], 7), (["c", ""], 0)]);
        assert_eq!(
            page.into_text(),
            "# HELP denied_total Calls denied.\n# TYPE denied_total counter\n\
             denied_total{reason=\"a\",brand=\"b\\\"\\\\\\n\"} 7\n\
             denied_total{reason=\"c\",brand=\"\"} 0\n"
        );
    }

    #[test]
    fn buckets_are_cumulative_and_in_seconds() {
        let histogram = Histogram::of_durations();
        [40, 50, 51, 20_000_000].into_iter().for_each(|us| histogram.observe(us));
        let mut page = Page::default();
        page.histogram(&TOOK, &histogram.read());
        let text = page.into_text();
        for line in [
            "took_seconds_bucket{le=\"0.00005\"} 2",
            "took_seconds_bucket{le=\"0.0001\"} 3",
            "took_seconds_bucket{le=\"10\"} 3",
            "took_seconds_bucket{le=\"+Inf\"} 4",
            "took_seconds_sum 20.000141",
            "took_seconds_count 4",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
        }
    }
}
