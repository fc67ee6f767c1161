//! The policies that were applied.

use super::Reader;
use crate::{
    domain::{event::Actor, policy::Policy},
    store::StoreError,
};

/// A policy that was applied, and by whom.
#[derive(Clone, Debug)]
pub struct AppliedPolicy {
    /// The revision that applied it.
    pub revision: u64,
    /// When, in ms.
    pub recorded_time: i64,
    /// Its version.
    pub version: String,
    /// Its text.
    pub text: String,
    /// Who applied it.
    pub actor: Actor,
    /// The remark that was made.
    pub note: String,
}

impl Reader {
    /// The policies from this revision's back to the first, the latest first,
    /// at most `limit`.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn policies(&self, revision: u64, limit: usize) -> Result<Vec<AppliedPolicy>, StoreError> {
        let rows = self.store.policies(revision).take(limit);
        rows.map(|row| {
            let row = row?;
            let policy = Policy::read(&row.stored.text, row.stored.names)
                .map_err(|error| StoreError::Refused(error.to_string()))?;
            Ok(AppliedPolicy {
                revision: row.revision,
                recorded_time: row.recorded_time,
                version: policy.version().to_owned(),
                text: row.stored.text,
                actor: row.stored.actor,
                note: row.stored.note,
            })
        })
        .collect()
    }
}
