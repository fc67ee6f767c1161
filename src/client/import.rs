//! An import that survives a broken connection.
//!
//! The server acknowledges each chunk once it is durable. Chunks without an
//! acknowledgement are kept, and sent again on a new connection after a break:
//! repeating a write is safe. Changes that were durable already then count as
//! duplicates.

use std::{collections::VecDeque, time::Duration};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::{Client, ClientError};
use crate::proto::v1::{ImportItem, ImportRequest, ImportResponse, RejectedItem, Revision};

/// How often in a row a connection may break without any progress between.
const MAX_ATTEMPTS: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What became of items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Recorded as the current record of their level.
    pub applied: u64,
    /// Recorded behind a newer record.
    pub superseded: u64,
    /// Already recorded before.
    pub duplicate: u64,
    /// Withdrawals recorded in spite of a reused key.
    pub key_reused: u64,
    /// Not recorded.
    pub rejected: u64,
}

impl Counts {
    fn of(response: &ImportResponse) -> Self {
        Self {
            applied: response.applied,
            superseded: response.superseded,
            duplicate: response.duplicate,
            key_reused: response.key_reused,
            rejected: response.rejected,
        }
    }

    fn total(&self) -> Option<u64> {
        [self.superseded, self.duplicate, self.key_reused, self.rejected]
            .iter()
            .try_fold(self.applied, |sum, count| sum.checked_add(*count))
    }

    /// What came on top of `earlier`; `None` if a count went back.
    fn since(&self, earlier: &Self) -> Option<Self> {
        Some(Self {
            applied: self.applied.checked_sub(earlier.applied)?,
            superseded: self.superseded.checked_sub(earlier.superseded)?,
            duplicate: self.duplicate.checked_sub(earlier.duplicate)?,
            key_reused: self.key_reused.checked_sub(earlier.key_reused)?,
            rejected: self.rejected.checked_sub(earlier.rejected)?,
        })
    }

    /// Adds the counts of another chunk.
    pub fn add(&mut self, other: &Self) {
        self.applied += other.applied;
        self.superseded += other.superseded;
        self.duplicate += other.duplicate;
        self.key_reused += other.key_reused;
        self.rejected += other.rejected;
    }
}

/// The acknowledgement of one chunk: durable and visible, or rejected.
#[derive(Clone, Debug)]
pub struct Acknowledged<T> {
    /// The caller's tag of the chunk.
    pub tag: T,
    /// What became of its items.
    pub counts: Counts,
    /// The items that were not recorded; `index` counts within the chunk.
    pub rejections: Vec<RejectedItem>,
    /// A revision at which the chunk is visible.
    pub revision: Option<Revision>,
}

struct Chunk<T> {
    tag: T,
    request: ImportRequest,
}

/// One connection's worth of an import.
struct Connection {
    requests: mpsc::Sender<ImportRequest>,
    responses: Streaming<ImportResponse>,
    done: u64,
    counts: Counts,
}

/// An import with several chunks in flight. Each carries a tag of the
/// caller's, which comes back with its acknowledgement, in order.
pub struct ImportStream<T> {
    client: Client,
    connection: Option<Connection>,
    pending: VecDeque<Chunk<T>>,
    in_flight: usize,
    dry_run: bool,
    closed: bool,
    failures: u32,
}

impl<T> ImportStream<T> {
    /// An import that keeps up to `in_flight` chunks unacknowledged. The
    /// connection is made when the first chunk is waited for.
    #[must_use]
    pub fn new(client: Client, in_flight: usize) -> Self {
        Self {
            client,
            connection: None,
            pending: VecDeque::with_capacity(in_flight),
            in_flight,
            dry_run: false,
            closed: false,
            failures: 0,
        }
    }

    /// With `dry_run` the server only says what would become of the items.
    #[must_use]
    pub fn dry_run(self, dry_run: bool) -> Self {
        Self { dry_run, ..self }
    }

    /// Whether another chunk may be sent now.
    #[must_use]
    pub fn has_room(&self) -> bool {
        !self.closed && self.pending.len() < self.in_flight
    }

