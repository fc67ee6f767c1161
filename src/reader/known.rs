//! Verdicts from the ledger itself, with what decided them.

use super::{Ledger, ReadError};
use crate::{
    domain::{
        contact::{Address, ContactRef},
        decide::{Decision, Known, decide},
        scope::{BrandId, ScopeRules},
        secret::Fingerprint,
        state::{ContactState, ErasedMark},
        time::Now,
    },
    store::ContactKey,
};

/// Somebody to decide on.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The address.
    pub address: Address,
    /// The contact of this address; none if no such address is registered.
    pub contact: Option<ContactRef>,
}

/// What stands in the ledger of one subject: in the brand, and for all brands.
#[derive(Default)]
pub(super) struct Found {
    pub states: [ContactState; 2],
    pub erased: [Option<ErasedMark>; 2],
}

impl Found {
    pub fn known(&self) -> Known<'_> {
        let [brand, all_brands] = &self.states;
        Known { brand, all_brands, erased: self.erased.each_ref().map(Option::as_ref) }
    }
}

impl Ledger<'_> {
    /// Decides on subjects, in order, by what the ledger holds.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn decide(
        &self,
        subjects: &[Subject],
        rules: &ScopeRules,
        now: Now,
    ) -> Result<Vec<Decision>, ReadError> {
        let found = self.find(subjects, rules.scope.brand)?;
        Ok(found.iter().map(|found| decide(found.known(), rules, now)).collect())
    }

    fn find(&self, subjects: &[Subject], brand: BrandId) -> Result<Vec<Found>, ReadError> {
        let mut found: Vec<Found> = subjects.iter().map(|_| Found::default()).collect();
        let mut take = |brand, slot: fn(&mut Found) -> Option<&mut ContactState>| {
            let known = subjects.iter().zip(&mut found).filter_map(|(subject, found)| {
                let key = ContactKey::new(self.snapshot.secret(), brand, subject.contact?);
                Some((key, slot(found)?))
            });
            let (keys, slots): (Vec<ContactKey>, Vec<&mut ContactState>) = known.unzip();
            let rows = self.snapshot.states(&keys)?;
            for (slot, row) in slots.into_iter().zip(rows) {
                *slot = row.map(|row| row.state).unwrap_or_default();
            }
            Ok::<_, ReadError>(())
        };
        take(brand, |found| found.states.first_mut())?;
        if self.snapshot.has_all_brands()? {
            take(BrandId::ALL, |found| found.states.last_mut())?;
        }
        if self.snapshot.has_erased()? {
            let marks: Vec<Fingerprint> = subjects
                .iter()
                .flat_map(|subject| self.marks_of(&subject.address, brand))
                .collect();
            let mut rows = self.snapshot.erased(&marks)?.into_iter();
            for found in &mut found {
                found.erased = [rows.next().flatten(), rows.next().flatten()];
            }
        }
        Ok(found)
    }

    /// The fingerprints under which erasures would be marked: the brand's, and
    /// that of all brands.
    pub(super) fn marks_of(&self, address: &Address, brand: BrandId) -> [Fingerprint; 2] {
        let text = address.canonical();
        let secret = self.snapshot.secret();
        [brand, BrandId::ALL]
            .map(|brand| secret.erased_fingerprint(brand, address.kind(), text.as_bytes()))
    }
}
