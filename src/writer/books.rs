//! The books: all that the writer owns and keeps in step with the ledger.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    checkpoint::Pages,
    doubt::Doubts,
    due::Due,
    edits::{DirtyPages, Edits, Reach, Subject},
    publish::Published,
    retention::Retention,
    scrub::Scrubbed,
};
use crate::{
    clock::Clock,
    domain::{
        contact::{Address, ContactKind, ContactRef},
        decide::Known,
        erased::ErasedMark,
        plane::Area,
        scope::BrandId,
        secret::Fingerprint,
        state::ContactState,
        time::Now,
    },
    engine::{
        directory::{Directory, DirectoryError},
        view::{Directories, Planes, View},
    },
    store::{ContactKey, Restored, Store, StoreError, Tip},
};

/// Contacts whose states are read at once.
pub(super) const CHUNK: usize = 8_192;

/// All that the writer owns.
pub struct Books {
    /// The ledger.
    pub store: Arc<Store>,
    /// Its end.
    pub tip: Tip,
    /// The view as of the last commit, and where it is published.
    pub view: View,
    /// Directories of e-mails and of external IDs.
    pub email: Directory,
    /// Of external IDs.
    pub external_id: Directory,
    /// The marks of erased contacts.
    pub erased: HashMap<Fingerprint, ErasedMark>,
    /// Whether anything was ever recorded for all brands.
    pub all_brands: bool,
    /// What the checkpoint on disk holds.
    pub pages: Pages,
    /// What it does not hold yet.
    pub dirty: DirtyPages,
    /// The next time at which something ends by itself.
    pub next_end: Option<i64>,
    /// What is prepared for the coming minute.
    pub due: Due,
    /// Where the pass over old payloads stands.
    pub retention: Retention,
    /// Where the store comes from, if it was restored from a backup.
    pub restored: Option<Restored>,
    /// Scopes whose planes are damaged.
    pub doubts: Arc<Doubts>,
    /// The area of each repair that the view which comes next shows.
    pub mended: Vec<Area>,
    /// What the scrub has done.
    pub scrubbed: Arc<Scrubbed>,
    /// The clock.
    pub clock: Clock,
}

/// A contact within a brand, as the books name it.
pub type Entry = (BrandId, ContactRef);

impl Books {
    /// Publishes the view as it is now.
    pub(super) fn publish(&mut self, published: &Published) {
        published.publish(self.view.clone());
        if !self.mended.is_empty() {
            // Only now does nobody get the damaged planes any more.
            self.doubts.settle(&std::mem::take(&mut self.mended));
        }
    }

    /// Registers an address in the directory, for the view that comes next.
    ///
    /// # Errors
    /// Another address has the fingerprint, or the ordinals are used up.
    pub fn register(
        &mut self,
        kind: ContactKind,
        fingerprint: Fingerprint,
        ordinal: u64,
    ) -> Result<(), DirectoryError> {
        let ordinal = u32::try_from(ordinal).unwrap_or(u32::MAX);
        match kind {
            ContactKind::Email => self.email.insert(fingerprint, ordinal),
            _ => self.external_id.insert(fingerprint, ordinal),
        }
    }

    /// Registers many addresses of one kind.
    ///
    /// # Errors
    /// As for [`register`](Self::register).
    pub fn register_all(
        &mut self,
        kind: ContactKind,
        entries: &[(Fingerprint, u32)],
    ) -> Result<(), DirectoryError> {
        match kind {
            ContactKind::Email => self.email.insert_all(entries),
            _ => self.external_id.insert_all(entries),
        }
    }

    /// The directories' readers as of now.
    pub fn directories(&self) -> Directories {
        Directories {
            email: self.email.handle(),
            external_id: self.external_id.handle(),
            emails: self.email.len(),
            external_ids: self.external_id.len(),
            bytes: (self.email.memory_bytes() + self.external_id.memory_bytes()) as u64,
        }
    }

