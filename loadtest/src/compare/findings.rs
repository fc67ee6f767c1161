//! What a comparison found: one row a target, and what the baselines took.

use crate::document::{Bars, Cell, Part, Table};

/// The figures of one thing over all rounds.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<f64>);

/// What a ratio must be.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// At least so much.
    AtLeast(f64),
    /// At most so much.
    AtMost(f64),
}

/// Two figures of a target side by side.
pub struct Row {
    /// The target's name, such as `P3`.
    pub target: &'static str,
    /// What was done.
    pub what: String,
    /// Our figure.
    pub ours: f64,
    /// What it is held against.
    pub theirs: f64,
    /// The unit of both.
    pub unit: &'static str,
    /// What the ratio must be.
    pub due: Target,
    /// How far apart the rounds were, in percent of the medians: ours, theirs.
    pub spread: [f64; 2],
}

/// All that was found.
#[derive(Default)]
pub struct Findings {
    /// The targets that are asked for; all where there are none.
    only: Vec<String>,
    rows: Vec<Row>,
    skipped: Vec<(&'static str, String)>,
    taken: Vec<(String, f64, &'static str, Option<f64>, f64)>,
}

impl Samples {
    /// Adds the figure of one round.
    pub fn add(&mut self, figure: f64) {
        self.0.push(figure);
    }

    /// The middle figure.
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// From the smallest to the largest, in percent of the median.
    pub fn spread(&self) -> f64 {
        let smallest = self.0.iter().copied().fold(f64::INFINITY, f64::min);
        let largest = self.0.iter().copied().fold(0.0, f64::max);
        (largest - smallest) / self.median() * 100.0
    }
}

impl Target {
    fn holds(self, ratio: f64) -> bool {
        match self {
            Self::AtLeast(bound) => ratio >= bound,
            Self::AtMost(bound) => ratio <= bound,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtLeast(bound) => format!(">= {bound}"),
            Self::AtMost(bound) => format!("<= {bound}"),
        }
    }
}

impl Row {
    fn ratio(&self) -> f64 {
        self.ours / self.theirs
    }

    fn title(&self) -> String {
        format!("{} {}", self.target, self.what)
    }

    /// How much of what is due was reached: 1 is just enough.
    fn share(&self) -> f64 {
        match self.due {
            Target::AtLeast(bound) => self.ratio() / bound,
            Target::AtMost(bound) => bound / self.ratio(),
        }
    }

    /// Whether the target is met.
    pub fn holds(&self) -> bool {
        self.due.holds(self.ratio())
    }
}

impl Findings {
    /// Nothing found yet, on these targets.
    pub fn new(only: &[String]) -> Self {
        Self { only: only.to_vec(), ..Self::default() }
    }

    /// Whether a target is asked for. Those that share their servers with one
    /// that is are measured with it.
    fn wants(&self, target: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|it| it.eq_ignore_ascii_case(target))
    }

    /// Adds a row.
    pub fn row(&mut self, row: Row) {
        if !self.wants(row.target) {
            return;
        }
        let verdict = if row.holds() { "holds" } else { "MISSED" };
        eprintln!(
            "{:4} {}: {:.3} / {:.3} {} = {:.3} ({}) {verdict}",
            row.target,
            row.what,
            row.ours,
            row.theirs,
            row.unit,
            row.ratio(),
            row.due.text()
        );
        self.rows.push(row);
    }

    /// Adds a row of two rates, given the times in ns that one item took: the
    /// ratio is of items per second, in millions.
    pub fn rates(
        &mut self,
        target: &'static str,
        what: impl Into<String>,
        [ours, theirs]: [&Samples; 2],
        due: Target,
    ) {
        self.row(Row {
            target,
            what: what.into(),
            ours: 1e3 / ours.median(),
            theirs: 1e3 / theirs.median(),
            unit: "M/s",
            due,
            spread: [ours.spread(), theirs.spread()],
        });
    }

    /// Adds a row of two times or sizes.
    pub fn costs(
        &mut self,
        target: &'static str,
        what: impl Into<String>,
        [ours, theirs]: [&Samples; 2],
        unit: &'static str,
        due: Target,
    ) {
        self.row(Row {
            target,
            what: what.into(),
            ours: ours.median(),
            theirs: theirs.median(),
            unit,
            due,
            spread: [ours.spread(), theirs.spread()],
        });
    }

    /// Says why a target, or a part of it, was not measured.
    pub fn skip(&mut self, target: &'static str, why: impl Into<String>) {
        let why = why.into();
        if !self.wants(target) {
            return;
        }
        eprintln!("{target:4} skipped: {why}");
        self.skipped.push((target, why));
    }

    /// Adds what one of the sides took by itself; with the processor time of
    /// its server where that was measured.
    pub fn took(
        &mut self,
        who: impl Into<String>,
        wall: &Samples,
        unit: &'static str,
        cpu: Option<&Samples>,
    ) {
        let cpu = cpu.map(Samples::median);
        self.taken.push((who.into(), wall.median(), unit, cpu, wall.spread()));
    }

    /// Whether every target that was measured is met.
    pub fn hold(&self) -> bool {
        self.rows.iter().all(Row::holds)
    }

    /// The findings as parts of a report.
    pub fn parts(&self) -> Vec<Part> {
        let text = |text: &str| Cell::Text(text.to_owned());
        let row = |row: &Row| {
            vec![
                text(row.target),
                text(&row.what),
                Cell::Number(row.ours),
                Cell::Number(row.theirs),
                text(row.unit),
                Cell::Number(row.ratio()),
                Cell::Text(row.due.text()),
                text(if row.holds() { "holds" } else { "MISSED" }),
                Cell::Text(format!("{:.0} / {:.0} %", row.spread[0], row.spread[1])),
            ]
        };
        let skipped = |(target, why): &(&str, String)| {
            let mut cells = vec![text(target), text(why)];
            cells.extend(["", "", "", "", "", "skipped", ""].map(text));
            cells
        };
        let columns = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let targets = Table {
            caption: "Targets: ours, theirs, and the ratio, from the medians of all rounds".into(),
            columns: columns(&[
                "target", "work", "ours", "theirs", "unit", "ratio", "due", "verdict", "spread",
            ]),
            rows: self.rows.iter().map(row).chain(self.skipped.iter().map(skipped)).collect(),
        };
        let taken = |(who, wall, unit, cpu, spread): &(String, f64, &str, Option<f64>, f64)| {
            vec![
                text(who),
                Cell::Number(*wall),
                cpu.map_or_else(|| text(""), Cell::Number),
                text(unit),
                Cell::Text(format!("{spread:.0} %")),
            ]
        };
        let baselines = Table {
            caption: "What each took by itself, a recipient, a call or an event".into(),
            columns: columns(&["who", "wall", "server's processor", "unit", "spread"]),
            rows: self.taken.iter().map(taken).collect(),
        };
        let bars = Bars {
            caption: "How much of each target was reached: the line is just enough".into(),
            bars: self.rows.iter().map(|row| (row.title(), row.share())).collect(),
        };
        vec![Part::Table(targets), Part::Bars(bars), Part::Table(baselines)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(figures: &[f64]) -> Samples {
        Samples(figures.to_vec())
    }

    #[test]
    fn a_median_is_the_middle_and_the_spread_all_of_it() {
        let samples = samples(&[3.0, 1.0, 2.0]);
        assert_eq!((samples.median(), samples.spread()), (2.0, 100.0));
        assert!(Samples::default().median().is_nan());
    }

    #[test]
    fn a_target_holds_up_to_its_bound() {
        let mut findings = Findings::default();
        let due = Target::AtLeast(2.0);
        findings.rates("P0", "twice as fast", [&samples(&[10.0]), &samples(&[20.0])], due);
        assert!(findings.hold());
        findings.costs(
            "P0",
            "no dearer",
            [&samples(&[2.1]), &samples(&[2.0])],
            "ns",
            Target::AtMost(1.0),
        );
        assert!(!findings.hold());
        let shares: Vec<f64> = findings.rows.iter().map(Row::share).collect();
        assert_eq!(shares, [1.0, 2.0 / 2.1]);
    }

    #[test]
    fn nothing_measured_is_not_met() {
        let mut findings = Findings::default();
        let none = Samples::default();
        findings.rates("P0", "not measured", [&none, &none], Target::AtLeast(1.0));
        assert!(!findings.hold());
    }
}
