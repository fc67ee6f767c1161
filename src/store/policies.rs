//! The policies of a store: the one in force, and back to the first.

use super::{EventKind, EventRow, Store, StoreError, StoredPolicy};

/// A policy with the event that applied it.
#[derive(Clone, Debug)]
pub struct PolicyRow {
    /// The event's revision.
    pub revision: u64,
    /// When it was applied, in ms.
    pub recorded_time: i64,
    /// The policy.
    pub stored: StoredPolicy,
}

impl Store {
    /// The policy that was applied at this revision.
    ///
    /// # Errors
    /// There is none, or it is damaged.
    pub fn policy(&self, revision: u64) -> Result<PolicyRow, StoreError> {
        let row = self.event(revision)?.filter(|row| row.kind == EventKind::Policy);
        let Some(EventRow { recorded_time, body: Some((_, payload)), .. }) = row else {
            let what = format!("the policy of revision {revision} is missing");
            return Err(StoreError::Refused(what));
        };
        Ok(PolicyRow { revision, recorded_time, stored: StoredPolicy::decode(&payload)? })
    }

    /// The policies from this revision's back to the first, the latest first.
    pub fn policies(&self, revision: u64) -> impl Iterator<Item = Result<PolicyRow, StoreError>> {
        let mut next = revision;
        std::iter::from_fn(move || {
            let row = self.policy(Some(next).filter(|next| *next != 0)?);
            // Each names one before itself, so the walk ends; after an error too.
            next = row.as_ref().map_or(0, |row| row.stored.previous.min(next - 1));
            Some(row)
        })
    }
}
