//! `loadtest scale`: what more contacts cost.

use std::{process::ExitCode, sync::Arc, time::Instant};

use sendgate::{cli::generate::people::MAX_PEOPLE, client::Client};

use crate::{
    arguments::{Lists, Own, Streams, Time, Who},
    data::{self, Column, Order, Population, Refused},
    document::{Axis, Cell, Document, Part, Plot, Series, Table},
    failure::Failure,
    measure::Window,
    own::Home,
    report::{self, Output, number},
    session::{self, Session},
    streams::Load,
};

const TEN_MILLION: f64 = 10e6;
/// P14: seconds until ready again, for 10 M contacts.
const READY_SECONDS: f64 = 1.0;

/// Arguments of `loadtest scale`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    own: Own,
    /// Contacts, ascending; each step adds to the last
    #[arg(long, value_delimiter = ',', default_values_t = [1_000_000, 3_000_000, 10_000_000],
          value_parser = clap::value_parser!(u64).range(1..=MAX_PEOPLE))]
    sizes: Vec<u64>,
    /// How contacts are named
    #[arg(long, value_enum, default_value_t = Column::Phones)]
    column: Column,
    /// Connections
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=256))]
    connections: u64,
    #[command(flatten)]
    streams: Streams,
    /// The share of recipients who are permitted, from 0 to 1
    #[arg(long, default_value_t = 0.5, value_parser = |text: &str| crate::arguments::within(text, 0.0, 1.0))]
    hit_rate: f64,
    #[command(flatten)]
    time: Time,
    /// Distinct data sent, in MiB [default: more than the largest cache, at least 64]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=16_384))]
    distinct_mib: Option<u64>,
    /// The same seed makes the same data
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    output: Output,
}

/// A line of a plot: its name, and what it shows of a step.
type Line<'a> = (&'a str, fn(&Step) -> f64);

/// What a size cost.
struct Step {
    contacts: f64,
    imported_per_second: f64,
    /// Seconds to the first right answer after a clean stop.
    ready: f64,
    /// RSS of the server after that start.
    rss: f64,
    /// What it says that planes and directory take.
    counted: f64,
    /// Recipients a second in random order.
    random: f64,
    /// And sorted.
    sorted: f64,
}

/// Grows a store step by step and shows what each step cost.
///
/// # Errors
/// A server did not start, went away or answered wrongly.
pub async fn run(args: Args) -> Result<ExitCode, Failure> {
    if !args.sizes.is_sorted() {
        return Err("--sizes must ascend: each step adds to the last".into());
    }
    let home = Home::new(&args.own)?;
    let (mut document, mut steps) = (None, Vec::new());
    let mut from = 0;
    for size in args.sizes.iter().copied() {
        eprintln!("{size} contacts");
        let (step, begun) = measure(&args, &home, from, size).await?;
        document.get_or_insert(begun);
        steps.push(step);
        from = size;
    }
    let mut document = document.ok_or("no --sizes were given")?;
    document.facts.retain(|fact| fact.name != "population");
    document.fact("placement", home.placement());
    show(&mut document, &steps);
    report::show(&document, &args.output)
}

/// Grows the store and measures it; also begins the report.
async fn measure(
    args: &Args,
    home: &Home,
    from: u64,
    size: u64,
) -> Result<(Step, Document), Failure> {
    let who = Who {
        brand: "main".to_owned(),
        channel: None,
        purpose: "marketing".to_owned(),
        population: size,
        refused: Refused::Strangers,
        populate: false,
        seed: args.seed,
    };
    let server = home.start().await?;
    let session = Session::connect((server.endpoint(), 1), &who, args.column, 1).await?;
    let events = session.events.clone();
    let imported = data::grow(session.client()?, &events, from).await?;
    if imported.counts.applied != imported.recorder.work() {
        eprintln!("some contacts were in the store already: its import time says less");
    }
    drop(session);
    server.stop()?;

    let (server, client, readiness) = home.start_again(&events).await?;
    let rss = server.memory_bytes()? as f64;
    let statistics = session::statistics(&client).await?;
    let planes = statistics.planes.iter().map(|plane| plane.memory_bytes).sum::<u64>();
    let target = (server.endpoint(), args.connections);
    let session = Session::connect(target, &who, args.column, 1).await?;
    let mut document = session.document("loadtest scale", &who).await?;
    let mut rates = Vec::new();
    for order in [Order::Random, Order::Sorted] {
        let lists = Lists {
            order,
            hit_rate: args.hit_rate,
            reasons: false,
            scopes: 1,
            batch_size: None,
            distinct_mib: args.distinct_mib,
        };
        let mut facts = Document::default();
        let pool = session.pool(&lists, &mut facts)?;
        facts.facts.retain(|fact| fact.name != "order");
        if order == Order::Random {
            document.facts.append(&mut facts.facts);
        }
        rates.push(rate(args, &session.clients, pool, &events).await?);
    }
    server.stop()?;
    let [random, sorted] = rates.as_slice() else { return Err("two orders were not run".into()) };
    let step = Step {
        contacts: size as f64,
        imported_per_second: imported.rate(),
        ready: readiness.answering.as_secs_f64(),
        rss,
        counted: (planes + statistics.directory_bytes) as f64,
        random: *random,
        sorted: *sorted,
    };
    Ok((step, document))
}

