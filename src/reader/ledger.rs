//! The ledger as of one revision.

use std::{collections::BTreeSet, ops::RangeInclusive, sync::Arc};

use super::{ReadError, Record};
use crate::{
    domain::{contact::ContactRef, policy::Policy, scope::BrandId},
    store::{ContactKey, EventKind, Snapshot, StoreError, StoredPolicy},
};

/// Events read at once.
const CHUNK: usize = 1_024;

/// The ledger as of one revision, whatever is committed meanwhile.
pub struct Ledger<'r> {
    pub(super) snapshot: Snapshot<'r>,
}

impl<'r> Ledger<'r> {
    pub(super) fn new(snapshot: Snapshot<'r>) -> Self {
        Self { snapshot }
    }

    /// The last revision in it.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.snapshot.revision()
    }

    /// The last revision recorded at or before `time`; 0 if there is none.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn revision_at(&self, time: i64) -> Result<u64, ReadError> {
        Ok(self.snapshot.revision_at(time)?)
    }

    /// When an event was recorded; none for a revision that there is not.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn recorded_time(&self, revision: u64) -> Result<Option<i64>, ReadError> {
        Ok(self.snapshot.event(revision)?.map(|row| row.recorded_time))
    }

    /// The policy in force at a revision; none before the first. `present` is a
    /// policy with its revision that need not be read again.
    ///
    /// # Errors
    /// The ledger or the policy cannot be read.
    pub fn policy_at(
        &self,
        revision: u64,
        present: (&Arc<Policy>, u64),
    ) -> Result<Option<Arc<Policy>>, ReadError> {
        let mut applied = self.snapshot.policy_revision();
        loop {
            if applied == 0 {
                return Ok(None);
            }
            if applied == present.1 && applied <= revision {
                return Ok(Some(Arc::clone(present.0)));
            }
            let stored = self.stored_policy(applied)?;
            if applied <= revision {
                return Ok(Some(Arc::new(read_policy(&stored)?)));
            }
            applied = stored.previous;
        }
    }

    fn stored_policy(&self, revision: u64) -> Result<StoredPolicy, StoreError> {
        let row = self.snapshot.event(revision)?.filter(|row| row.kind == EventKind::Policy);
        let (_, payload) = row.and_then(|row| row.body).ok_or_else(|| {
            StoreError::Refused(format!("the policy of revision {revision} is missing"))
        })?;
        StoredPolicy::decode(&payload)
    }

    /// An event.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn record(&self, revision: u64) -> Result<Option<Record>, ReadError> {
        let row = self.snapshot.event(revision)?;
        row.map(|row| Record::read(revision, row)).transpose()
    }

    /// The events of a contact in these brands with revisions in this range, in
    /// order; at most so many, and whether there are more.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn history(
        &self,
        contact: ContactRef,
        brands: &[BrandId],
        range: RangeInclusive<u64>,
        limit: usize,
    ) -> Result<(Vec<Record>, bool), ReadError> {
        let mut revisions = BTreeSet::new();
        for brand in brands {
            let key = ContactKey::new(self.snapshot.secret(), *brand, contact);
            for revision in self.snapshot.history(&key, *range.start())?.take(limit + 1) {
                revisions.insert(revision?);
            }
        }
        revisions.retain(|revision| range.contains(revision));
        let more = revisions.len() > limit;
        let revisions: Vec<u64> = revisions.into_iter().take(limit).collect();
        let records = self.records(&revisions).collect::<Result<_, _>>()?;
        Ok((records, more))
    }

    /// Every event from a revision on.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn events_from(
        &self,
        first: u64,
    ) -> Result<impl Iterator<Item = Result<Record, ReadError>>, ReadError> {
        let events = self.snapshot.events_from(first)?;
        Ok(events.map(|event| {
            let (revision, row) = event?;
            Record::read(revision, row)
        }))
    }

    /// The events of these revisions, read many at a time.
    pub(super) fn records(
        &self,
        revisions: &[u64],
    ) -> impl Iterator<Item = Result<Record, ReadError>> {
        revisions.chunks(CHUNK).flat_map(|chunk| {
            let rows = match self.snapshot.events(chunk) {
                Ok(rows) => rows,
                Err(error) => return vec![Err(error.into())],
            };
            let record = |(revision, row): (&u64, Option<_>)| {
                let missing = || StoreError::Refused(format!("revision {revision} is missing"));
                Record::read(*revision, row.ok_or_else(missing)?)
            };
            chunk.iter().zip(rows).map(record).collect()
        })
    }
}

/// A policy as it was applied.
pub(super) fn read_policy(stored: &StoredPolicy) -> Result<Policy, ReadError> {
    Policy::read(&stored.text, stored.names.clone())
        .map_err(|error| ReadError::Policy(error.to_string()))
}
