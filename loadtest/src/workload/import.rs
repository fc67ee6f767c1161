//! `loadtest import`: many events through `Import`.

use std::{process::ExitCode, sync::Arc};

use sendgate::{caps, cli::generate::people::MAX_PEOPLE, proto::v1::ImportItem};
use tokio::sync::{Mutex, mpsc};

use crate::{
    arguments::{Target, Who},
    data::{self, Column, Refused},
    document::{Cell, Part, Table},
    failure::Failure,
    measure::{latency_plot, latency_table, rate_plot},
    report::{self, Output},
    session::Session,
};

/// The most events of a run: they are kept in memory, some KB each.
const MAX_EVENTS: u64 = 5_000_000;

/// Arguments of `loadtest import`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How people are named
    #[arg(long, value_enum, default_value_t = Column::Phones)]
    column: Column,
    /// Grants to import, of the first so many people, made at the time of the run
    #[arg(long, default_value_t = 500_000,
          value_parser = clap::value_parser!(u64).range(1..=MAX_EVENTS))]
    events: u64,
    #[command(flatten)]
    target: Target,
    /// The brand
    #[arg(long, default_value = "main")]
    brand: String,
    /// The channel; by default sms, email or push, as people are named
    #[arg(long)]
    channel: Option<String>,
    /// The purpose
    #[arg(long, default_value = "marketing")]
    purpose: String,
    /// Events in a chunk
    #[arg(long, default_value_t = 10_000, value_parser = chunk)]
    chunk: usize,
    /// Chunks without an acknowledgement on each connection
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    in_flight: u8,
    /// The same seed makes the same people
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    output: Output,
}

fn chunk(text: &str) -> Result<usize, String> {
    let items = text.parse::<usize>().map_err(|error| error.to_string())?;
    let fits = (1..=caps::IMPORT_ITEMS).contains(&items);
    if fits { Ok(items) } else { Err(format!("not between 1 and {}", caps::IMPORT_ITEMS)) }
}

/// Runs the import and shows what it found.
///
/// # Errors
/// The server went away, or what it acknowledged does not hold.
pub async fn run(args: Args) -> Result<ExitCode, Failure> {
    let who = Who {
        brand: args.brand.clone(),
        channel: args.channel.clone(),
        purpose: args.purpose.clone(),
        population: args.events.min(MAX_PEOPLE),
        refused: Refused::Strangers,
        populate: false,
        seed: args.seed,
    };
    let target = (args.target.endpoint.as_str(), args.target.connections);
    let session = Session::connect(target, &who, args.column, 1).await?;
    let mut document = session.document("loadtest import", &who).await?;
    document.fact("chunks", format!("{} events", args.chunk));
    document.fact("in flight", format!("{} chunks on each connection", args.in_flight));

    let events = &session.events;
    let now = data::now_ms();
    let people = (0..args.events).map(|number| events.population.consenting(number));
    let items: Vec<ImportItem> = people.flat_map(|person| events.granted_at(person, now)).collect();
    let (sender, receiver) = mpsc::channel(items.len().div_ceil(args.chunk).max(1));
    let mut items = items.into_iter().peekable();
    while items.peek().is_some() {
        sender.send(items.by_ref().take(args.chunk).collect()).await?;
    }
    drop(sender);
    let chunks = Arc::new(Mutex::new(receiver));
    let imported = data::import(&session.clients, chunks, usize::from(args.in_flight)).await?;
    let sample = data::sample(&events.population);
    if let Some(wrong) = data::verify(session.client()?, events, sample).await? {
        return Err(format!("the server LOST an acknowledged event: {wrong}").into());
    }

    let counts = imported.counts;
    let row = |name: &str, value: f64| vec![Cell::from(name), Cell::Number(value)];
    document.parts.push(Part::Table(Table {
        caption: "Throughput".to_owned(),
        columns: vec!["what".to_owned(), "value".to_owned()],
        rows: vec![
            row("events/s", imported.rate()),
            row("events", imported.recorder.work() as f64),
            row("seconds", imported.took.as_secs_f64()),
            row("applied", counts.applied as f64),
            row("superseded", counts.superseded as f64),
            row("duplicate", counts.duplicate as f64),
        ],
    }));
    let recorder = &imported.recorder;
    let caption = "Latency of a chunk, from sending to its acknowledgement";
    document.parts.push(Part::Table(latency_table(caption, recorder)));
    document.parts.push(Part::Plot(rate_plot("events", vec![recorder.rate_series("all")])));
    let series = vec![recorder.percentile_series("a chunk")];
    document.parts.push(Part::Plot(latency_plot("Latency of a chunk by percentile", series)));
    report::show(&document, &args.output)
}
