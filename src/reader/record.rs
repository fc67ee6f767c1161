//! The record that decided on a contact.

use super::Reader;
use crate::{
    domain::{
        contact::ContactRef,
        decide::{Known, decide},
        scope::{BrandId, ScopeRules},
        state::ContactState,
        time::Now,
    },
    store::{ContactKey, StoreError, StoredChange},
};

/// An event of the ledger with its revision and recorded time.
#[derive(Clone, Debug)]
pub struct Record {
    /// The event's revision.
    pub revision: u64,
    /// When it was committed, in ms.
    pub recorded_time: i64,
    /// What it says.
    pub stored: StoredChange,
}

impl Reader {
    /// The record that decides on a contact in a scope, if one does.
    ///
    /// It reads the ledger as it is now. Where that is ahead of the view that
    /// gave the verdict, at revision `seen`, a newer record is left out.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn deciding_record(
        &self,
        rules: &ScopeRules,
        contact: ContactRef,
        now: Now,
        seen: u64,
    ) -> Result<Option<Record>, StoreError> {
        let keys = [rules.scope.brand, BrandId::ALL]
            .map(|brand| ContactKey::new(self.store.secret(), brand, contact));
        let mut states = self.store.states(&keys)?.into_iter().map(|row| row.map(|row| row.state));
        let nothing = ContactState::default();
        let (brand, all_brands) = (states.next().flatten(), states.next().flatten());
        let known = Known {
            brand: brand.as_ref().unwrap_or(&nothing),
            all_brands: all_brands.as_ref().unwrap_or(&nothing),
            erased: [None; 2],
        };
        let revision = decide(known, rules, now).revision.filter(|revision| *revision <= seen);
        let Some(revision) = revision else { return Ok(None) };
        let Some(row) = self.store.event(revision)? else { return Ok(None) };
        let Some((_, payload)) = row.body else { return Ok(None) };
        let stored = StoredChange::decode(&payload)?;
        Ok(Some(Record { revision, recorded_time: row.recorded_time, stored }))
    }
}
