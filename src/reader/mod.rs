//! Reading the ledger for people: verdicts with what decided them, the events
//! of a contact, the past, and all that was committed.

mod export;
mod known;
mod ledger;
mod past;
mod record;

use std::{fmt, sync::Arc};

pub use export::Exported;
pub use known::Subject;
pub use ledger::Ledger;
pub use past::AsOf;
pub use record::{Content, Record};

use crate::store::{ChainHash, Store, StoreError};

/// Events of one contact that an explanation of the past reads; somebody who
/// has more is a program, and would hold up everybody else (A7).
pub const MAX_EVENTS: usize = 1_000_000;

/// Why the ledger was not read.
#[derive(Debug)]
pub enum ReadError {
    /// The store failed, or contradicts itself.
    Store(StoreError),
    /// The contact has more than [`MAX_EVENTS`] events.
    TooManyEvents,
    /// A policy was applied that this version cannot read.
    Policy(String),
}

impl fmt::Display for ReadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(formatter),
            Self::TooManyEvents => {
                write!(formatter, "the contact has more than {MAX_EVENTS} events")
            }
            Self::Policy(what) => write!(formatter, "a policy of the past cannot be read: {what}"),
        }
    }
}

impl std::error::Error for ReadError {}

impl From<StoreError> for ReadError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Reads the ledger beside the writer.
#[derive(Clone)]
pub struct Reader {
    store: Arc<Store>,
}

impl Reader {
    /// A reader of this ledger.
    #[must_use]
    pub fn new(store: Arc<Store>) -> Self {
        Self { store }
    }

    /// The ledger as it is now, for reads that belong together. It may hold a
    /// commit that no view shows yet: wait for the view before answering (A2).
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn ledger(&self) -> Result<Ledger<'_>, ReadError> {
        Ok(Ledger::new(self.store.snapshot()?))
    }

    /// The chain up to a revision; zeros where there is none.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn chain(&self, revision: u64) -> Result<ChainHash, StoreError> {
        Ok(self.store.event(revision)?.map_or([0; 32], |row| row.hash(revision)))
    }
}
