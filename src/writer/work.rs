//! The writer's loop: take a task, do it, answer, and keep time meanwhile.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use rand::rngs::StdRng;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    books::Books,
    checkpoint::SLICE_BYTES,
    erasure::{Erased, Erasure},
    handle::{Limits, Reply, Task},
    item::Item,
    measures::Measures,
    outcome::{Committed, PolicyChange, WriteError},
    policy::PolicyProposal,
    publish::Published,
    rectify::{Rectification, Rectified},
    repair::Damage,
    replay::ReplayedErasure,
    search::Search,
};
use crate::traces;

/// How long the writer sleeps at most: ends take effect within a second (R6),
/// and answers say a time that is close.
const TICK: Duration = Duration::from_millis(200);
/// Events after which a checkpoint bounds the work of the next start.
const CHECKPOINT_EVENTS: u64 = 2_000_000;
/// Time after which a checkpoint is written.
const CHECKPOINT_AGE: Duration = Duration::from_secs(60);
/// How many times as long as the last one took its successor waits: a
/// twentieth of the writer's time at most goes into checkpoints.
const CHECKPOINT_REST: u32 = 20;
/// How long a group waits for as many tasks as the last one had: one sync for
/// several callers costs the filters less than one for each. A caller who comes
/// alone waits only right after a group.
const GATHER: Duration = Duration::from_millis(6);
/// Time between two slices of a checkpoint: who waits for a commit waits for
/// one slice at most, and for most commits there is none.
const SLICE_EVERY: Duration = Duration::from_millis(10);

/// The writer at work, on its own thread.
pub(super) struct Work {
    books: Books,
    published: Arc<Published>,
    tasks: Receiver<Task>,
    limits: Limits,
    salts: StdRng,
    measures: Arc<Measures>,
    checkpointed: Instant,
    /// What the slices of the last checkpoint, or of the one being written,
    /// took together.
    slices_took: Duration,
    sliced: Instant,
    ticked: Instant,
    /// The tasks of the last group: so many callers come side by side.
    side_by_side: usize,
}

impl Work {
    /// The writer of these books, at the receiving end of its queue.
    pub fn new(
        books: Books,
        published: Arc<Published>,
        tasks: Receiver<Task>,
        limits: Limits,
        measures: Arc<Measures>,
    ) -> Self {
        Self {
            books,
            published,
            tasks,
            limits,
            salts: rand::make_rng(),
            measures,
            checkpointed: Instant::now(),
            slices_took: Duration::ZERO,
            sliced: Instant::now(),
            ticked: Instant::now(),
            side_by_side: 1,
        }
    }

    /// Works until it is told to stop, or a write fails (A10).
    pub fn run(&mut self) -> Result<(), WriteError> {
        loop {
            let to_prepare = self.books.due.is_behind(self.books.view.now, self.books.next_end);
            let patience = match () {
                () if to_prepare => Duration::ZERO,
                () if self.books.pages.is_being_written() => {
                    SLICE_EVERY.saturating_sub(self.sliced.elapsed())
                }
                () => TICK,
            };
            let task = match self.tasks.recv_timeout(patience) {
                Ok(task) => task,
                Err(RecvTimeoutError::Timeout) => {
                    self.keep_time(to_prepare)?;
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => Task::Stop(Arc::default()),
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
                        let outcome = self.books.try_out(changes, &mut self.salts);
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
                    Task::Repair(damage, done) => {
                        self.repair(damage)?;
                        // A scrub that was told to stop does not wait.
                        let _ = done.send(());
                    }
                    Task::Replay(erasures, mut search, reply) => {
                        let outcome = self.replay(&erasures, &mut search);
                        let outcome = outcome.map(|committed| (committed, search));
                        answer(reply, outcome)?;
                    }
                    Task::AcceptRestore(loss, reply) => {
                        let outcome = self.books.accept_restore(loss, &self.published);
                        answer(reply, outcome)?;
                    }
                    Task::Ping(reply) => answer(reply, Ok(()))?,
                    Task::Stop(is_hurried) => return self.end(&is_hurried),
                }
            }
        }
    }

