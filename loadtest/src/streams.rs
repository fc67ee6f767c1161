//! Filter streams at full speed, every answer checked.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use sendgate::{
    client::{Client, FilterStream},
    proto::v1::FilterOptions,
};
use tokio::task::JoinSet;

use crate::{
    data::{Batch, Population},
    failure::Failure,
    measure::{Recorder, Window},
};

/// What is sent, and how.
pub struct Load {
    /// The connections.
    pub clients: Vec<Client>,
    /// Distinct batches, sent in turn.
    pub pool: Arc<Vec<Batch>>,
    /// Whom they were drawn from.
    pub population: Population,
    /// What is asked about them.
    pub options: FilterOptions,
    /// Streams on each connection.
    pub streams: u64,
    /// Batches without an answer on each stream.
    pub in_flight: usize,
    /// What counts.
    pub window: Window,
    /// Counted batches after which the run ends early.
    pub batches: Option<u64>,
}

/// What all streams know of each other.
struct Shared {
    pool: Arc<Vec<Batch>>,
    population: Population,
    window: Window,
    /// Batches that may still be sent once counting has begun.
    left: Option<AtomicU64>,
    /// Batches answered, with those of the warm-up, and their recipients.
    answered: AtomicU64,
    recipients: AtomicU64,
    permitted: AtomicU64,
}

/// What a load found. All answers were right.
pub struct Loaded {
    /// Recipients over time, and the latency of a batch.
    pub recorder: Recorder,
    /// The share of recipients who were permitted in the first scope.
    pub permitted: f64,
}

impl Load {
    /// Runs all streams until the window closes, and takes every answer.
    ///
    /// # Errors
    /// The server went away or answered wrongly.
    pub async fn run(self) -> Result<Loaded, Failure> {
        let shared = Arc::new(Shared {
            pool: self.pool,
            population: self.population,
            window: self.window,
            left: self.batches.map(AtomicU64::new),
            answered: AtomicU64::new(0),
            recipients: AtomicU64::new(0),
            permitted: AtomicU64::new(0),
        });
        let streams = self.clients.len() as u64 * self.streams;
        let mut tasks = JoinSet::new();
        for (connection, client) in self.clients.iter().enumerate() {
            for stream in 0..self.streams {
                let stream_number = connection as u64 * self.streams + stream;
                // Streams begin at different places, far from each other.
                let first = stream_number * shared.pool.len() as u64 / streams;
                let stream =
                    FilterStream::open(client, self.options.clone(), self.in_flight).await?;
                tasks.spawn(drive(stream, Arc::clone(&shared), usize::try_from(first)?));
            }
        }
        let mut recorder = Recorder::new(self.window)?;
        while let Some(ended) = tasks.join_next().await {
            let own = ended?.map_err(|error| {
                let answered = shared.answered.load(Ordering::Relaxed);
                format!(
                    "the run broke off after {answered} right answers to batches, so it has no \
                     figures: {error}"
                )
            })?;
            recorder.add(&own)?;
        }
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed) as f64;
        let permitted = of(&shared.permitted) / of(&shared.recipients).max(1.0);
        Ok(Loaded { recorder, permitted })
    }
}

/// A batch under way.
struct Sent {
    /// Its place in the pool.
    place: usize,
    /// Its number in the stream.
    number: u64,
    at: Instant,
}

/// Drives one stream to its end.
async fn drive(
    mut stream: FilterStream<Sent>,
    shared: Arc<Shared>,
    first: usize,
) -> Result<Recorder, Failure> {
    let mut recorder = Recorder::new(shared.window)?;
    let mut next = first;
    let mut number = 0;
    loop {
        while stream.has_room() {
            let place = next % shared.pool.len();
            let Some(batch) = shared.pool.get(place).filter(|_| shared.may_send()) else {
                stream.close();
                break;
            };
            let at = Instant::now();
            stream.send(Sent { place, number, at }, batch.recipients.clone())?;
            next += 1;
            number += 1;
        }
        let Some((sent, verdicts)) = stream.next().await? else { return Ok(recorder) };
        let now = Instant::now();
        let Some(batch) = shared.pool.get(sent.place) else { continue };
        if let Some(wrong) = batch.wrong(&verdicts, &shared.population) {
            return Err(format!(
                "the server answered WRONGLY: batch {} of a stream, {wrong}",
                sent.number
            )
            .into());
        }
        shared.answered.fetch_add(1, Ordering::Relaxed);
        shared.recipients.fetch_add(verdicts.recipients() as u64, Ordering::Relaxed);
        shared.permitted.fetch_add(verdicts.scope(0).permitted_count() as u64, Ordering::Relaxed);
        recorder.record(now, now - sent.at, verdicts.recipients() as u64);
    }
}

impl Shared {
    /// Whether another batch may be sent; counts it.
    fn may_send(&self) -> bool {
        let now = Instant::now();
        if now >= self.window.end {
            return false;
        }
        match &self.left {
            Some(left) if now >= self.window.begin => left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                .is_ok(),
            _ => true,
        }
    }
}

/// The window of a run: of a given length, or until so many batches are sent.
pub fn window(warm_up: Duration, length: Duration, batches: Option<u64>) -> Window {
    const DAY: Duration = Duration::from_secs(86_400);
    Window::after(warm_up, if batches.is_some() { DAY } else { length })
}
