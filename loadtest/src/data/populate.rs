//! Loads people into a server through `Import`, and asks whether they are in.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use sendgate::{
    caps,
    cli::generate::random::Random,
    client::{Client, Counts, FilterStream, ImportStream},
    proto::v1::ImportItem,
};
use tokio::{
    sync::{Mutex, mpsc},
    task::JoinSet,
};

use super::{
    batch::{Batch, Batches, Order, Wrong},
    events::Events,
    people::{Person, Population},
};
use crate::{
    failure::Failure,
    measure::{Recorder, Window},
};

/// Chunks without an acknowledgement, and chunks made ahead.
const IN_FLIGHT: usize = 4;
/// How often progress is told.
const TELL: Duration = Duration::from_secs(5);
/// People of each sort who are asked about to see whether a population is in.
const SAMPLE: u64 = 256;
/// Strangers who are asked about to see whether nobody else is in.
const STRANGERS: u64 = 65_536;

/// Chunks of an import, which several connections may share.
pub type Chunks = Arc<Mutex<mpsc::Receiver<Vec<ImportItem>>>>;

/// What an import did.
#[derive(Clone, Debug)]
pub struct Imported {
    /// What became of the items.
    pub counts: Counts,
    /// How long it took.
    pub took: Duration,
    /// Items over time, and the latency of a chunk.
    pub recorder: Recorder,
}

impl Imported {
    /// Items a second.
    pub fn rate(&self) -> f64 {
        self.recorder.work() as f64 / self.took.as_secs_f64()
    }
}

/// Makes chunks of what each person gives, on a thread of its own, a few ahead.
pub fn chunks<I: IntoIterator<Item = ImportItem>>(
    people: impl Iterator<Item = Person> + Send + 'static,
    items: impl Fn(Person) -> I + Send + 'static,
) -> Chunks {
    let (sender, receiver) = mpsc::channel(IN_FLIGHT);
    let make = move || {
        let mut chunk = Vec::with_capacity(caps::IMPORT_ITEMS);
        for person in people {
            for item in items(person) {
                chunk.push(item);
                if chunk.len() == caps::IMPORT_ITEMS
                    && sender.blocking_send(std::mem::take(&mut chunk)).is_err()
                {
                    // The import has ended early.
                    return;
                }
            }
        }
        if !chunk.is_empty() {
            let _ = sender.blocking_send(chunk);
        }
    };
    thread::spawn(make);
    Arc::new(Mutex::new(receiver))
}

/// Imports chunks over all connections. Every item must be recorded.
///
/// # Errors
/// The server went away or rejected an item.
pub async fn import(
    clients: &[Client],
    chunks: Chunks,
    in_flight: usize,
) -> Result<Imported, Failure> {
    let window = Window::after(Duration::ZERO, Duration::from_secs(1 << 20));
    let mut streams = JoinSet::new();
    for client in clients {
        streams.spawn(import_stream(client.clone(), Arc::clone(&chunks), in_flight, window));
    }
    let (mut counts, mut recorder) = (Counts::default(), Recorder::new(window)?);
    while let Some(ended) = streams.join_next().await {
        let (own_counts, own_recorder) = ended??;
        counts.add(&own_counts);
        recorder.add(&own_recorder)?;
    }
    Ok(Imported { counts, took: window.begin.elapsed(), recorder })
}

async fn import_stream(
    client: Client,
    chunks: Chunks,
    in_flight: usize,
    window: Window,
) -> Result<(Counts, Recorder), Failure> {
    let mut stream = ImportStream::new(client, in_flight);
    let (mut counts, mut recorder) = (Counts::default(), Recorder::new(window)?);
    let mut told = Instant::now();
    loop {
        while stream.has_room() {
            match chunks.lock().await.recv().await {
                Some(chunk) => stream.send((Instant::now(), chunk.len()), chunk),
                None => stream.close(),
            }
        }
        let Some(chunk) = stream.next().await? else { return Ok((counts, recorder)) };
        if let Some(rejected) = chunk.rejections.first() {
            let message = rejected.rejection.as_ref().map(|it| it.message.as_str());
            return Err(format!(
                "the server rejected an event: {}. Is somebody else writing to this brand?",
                message.unwrap_or("no reason given")
            )
            .into());
        }
        counts.add(&chunk.counts);
        let (sent, items) = chunk.tag;
        let now = Instant::now();
        recorder.record(now, now - sent, items as u64);
        if told.elapsed() >= TELL {
            told = now;
            let rate = recorder.work() as f64 / recorder.seconds(true).max(f64::MIN_POSITIVE);
            eprintln!("imported {} events, {rate:.0} a second", recorder.work());
        }
    }
}

