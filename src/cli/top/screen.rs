//! What the screen shows, as lines: the same for a terminal and for a pipe.

use std::collections::VecDeque;

use indicatif::{BinaryBytes, HumanDuration};

use super::{
    line::{Line, Style},
    rates::{self, Rates},
    spread::Spread,
};
use crate::{
    cli::output,
    formats::reason_name,
    proto::v1::{GetStatisticsResponse, Reason},
};

/// Columns of a verdict, with those that keep it from the next.
const VERDICT_WIDTH: usize = 40;
/// Heights of a bar, from nothing to the largest.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Everything that is shown.
pub struct Shown<'a> {
    /// Who was asked.
    pub endpoint: &'a str,
    /// What they said last.
    pub statistics: &'a GetStatisticsResponse,
    /// What happened since they were asked before; none if that is not known.
    pub rates: Option<&'a Rates>,
    /// The rates of recipients and of changes before, the latest last.
    pub past: &'a VecDeque<[f64; 2]>,
    /// What somebody should know before anything else.
    pub notice: Option<(Style, String)>,
    /// What keys do, at the bottom; none where there are none.
    pub keys: Option<&'a str>,
}

impl Shown<'_> {
    /// The lines for a terminal of this size.
    pub fn lines(&self, width: usize, height: usize) -> Vec<Line> {
        let mut lines = self.head(width);
        lines.extend(self.throughput(width));
        lines.push(Line::default());
        lines.extend(self.latency());
        lines.push(Line::default());
        lines.extend(self.state());
        lines.push(Line::default());
        let below = usize::from(self.keys.is_some());
        lines.extend(self.verdicts(width, height.saturating_sub(lines.len() + below)));
        if let Some(keys) = self.keys {
            lines.push(Line::of(Style::Dim, keys));
        }
        lines
    }

    fn head(&self, width: usize) -> Vec<Line> {
        let said = self.statistics;
        let up = format!("up {}", age(said.as_of_ms, said.started_time_ms));
        let revision = said.revision.as_ref().map_or(0, |revision| revision.revision);
        let at = output::time(said.as_of_ms / 1_000 * 1_000);
        let title = Line::of(Style::Bold, format!("sendgate {}", said.server_version))
            .and(Style::Plain, format!("  {}", self.endpoint))
            .and_right(Style::Plain, up, width);
        let state = format!("revision {}  policy {}", output::count(revision), said.policy_version);
        let state = Line::of(Style::Plain, state).and_right(Style::Plain, at, width);
        let notice = match &self.notice {
            Some((style, text)) => Line::of(*style, text),
            None => Line::default(),
        };
        vec![title, state, notice]
    }

    fn throughput(&self, width: usize) -> Vec<Line> {
        let said = self.statistics;
        let heading = format!("{:<20}{:>15}{:>18}", "throughput", "per second", "since start");
        let row = |name, rate: Option<f64>, total, is_wanted: bool| {
            let style = match rate {
                Some(rate) if rate > 0.0 && !is_wanted => Style::Warn,
                _ => Style::Plain,
            };
            let (rate, total) = (per_second(rate), output::count(total));
            Line::of(style, format!("{name:<20}{rate:>15}{total:>18}  "))
        };
        let rate = |of: fn(&Rates) -> f64| self.rates.map(of);
        let bars = |line: Line, which: fn(&[f64; 2]) -> f64| {
            let room = width.saturating_sub(line.width());
            line.and(Style::Good, bars(&self.past.iter().map(which).collect::<Vec<_>>(), room))
        };
        let recipients =
            row("recipients", rate(|it| it.recipients), said.recipients_filtered, true);
        let changes =
            row("changes recorded", rate(|it| it.recorded_changes), said.recorded_changes, true);
        vec![
            Line::of(Style::Bold, heading),
            bars(recipients, |[recipients, _]| *recipients),
            row("batches", rate(|it| it.batches), said.batches, true),
            row("batches refused", rate(|it| it.refused_batches), said.refused_batches, false),
            bars(changes, |[_, changes]| *changes),
            row("writes refused", rate(|it| it.refused_writes), said.refused_writes, false),
        ]
    }

    fn latency(&self) -> Vec<Line> {
        let row = |name, of: fn(&Rates) -> &Option<Spread>| {
            let spread = self.rates.and_then(|rates| of(rates).as_ref());
            let values = match spread {
                None => ["-"; 4].map(str::to_owned),
                Some(spread) => [
                    spread.percentile(0.5).to_string(),
                    spread.percentile(0.9).to_string(),
                    spread.percentile(0.99).to_string(),
                    spread.mean().to_string(),
                ],
            };
            let [p50, p90, p99, mean] = values;
            Line::of(Style::Plain, format!("{name:<20}{p50:>15}{p90:>14}{p99:>14}{mean:>14}"))
        };
        let heading =
            format!("{:<20}{:>15}{:>14}{:>14}{:>14}", "latency", "p50", "p90", "p99", "mean");
        vec![
            Line::of(Style::Bold, heading),
            row("batch", |it| &it.batch),
            row("commit", |it| &it.commit),
            row("of it, sync", |it| &it.sync),
        ]
    }

    fn state(&self) -> Vec<Line> {
        let said = self.statistics;
        let bytes = |bytes| BinaryBytes(bytes).to_string();
        let memory = format!(
            "{} process   {} planes   {} directories",
            bytes(said.resident_bytes),
            bytes(said.planes_bytes),
            bytes(said.directory_bytes)
        );
        let queue_style = match (said.queued_writes, said.queue_capacity) {
            (queued, capacity) if capacity > 0 && queued >= capacity => Style::Bad,
            (queued, capacity) if queued > capacity / 2 => Style::Warn,
            _ => Style::Plain,
        };
        let queue = format!(
            "{} of {}",
            output::count(said.queued_writes),
            output::count(said.queue_capacity)
        );
        let revision = said.revision.as_ref().map_or(0, |revision| revision.revision);
        let behind = revision.saturating_sub(said.checkpoint_revision);
        let checkpoint = match said.checkpoint_time_ms {
            0 => "none yet".to_owned(),
            made => format!("{} ago", age(said.as_of_ms, made)),
        };
        let named = |name| Line::of(Style::Bold, format!("{name:<12}"));
        vec![
            named("memory").and(Style::Plain, memory),
            named("queue")
                .and(queue_style, format!("{queue} changes"))
                .and(Style::Plain, format!("   {} open streams", output::count(said.open_streams))),
            named("checkpoint").and(
                Style::Plain,
                format!("{checkpoint}, {} revisions behind", output::count(behind)),
            ),
        ]
    }

    /// The verdicts in as many columns as there is room for; what was given most
    /// since the start comes first, so that places do not change.
    fn verdicts(&self, width: usize, height: usize) -> Vec<Line> {
        let mut reasons: Vec<(Reason, u64)> =
            rates::verdicts(self.statistics).into_iter().collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let rates = self.rates.map(|rates| &rates.verdicts);
        let sum: f64 = rates.map_or(0.0, |rates| rates.values().sum());
        let cell = |(reason, _): &(Reason, u64)| {
            let rate = rates.and_then(|rates| rates.get(reason)).copied();
            let share = match rate {
                Some(rate) if sum > 0.0 => format!("{:.1} %", 100.0 * rate / sum),
                _ => "-".to_owned(),
            };
            let style = if *reason == Reason::Permitted { Style::Good } else { Style::Plain };
            (style, format!("{:<17}{:>12}{share:>9}", name(*reason), per_second(rate)))
        };
        let columns = (width / VERDICT_WIDTH).max(1);
        let room = columns.saturating_mul(height.saturating_sub(1));
        let mut cells: Vec<(Style, String)> = reasons.iter().map(cell).collect();
        if cells.len() > room {
            cells.truncate(room.saturating_sub(1));
            let more = format!("and {} more", reasons.len() - cells.len());
            cells.push((Style::Dim, more));
        }
        // Columns are read from top to bottom.
        let rows = cells.len().div_ceil(columns);
        let heading = format!("{:<17}{:>12}{:>9}", "verdicts", "per second", "share");
        let mut lines = vec![Line::of(Style::Bold, heading)];
        for row in 0..rows {
            let across = cells.iter().skip(row).step_by(rows);
            lines.push(across.fold(Line::default(), |line, (style, text)| {
                line.and(*style, format!("{text:<VERDICT_WIDTH$}"))
            }));
        }
        lines
    }
}

