//! What the writer has done since the start, for others to read while it works.

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use super::{
    checkpoint::Saved,
    outcome::{Outcome, WriteError},
};
use crate::metrics::Histogram;

/// Counts and times of one writer.
#[derive(Debug)]
pub struct Measures {
    outcomes: [AtomicU64; OUTCOMES.len()],
    refusals: [AtomicU64; REFUSALS.len()],
    commits: Histogram,
    groups: Histogram,
    checkpoint: AtomicU64,
    checkpoint_time: AtomicI64,
    checkpoint_took_us: AtomicU64,
    checkpoints: AtomicU64,
}

/// What may become of a change, in the order of its counts.
const OUTCOMES: [&str; 5] = ["applied", "superseded", "duplicate", "key_reused", "rejected"];
/// Why a write may be refused, in the order of its counts.
const REFUSALS: [&str; 3] = ["busy", "memory", "stopped"];

impl Measures {
    /// Nothing done yet, since this checkpoint.
    pub(super) fn since(saved: &Saved) -> Self {
        Self {
            outcomes: Default::default(),
            refusals: Default::default(),
            commits: Histogram::of_durations(),
            groups: Histogram::of_sizes(),
            checkpoint: AtomicU64::new(saved.revision),
            checkpoint_time: AtomicI64::new(saved.clock_until),
            checkpoint_took_us: AtomicU64::new(0),
            checkpoints: AtomicU64::new(0),
        }
    }

    /// Notes a group whose changes are acknowledged.
    pub(super) fn committed(&self, outcomes: &[Outcome], begun: Instant) {
        for outcome in outcomes {
            let [applied, superseded, duplicate, key_reused, rejected] = &self.outcomes;
            let count = match outcome {
                Outcome::Applied(_) => applied,
                Outcome::Superseded(_) => superseded,
                Outcome::Duplicate(_) => duplicate,
                Outcome::KeyReused(_) => key_reused,
                Outcome::Rejected(_) => rejected,
            };
            count.fetch_add(1, Relaxed);
        }
        self.groups.observe(outcomes.len() as u64);
        self.commits.observe_since(begun);
    }

    /// Notes a write that was refused before the writer took it.
    pub(super) fn refused(&self, error: WriteError) -> WriteError {
        let [busy, memory, stopped] = &self.refusals;
        let count = match error {
            WriteError::Busy => busy,
            WriteError::Memory => memory,
            _ => stopped,
        };
        count.fetch_add(1, Relaxed);
        error
    }

    /// Notes a whole checkpoint, made at `time`.
    pub(super) fn checkpointed(&self, saved: &Saved, time: i64, took: Duration) {
        self.checkpoint.store(saved.revision, Relaxed);
        self.checkpoint_time.store(time, Relaxed);
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.checkpoint_took_us.store(took, Relaxed);
        self.checkpoints.fetch_add(1, Relaxed);
    }

    /// Changes by what became of them.
    pub fn changes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        OUTCOMES.into_iter().zip(self.outcomes.iter().map(|count| count.load(Relaxed)))
    }

    /// Changes that the ledger now holds: neither duplicates nor rejected.
    #[must_use]
    pub fn recorded(&self) -> u64 {
        let [applied, superseded, _, key_reused, _] = &self.outcomes;
        [applied, superseded, key_reused].into_iter().map(|count| count.load(Relaxed)).sum()
    }

    /// Writes refused before the writer took them, by why.
    pub fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        REFUSALS.into_iter().zip(self.refusals.iter().map(|count| count.load(Relaxed)))
    }

    /// How long groups took, from their being taken from the queue to their
    /// being acknowledged.
    #[must_use]
    pub fn commits(&self) -> &Histogram {
        &self.commits
    }

    /// Changes in each group.
    #[must_use]
    pub fn groups(&self) -> &Histogram {
        &self.groups
    }

    /// The revision of the last checkpoint.
    #[must_use]
    pub fn checkpoint(&self) -> u64 {
        self.checkpoint.load(Relaxed)
    }

    /// When the last checkpoint was whole, in ms; of one before the start, when
    /// its last page was decided. Zero if there was none.
    #[must_use]
    pub fn checkpoint_time(&self) -> i64 {
        self.checkpoint_time.load(Relaxed)
    }

    /// How long writing it took, in µs; zero before the first since the start.
    #[must_use]
    pub fn checkpoint_took_us(&self) -> u64 {
        self.checkpoint_took_us.load(Relaxed)
    }

    /// Checkpoints since the start.
    #[must_use]
    pub fn checkpoints(&self) -> u64 {
        self.checkpoints.load(Relaxed)
    }
}