    /// The contact that an address names, if it is known.
    pub(super) fn contact(&self, address: &Address) -> Option<ContactRef> {
        let kind = address.kind();
        if let Some(id) = address.direct_id() {
            return Some(ContactRef { kind, id });
        }
        let fingerprint = self.view.secret.fingerprint(address.text()?.as_bytes());
        let ordinal = match kind {
            ContactKind::Email => self.email.get(fingerprint),
            _ => self.external_id.get(fingerprint),
        };
        ordinal.map(|ordinal| ContactRef { kind, id: ordinal.into() })
    }

    /// The states of these contacts; empty ones where nothing is known.
    pub fn states(&self, entries: &[Entry]) -> Result<Vec<ContactState>, StoreError> {
        let keys: Vec<ContactKey> = entries
            .iter()
            .map(|(brand, contact)| ContactKey::new(self.store.secret(), *brand, *contact))
            .collect();
        let rows = self.store.states(&keys)?;
        Ok(rows.into_iter().map(|row| row.map(|row| row.state).unwrap_or_default()).collect())
    }

    /// Every state in the ledger, those for all brands first.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn all_states(
        &self,
    ) -> Result<impl Iterator<Item = Result<(Entry, ContactState), StoreError>>, StoreError> {
        Ok(self.store.all_states()?.map(|row| {
            let (key, row) = row?;
            let kind = key
                .kind()
                .ok_or_else(|| StoreError::refused("a state names no kind of contact"))?;
            Ok(((key.brand(), ContactRef { kind, id: row.contact_id }), row.state))
        }))
    }

    /// The states for all brands of these contacts; none is read while nothing
    /// was ever recorded for all brands.
    pub fn all_brands_states(
        &self,
        contacts: impl Iterator<Item = ContactRef>,
    ) -> Result<HashMap<ContactRef, ContactState>, StoreError> {
        if !self.all_brands {
            return Ok(HashMap::new());
        }
        let contacts: HashSet<ContactRef> = contacts.collect();
        let entries: Vec<Entry> =
            contacts.into_iter().map(|contact| (BrandId::ALL, contact)).collect();
        let states = self.states(&entries)?;
        let known = entries.into_iter().map(|(_, contact)| contact).zip(states);
        Ok(known.filter(|(_, state)| !state.is_empty()).collect())
    }

    /// Decides anew on contacts as they stand in the ledger, in every scope.
    pub fn decide_stored(
        &self,
        entries: &[Entry],
        now: Now,
        edits: &mut Edits,
    ) -> Result<(), StoreError> {
        let entries: Vec<Entry> = self.expand_all_brands(entries);
        for chunk in entries.chunks(CHUNK) {
            let states = self.states(chunk)?;
            let all_brands = self.all_brands_states(chunk.iter().map(|(_, contact)| *contact))?;
            let nothing = ContactState::default();
            for ((brand, contact), state) in chunk.iter().zip(&states) {
                let known = Known {
                    brand: state,
                    all_brands: all_brands.get(contact).unwrap_or(&nothing),
                    erased: self.marks(*brand, *contact)?,
                };
                let subject = Subject { brand: *brand, contact: *contact, known };
                edits.decide(&self.view, &subject, now, &[Reach::ALL]);
            }
        }
        Ok(())
    }

    /// What is said for all brands bears on every brand; each contact once a brand.
    pub(super) fn expand_all_brands(&self, entries: &[Entry]) -> Vec<Entry> {
        let mut expanded: HashSet<Entry> = HashSet::with_capacity(entries.len());
        for (brand, contact) in entries {
            if *brand == BrandId::ALL {
                expanded.extend(self.view.policy.brands().map(|brand| (brand, *contact)));
            } else {
                expanded.insert((*brand, *contact));
            }
        }
        expanded.into_iter().collect()
    }

    /// Applies edits to the planes of the view that comes next.
    pub(super) fn apply(&mut self, edits: Edits) {
        if edits.is_empty() {
            return;
        }
        let mut planes = Planes::clone(&self.view.planes);
        edits.apply(&self.view.policy, &mut planes, &mut self.dirty);
        self.view.planes = Arc::new(planes);
    }

    /// Applies edits outside a commit: while a view is being recovered.
    pub fn recover(&mut self, edits: Edits) {
        self.apply(edits);
    }
}