/// A reason; streams that ask for bits only are told no other.
fn name(reason: Reason) -> &'static str {
    match reason {
        Reason::Unspecified => "no reason asked",
        reason => reason_name(reason),
    }
}

/// A rate: whole where it is large, and nothing where it is not known.
fn per_second(rate: Option<f64>) -> String {
    match rate {
        None => "-".to_owned(),
        Some(0.0) => "0".to_owned(),
        Some(rate) if rate < 99.95 => format!("{rate:.1}"),
        Some(rate) => output::count(rate.round() as u64),
    }
}

/// The time from then to now, by the server's clock.
fn age(now_ms: i64, then_ms: i64) -> String {
    let passed = now_ms.saturating_sub(then_ms).try_into().unwrap_or_default();
    let passed = std::time::Duration::from_millis(passed);
    HumanDuration(std::time::Duration::from_secs(passed.as_secs())).to_string()
}

/// The last values as bars, the highest of them full.
fn bars(values: &[f64], room: usize) -> String {
    let shown = values.get(values.len().saturating_sub(room)..).unwrap_or_default();
    let most = shown.iter().copied().fold(0.0, f64::max);
    let bar = |value: &f64| {
        let step = if most > 0.0 { (value / most * 7.0).round() } else { 0.0 };
        BARS.get(step as usize).copied().unwrap_or(' ')
    };
    shown.iter().map(bar).collect()
}