/// Recipients a second.
async fn rate(
    args: &Args,
    clients: &[Client],
    pool: Vec<data::Batch>,
    events: &data::Events,
) -> Result<f64, Failure> {
    let load = Load {
        clients: clients.to_vec(),
        pool: Arc::new(pool),
        population: Population::clone(&events.population),
        options: events.options(false),
        streams: args.streams.streams,
        in_flight: usize::from(args.streams.in_flight),
        window: Window::after(args.time.warm_up(), args.time.length()),
        batches: None,
    };
    let begun = Instant::now();
    let loaded = load.run().await?;
    let seconds = loaded.recorder.seconds(false);
    if loaded.recorder.calls() == 0 || seconds <= 0.0 {
        let waited = begun.elapsed().as_secs_f64();
        return Err(format!("no batch was answered in {waited:.1} s: give more --seconds").into());
    }
    Ok(loaded.recorder.work() as f64 / seconds)
}

fn show(document: &mut Document, steps: &[Step]) {
    let columns = [
        "contacts",
        "events/s imported",
        "recipients/s random",
        "recipients/s sorted",
        "RSS, MiB",
        "counted, MiB",
        "ready again, s",
        "ready, s per 10 M",
    ];
    let row = |step: &Step| {
        [
            step.contacts,
            step.imported_per_second,
            step.random,
            step.sorted,
            step.rss / f64::from(1 << 20),
            step.counted / f64::from(1 << 20),
            step.ready,
            step.ready * TEN_MILLION / step.contacts,
        ]
        .map(Cell::Number)
        .into()
    };
    document.parts.push(Part::Table(Table {
        caption: "Cost by size".to_owned(),
        columns: columns.map(str::to_owned).into(),
        rows: steps.iter().map(row).collect(),
    }));
    claims(document, steps);
    let plot = |caption: &str, unit: &str, lines: &[Line<'_>]| {
        let series = lines.iter().map(|(name, of)| Series {
            name: (*name).to_owned(),
            points: steps.iter().map(|step| (step.contacts, of(step))).collect(),
        });
        Part::Plot(Plot {
            caption: caption.to_owned(),
            x: Axis { label: "contacts".to_owned(), logarithmic: true },
            y: Axis { label: unit.to_owned(), logarithmic: false },
            series: series.collect(),
        })
    };
    document.parts.push(plot(
        "Filtering as contacts grow",
        "recipients/s",
        &[("random order", |step| step.random), ("sorted", |step| step.sorted)],
    ));
    document.parts.push(plot(
        "Memory for a contact",
        "bytes",
        &[
            ("RSS of the server", |step| step.rss / step.contacts),
            ("planes and directory", |step| step.counted / step.contacts),
        ],
    ));
    let ready: [Line<'_>; 1] = [("clean stop", |step| step.ready)];
    document.parts.push(plot("Ready again after a restart", "seconds", &ready));
    let imported: [Line<'_>; 1] = [("import", |step| step.imported_per_second)];
    document.parts.push(plot("Import as contacts grow", "events/s", &imported));
}

/// P14, and how flat P15 is.
fn claims(document: &mut Document, steps: &[Step]) {
    let (Some(first), Some(last)) = (steps.first(), steps.last()) else { return };
    // A process takes a while to start whatever it holds, so little says nothing.
    if last.contacts >= TEN_MILLION {
        let seconds = last.ready * TEN_MILLION / last.contacts;
        let holds = seconds <= READY_SECONDS;
        document.holds &= holds;
        document.parts.push(Part::Note(format!(
            "P14, ready again within {READY_SECONDS} s for 10 M contacts: {seconds:.2} s, {}",
            if holds { "holds" } else { "does NOT hold" }
        )));
    }
    document.parts.push(Part::Note(format!(
        "P15, from {} to {} contacts: recipients/s became {:.2} times what it was in random order, \
         {:.2} times sorted; contacts {:.1} times, memory counted by the server {:.1} times, ready \
         again {:.1} times",
        number::show(first.contacts),
        number::show(last.contacts),
        last.random / first.random,
        last.sorted / first.sorted,
        last.contacts / first.contacts,
        last.counted / first.counted,
        last.ready / first.ready
    )));
}
