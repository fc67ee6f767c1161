//! `loadtest filter`: batches over several streams.

use std::{process::ExitCode, sync::Arc};

use crate::{
    arguments::{Lists, Streams, Target, Time, Who},
    data::Column,
    document::{Cell, Part, Table},
    failure::Failure,
    measure::{latency_plot, latency_table, rate_plot},
    report::{self, Output},
    session::Session,
    streams::{self, Load},
};

/// Arguments of `loadtest filter`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How recipients are named
    #[arg(long, value_enum, default_value_t = Column::Phones)]
    column: Column,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    who: Who,
    #[command(flatten)]
    lists: Lists,
    #[command(flatten)]
    streams: Streams,
    #[command(flatten)]
    time: Time,
    /// Count so many batches, rather than seconds
    #[arg(long, conflicts_with = "seconds", value_parser = clap::value_parser!(u64).range(1..))]
    batches: Option<u64>,
    #[command(flatten)]
    output: Output,
}

/// Runs the load and shows what it found.
///
/// # Errors
/// The server went away or answered wrongly.
pub async fn run(args: Args) -> Result<ExitCode, Failure> {
    let target = (args.target.endpoint.as_str(), args.target.connections);
    let session = Session::open(target, &args.who, args.column, args.lists.scopes).await?;
    let mut document = session.document("loadtest filter", &args.who).await?;
    let pool = session.pool(&args.lists, &mut document)?;
    document.fact("streams", format!("{} a connection", args.streams.streams));
    document.fact("in flight", format!("{} batches a stream", args.streams.in_flight));
    document.fact("warm-up", format!("{} s", args.time.warm_up));

    let load = Load {
        clients: session.clients.clone(),
        pool: Arc::new(pool),
        population: session.events.population.clone(),
        options: session.events.options(args.lists.reasons),
        streams: args.streams.streams,
        in_flight: usize::from(args.streams.in_flight),
        window: streams::window(args.time.warm_up(), args.time.length(), args.batches),
        batches: args.batches,
    };
    let loaded = load.run().await?;
    let recorder = &loaded.recorder;
    let seconds = recorder.seconds(args.batches.is_some());
    if recorder.calls() == 0 || seconds <= 0.0 {
        return Err("no batch was answered in the time that counts: give it more --seconds".into());
    }
    let rate = recorder.work() as f64 / seconds;
    let scopes = session.events.scopes.len() as f64;
    let row = |name: &str, value: f64| vec![Cell::from(name), Cell::Number(value)];
    document.parts.push(Part::Table(Table {
        caption: "Throughput".to_owned(),
        columns: vec!["what".to_owned(), "value".to_owned()],
        rows: vec![
            row("recipients/s", rate),
            row("verdicts/s", rate * scopes),
            row("ns a recipient", 1e9 / rate),
            row("recipients", recorder.work() as f64),
            row("batches, all answered rightly", recorder.calls() as f64),
            row("seconds", seconds),
            row("share permitted in the first scope", loaded.permitted),
        ],
    }));
    let caption = "Latency of a batch, from sending to its answer";
    document.parts.push(Part::Table(latency_table(caption, recorder)));
    document.parts.push(Part::Plot(rate_plot("recipients", vec![recorder.rate_series("all")])));
    let series = vec![recorder.percentile_series("a batch")];
    document.parts.push(Part::Plot(latency_plot("Latency of a batch by percentile", series)));
    report::show(&document, &args.output)
}
