//! The writer's loop: take a task, do it, answer, and keep time meanwhile.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use rand::rngs::StdRng;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    books::Books,
    erasure::{Erased, Erasure},
    handle::{Limits, Reply, Task},
    outcome::{Committed, PolicyChange, WriteError},
    policy::PolicyProposal,
    publish::Published,
    rectify::{Rectification, Rectified},
};
use crate::domain::event::Change;

/// How long the writer sleeps at most: ends take effect within a second (R6),
/// and answers say a time that is close.
const TICK: Duration = Duration::from_millis(200);
/// Events after which a checkpoint bounds the work of the next start.
const CHECKPOINT_EVENTS: u64 = 2_000_000;
/// Time after which a checkpoint is written once the queue is empty.
const CHECKPOINT_AGE: Duration = Duration::from_secs(60);

/// The writer at work, on its own thread.
pub(super) struct Work {
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
    /// The writer of these books, at the receiving end of its queue.
    pub fn new(
        books: Books,
        published: Arc<Published>,
        tasks: Receiver<Task>,
        limits: Limits,
        checkpoint: Arc<AtomicU64>,
    ) -> Self {
        Self {
            books,
            published,
            tasks,
            limits,
            salts: rand::make_rng(),
            checkpoint,
            checkpointed: Instant::now(),
            ticked: Instant::now(),
        }
    }

    /// Works until it is told to stop, or a write fails (A10).
    pub fn run(&mut self) -> Result<(), WriteError> {
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
