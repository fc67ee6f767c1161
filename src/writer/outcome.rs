//! What callers are told of their writes.

use std::fmt;

use crate::{domain::scope::Scope, store::StoreError};

/// What became of one change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Recorded, and now current.
    Applied(u64),
    /// Recorded behind a record that stays current.
    Superseded(u64),
    /// Recorded before, under this revision.
    Duplicate(u64),
    /// An opt-out under a key that was used with other content: recorded.
    KeyReused(u64),
    /// Not recorded.
    Rejected(Rejection),
}

/// Why a change that is well-formed was not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// A grant or lift without a time.
    TimeMissing,
    /// A grant or lift stated more than five minutes ahead.
    TimeAhead,
    /// A key that was used with other content.
    KeyTaken,
    /// From before the contact was erased.
    Erased,
    /// Two different addresses have one 128-bit fingerprint. It does not happen
    /// by chance.
    AddressClash,
    /// An erasure to be replayed without the mark that it left.
    NoMark,
}

/// A group of changes is durable and visible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// One outcome per change, in order.
    pub outcomes: Vec<Outcome>,
    /// A revision at which all of them are visible.
    pub revision: u64,
}

/// How the verdicts of one scope change with a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeChange {
    /// The scope.
    pub scope: Scope,
    /// Known contacts that become permitted.
    pub newly_permitted: u64,
    /// Known contacts that become suppressed.
    pub newly_suppressed: u64,
    /// Whether unknown contacts become permitted.
    pub unknown_newly_permitted: bool,
    /// Planes whose members change.
    pub planes_changed: u32,
}

/// A policy was applied, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyChange {
    /// Its version.
    pub version: String,
    /// The scopes whose verdicts change.
    pub scopes: Vec<ScopeChange>,
    /// Scopes that it drops although people have said something in them.
    pub dropped: Vec<String>,
    /// The revision of the policy event; the current one for a dry run.
    pub revision: u64,
    /// For a dry run: why it would be refused.
    pub refused: Option<String>,
}

/// Why a write was not answered with an outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteError {
    /// The queue is full. Nothing happened; try again.
    Busy,
    /// The system leaves the process too little memory. Nothing happened.
    Memory,
    /// The writer has stopped before it took the write. Nothing happened.
    Stopped,
    /// The disk failed during the commit. Nobody knows what it holds (A10).
    OutcomeUnknown,
    /// A policy that cannot be applied as asked.
    Policy(String),
    /// A policy that is not one.
    NotAPolicy(String),
    /// A decision on a restored store that cannot be taken.
    NotRestored(String),
}

impl fmt::Display for WriteError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => formatter.write_str("too many writes are waiting; try again"),
            Self::Memory => formatter.write_str(
                "the server has too little memory left to take this; nothing was written. Give it \
                 more (ulimit, the cgroup's limit) and start it again",
            ),
            Self::Stopped => formatter.write_str("the server is stopping; nothing was written"),
            Self::OutcomeUnknown => formatter.write_str(
                "the disk failed during the write, and whether it was recorded is unknown: repeat \
                 it once the server is back",
            ),
            Self::Policy(what) | Self::NotAPolicy(what) | Self::NotRestored(what) => {
                formatter.write_str(what)
            }
        }
    }
}

impl std::error::Error for WriteError {}

impl From<StoreError> for WriteError {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "a write failed; the server stops (A10)");
        Self::OutcomeUnknown
    }
}