    /// Commits the changes of this task and of those waiting behind it; returns
    /// the task that ended the group, if one did.
    fn group(
        &mut self,
        mut changes: Vec<Item>,
        reply: Reply<Committed>,
        permit: OwnedSemaphorePermit,
    ) -> Result<Option<Task>, WriteError> {
        let mut replies = vec![(changes.len(), reply)];
        let mut permits = vec![permit];
        let mut other = None;
        let begun = Instant::now();
        while changes.len() < self.limits.group_changes {
            let is_short = replies.len() < self.side_by_side;
            let patience = if is_short { GATHER } else { Duration::ZERO };
            match self.tasks.recv_timeout(patience.saturating_sub(begun.elapsed())) {
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
        self.side_by_side = replies.len();
        let commit = traces::commit(changes.len());
        match self.books.commit(changes, &mut self.salts) {
            Ok(committed) => {
                traces::record(&commit, "revision", committed.revision);
                self.books.publish(&self.published);
                self.measures.committed(&committed.outcomes, begun);
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
        Ok(other)
    }

    fn erase(&mut self, erasures: &[Erasure]) -> Result<Vec<Erased>, WriteError> {
        // Each erasure is one commit with its checkpoint, which should not have
        // to hold everybody else's pages too.
        self.write_checkpoint()?;
        let mut done = Vec::with_capacity(erasures.len());
        for erasure in erasures {
            let (begun, commit) = (Instant::now(), traces::commit(1));
            done.push(self.books.erase(erasure, &mut self.salts)?);
            traces::record(&commit, "revision", self.books.tip.revision);
            self.books.publish(&self.published);
            self.checkpointed(begun.elapsed());
        }
        Ok(done)
    }

    fn repair(&mut self, damage: Damage) -> Result<(), WriteError> {
        self.books.repair(damage)?;
        self.books.publish(&self.published);
        Ok(())
    }

    fn replay(
        &mut self,
        erasures: &[ReplayedErasure],
        search: &mut Search,
    ) -> Result<Committed, WriteError> {
        // As for erasures: each is one commit with its checkpoint.
        self.write_checkpoint()?;
        let (begun, commit) = (Instant::now(), traces::commit(erasures.len()));
        let published = Arc::clone(&self.published);
        let salts = &mut self.salts;
        let replayed = self.books.replay_erasures(erasures, search, salts, &published)?;
        traces::record(&commit, "revision", replayed.revision);
        self.checkpointed(begun.elapsed());
        Ok(replayed)
    }

    fn rectify(&mut self, rectification: &Rectification) -> Result<Rectified, WriteError> {
        let commit = traces::commit(1);
        let rectified = self.books.rectify(rectification, &mut self.salts)?;
        traces::record(&commit, "revision", self.books.tip.revision);
        self.books.publish(&self.published);
        Ok(rectified)
    }

    fn policy(&mut self, proposal: &PolicyProposal) -> Result<PolicyChange, WriteError> {
        let (revision, commit) = (self.books.tip.revision, traces::commit(1));
        let change = self.books.apply_policy(proposal, &mut self.salts)?;
        if self.books.tip.revision != revision {
            traces::record(&commit, "revision", self.books.tip.revision);
            self.books.publish(&self.published);
            // A start before the next checkpoint would derive all planes anew.
            self.begin_checkpoint();
        }
        Ok(change)
    }

    /// Prepares a slice of the coming ends, applies what is due, and writes a
    /// slice of the checkpoint.
    fn keep_time(&mut self, to_prepare: bool) -> Result<(), WriteError> {
        if to_prepare {
            self.books.prepare_ends()?;
        }
        if self.ticked.elapsed() >= TICK {
            self.ticked = Instant::now();
            self.tick()?;
        }
        if self.books.pages.is_being_written() && self.sliced.elapsed() >= SLICE_EVERY {
            self.write_slice()?;
        }
        Ok(())
    }

    fn tick(&mut self) -> Result<(), WriteError> {
        self.books.advance()?;
        self.books.store.check()?;
        self.books.retain(&mut self.salts)?;
        self.books.publish(&self.published);
        let behind = self.books.tip.revision - self.books.pages.saved.revision;
        let rest = CHECKPOINT_AGE.max(self.slices_took * CHECKPOINT_REST);
        let is_due =
            behind >= CHECKPOINT_EVENTS || (behind > 0 && self.checkpointed.elapsed() >= rest);
        if is_due && !self.books.pages.is_being_written() {
            self.begin_checkpoint();
        }
        Ok(())
    }

    fn begin_checkpoint(&mut self) {
        self.books.begin_checkpoint();
        self.slices_took = Duration::ZERO;
    }

    fn write_slice(&mut self) -> Result<(), WriteError> {
        let begun = Instant::now();
        self.books.mend_next()?;
        self.books.checkpoint_slice(SLICE_BYTES)?;
        if !self.books.mended.is_empty() {
            self.books.publish(&self.published);
        }
        self.sliced = Instant::now();
        self.slices_took += self.sliced - begun;
        if !self.books.pages.is_being_written() {
            self.checkpointed(self.slices_took);
        }
        Ok(())
    }

    /// Writes a checkpoint and settles the store, while there is time for it.
    fn end(&mut self, is_hurried: &AtomicBool) -> Result<(), WriteError> {
        self.begin_checkpoint();
        while self.books.pages.is_being_written() {
            if is_hurried.load(Ordering::Relaxed) {
                tracing::warn!("stopping without a checkpoint: the next start reads more events");
                break;
            }
            self.write_slice()?;
        }
        if !is_hurried.load(Ordering::Relaxed) {
            self.books.store.settle()?;
        }
        // A purge that nobody waits for any more.
        self.books.store.end_background_work();
        Ok(())
    }

    /// Writes a whole checkpoint at once.
    fn write_checkpoint(&mut self) -> Result<u64, WriteError> {
        let begun = Instant::now();
        let revision = self.books.checkpoint()?;
        self.checkpointed(begun.elapsed());
        Ok(revision)
    }

    fn checkpointed(&mut self, took: Duration) {
        let now = self.books.clock.now();
        self.measures.checkpointed(&self.books.pages.saved, now, took);
        self.checkpointed = Instant::now();
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
