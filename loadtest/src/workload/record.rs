//! `loadtest record`: one durable change a call.

use std::{process::ExitCode, slice, sync::Arc};

use sendgate::{
    client::{Client, ClientError},
    proto::v1::{ConsentEvent, Outcome, RecordRequest},
};

use crate::{
    arguments::{Calls, Target, Time, Who},
    calls::{self, Call},
    data::{self, Column, Events, MAX_LEAVERS, Person},
    document::{Cell, Part, Table},
    failure::Failure,
    measure::{Recorder, Window, latency_plot, latency_table, rate_plot},
    report::{self, Output},
    session::{self, Session},
};

/// Chunks of the import before the run that may be unacknowledged.
const IN_FLIGHT: usize = 4;

/// What is recorded first. When all people had their turn, the other follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Change {
    /// Withdrawals of people who consented
    Withdrawals,
    /// Grants of people of whom nothing need be known
    Grants,
}

/// Arguments of `loadtest record`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What is recorded first; when all people had their turn, the other follows
    #[arg(long, value_enum, default_value_t = Change::Withdrawals)]
    change: Change,
    /// How many people take turns
    #[arg(long, default_value_t = 200_000,
          value_parser = clap::value_parser!(u64).range(1_000..=MAX_LEAVERS))]
    people: u64,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    who: Who,
    #[command(flatten)]
    calls: Calls,
    #[command(flatten)]
    time: Time,
    #[command(flatten)]
    output: Output,
}

/// Records one event; fails unless it became the current record.
///
/// # Errors
/// The server went away, or did something else with the event.
pub(super) async fn record(client: &Client, event: ConsentEvent) -> Result<(), Failure> {
    let request = RecordRequest { events: vec![event] };
    let answer = client.consent_service().record(request).await;
    let answer = answer.map_err(ClientError::from)?.into_inner();
    match answer.results.as_slice() {
        [result] if result.outcome() == Outcome::Applied => Ok(()),
        [result] => {
            let message = result.rejection.as_ref().map(|it| it.message.clone());
            let outcome = result.outcome().as_str_name();
            let message = message.unwrap_or_default();
            Err(format!("an event was answered {outcome} rather than applied {message}").into())
        }
        results => Err(format!("one event was sent and {} answered", results.len()).into()),
    }
}

/// Grants to leavers, now, so that they may withdraw.
///
/// # Errors
/// As [`data::import`].
pub(super) async fn grant(client: &Client, events: &Events, count: u64) -> Result<(), Failure> {
    let time = data::now_ms();
    let population = events.population.clone();
    let people = (0..count).map(move |number| population.leaver(number));
    let events = events.clone();
    let items = move |person: Person| events.granted_at(person, time).collect::<Vec<_>>();
    let chunks = data::chunks(people, items);
    data::import(slice::from_ref(client), chunks, IN_FLIGHT).await?;
    Ok(())
}

/// The change that a call makes, and for whom.
struct Turns {
    events: Events,
    first: Change,
    people: u64,
    /// In which the keys and times of this run differ from those of others.
    run: i64,
}

impl Turns {
    fn person(&self, number: u64) -> Person {
        self.events.population.leaver(number % self.people)
    }

    /// Whether a call withdraws.
    fn withdraws(&self, number: u64) -> bool {
        (number / self.people).is_multiple_of(2) == (self.first == Change::Withdrawals)
    }

    fn event(&self, number: u64) -> ConsentEvent {
        let person = self.person(number);
        let scope = self.events.scopes.first();
        let event = match scope {
            Some(scope) if !self.withdraws(number) => {
                self.events.grant(person, scope, data::now_ms())
            }
            _ => self.events.withdrawal(person, scope),
        };
        ConsentEvent { event_key: format!("loadtest-{}-{number}", self.run), ..event }
    }

    /// Asks about everybody who had a turn; all must be as their last one says.
    async fn verify(&self, client: &Client, calls: u64) -> Result<(), Failure> {
        let touched = calls.min(self.people);
        let last: Vec<u64> = (calls - touched..calls).collect();
        for numbers in last.chunks(sendgate::caps::RECORD_EVENTS * 10) {
            let people: Vec<Person> = numbers.iter().map(|number| self.person(*number)).collect();
            let permitted = data::permitted(client, &self.events, people).await?;
            for (number, permitted) in numbers.iter().zip(permitted) {
                if permitted == self.withdraws(*number) {
                    let address = self.events.population.address(self.person(*number));
                    let verdict = if permitted { "permitted" } else { "suppressed" };
                    return Err(format!(
                        "the server LOST a change: call {number} was acknowledged, and {address} is \
                         {verdict}"
                    )
                    .into());
                }
            }
        }
        Ok(())
    }
}

/// Runs the load and shows what it found.
///
/// # Errors
/// The server went away, or what it acknowledged does not hold.
pub async fn run(args: Args) -> Result<ExitCode, Failure> {
    let target = (args.target.endpoint.as_str(), args.target.connections);
    let session = Session::open(target, &args.who, Column::Phones, 1).await?;
    let mut document = session.document("loadtest record", &args.who).await?;
    let (pace, paced) = args.calls.pace();
    document.fact("calls", paced);
    document.fact("first", session::named(&args.change));
    document.fact("people who take turns", args.people);
    document.fact("warm-up", format!("{} s", args.time.warm_up));
    if args.change == Change::Withdrawals {
        grant(session.client()?, &session.events, args.people).await?;
    }

    let turns = Arc::new(Turns {
        events: session.events.clone(),
        first: args.change,
        people: args.people,
        run: data::now_ms(),
    });
    let window = Window::after(args.time.warm_up(), args.time.length());
    let made = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let recorder = {
        let (turns, made) = (Arc::clone(&turns), Arc::clone(&made));
        let call = move |client: Client, call: Call| {
            let event = turns.event(call.number);
            made.fetch_max(call.number + 1, std::sync::atomic::Ordering::Relaxed);
            async move { record(&client, event).await }
        };
        calls::run(&session.clients, pace, window, call).await?
    };
    let made = made.load(std::sync::atomic::Ordering::Relaxed);
    turns.verify(session.client()?, made).await?;
    show(&mut document, &recorder, made, &args.output)
}

fn show(
    document: &mut crate::document::Document,
    recorder: &Recorder,
    made: u64,
    output: &Output,
) -> Result<ExitCode, Failure> {
    if recorder.calls() == 0 {
        return Err("no call was answered in the time that counts: give it more --seconds".into());
    }
    let row = |name: &str, value: f64| vec![Cell::from(name), Cell::Number(value)];
    document.parts.push(Part::Table(Table {
        caption: "Throughput".to_owned(),
        columns: vec!["what".to_owned(), "value".to_owned()],
        rows: vec![
            row("durable changes/s", recorder.calls() as f64 / recorder.seconds(false)),
            row("changes that count", recorder.calls() as f64),
            row("changes, all found to hold", made as f64),
        ],
    }));
    let caption = "Latency of a change, from call to acknowledgement";
    document.parts.push(Part::Table(latency_table(caption, recorder)));
    document.parts.push(Part::Plot(rate_plot("changes", vec![recorder.rate_series("all")])));
    let series = vec![recorder.percentile_series("a change")];
    document.parts.push(Part::Plot(latency_plot("Latency of a change by percentile", series)));
    report::show(document, output)
}
