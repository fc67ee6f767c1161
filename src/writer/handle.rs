//! The writer's thread, its queue, and the handle that others submit through.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rand::rngs::StdRng;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::{
    books::Books,
    erasure::{Erased, Erasure},
    outcome::{Committed, PolicyChange, WriteError},
    policy::PolicyProposal,
    publish::Published,
    rectify::{Rectification, Rectified},
};
use crate::{
    domain::event::Change,
    store::{Purged, Store, StoreError},
};

/// How much the writer takes at once.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Tasks in the queue.
    pub queued_tasks: usize,
    /// Changes in the queue, all tasks together.
    pub queued_changes: usize,
    /// Changes committed together, unless one task alone has more.
    pub group_changes: usize,
}

/// How long the writer sleeps at most: ends take effect within a second (R6),
/// and answers say a time that is close.
const TICK: Duration = Duration::from_millis(200);
/// How long a submitter waits for room in the queue.
const PATIENCE: Duration = Duration::from_secs(5);
/// Events after which a checkpoint bounds the work of the next start.
const CHECKPOINT_EVENTS: u64 = 2_000_000;
/// Time after which a checkpoint is written once the queue is empty.
const CHECKPOINT_AGE: Duration = Duration::from_secs(60);

enum Task {
    Changes(Vec<Change>, Reply<Committed>, OwnedSemaphorePermit),
    Policy(PolicyProposal, Reply<PolicyChange>),
    Erase(Vec<Erasure>, Reply<Vec<Erased>>),
    Rectify(Rectification, Reply<Rectified>),
    Trial(Vec<Change>, Reply<Committed>, OwnedSemaphorePermit),
    Checkpoint(Reply<u64>),
    Stop,
}

type Reply<T> = oneshot::Sender<Result<T, WriteError>>;

/// Submits writes. Cheap to clone.
#[derive(Clone)]
pub struct WriterHandle {
    queue: SyncSender<Task>,
    room: Arc<Semaphore>,
    limits: Limits,
    /// The revision of the last checkpoint.
    checkpoint: Arc<AtomicU64>,
    store: Arc<Store>,
    /// Held by the purge that runs.
    purging: Arc<Mutex<()>>,
}

/// The running writer. Dropped, it ends as if stopped: a process that goes on
/// to exit must not do so while the store is being closed.
pub struct Writer {
    handle: WriterHandle,
    thread: Option<JoinHandle<Result<(), WriteError>>>,
    /// Turns true when the writer has failed or ended.
    ended: watch::Receiver<bool>,
}

impl Writer {
    /// Starts the writer on its books.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(books: Books, published: Arc<Published>, limits: Limits) -> io::Result<Self> {
        let (queue, tasks) = sync_channel(limits.queued_tasks);
        let (ending, ended) = watch::channel(false);
        let checkpoint = Arc::new(AtomicU64::new(books.pages.revision));
        let store = Arc::clone(&books.store);
        let mut work = Work {
            books,
            published,
            tasks,
            limits,
            salts: rand::make_rng(),
            checkpoint: Arc::clone(&checkpoint),
            checkpointed: Instant::now(),
            ticked: Instant::now(),
        };
        let thread = thread::Builder::new().name("writer".to_owned()).spawn(move || {
            // Told however the thread ends, by a panic too: the server must
            // not go on without its writer (A10).
            let _ending = Ending(ending);
            work.run().inspect_err(|error| tracing::error!(%error, "the writer stopped"))
        })?;
        let room = Arc::new(Semaphore::new(limits.queued_changes));
        let purging = Arc::default();
        let handle = WriterHandle { queue, room, limits, checkpoint, store, purging };
        Ok(Self { handle, thread: Some(thread), ended })
    }

    /// A handle to submit through.
    #[must_use]
    pub fn handle(&self) -> WriterHandle {
        self.handle.clone()
    }

    /// Waits until the writer has failed or ended.
    pub fn ended(&self) -> watch::Receiver<bool> {
        self.ended.clone()
    }

    /// Finishes what is queued, writes a checkpoint, and ends.
    ///
    /// # Errors
    /// A write failed, now or before; or the writer panicked.
    pub fn stop(mut self) -> Result<(), WriteError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), WriteError> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        // A full queue means a busy writer; sending waits for room. An error
        // means that it has ended already.
        drop(self.handle.queue.send(Task::Stop));
        thread.join().unwrap_or_else(|_| {
            tracing::error!("the writer panicked");
            Err(WriteError::OutcomeUnknown)
        })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // What went wrong is in the log; nobody is left to tell.
        drop(self.end());
    }
}