/// Imports a population unless it is in the server already.
///
/// # Errors
/// The import failed, or afterwards verdicts are not those of the population.
pub async fn ensure(
    client: &Client,
    events: &Events,
    anyway: bool,
) -> Result<Option<Imported>, Failure> {
    let sample = sample(&events.population);
    let mut imported = None;
    if anyway || verify(client, events, sample.clone()).await?.is_some() {
        imported = Some(grow(client, events, 0).await?);
    }
    let strangers = (0..STRANGERS).map(|number| events.population.stranger(number));
    let everybody = sample.into_iter().chain(strangers).collect();
    match verify(client, events, everybody).await? {
        None => Ok(imported),
        Some(wrong) => Err(format!(
            "brand {} does not hold the people that it should: {wrong}. Has somebody else recorded \
             events in it, or an earlier run with another --seed? Take a brand or a store of its own",
            events.brand
        )
        .into()),
    }
}

/// Imports the part of a population that is numbered from `from` on.
///
/// # Errors
/// As [`import`].
pub async fn grow(client: &Client, events: &Events, from: u64) -> Result<Imported, Failure> {
    let population = &events.population;
    let consenting = (from..population.size()).map({
        let population = population.clone();
        move |number| population.consenting(number)
    });
    let refused = (from..population.recorded()).map({
        let population = population.clone();
        move |number| population.refused_by_record(number)
    });
    let events = events.clone();
    let chunks = chunks(consenting.chain(refused), move |person| events.recorded(person));
    import(std::slice::from_ref(client), chunks, IN_FLIGHT).await
}

/// Some of each sort, the last ones among them.
pub fn sample(population: &Population) -> Vec<Person> {
    let spread = |count: u64| {
        let step = (count / SAMPLE).max(1);
        (0..count).rev().step_by(usize::try_from(step).unwrap_or(usize::MAX))
    };
    let consenting = spread(population.size()).map(|number| population.consenting(number));
    let recorded = spread(population.recorded()).map(|number| population.refused_by_record(number));
    let strangers = (0..SAMPLE).map(|number| population.stranger(number));
    consenting.chain(recorded).chain(strangers).collect()
}

/// Asks about these people, with reasons; returns the first wrong verdict.
///
/// # Errors
/// The server failed or its answer breaks the contract.
pub async fn verify(
    client: &Client,
    events: &Events,
    people: Vec<Person>,
) -> Result<Option<Wrong>, Failure> {
    let mut stream: FilterStream<Batch> =
        FilterStream::open(client, events.options(true), 1).await?;
    for batch in asking(events, people.len()).of(people, &mut Random::of(0, 0, 0))? {
        stream.send(batch.clone(), batch.recipients)?;
        if let Some((batch, verdicts)) = stream.next().await?
            && let Some(wrong) = batch.wrong(&verdicts, &events.population)
        {
            return Ok(Some(wrong));
        }
    }
    stream.close();
    stream.next().await?;
    Ok(None)
}

/// Asks about these people, in their order: who is permitted in the first scope?
///
/// # Errors
/// As [`verify`].
pub async fn permitted(
    client: &Client,
    events: &Events,
    people: Vec<Person>,
) -> Result<Vec<bool>, Failure> {
    let mut stream = FilterStream::open(client, events.options(false), 1).await?;
    let mut permitted = Vec::with_capacity(people.len());
    for batch in asking(events, people.len()).of(people, &mut Random::of(0, 0, 0))? {
        stream.send((), batch.recipients)?;
        if let Some(((), verdicts)) = stream.next().await? {
            permitted.extend((0..batch.count).map(|at| verdicts.scope(0).is_permitted(at)));
        }
    }
    stream.close();
    stream.next().await?;
    Ok(permitted)
}

/// Batches of given people.
fn asking(events: &Events, size: usize) -> Batches {
    Batches {
        population: events.population.clone(),
        size,
        hits_per_million: 0,
        order: Order::Random,
        scopes: events.scopes.len(),
        reasons: true,
        seed: 0,
    }
}
