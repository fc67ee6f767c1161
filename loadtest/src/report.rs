//! What a run found.

use std::{
    error::Error,
    io::{self, Write},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use crate::{filter::Args, machine::Machine};

/// What one stream found.
pub struct Outcome {
    /// When its first batch was sent.
    pub begun: Instant,
    /// When its last answer came.
    pub ended: Instant,
    /// Recipients answered.
    pub recipients: u64,
    /// How many of them were permitted.
    pub permitted: u64,
    /// Batches whose bits differ from the truth.
    pub wrong_batches: u64,
    /// From sending a batch to its answer, in ns.
    pub latencies: Histogram<u64>,
}

const PERCENTILES: [(&str, f64); 5] =
    [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9), ("max", 100.0)];

/// What all streams found together.
pub struct Report {
    elapsed: Duration,
    recipients: u64,
    permitted: u64,
    batches: u64,
    wrong_batches: u64,
    latencies: Histogram<u64>,
    machine: Machine,
}

impl Report {
    /// Sums up the streams of one run, which ran at the same time.
    pub fn new(args: &Args, outcomes: &[Outcome]) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let begun = outcomes.iter().map(|it| it.begun).min().ok_or("no stream ran")?;
        let ended = outcomes.iter().map(|it| it.ended).max().ok_or("no stream ran")?;
        let mut latencies = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3)?;
        for outcome in outcomes {
            latencies.add(&outcome.latencies)?;
        }
        Ok(Self {
            elapsed: ended - begun,
            recipients: outcomes.iter().map(|it| it.recipients).sum(),
            permitted: outcomes.iter().map(|it| it.permitted).sum(),
            batches: args.batches,
            wrong_batches: outcomes.iter().map(|it| it.wrong_batches).sum(),
            latencies,
            machine: Machine::look(),
        })
    }

    /// Whether every answer was right.
    pub fn is_right(&self) -> bool {
        self.wrong_batches == 0
    }

    fn recipients_per_second(&self) -> f64 {
        self.recipients as f64 / self.elapsed.as_secs_f64()
    }

    /// The percentiles in microseconds.
    fn percentiles(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let microseconds = |percent| self.latencies.value_at_percentile(percent) as f64 / 1e3;
        PERCENTILES.into_iter().map(move |(name, percent)| (name, microseconds(percent)))
    }

    /// Prints for people.
    pub fn print_table(&self, args: &Args) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "machine        {}", self.machine.line())?;
        writeln!(out, "settings       {}", settings(args))?;
        writeln!(out, "recipients     {} in {:.3} s", self.recipients, self.elapsed.as_secs_f64())?;
        writeln!(out, "recipients/s   {:.0}", self.recipients_per_second())?;
        writeln!(out, "permitted      {}", self.permitted)?;
        writeln!(out, "wrong batches  {} of {}", self.wrong_batches, self.batches)?;
        for (name, microseconds) in self.percentiles() {
            writeln!(out, "batch {name:<9}{microseconds:.0} µs")?;
        }
        Ok(())
    }

    /// Prints for programs.
    pub fn print_json(&self, args: &Args) -> io::Result<()> {
        let latencies: Map<String, Value> =
            self.percentiles().map(|(name, value)| (name.to_owned(), value.into())).collect();
        let report = json!({
            "machine": self.machine.json(),
            "settings": settings(args),
            "recipients": self.recipients,
            "seconds": self.elapsed.as_secs_f64(),
            "recipients_per_second": self.recipients_per_second(),
            "permitted": self.permitted,
            "batches": self.batches,
            "wrong_batches": self.wrong_batches,
            "batch_latency_us": latencies,
        });
        writeln!(io::stdout(), "{report:#}")
    }
}

/// All that the numbers depend on, in the words of the command line.
fn settings(args: &Args) -> Value {
    json!({
        "connections": args.connections,
        "streams": args.streams,
        "in_flight": args.in_flight,
        "batches": args.batches,
        "batch_size": args.batch_size,
        "population": args.population,
        "hit_rate": args.hit_rate,
        "sorted": args.sorted,
        "reasons": args.reasons,
        "seed": args.seed,
    })
}