struct Ending(watch::Sender<bool>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

impl WriterHandle {
    /// Submits changes; returns once they are durable and visible.
    ///
    /// # Errors
    /// [`WriteError`]: busy and stopped mean that nothing happened.
    pub async fn submit(&self, changes: Vec<Change>) -> Result<Committed, WriteError> {
        self.enqueue(changes).await?.outcome().await
    }

    /// Puts changes in the queue, waiting a while for room; their outcome comes
    /// later. Changes enqueued one after the other are committed in that order.
    ///
    /// # Errors
    /// [`WriteError::Busy`] and [`WriteError::Stopped`]: nothing happened.
    pub async fn enqueue(&self, changes: Vec<Change>) -> Result<Enqueued, WriteError> {
        let permit = self.permit(&changes).await?;
        self.send(|reply| Task::Changes(changes, reply, permit))
    }

    /// As [`enqueue`](Self::enqueue), to learn what would become of the
    /// changes; nothing is recorded.
    ///
    /// # Errors
    /// As for [`enqueue`](Self::enqueue).
    pub async fn enqueue_trial(&self, changes: Vec<Change>) -> Result<Enqueued, WriteError> {
        let permit = self.permit(&changes).await?;
        self.send(|reply| Task::Trial(changes, reply, permit))
    }

    /// Waits a while for room in the queue.
    async fn permit(&self, changes: &[Change]) -> Result<OwnedSemaphorePermit, WriteError> {
        let weight = changes.len().clamp(1, self.limits.queued_changes);
        let weight = u32::try_from(weight).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(weight);
        match tokio::time::timeout(PATIENCE, room).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(WriteError::Busy),
        }
    }

    /// Applies a policy.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn apply_policy(&self, proposal: PolicyProposal) -> Result<PolicyChange, WriteError> {
        self.ask(|reply| Task::Policy(proposal, reply)).await
    }

    /// Erases contacts, one commit each; returns what each erasure did.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn erase(&self, erasures: Vec<Erasure>) -> Result<Vec<Erased>, WriteError> {
        self.ask(|reply| Task::Erase(erasures, reply)).await
    }

    /// Moves a contact to its right address.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn rectify(&self, rectification: Rectification) -> Result<Rectified, WriteError> {
        self.ask(|reply| Task::Rectify(rectification, reply)).await
    }

    /// Writes a checkpoint; returns its revision.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn checkpoint(&self) -> Result<u64, WriteError> {
        self.ask(Task::Checkpoint).await
    }

    /// Rewrites the store's files without what was erased. It runs beside the
    /// writer, which goes on.
    ///
    /// # Errors
    /// A file could not be written or removed; nothing is promised then.
    pub async fn purge(&self) -> Result<Purged, StoreError> {
        let Ok(one_at_a_time) = Arc::clone(&self.purging).try_lock_owned() else {
            return Ok(Purged::InUse);
        };
        let store = Arc::clone(&self.store);
        let purge = move || {
            let _one_at_a_time = one_at_a_time;
            store.purge()
        };
        let purged = tokio::task::spawn_blocking(purge).await;
        purged.unwrap_or_else(|error| Err(StoreError::refused(error.to_string())))
    }

    /// The revision of the last checkpoint.
    #[must_use]
    pub fn checkpoint_revision(&self) -> u64 {
        self.checkpoint.load(Ordering::Relaxed)
    }

    /// Changes waiting now.
    #[must_use]
    pub fn queued(&self) -> u64 {
        self.limits.queued_changes.saturating_sub(self.room.available_permits()) as u64
    }

    async fn ask<T>(&self, task: impl FnOnce(Reply<T>) -> Task) -> Result<T, WriteError> {
        self.send(task)?.outcome().await
    }

    fn send<T>(&self, task: impl FnOnce(Reply<T>) -> Task) -> Result<Enqueued<T>, WriteError> {
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(task(reply)).map_err(|error| match error {
            TrySendError::Full(_) => WriteError::Busy,
            TrySendError::Disconnected(_) => WriteError::Stopped,
        })?;
        Ok(Enqueued(answer))
    }
}

/// A task that the writer has, or will take.
pub struct Enqueued<T = Committed>(oneshot::Receiver<Result<T, WriteError>>);

impl<T> Enqueued<T> {
    /// Waits for the outcome.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn outcome(self) -> Result<T, WriteError> {
        // A writer that ended with the task in hand leaves no answer.
        self.0.await.unwrap_or(Err(WriteError::OutcomeUnknown))
    }
}

struct Work {
    books: Books,
    published: Arc<Published>,
    tasks: Receiver<Task>,
    limits: Limits,
    salts: StdRng,
    checkpoint: Arc<AtomicU64>,
    checkpointed: Instant,
    ticked: Instant,
}

