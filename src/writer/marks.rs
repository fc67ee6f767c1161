//! The marks of erasure: where they are looked up, and how a group of changes
//! moves them (R11).

use std::sync::Arc;

use super::{
    books::{Books, Entry},
    edits::Reach,
    group::Group,
    outcome::{Rejection, WriteError},
};
use crate::{
    domain::{
        contact::{Address, ContactKind, ContactRef},
        erased::{ErasedMark, events_of},
        event::{Change, ChangeKind},
        scope::BrandId,
        secret::Fingerprint,
        state::SuppressionEntry,
    },
    engine::erased::Erased,
    store::StoreError,
};

impl Books {
    /// The fingerprint of an address's mark of erasure.
    pub fn mark_of(&self, brand: BrandId, address: &Address) -> Fingerprint {
        let text = address.canonical();
        self.view.secret.erased_fingerprint(brand, address.kind(), text.as_bytes())
    }

    /// The marks of erasure of a contact that is known again: brand's, all brands'.
    pub fn marks(
        &self,
        brand: BrandId,
        contact: ContactRef,
    ) -> Result<[Option<&ErasedMark>; 2], StoreError> {
        if self.erased.is_empty() {
            return Ok([None; 2]);
        }
        let address = match contact.kind {
            ContactKind::Phone => Address::Phone(contact.id),
            ContactKind::ContactId => Address::ContactId(contact.id),
            kind => {
                let rows = self.store.addresses(&[(kind, contact.id)])?;
                let Some(text) = rows.into_iter().next().flatten() else { return Ok([None; 2]) };
                match kind {
                    ContactKind::Email => Address::Email(text),
                    _ => Address::ExternalId(text),
                }
            }
        };
        Ok([brand, BrandId::ALL].map(|brand| self.erased.get(&self.mark_of(brand, &address))))
    }

    /// The marks that filters must look for: of contacts unknown since.
    pub fn erased_index(&self) -> Arc<Erased> {
        let active = || self.erased.iter().filter(|(_, mark)| mark.is_active());
        let marks = active().filter(|(_, mark)| !mark.reappeared).map(|(mark, _)| *mark);
        let returned = active().flat_map(|(_, mark)| mark.reappeared_in.iter().copied());
        Arc::new(Erased::new(marks, returned))
    }
}

impl Group<'_> {
    /// Consent from before an erasure brings nobody back.
    pub(super) fn refuse_erased(&self, change: &Change, effective: i64) -> Result<(), Rejection> {
        if self.books.erased.is_empty() || !matches!(change.kind, ChangeKind::Consent(_)) {
            return Ok(());
        }
        let marks =
            [change.brand, BrandId::ALL].map(|brand| self.books.mark_of(brand, &change.address));
        let erased = marks.iter().any(|mark| {
            self.books.erased.get(mark).is_some_and(|mark| effective <= mark.erased_at)
        });
        if erased { Err(Rejection::Erased) } else { Ok(()) }
    }

    /// A contact that becomes known again after an erasure: from now on its
    /// planes say what the mark means. Returns the events that bring surviving
    /// blocks back, each with its stored time.
    pub(super) fn reappear(
        &mut self,
        change: &Change,
        contact: ContactRef,
        effective: i64,
    ) -> Vec<(Change, i64)> {
        if self.books.erased.is_empty() {
            return Vec::new();
        }
        let own = self.books.mark_of(change.brand, &change.address);
        let mut freed = self.update_mark(change, (change.brand, contact), own, |mark| {
            mark.heard(change, effective)
        });
        if change.brand == BrandId::ALL {
            // Known for all brands is known in every one.
            let brands: Vec<BrandId> = self.books.view.policy.names().brands().collect();
            for brand in brands {
                let mark = self.books.mark_of(brand, &change.address);
                let heard = |mark: &mut ErasedMark| mark.heard_for_all(change);
                freed.extend(self.update_mark(change, (brand, contact), mark, heard));
            }
        } else {
            let all = self.books.mark_of(BrandId::ALL, &change.address);
            let heard_in = |mark: &mut ErasedMark| mark.heard_in(own, change);
            freed.extend(self.update_mark(change, (BrandId::ALL, contact), all, heard_in));
        }
        freed
    }

    /// Moves a mark, if there is one, and returns what that frees.
    fn update_mark(
        &mut self,
        change: &Change,
        entry: Entry,
        fingerprint: Fingerprint,
        update: impl FnOnce(&mut ErasedMark) -> Vec<SuppressionEntry>,
    ) -> Vec<(Change, i64)> {
        let before = self.marks.get(&fingerprint).or_else(|| self.books.erased.get(&fingerprint));
        let Some(before) = before else { return Vec::new() };
        self.mark_keys.insert(entry, fingerprint);
        let mut mark = before.clone();
        let freed = update(&mut mark);
        if mark == *before {
            return Vec::new();
        }
        self.marks.insert(fingerprint, mark);
        self.states.entry((change.brand, entry.1)).or_default().reach.push(Reach::ALL);
        freed.into_iter().flat_map(|each| events_of(entry.0, &change.address, each)).collect()
    }

    /// The marks of erasure of a touched contact, as they stand after the group.
    pub(super) fn marks_of(&self, entry: Entry) -> Result<[Option<&ErasedMark>; 2], WriteError> {
        if self.books.erased.is_empty() {
            return Ok([None; 2]);
        }
        let stored = self.books.marks(entry.0, entry.1)?;
        let ours = [entry.0, BrandId::ALL].map(|brand| {
            let fingerprint = self.mark_keys.get(&(brand, entry.1))?;
            self.marks.get(fingerprint).or_else(|| self.books.erased.get(fingerprint))
        });
        let [brand, all] = ours;
        let [stored_brand, stored_all] = stored;
        Ok([brand.or(stored_brand), all.or(stored_all)])
    }
}
