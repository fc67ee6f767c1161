//! Plots as SVG.
//!
//! Plotting crates write fixed colours into the picture; these lines take
//! theirs from the page, so that they are readable in light and dark alike.

use std::fmt::Write;

use super::{
    html::escape,
    number::{short, show},
};
use crate::document::{Axis, Plot};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 66.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 48.0;
/// Lines with at most so many points show each point.
const MARKED: usize = 24;
/// Colours of the page; further lines begin anew.
pub const COLOURS: usize = 6;

/// One axis, laid out.
struct Scale {
    logarithmic: bool,
    from: f64,
    to: f64,
    /// Where the axis begins and ends in the picture.
    pixels: (f64, f64),
    ticks: Vec<(f64, String)>,
}

impl Scale {
    fn new(axis: &Axis, values: impl Iterator<Item = f64>, pixels: (f64, f64)) -> Self {
        let fits = |value: &f64| value.is_finite() && (!axis.logarithmic || *value > 0.0);
        let (mut from, mut to) = values
            .filter(fits)
            .fold((f64::MAX, f64::MIN), |(from, to), value| (from.min(value), to.max(value)));
        if from > to {
            (from, to) = (1.0, 10.0);
        }
        let ticks = if axis.shows_percentiles() {
            to = to.max(10.0);
            percentile_ticks(to)
        } else if axis.logarithmic {
            let ticks = logarithmic_ticks(from, to);
            // The axis ends at ticks, so that every line lies between two.
            from = ticks.first().copied().unwrap_or(from).min(from);
            to = ticks.last().copied().unwrap_or(to).max(to);
            ticks.into_iter().map(|tick| (tick, short(tick))).collect()
        } else {
            // Without zero, small differences would look large.
            from = from.min(0.0);
            let step = round_step((to - from).max(f64::MIN_POSITIVE) / 5.0);
            to = (to / step).ceil().max(1.0) * step;
            let count = (0_u32..).map(|at| from + f64::from(at) * step);
            let ticks = count.take_while(|tick| *tick <= to + step / 2.0);
            ticks.map(|tick| (tick, short(tick))).collect()
        };
        Self { logarithmic: axis.logarithmic, from, to, pixels, ticks }
    }

    fn place(&self, value: f64) -> f64 {
        let of =
            |value: f64| if self.logarithmic { value.max(f64::MIN_POSITIVE).ln() } else { value };
        let span = (of(self.to) - of(self.from)).max(f64::MIN_POSITIVE);
        let share = ((of(value) - of(self.from)) / span).clamp(0.0, 1.0);
        self.pixels.0 + share * (self.pixels.1 - self.pixels.0)
    }
}

/// 1, 2 or 5 times a power of ten, at least this much.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= least);
    factor.unwrap_or(10.0) * power
}

/// From the last round value at or below `from` to the first at or above `to`:
/// powers of ten, with 2 and 5 between where there are few.
fn logarithmic_ticks(from: f64, to: f64) -> Vec<f64> {
    let decades = to.log10() - from.log10();
    let factors: &[f64] = if decades > 2.5 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let mut ticks = Vec::new();
    let mut power = 10_f64.powf(from.log10().floor());
    loop {
        for factor in factors {
            let tick = power * factor;
            // A little room for rounding.
            if tick <= from * 1.000_001 {
                ticks.clear();
            }
            ticks.push(tick);
            if tick >= to * 0.999_999 && ticks.len() > 1 {
                return ticks;
            }
        }
        power *= 10.0;
    }
}

fn percentile_ticks(to: f64) -> Vec<(f64, String)> {
    let named = [
        (1.0, "0 %"),
        (2.0, "50 %"),
        (4.0, "75 %"),
        (10.0, "90 %"),
        (100.0, "99 %"),
        (1_000.0, "99.9 %"),
        (10_000.0, "99.99 %"),
    ];
    let within = named.into_iter().filter(|(at, _)| *at <= to * 1.000_001);
    within.map(|(at, name)| (at, name.to_owned())).collect()
}

/// The picture of a plot.
pub fn picture(plot: &Plot) -> String {
    let points = || plot.series.iter().flat_map(|series| &series.points);
    let x = Scale::new(&plot.x, points().map(|(x, _)| *x), (LEFT, WIDTH - RIGHT));
    let y = Scale::new(&plot.y, points().map(|(_, y)| *y), (HEIGHT - BOTTOM, TOP));
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n",
        escape(&plot.caption)
    );
    // Writing to a string does not fail, here and below.
    for (value, name) in &y.ticks {
        let at = y.place(*value);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text class=\"tick\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            at + 4.0
        );
    }
    let bottom = HEIGHT - BOTTOM;
    for (value, name) in &x.ticks {
        let at = x.place(*value);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>\
             <text class=\"tick\" x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{name}</text>",
            bottom + 18.0
        );
    }
    for (number, series) in plot.series.iter().enumerate() {
        let colour = number % COLOURS;
        let places = series.points.iter().map(|(px, py)| (x.place(*px), y.place(*py)));
        let line: Vec<String> = places.clone().map(|(px, py)| format!("{px:.1},{py:.1}")).collect();
        let _ = write!(svg, "<polyline class=\"line c{colour}\" points=\"{}\"/>", line.join(" "));
        if series.points.len() <= MARKED {
            for ((px, py), (vx, vy)) in places.zip(&series.points) {
                let (vx, vy) = (show(*vx), show(*vy));
                let _ = write!(
                    svg,
                    "<circle class=\"point c{colour}\" cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"3.5\">\
                     <title>{}: {vy} at {vx}</title></circle>",
                    escape(&series.name)
                );
            }
        }
    }
    let _ = write!(
        svg,
        "<text class=\"axis\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text></svg>",
        f64::midpoint(LEFT, WIDTH - RIGHT),
        HEIGHT - 8.0,
        escape(&plot.x.label)
    );
    svg
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Series;

    #[test]
    fn ticks_are_round_and_enclose_the_values() {
        assert_eq!(logarithmic_ticks(1e6, 1e8), [1e6, 2e6, 5e6, 1e7, 2e7, 5e7, 1e8]);
        assert_eq!(logarithmic_ticks(30.0, 70_000.0), [10.0, 100.0, 1_000.0, 10_000.0, 100_000.0]);
        assert_eq!(logarithmic_ticks(7.0, 7.0), [5.0, 10.0]);
        let axis = Axis { label: String::new(), logarithmic: false };
        let scale = Scale::new(&axis, [3.0, 41e6].into_iter(), (0.0, 100.0));
        let names: Vec<&str> = scale.ticks.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(names, ["0", "10 M", "20 M", "30 M", "40 M", "50 M"]);
        assert!((scale.place(25e6) - 50.0).abs() < 1e-9);
    }

    #[test]
    fn percentiles_are_named() {
        let scale = Scale::new(&Axis::percentiles(), [1.0, 10_000.0].into_iter(), (0.0, 100.0));
        assert_eq!(scale.ticks.last().unwrap().1, "99.99 %");
        assert!((scale.place(100.0) - 50.0).abs() < 1e-9, "99 % is half-way to 99.99 %");
    }

    #[test]
    fn a_plot_without_points_is_still_a_picture() {
        let linear = || Axis { label: "<x>".to_owned(), logarithmic: false };
        let series = vec![Series { name: "none".to_owned(), points: Vec::new() }];
        let plot = Plot { caption: "a & b".to_owned(), x: linear(), y: linear(), series };
        let svg = picture(&plot);
        assert!(svg.contains("a &amp; b") && svg.contains("&lt;x&gt;") && !svg.contains("NaN"));
    }
}
