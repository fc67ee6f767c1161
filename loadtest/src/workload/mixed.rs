//! `loadtest mixed`: filtering at full speed while withdrawals arrive.

use std::{process::ExitCode, sync::Arc, time::Duration};

use sendgate::{client::Client, proto::v1::ConsentEvent};

use super::record::{grant, record};
use crate::{
    arguments::{Lists, Streams, Target, Time, Who, rate, within},
    calls::{self, Call, Pace, Schedule},
    data::{self, Column, Events, MAX_LEAVERS},
    document::{Cell, Document, Part, Table},
    failure::Failure,
    leaving::Leaving,
    measure::{Recorder, SLOT, Window, latency_plot, median, rate_plot},
    report::{self, Output},
    session::{self, Session},
    streams::{Load, Loaded},
};

/// Arguments of `loadtest mixed`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Durable withdrawals a second, one a call, at given instants
    #[arg(long, default_value_t = 1000.0, value_parser = rate)]
    rate: f64,
    /// Withdraw everything, rather than one channel and purpose: every scope changes
    #[arg(long)]
    contact_level: bool,
    /// Withdraw for so many seconds, then pause for as many, to compare both in
    /// one run; 0 withdraws all the time
    #[arg(long, default_value_t = 1.0, value_parser = |text: &str| within(text, 0.0, 3600.0))]
    slice: f64,
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
    #[command(flatten)]
    output: Output,
}

impl Args {
    /// Withdrawals in the whole run, and some to spare.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rate and seconds are positive and capped"
    )]
    fn leavers(&self) -> Result<u64, Failure> {
        let leavers = (self.rate * self.time.seconds).ceil() as u64 + 1;
        if leavers > MAX_LEAVERS {
            return Err(format!(
                "{leavers} people would withdraw, and there are {MAX_LEAVERS}: choose a smaller \
                 --rate or fewer --seconds"
            )
            .into());
        }
        Ok(leavers)
    }

    fn slice(&self) -> Option<Duration> {
        (self.slice > 0.0).then(|| Duration::from_secs_f64(self.slice))
    }
}

/// What a run found.
struct Found {
    load: Loaded,
    acknowledged: Recorder,
    honoured: Recorder,
    withdrawals: u64,
}

/// Runs the load and shows what it found.
///
/// # Errors
/// The server went away, answered wrongly, or permitted somebody whose
/// withdrawal it had acknowledged.
pub async fn run(args: Args) -> Result<ExitCode, Failure> {
    let leavers = args.leavers()?;
    let target = (args.target.endpoint.as_str(), args.target.connections);
    let session = Session::open(target, &args.who, Column::Phones, args.lists.scopes).await?;
    let mut document = session.document("loadtest mixed", &args.who).await?;
    let pool = Arc::new(session.pool(&args.lists, &mut document)?);
    document.fact("streams", format!("{} a connection", args.streams.streams));
    document.fact("in flight", format!("{} batches a stream", args.streams.in_flight));
    let level = if args.contact_level { "everything" } else { "one scope" };
    document.fact("withdrawals", format!("{} a second, of {level}", args.rate));
    document.fact("slices", format!("{} s", args.slice));
    document.fact("warm-up", format!("{} s", args.time.warm_up));
    grant(session.client()?, &session.events, leavers).await?;

    let found = measure(&args, &session, pool, leavers).await?;
    show(&mut document, &args, &found)?;
    report::show(&document, &args.output)
}

async fn measure(
    args: &Args,
    session: &Session,
    pool: Arc<Vec<data::Batch>>,
    leavers: u64,
) -> Result<Found, Failure> {
    let events = &session.events;
    let scopes = if args.contact_level { events.scopes.len() } else { 1 };
    // Withdrawals and the probe have connections of their own.
    let writer = session::connect(&args.target.endpoint).await?;
    let prober = session::connect(&args.target.endpoint).await?;
    let window = Window::after(args.time.warm_up(), args.time.length());
    let leaving = Arc::new(Leaving::new(events.clone(), scopes, window)?);
    let load = Load {
        clients: session.clients.clone(),
        pool,
        population: events.population.clone(),
        options: events.options(args.lists.reasons),
        streams: args.streams.streams,
        in_flight: usize::from(args.streams.in_flight),
        window,
        batches: None,
    };
    let schedule = Schedule { start: window.begin, rate: args.rate, slice: args.slice() };
    let run = data::now_ms();
    let withdraw = {
        let (leaving, events) = (Arc::clone(&leaving), events.clone());
        let contact_level = args.contact_level;
        move |client: Client, call: Call| {
            let event = withdrawal(&events, contact_level, call.number, run);
            let leaving = Arc::clone(&leaving);
            async move {
                leaving.called(call);
                record(&client, event).await?;
                leaving.acknowledged(call.number);
                Ok(())
            }
        }
    };
    let writers = [writer];
    let writes = async {
        let recorder = calls::run(&writers, Pace::Open(schedule), window, withdraw).await;
        leaving.finish();
        recorder
    };
    // The first to fail ends the others.
    let (load, acknowledged, honoured) =
        tokio::try_join!(load.run(), writes, leaving.probe(&prober))?;
    let withdrawals = leaving.withdrawals().min(leavers);
    verify(session, scopes, withdrawals).await?;
    Ok(Found { load, acknowledged, honoured, withdrawals })
}

