//! The writer's thread, its queue, and the handle that others submit through.

use std::{
    io,
    sync::{
        Arc,
        atomic::AtomicBool,
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::{
    books::Books,
    erasure::{Erased, Erasure},
    item::Item,
    measures::Measures,
    outcome::{Committed, PolicyChange, WriteError},
    policy::PolicyProposal,
    publish::Published,
    rectify::{Rectification, Rectified},
    repair::Damage,
    replay::ReplayedErasure,
    scrub::{Scrub, Scrubbed},
    search::Search,
    work::Work,
};
use crate::{
    caps,
    domain::event::Change,
    ending::Ending,
    memory::Memory,
    metrics::Histogram,
    store::{Loss, Store},
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

/// How long a submitter waits for room in the queue.
const PATIENCE: Duration = Duration::from_secs(5);
/// How soon a full queue is tried again by who only wants to know that it moves.
const PING_AGAIN: Duration = Duration::from_millis(100);
/// What the writer is asked to do.
pub(super) enum Task {
    Changes(Vec<Item>, Reply<Committed>, OwnedSemaphorePermit),
    Policy(PolicyProposal, Reply<PolicyChange>),
    Erase(Vec<Erasure>, Reply<Vec<Erased>>),
    Rectify(Rectification, Reply<Rectified>),
    Trial(Vec<Item>, Reply<Committed>, OwnedSemaphorePermit),
    Checkpoint(Reply<u64>),
    Repair(Damage, oneshot::Sender<()>),
    AcceptRestore(Loss, Reply<u64>),
    Replay(Vec<ReplayedErasure>, Search, Reply<(Committed, Search)>),
    /// Nothing but an answer.
    Ping(Reply<()>),
    /// The end, with a checkpoint unless this turns true.
    Stop(Arc<AtomicBool>),
}

pub(super) type Reply<T> = oneshot::Sender<Result<T, WriteError>>;

/// Submits writes. Cheap to clone.
#[derive(Clone)]
pub struct WriterHandle {
    queue: SyncSender<Task>,
    room: Arc<Semaphore>,
    limits: Limits,
    measures: Arc<Measures>,
    pub(super) store: Arc<Store>,
    memory: Arc<Memory>,
    /// Held by the purge that runs, or by the backup: a backup keeps the files
    /// that a purge promises to remove.
    pub(super) files: Arc<Mutex<()>>,
    /// Held by the search that runs.
    pub(super) searches: Arc<Mutex<()>>,
    scrubbed: Arc<Scrubbed>,
}

/// The running writer. Dropped, it ends as if stopped: a process that goes on
/// to exit must not do so while the store is being closed.
pub struct Writer {
    handle: WriterHandle,
    thread: Option<JoinHandle<Result<(), WriteError>>>,
    scrub: Option<Scrub>,
    /// Turns true when the writer or its scrub has failed or ended.
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
        let measures = Arc::new(Measures::since(&books.pages.saved));
        let store = Arc::clone(&books.store);
        let scrubbed = Arc::clone(&books.scrubbed);
        // Without a scrub, what memory damages would be answered from (A1).
        let scrub = Scrub::start(
            Arc::clone(&published),
            queue.clone(),
            Arc::clone(&scrubbed),
            Ending(ending.clone()),
        )?;
        let mut work = Work::new(books, published, tasks, limits, Arc::clone(&measures));
        let thread = thread::Builder::new().name("writer".to_owned()).spawn(move || {
            // The server must not go on without its writer (A10).
            let _ending = Ending(ending);
            work.run().inspect_err(|error| tracing::error!(%error, "the writer stopped"))
        })?;
        let room = Arc::new(Semaphore::new(limits.queued_changes));
        let memory = Arc::new(Memory::of_this_process());
        let handle = WriterHandle {
            queue,
            room,
            limits,
            measures,
            store,
            memory,
            files: Arc::default(),
            searches: Arc::default(),
            scrubbed,
        };
        Ok(Self { handle, thread: Some(thread), scrub: Some(scrub), ended })
    }

    /// A handle to submit through.
    #[must_use]
    pub fn handle(&self) -> WriterHandle {
        self.handle.clone()
    }

    /// Turns true once the writer or its scrub has failed or ended.
    pub fn ended(&self) -> watch::Receiver<bool> {
        self.ended.clone()
    }

    /// Finishes what is queued, writes a checkpoint, and ends. Once `is_hurried`
    /// turns true, the checkpoint is left as it is: the next start takes longer,
    /// and nothing else is lost.
    ///
    /// # Errors
    /// A write failed, now or before; or the writer panicked.
    pub fn stop(mut self, is_hurried: Arc<AtomicBool>) -> Result<(), WriteError> {
        self.end(is_hurried)
    }

    fn end(&mut self, is_hurried: Arc<AtomicBool>) -> Result<(), WriteError> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        // While there is a writer to answer it.
        drop(self.scrub.take());
        // A full queue means a busy writer; sending waits for room. An error
        // means that it has ended already.
        drop(self.handle.queue.send(Task::Stop(is_hurried)));
        thread.join().unwrap_or_else(|_| {
            tracing::error!("the writer panicked");
            Err(WriteError::OutcomeUnknown)
        })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // What went wrong is in the log; nobody is left to tell.
        drop(self.end(Arc::default()));
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
        let items = self.items(changes);
        self.send(|reply| Task::Changes(items, reply, permit))
    }

    /// As [`enqueue`](Self::enqueue), to learn what would become of the
    /// changes; nothing is recorded.
    ///
    /// # Errors
    /// As for [`enqueue`](Self::enqueue).
    pub async fn enqueue_trial(&self, changes: Vec<Change>) -> Result<Enqueued, WriteError> {
        let permit = self.permit(&changes).await?;
        let items = self.items(changes);
        self.send(|reply| Task::Trial(items, reply, permit))
    }

    /// Replays erasures of a former epoch, one commit each, with the search for
    /// their contacts, which comes back for more of them.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn replay(
        &self,
        erasures: Vec<ReplayedErasure>,
        search: Search,
    ) -> Result<(Committed, Search), WriteError> {
        self.ask(|reply| Task::Replay(erasures, search, reply)).await
    }

    fn items(&self, changes: Vec<Change>) -> Vec<Item> {
        let secret = self.store.secret();
        changes.into_iter().map(|change| Item::new(secret, change)).collect()
    }

    /// Waits a while for room in the queue.
    async fn permit(&self, changes: &[Change]) -> Result<OwnedSemaphorePermit, WriteError> {
        self.check_memory(changes).await?;
        let weight = changes.len().clamp(1, self.limits.queued_changes);
        let weight = u32::try_from(weight).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(weight);
        match tokio::time::timeout(PATIENCE, room).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(self.measures.refused(WriteError::Busy)),
        }
    }

    /// Refuses changes that what is left of the memory may not hold: an
    /// allocation that fails would end the process. Opt-outs are taken longer.
    async fn check_memory(&self, changes: &[Change]) -> Result<(), WriteError> {
        let suppresses = changes.iter().all(Change::only_suppresses);
        let reserve = if suppresses { caps::MEMORY_RESERVE / 2 } else { caps::MEMORY_RESERVE };
        let is_short = || self.memory.left().is_some_and(|left| left < reserve);
        if is_short() {
            let memory = Arc::clone(&self.memory);
            let give_back = move || memory.give_back(caps::MEMORY_GIVEN_BACK);
            // Without it the memory is as short as before.
            drop(tokio::task::spawn_blocking(give_back).await);
            if is_short() {
                return Err(self.measures.refused(WriteError::Memory));
            }
        }
        Ok(())
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

    /// Decides on what a restored store has lost: it serves from then on.
    /// Returns the revision as of which it does.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn accept_restore(&self, loss: Loss) -> Result<u64, WriteError> {
        self.ask(|reply| Task::AcceptRestore(loss, reply)).await
    }

    /// Returns once the writer has come to it: it is alive and not stuck. Waits
    /// for a place in the queue, and is no write that would be refused without.
    ///
    /// # Errors
    /// [`WriteError`]: it has ended.
    pub async fn ping(&self) -> Result<(), WriteError> {
        loop {
            let (reply, answer) = oneshot::channel();
            match self.queue.try_send(Task::Ping(reply)) {
                Ok(()) => return Enqueued(answer).outcome().await,
                Err(TrySendError::Full(_)) => tokio::time::sleep(PING_AGAIN).await,
                Err(TrySendError::Disconnected(_)) => return Err(WriteError::Stopped),
            }
        }
    }

    /// What the writer has done so far.
    #[must_use]
    pub fn measures(&self) -> &Measures {
        &self.measures
    }

    /// How long the ledger took to make each commit durable.
    #[must_use]
    pub fn syncs(&self) -> &Histogram {
        self.store.syncs()
    }

    /// What the scrub has done so far.
    #[must_use]
    pub fn scrubbed(&self) -> &Scrubbed {
        &self.scrubbed
    }

    /// Changes waiting now.
    #[must_use]
    pub fn queued(&self) -> u64 {
        self.limits.queued_changes.saturating_sub(self.room.available_permits()) as u64
    }

    /// Bytes of memory that the process may still take; `None` where nothing
    /// is bounded.
    #[must_use]
    pub fn memory_left(&self) -> Option<u64> {
        self.memory.left()
    }

    /// Changes that may wait.
    #[must_use]
    pub fn queue_capacity(&self) -> u64 {
        self.limits.queued_changes as u64
    }

    async fn ask<T>(&self, task: impl FnOnce(Reply<T>) -> Task) -> Result<T, WriteError> {
        self.send(task)?.outcome().await
    }

    fn send<T>(&self, task: impl FnOnce(Reply<T>) -> Task) -> Result<Enqueued<T>, WriteError> {
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(task(reply)).map_err(|error| {
            self.measures.refused(match error {
                TrySendError::Full(_) => WriteError::Busy,
                TrySendError::Disconnected(_) => WriteError::Stopped,
            })
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
