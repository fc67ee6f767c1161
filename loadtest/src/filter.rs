//! `loadtest filter`: batches of phone numbers over one or more streams.

use std::{
    error::Error,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use sendgate::{
    cli::generate::people::{MAX_PEOPLE, People},
    client::{Client, DEFAULT_ENDPOINT, FilterStream, Recipients},
    proto::v1::{AnswerForm, ContactKind, FilterOptions, RecipientType, Scope},
};
use tokio::{sync::Barrier, task::JoinSet};

use crate::{
    data::{Batch, Batches},
    populate::populate,
    report::{Outcome, Report},
};

/// Arguments of `loadtest filter`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The server to load
    #[arg(long, env = "SENDGATE_ENDPOINT", default_value = DEFAULT_ENDPOINT)]
    pub endpoint: String,
    /// The brand; nobody else may have recorded consents for it
    #[arg(long, default_value = "main")]
    pub brand: String,
    /// The channel
    #[arg(long, default_value = "sms")]
    pub channel: String,
    /// The purpose
    #[arg(long, default_value = "marketing")]
    pub purpose: String,
    /// How many people consent
    #[arg(long, default_value_t = 1_000_000,
          value_parser = clap::value_parser!(u64).range(1..=MAX_PEOPLE))]
    pub population: u64,
    /// Import the population first; without it, an earlier run did
    #[arg(long)]
    pub populate: bool,
    /// Batches in all
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u64).range(1..))]
    pub batches: u64,
    /// Recipients of a batch
    #[arg(long, default_value_t = 16_384,
          value_parser = clap::value_parser!(u64).range(1..=262_144))]
    pub batch_size: u64,
    /// The share of recipients who are permitted, from 0 to 1
    #[arg(long, default_value_t = 0.5)]
    pub hit_rate: f64,
    /// Sort each batch by number
    #[arg(long)]
    pub sorted: bool,
    /// Ask for reasons as well as bits
    #[arg(long)]
    pub reasons: bool,
    /// Connections
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=256))]
    pub connections: u64,
    /// Streams on each connection
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100))]
    pub streams: u64,
    /// Batches without an answer on each stream
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..))]
    pub in_flight: u8,
    /// The same seed makes the same data
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

type Failure = Box<dyn Error + Send + Sync>;

/// Runs the load and prints the report.
pub async fn run(args: Args) -> Result<ExitCode, Failure> {
    if !(0.0..=1.0).contains(&args.hit_rate) {
        return Err("--hit-rate is not between 0 and 1".into());
    }
    if args.populate {
        let client = Client::connect(&args.endpoint).await?;
        let people = People::new(args.seed);
        let took = populate(&client, &args.brand, &args.scope(), &people, args.population).await?;
        eprintln!("populated {} people in {:.1} s", args.population, took.as_secs_f64());
    }
    let outcomes = load(&args).await?;
    let report = Report::new(&args, &outcomes)?;
    if args.json {
        report.print_json(&args)?
    } else {
        report.print_table(&args)?
    }
    Ok(if report.is_right() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs all streams at once.
async fn load(args: &Args) -> Result<Vec<Outcome>, Failure> {
    let streams = args.connections * args.streams;
    let start = Arc::new(Barrier::new(usize::try_from(streams)?));
    let mut tasks = JoinSet::new();
    for connection in 0..args.connections {
        let client = Client::connect(&args.endpoint).await?;
        for stream in 0..args.streams {
            let number = connection * args.streams + stream;
            let batches = args.batches_of(number, streams);
            let (args, client, start) = (args.clone(), client.clone(), Arc::clone(&start));
            tasks.spawn(async move { drive(&args, &client, batches, &start).await });
        }
    }
    let mut outcomes = Vec::new();
    while let Some(outcome) = tasks.join_next().await {
        outcomes.push(outcome??);
    }
    Ok(outcomes)
}

/// Drives one stream and checks its answers.
async fn drive(
    args: &Args,
    client: &Client,
    batches: Vec<Batch>,
    start: &Barrier,
) -> Result<Outcome, Failure> {
    let mut stream =
        FilterStream::open(client, args.options(), usize::from(args.in_flight)).await?;
    let mut latencies = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3)?;
    let (mut recipients, mut permitted, mut wrong_batches) = (0, 0, 0);
    start.wait().await;
    let begun = Instant::now();
    let mut remaining = batches.into_iter();
    let mut last = begun;
    loop {
        while stream.has_room() {
            match remaining.next() {
                Some(Batch { phones, expected }) => {
                    stream.send((expected, Instant::now()), Recipients::Phones(phones))?;
                }
                None => stream.close(),
            }
        }
        let Some(((expected, sent), verdicts)) = stream.next().await? else { break };
        last = Instant::now();
        latencies.saturating_record(nanoseconds(last - sent));
        recipients += verdicts.recipients() as u64;
        permitted += verdicts.scope(0).permitted_count() as u64;
        wrong_batches += u64::from(verdicts.scope(0).permitted_bits() != expected);
    }
    Ok(Outcome { begun, ended: last, recipients, permitted, wrong_batches, latencies })
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Args {
    fn scope(&self) -> Scope {
        Scope {
            recipient_type: RecipientType::Individual.into(),
            channel: self.channel.clone(),
            purpose: self.purpose.clone(),
        }
    }

    fn options(&self) -> FilterOptions {
        let form = if self.reasons { AnswerForm::Reasons } else { AnswerForm::PermittedBits };
        FilterOptions {
            brand: self.brand.clone(),
            scopes: vec![self.scope()],
            contact_kind: ContactKind::Phone.into(),
            answer_form: form.into(),
            ..Default::default()
        }
    }

    /// The batches of one of several streams.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the rate lies between 0 and 1"
    )]
    fn batches_of(&self, stream: u64, streams: u64) -> Vec<Batch> {
        let hits_per_million = (self.hit_rate * 1e6).round() as u64;
        let batches = Batches::new(self.population, self.batch_size, hits_per_million, self.seed);
        let step = usize::try_from(streams).unwrap_or(usize::MAX);
        (stream..self.batches).step_by(step).map(|it| batches.make(it, self.sorted)).collect()
    }
}