fn withdrawal(events: &Events, contact_level: bool, number: u64, run: i64) -> ConsentEvent {
    let scope = events.scopes.first().filter(|_| !contact_level);
    let person = events.population.leaver(number);
    let event_key = format!("loadtest-{run}-{number}");
    ConsentEvent { event_key, ..events.withdrawal(person, scope) }
}

/// Asks about everybody who withdrew, in every scope that it concerns.
async fn verify(session: &Session, scopes: usize, withdrawals: u64) -> Result<(), Failure> {
    for scope in session.events.scopes.iter().take(scopes) {
        let events = Events { scopes: vec![scope.clone()], ..session.events.clone() };
        let numbers: Vec<u64> = (0..withdrawals).collect();
        for numbers in numbers.chunks(100_000) {
            let people = numbers.iter().map(|number| events.population.leaver(*number)).collect();
            let permitted = data::permitted(session.client()?, &events, people).await?;
            if let Some(at) = permitted.iter().position(|permitted| *permitted) {
                let number = numbers.get(at).copied().unwrap_or_default();
                return Err(format!(
                    "the server LOST an acknowledged withdrawal: {} is permitted for {}",
                    events.population.address(events.population.leaver(number)),
                    scope.purpose
                )
                .into());
            }
        }
    }
    Ok(())
}

fn show(document: &mut Document, args: &Args, found: &Found) -> Result<(), Failure> {
    let Found { load, acknowledged, honoured, withdrawals } = found;
    if load.recorder.calls() == 0 || acknowledged.calls() == 0 {
        return Err("nothing was answered in the time that counts: give it more --seconds".into());
    }
    let (writing, quiet) = slices(&load.recorder, args.slice());
    let row = |name: &str, value: f64| vec![Cell::from(name), Cell::Number(value)];
    let mut rows = vec![row("recipients/s while withdrawals arrive", writing)];
    if let Some(quiet) = quiet {
        rows.push(row("recipients/s between", quiet));
        rows.push(row("ratio", writing / quiet));
    }
    rows.push(row("withdrawals that count", acknowledged.calls() as f64));
    rows.push(row("withdrawals, all found to hold", *withdrawals as f64));
    document.parts.push(Part::Table(Table {
        caption: "Throughput (medians of 100 ms)".to_owned(),
        columns: vec!["what".to_owned(), "value".to_owned()],
        rows,
    }));
    let rows = acknowledged.percentile_rows().into_iter().zip(honoured.percentile_rows());
    let rows = rows.map(|(mut row, honoured)| {
        row.extend(honoured.into_iter().skip(1));
        row
    });
    document.parts.push(Part::Table(Table {
        caption: "Latency of a withdrawal, from when it was due".to_owned(),
        columns: [
            "percentile",
            "to its acknowledgement, µs",
            "to the first batch that honours it, µs",
        ]
        .map(str::to_owned)
        .into(),
        rows: rows.collect(),
    }));
    document.parts.push(Part::Note(
        "Every batch that was sent after an acknowledgement honoured the withdrawal.".to_owned(),
    ));
    let series = vec![load.recorder.rate_series("all")];
    document.parts.push(Part::Plot(rate_plot("recipients", series)));
    let series = vec![
        acknowledged.percentile_series("acknowledged"),
        honoured.percentile_series("honoured"),
    ];
    document.parts.push(Part::Plot(latency_plot("Latency of a withdrawal by percentile", series)));
    Ok(())
}

/// The medians of slots while withdrawals arrive and between, without the slots
/// at the edges of slices.
fn slices(recorder: &Recorder, slice: Option<Duration>) -> (f64, Option<f64>) {
    let all: Vec<f64> = recorder.rates().collect();
    let middle = |rates: &[f64]| median(rates);
    let Some(slice) = slice else { return (middle(&all).unwrap_or(f64::NAN), None) };
    let (mut writing, mut quiet) = (Vec::new(), Vec::new());
    for (at, rate) in (0_u32..).zip(&all) {
        let (from, to) = (SLOT * at, SLOT * (at + 1));
        let number = |time: Duration| time.as_nanos() / slice.as_nanos().max(1);
        let is_inside = from.checked_sub(SLOT).is_none_or(|before| number(before) == number(from))
            && number(to) == number(from);
        match (is_inside, number(from).is_multiple_of(2)) {
            (true, true) => writing.push(*rate),
            (true, false) => quiet.push(*rate),
            (false, _) => {}
        }
    }
    // Slices shorter than slots have no inside.
    let writing = middle(&writing).or_else(|| middle(&all)).unwrap_or(f64::NAN);
    (writing, middle(&quiet))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_with_and_without_withdrawals_are_told_apart() {
        let window = Window::after(Duration::ZERO, Duration::from_secs(4));
        let mut recorder = Recorder::new(window).unwrap();
        for slot in 0..40_u32 {
            let work = if (slot / 10) % 2 == 0 { 80 } else { 100 };
            recorder.record(window.begin + SLOT * slot, Duration::ZERO, work);
        }
        assert_eq!(slices(&recorder, Some(Duration::from_secs(1))), (800.0, Some(1000.0)));
        assert_eq!(slices(&recorder, None), (900.0, None));
    }
}
