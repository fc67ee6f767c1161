//! `loadtest check`: one recipient a call.

use std::{process::ExitCode, sync::Arc};

use sendgate::{
    cli::generate::random::Random,
    client::ClientError,
    proto::v1::{CheckRequest, Reason},
};

use crate::{
    arguments::{Calls, Target, Time, Who},
    calls,
    data::{Column, Person, Population},
    document::{Cell, Part, Table},
    failure::Failure,
    measure::{Window, latency_plot, latency_table, rate_plot},
    report::{self, Output},
    session::Session,
};

/// Distinct requests, sent in turn.
const DISTINCT: u64 = 65_536;
/// Randomness of the requests.
const REQUEST_STREAM: u64 = 102;

/// Arguments of `loadtest check`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How recipients are named; each is sent as text
    #[arg(long, value_enum, default_value_t = Column::Phones)]
    column: Column,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    who: Who,
    /// The share of recipients who are permitted, in percent
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(..=100))]
    hit_percent: u64,
    #[command(flatten)]
    calls: Calls,
    #[command(flatten)]
    time: Time,
    #[command(flatten)]
    output: Output,
}

/// Runs the load and shows what it found.
///
/// # Errors
/// The server went away or answered wrongly.
pub async fn run(args: Args) -> Result<ExitCode, Failure> {
    let target = (args.target.endpoint.as_str(), args.target.connections);
    let session = Session::open(target, &args.who, args.column, 1).await?;
    let mut document = session.document("loadtest check", &args.who).await?;
    let requests = Arc::new(requests(&session, args.hit_percent));
    let (pace, paced) = args.calls.pace();
    document.fact("calls", paced);
    document.fact("distinct requests", requests.len());
    document.fact("hit rate", args.hit_percent as f64 / 100.0);
    document.fact("warm-up", format!("{} s", args.time.warm_up));

    let window = Window::after(args.time.warm_up(), args.time.length());
    let population = session.events.population.clone();
    let recorder = calls::run(&session.clients, pace, window, move |client, call| {
        let request = usize::try_from(call.number)
            .ok()
            .and_then(|number| requests.get(number % requests.len()))
            .cloned();
        let population = population.clone();
        async move {
            let (person, request) = request.ok_or("there are no requests")?;
            let answer = client.filter_service().check(request).await;
            let answer = answer.map_err(ClientError::from)?.into_inner();
            let expected = Population::verdict(person, 0);
            if answer.reason() == expected && answer.permitted == (expected == Reason::Permitted) {
                return Ok(());
            }
            let (expected, got) = (expected.as_str_name(), answer.reason().as_str_name());
            Err(format!(
                "the server answered WRONGLY: call {}, {}: expected {expected}, got {got}, permitted \
                 {}",
                call.number,
                population.address(person),
                answer.permitted
            )
            .into())
        }
    })
    .await?;
    if recorder.calls() == 0 {
        return Err("no call was answered in the time that counts: give it more --seconds".into());
    }
    let row = |name: &str, value: f64| vec![Cell::from(name), Cell::Number(value)];
    document.parts.push(Part::Table(Table {
        caption: "Throughput".to_owned(),
        columns: vec!["what".to_owned(), "value".to_owned()],
        rows: vec![
            row("calls/s", recorder.calls() as f64 / recorder.seconds(false)),
            row("calls, all answered rightly", recorder.calls() as f64),
        ],
    }));
    document.parts.push(Part::Table(latency_table("Latency of a call", &recorder)));
    document.parts.push(Part::Plot(rate_plot("calls", vec![recorder.rate_series("all")])));
    let series = vec![recorder.percentile_series("a call")];
    document.parts.push(Part::Plot(latency_plot("Latency of a call by percentile", series)));
    report::show(&document, &args.output)
}

/// Requests whose answers are known.
fn requests(session: &Session, hit_percent: u64) -> Vec<(Person, CheckRequest)> {
    let events = &session.events;
    let mut random = Random::of(events.population.seed(), REQUEST_STREAM, 0);
    let request = |_| {
        let permitted = random.below(100) < hit_percent;
        let person = events.population.draw(&mut random, permitted);
        let request = CheckRequest {
            brand: events.brand.clone(),
            scope: events.scopes.first().cloned(),
            contact: Some(events.contact(person)),
            ..Default::default()
        };
        (person, request)
    };
    (0..DISTINCT).map(request).collect()
}
