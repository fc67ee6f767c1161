//! A report as data: what it says, apart from how it is shown. One document is
//! printed as a table, as JSON, or as a page for the browser.

/// A report.
#[derive(Clone, Debug, Default)]
pub struct Document {
    /// The heading.
    pub title: String,
    /// What the numbers depend on: machine, commit, settings, population.
    pub facts: Vec<Fact>,
    /// The findings, in the order in which they are shown.
    pub parts: Vec<Part>,
    /// Whether every answer was right and every claim holds.
    pub holds: bool,
}

/// One thing that the numbers depend on.
#[derive(Clone, Debug)]
pub struct Fact {
    /// What it is called, such as `batch size`.
    pub name: String,
    /// Its value, with its unit.
    pub value: String,
}

/// One piece of a report.
#[derive(Clone, Debug)]
pub enum Part {
    /// Rows under column headings.
    Table(Table),
    /// Lines over two axes.
    Plot(Plot),
    /// What was reached of what was due; a picture of figures that a table has.
    Bars(Bars),
    /// A sentence or more.
    Note(String),
}

/// Rows under column headings.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// What the rows are.
    pub caption: String,
    /// The headings, with units.
    pub columns: Vec<String>,
    /// As many cells a row as there are columns.
    pub rows: Vec<Vec<Cell>>,
}

/// A value in a table.
#[derive(Clone, Debug)]
pub enum Cell {
    /// Words.
    Text(String),
    /// A number, shown with about three significant digits.
    Number(f64),
}

/// Lines over two axes.
#[derive(Clone, Debug)]
pub struct Plot {
    /// What the lines show.
    pub caption: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// The lines.
    pub series: Vec<Series>,
}

/// Shares of what was due, beside each other.
#[derive(Clone, Debug)]
pub struct Bars {
    /// What the bars show.
    pub caption: String,
    /// What was done, and the share: 1 is just enough.
    pub bars: Vec<(String, f64)>,
}

/// An axis of a plot.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it measures, with its unit.
    pub label: String,
    /// Whether it counts by powers.
    pub logarithmic: bool,
}

/// A line of a plot.
#[derive(Clone, Debug)]
pub struct Series {
    /// What it is called in the legend.
    pub name: String,
    /// Its points, by ascending x.
    pub points: Vec<(f64, f64)>,
}

impl Document {
    /// An empty report of a run that went well.
    pub fn new(title: &str) -> Self {
        Self { title: title.to_owned(), holds: true, ..Self::default() }
    }

    /// Adds a fact.
    pub fn fact(&mut self, name: &str, value: impl ToString) {
        self.facts.push(Fact { name: name.to_owned(), value: value.to_string() });
    }
}

/// The label by which an axis of percentiles is known.
const PERCENTILES: &str = "percentile";

impl Axis {
    /// Percentiles, spread so that the slowest calls can be seen: x is
    /// 1/(1-p), so 10 stands for 90 % and 100 for 99 %.
    pub fn percentiles() -> Self {
        Self { label: PERCENTILES.to_owned(), logarithmic: true }
    }

    /// Whether ticks are shown as percentiles.
    pub fn shows_percentiles(&self) -> bool {
        self.logarithmic && self.label == PERCENTILES
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<f64> for Cell {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}
