//! Whose marks of erasure these are.
//!
//! The events of a change feed name nobody who was erased. But the marks that
//! an erasure left stand under fingerprints keyed by the store's secret, and a
//! restored store has the same one: so it finds a contact by computing the
//! fingerprints of all whom it knows. It reads the ledger for that once for many
//! erasures, beside the writer, which looks at no more than has come since.

use std::collections::{HashMap, HashSet};

use super::replay::ReplayedErasure;
use crate::{
    domain::{
        contact::{Address, ContactKind},
        scope::BrandId,
        secret::{Fingerprint, Secret},
    },
    store::{Store, StoreError, StoredChange},
};

/// The search for the contacts of erasures, and whom it has found.
#[derive(Debug)]
pub struct Search {
    /// The brands of the erasures.
    brands: HashSet<BrandId>,
    wanted: HashSet<Fingerprint>,
    found: HashMap<Fingerprint, Address>,
    /// The revision up to which everybody was looked at.
    through: u64,
}

impl Search {
    /// A search for the contacts of these erasures. Whatever it reads, it reads
    /// of the ledger as of this revision or of a later one.
    pub fn new<'r>(replayed: impl IntoIterator<Item = &'r ReplayedErasure>, revision: u64) -> Self {
        let (mut brands, mut wanted) = (HashSet::new(), HashSet::new());
        for each in replayed {
            if let Some(own) = each.own() {
                brands.insert(each.brand);
                wanted.insert(own.fingerprint);
            }
        }
        Self { brands, wanted, found: HashMap::new(), through: revision }
    }

    /// Whether nobody is searched for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Looks at everybody in the ledger.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub(super) fn read(&mut self, store: &Store) -> Result<(), StoreError> {
        for row in store.all_states()? {
            let (key, state) = row?;
            let address = match key.kind() {
                Some(ContactKind::Phone) => Address::Phone(state.contact_id),
                Some(ContactKind::ContactId) => Address::ContactId(state.contact_id),
                // By its address, below.
                _ => continue,
            };
            self.look(store.secret(), key.brand(), address);
        }
        for kind in [ContactKind::Email, ContactKind::ExternalId] {
            for row in store.addresses_from(kind, 0)? {
                let (_, text) = row?;
                let address = match kind {
                    ContactKind::Email => Address::Email(text),
                    _ => Address::ExternalId(text),
                };
                // It may be known in any brand.
                self.look(store.secret(), BrandId::ALL, address);
            }
        }
        Ok(())
    }

    /// Looks at those of whom events were recorded since.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub(super) fn catch_up(&mut self, store: &Store, revision: u64) -> Result<(), StoreError> {
        for revision in self.through + 1..=revision {
            let Some(row) = store.event(revision)? else { continue };
            if let Some((_, payload)) = row.body.filter(|_| row.kind.is_change()) {
                let change = StoredChange::decode(&payload)?.change;
                self.look(store.secret(), change.brand, change.address);
            }
        }
        self.through = self.through.max(revision);
        Ok(())
    }

    /// The contact whose mark this is, if it was found.
    pub(super) fn found(&self, mark: Fingerprint) -> Option<&Address> {
        self.found.get(&mark)
    }

    /// Looks at an address that is known in a brand, or in all.
    ///
    /// Erased is | known in that brand | known in another | known for all brands
    /// ---|---|---|---
    /// in one brand | found | not concerned | found: it is known there too
    /// in all brands | found | found | found
    fn look(&mut self, secret: &Secret, known_in: BrandId, address: Address) {
        let concerns =
            |brand: BrandId| brand == BrandId::ALL || known_in == BrandId::ALL || brand == known_in;
        let text = address.canonical();
        let marks = self.brands.iter().filter(|brand| concerns(**brand)).filter_map(|brand| {
            let mark = secret.erased_fingerprint(*brand, address.kind(), text.as_bytes());
            self.wanted.contains(&mark).then_some(mark)
        });
        let marks: Vec<Fingerprint> = marks.collect();
        self.found.extend(marks.into_iter().map(|mark| (mark, address.clone())));
    }
}