impl Work {
    fn run(&mut self) -> Result<(), WriteError> {
        loop {
            let to_prepare = self.books.due.is_behind(self.books.view.now, self.books.next_end);
            let patience = if to_prepare { Duration::ZERO } else { TICK };
            let task = match self.tasks.recv_timeout(patience) {
                Ok(task) => task,
                Err(RecvTimeoutError::Timeout) => {
                    self.keep_time(to_prepare)?;
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => Task::Stop,
            };
            // Under load too: a queue that is never empty must not hold time up.
            self.keep_time(to_prepare)?;
            let mut next = Some(task);
            while let Some(task) = next.take() {
                match task {
                    Task::Changes(changes, reply, permit) => {
                        next = self.group(changes, reply, permit)?;
                    }
                    Task::Trial(changes, reply, _permit) => {
                        let outcome = self.books.try_out(&changes, &mut self.salts);
                        answer(reply, outcome)?;
                    }
                    Task::Policy(proposal, reply) => {
                        let outcome = self.policy(&proposal);
                        answer(reply, outcome)?;
                    }
                    Task::Erase(erasures, reply) => {
                        let outcome = self.erase(&erasures);
                        answer(reply, outcome)?;
                    }
                    Task::Rectify(rectification, reply) => {
                        let outcome = self.rectify(&rectification);
                        answer(reply, outcome)?;
                    }
                    Task::Checkpoint(reply) => {
                        let outcome = self.write_checkpoint();
                        answer(reply, outcome)?;
                    }
                    Task::Stop => {
                        self.write_checkpoint()?;
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Commits the changes of this task and of those waiting behind it; returns
    /// the task that ended the group, if one did.
    fn group(
        &mut self,
        mut changes: Vec<Change>,
        reply: Reply<Committed>,
        permit: OwnedSemaphorePermit,
    ) -> Result<Option<Task>, WriteError> {
        let mut replies = vec![(changes.len(), reply)];
        let mut permits = vec![permit];
        let mut other = None;
        while changes.len() < self.limits.group_changes {
            match self.tasks.try_recv() {
                Ok(Task::Changes(more, reply, permit)) => {
                    replies.push((more.len(), reply));
                    changes.extend(more);
                    permits.push(permit);
                }
                Ok(task) => {
                    other = Some(task);
                    break;
                }
                Err(_) => break,
            }
        }
        match self.books.commit(&changes, &mut self.salts) {
            Ok(committed) => {
                self.books.publish(&self.published);
                let mut outcomes = committed.outcomes.into_iter();
                for (count, reply) in replies {
                    let outcomes = outcomes.by_ref().take(count).collect();
                    // A caller that has gone away needs no answer.
                    drop(reply.send(Ok(Committed { outcomes, revision: committed.revision })));
                }
            }
            Err(error) => {
                for (_, reply) in replies {
                    drop(reply.send(Err(error.clone())));
                }
                return Err(error);
            }
        }
        drop(permits);
        if self.books.tip.revision - self.books.pages.revision >= CHECKPOINT_EVENTS {
            self.write_checkpoint()?;
        }
        Ok(other)
    }

    fn erase(&mut self, erasures: &[Erasure]) -> Result<Vec<Erased>, WriteError> {
        let mut done = Vec::with_capacity(erasures.len());
        for erasure in erasures {
            done.push(self.books.erase(erasure, &mut self.salts)?);
            self.books.publish(&self.published);
            // Each erasure is a checkpoint too.
            self.checkpoint.store(self.books.pages.revision, Ordering::Relaxed);
            self.checkpointed = Instant::now();
        }
        Ok(done)
    }

    fn rectify(&mut self, rectification: &Rectification) -> Result<Rectified, WriteError> {
        let rectified = self.books.rectify(rectification, &mut self.salts)?;
        self.books.publish(&self.published);
        Ok(rectified)
    }

    fn policy(&mut self, proposal: &PolicyProposal) -> Result<PolicyChange, WriteError> {
        let revision = self.books.tip.revision;
        let change = self.books.apply_policy(proposal, &mut self.salts)?;
        if self.books.tip.revision != revision {
            self.books.publish(&self.published);
            // A start before the next checkpoint would derive all planes anew.
            self.write_checkpoint()?;
        }
        Ok(change)
    }

    /// Prepares a slice of the coming ends, and applies what is due.
    fn keep_time(&mut self, to_prepare: bool) -> Result<(), WriteError> {
        if to_prepare {
            self.books.prepare_ends()?;
        }
        if self.ticked.elapsed() >= TICK {
            self.ticked = Instant::now();
            self.tick()?;
        }
        Ok(())
    }

    fn tick(&mut self) -> Result<(), WriteError> {
        self.books.advance()?;
        self.books.store.check()?;
        self.books.retain(&mut self.salts)?;
        self.books.publish(&self.published);
        let is_behind = self.books.tip.revision != self.books.pages.revision;
        if is_behind && self.checkpointed.elapsed() >= CHECKPOINT_AGE {
            self.write_checkpoint()?;
        }
        Ok(())
    }

    fn write_checkpoint(&mut self) -> Result<u64, WriteError> {
        let revision = self.books.checkpoint()?;
        self.checkpoint.store(revision, Ordering::Relaxed);
        self.checkpointed = Instant::now();
        Ok(revision)
    }
}

/// Answers, and passes on an error that ends the writer.
fn answer<T>(reply: Reply<T>, outcome: Result<T, WriteError>) -> Result<(), WriteError> {
    let fatal = match &outcome {
        Err(WriteError::OutcomeUnknown) => Err(WriteError::OutcomeUnknown),
        _ => Ok(()),
    };
    drop(reply.send(outcome));
    fatal
}