    /// Whether a chunk waits for its acknowledgement.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Sends a chunk of at most 10,000 items and 4 MiB; there must be
    /// [room](Self::has_room).
    pub fn send(&mut self, tag: T, items: Vec<ImportItem>) {
        let request = ImportRequest { items, dry_run: self.dry_run };
        if let Some(connection) = &self.connection {
            // Fails only on a broken connection; `next` then sends all again.
            let _ = connection.requests.try_send(request.clone());
        }
        self.pending.push_back(Chunk { tag, request });
    }

    /// Says that no chunk follows.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// The next acknowledgement, in the order of the chunks; `None` when none
    /// is due. A broken connection is made again, a bounded number of times.
    /// May be dropped and called again without losing an acknowledgement.
    ///
    /// # Errors
    /// The server refused the import, stayed away, or gave an answer that
    /// cannot be right.
    pub async fn next(&mut self) -> Result<Option<Acknowledged<T>>, ClientError> {
        while self.is_waiting() {
            match self.exchange().await {
                Ok(response) => {
                    self.failures = 0;
                    return self.acknowledge(response).map(Some);
                }
                Err(error) => {
                    self.connection = None;
                    self.failures += 1;
                    if self.failures >= MAX_ATTEMPTS || !error.may_succeed_later() {
                        return Err(error);
                    }
                }
            }
        }
        if self.closed
            && let Some(connection) = self.connection.take()
        {
            // Half-close and let the server end the stream, rather than reset
            // it. Everything is acknowledged, so how it ends changes nothing.
            let Connection { requests, mut responses, .. } = connection;
            drop(requests);
            let _ = responses.message().await;
        }
        Ok(None)
    }

    /// Waits for one message of the server, on a new connection if need be.
    async fn exchange(&mut self) -> Result<ImportResponse, ClientError> {
        if self.connection.is_none() {
            tokio::time::sleep(pause(self.failures)).await;
        }
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(reconnect(&self.client, &self.pending, self.in_flight).await?),
        };
        let response = connection.responses.message().await?;
        response.ok_or_else(|| {
            tonic::Status::unavailable("the import stream ended before its acknowledgements").into()
        })
    }

    fn acknowledge(&mut self, response: ImportResponse) -> Result<Acknowledged<T>, ClientError> {
        let (Some(connection), Some(chunk)) = (&mut self.connection, self.pending.pop_front())
        else {
            return Err(mismatch());
        };
        let (first, length) = (connection.done, chunk.request.items.len() as u64);
        let total = Counts::of(&response);
        let counts = total.since(&connection.counts).ok_or_else(mismatch)?;
        let mut rejections = response.rejections;
        for item in &mut rejections {
            item.index = item.index.checked_sub(first).ok_or_else(mismatch)?;
        }
        if response.done != first + length
            || total.total() != Some(response.done)
            || counts.rejected != rejections.len() as u64
            || rejections.iter().any(|item| item.index >= length)
        {
            return Err(mismatch());
        }
        connection.done = response.done;
        connection.counts = total;
        Ok(Acknowledged { tag: chunk.tag, counts, rejections, revision: response.revision })
    }
}

/// Opens a stream and queues every chunk without an acknowledgement on it.
async fn reconnect<T>(
    client: &Client,
    pending: &VecDeque<Chunk<T>>,
    in_flight: usize,
) -> Result<Connection, ClientError> {
    let (requests, outgoing) = mpsc::channel(in_flight);
    let responses =
        client.consent_service().import(ReceiverStream::new(outgoing)).await?.into_inner();
    // Only once the stream stands: a call that is dropped half-way has then
    // sent nothing that would come back as a duplicate.
    for chunk in pending {
        let _ = requests.try_send(chunk.request.clone());
    }
    Ok(Connection { requests, responses, done: 0, counts: Counts::default() })
}

/// How long to wait before attempt `failures`; the first is made at once.
fn pause(failures: u32) -> Duration {
    match failures.checked_sub(1) {
        None => Duration::ZERO,
        Some(doublings) => {
            FIRST_PAUSE.saturating_mul(1 << doublings.min(MAX_ATTEMPTS)).min(LONGEST_PAUSE)
        }
    }
}

fn mismatch() -> ClientError {
    ClientError::Contract("an acknowledgement does not match its chunk".to_owned())
}
