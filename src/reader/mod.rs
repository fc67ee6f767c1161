//! Reading the ledger for people: records behind verdicts.

mod policies;
mod record;

use std::sync::Arc;

pub use policies::AppliedPolicy;
pub use record::Record;

use crate::store::{ChainHash, Store, StoreError};

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

    /// How many payloads the policy's retention has redacted.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn redacted_payloads(&self) -> Result<u64, StoreError> {
        self.store.redacted()
    }

    /// The chain up to a revision; zeros where there is none.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn chain(&self, revision: u64) -> Result<ChainHash, StoreError> {
        Ok(self.store.event(revision)?.map_or([0; 32], |row| row.hash(revision)))
    }
}
