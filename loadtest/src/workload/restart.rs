//! `loadtest restart`: how soon a server answers again.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use super::record::grant;
use crate::{
    arguments::{Own, Who},
    data::{self, Column, MAX_LEAVERS},
    document::{Axis, Cell, Part, Plot, Series, Table},
    failure::Failure,
    measure::median,
    own::{Home, Readiness},
    report::{self, Output},
    session::Session,
};

/// People of whom P14 speaks.
const TEN_MILLION: f64 = 10e6;
/// Leavers who are asked about at once.
const ASKED: u64 = 100_000;

/// Arguments of `loadtest restart`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    own: Own,
    #[command(flatten)]
    who: Who,
    /// How people are named
    #[arg(long, value_enum, default_value_t = Column::Phones)]
    column: Column,
    /// Restarts of each sort
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    times: u32,
    /// Changes recorded before each kill, which the next start finds in the ledger only
    #[arg(long, default_value_t = 10_000,
          value_parser = clap::value_parser!(u64).range(0..=MAX_LEAVERS))]
    changes: u64,
    #[command(flatten)]
    output: Output,
}

/// How long ends took, and how soon the server was there again.
#[derive(Default)]
struct Restarts {
    ends: Vec<Duration>,
    starts: Vec<Readiness>,
}

impl Restarts {
    fn row(&self, name: &str, people: f64) -> Vec<Cell> {
        let middle = |times: Vec<f64>| median(&times).unwrap_or(f64::NAN);
        let of = |what: fn(&Readiness) -> Duration| {
            middle(self.starts.iter().map(|start| what(start).as_secs_f64()).collect())
        };
        let answering = of(|start| start.answering);
        vec![
            Cell::from(name),
            Cell::Number(middle(self.ends.iter().map(Duration::as_secs_f64).collect())),
            Cell::Number(of(|start| start.serving)),
            Cell::Number(answering),
            Cell::Number(answering * TEN_MILLION / people),
        ]
    }

    fn series(&self, name: &str) -> Series {
        let points = (1_u32..).map(f64::from).zip(&self.starts);
        let points = points.map(|(at, start)| (at, start.answering.as_secs_f64())).collect();
        Series { name: name.to_owned(), points }
    }
}

/// Runs the restarts and shows what they took.
///
/// # Errors
/// A server did not start again, or did not hold what it had acknowledged.
pub async fn run(args: Args) -> Result<ExitCode, Failure> {
    let home = Home::new(&args.own)?;
    let mut server = home.start().await?;
    let session = Session::open((server.endpoint(), 1), &args.who, args.column, 1).await?;
    let mut document = session.document("loadtest restart", &args.who).await?;
    document.fact("placement", home.placement());
    document.fact("restarts of each sort", args.times);
    document.fact("changes before each kill", args.changes);
    let events = session.events.clone();

    let (mut stops, mut kills) = (Restarts::default(), Restarts::default());
    for _ in 0..args.times {
        let begun = Instant::now();
        server.stop()?;
        stops.ends.push(begun.elapsed());
        let (started, client, readiness) = home.start_again(&events).await?;
        stops.starts.push(readiness);

        grant(&client, &events, args.changes).await?;
        let begun = Instant::now();
        started.kill()?;
        kills.ends.push(begun.elapsed());
        let (started, client, readiness) = home.start_again(&events).await?;
        kills.starts.push(readiness);
        // Acknowledged before the kill, so they hold (A3).
        for first in (0..args.changes).step_by(usize::try_from(ASKED)?) {
            let numbers = first..args.changes.min(first + ASKED);
            let people = numbers.map(|number| events.population.leaver(number)).collect();
            let permitted = data::permitted(&client, &events, people).await?;
            if let Some(lost) = permitted.iter().position(|permitted| !permitted) {
                let person = events.population.leaver(first + lost as u64);
                return Err(format!(
                    "the server LOST an acknowledged grant over a kill: {}",
                    events.population.address(person)
                )
                .into());
            }
        }
        server = started;
    }
    server.stop()?;

    let people = args.who.population as f64;
    document.parts.push(Part::Table(Table {
        caption: "Ready again, in seconds (medians)".to_owned(),
        columns: ["after", "to end", "to serve", "to the first right answer", "of 10 M contacts"]
            .map(str::to_owned)
            .into(),
        rows: vec![stops.row("a clean stop", people), kills.row("a kill", people)],
    }));
    document.parts.push(Part::Plot(Plot {
        caption: "Seconds from a start to the first right answer".to_owned(),
        x: Axis { label: "restart".to_owned(), logarithmic: false },
        y: Axis { label: "seconds".to_owned(), logarithmic: false },
        series: vec![stops.series("after a clean stop"), kills.series("after a kill")],
    }));
    report::show(&document, &args.output)
}
