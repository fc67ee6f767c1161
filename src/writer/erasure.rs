//! Erasure (R11): everything known of a contact goes, in one commit with the
//! checkpoint that no longer shows it.
//!
//! Recovery replays events, and an erased event has nothing left to replay: so
//! the pages that lack the contact become durable together with the erasure.

use std::sync::Arc;

use rand::{RngExt, rngs::StdRng};

use super::{
    books::Books,
    edits::{Edits, Reach, Subject},
    erased_rows::Cut,
    item::Item,
    outcome::WriteError,
};
use crate::{
    domain::{
        contact::{Address, ContactKind, ContactRef},
        decide::Known,
        erased::ErasedMark,
        event::{Actor, ChangeKind, Suppression},
        scope::BrandId,
        secret::Fingerprint,
        state::{ContactState, SuppressionEntry},
        time::Now,
    },
    store::{
        Batch, ContactKey, DIRECTORY_BLOCK, ERASED_FINGERPRINT, EventKind, EventRow, Remains,
        Store, StoreError, StoredErasure,
    },
};

/// A contact to erase.
#[derive(Clone, Debug)]
pub struct Erasure {
    /// The brand, or all.
    pub brand: BrandId,
    /// The contact.
    pub address: Address,
    /// Where the request comes from.
    pub source: String,
    /// A remark.
    pub note: String,
    /// Who erases.
    pub actor: Actor,
}

/// What an erasure did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Erased {
    /// Its revision.
    pub revision: u64,
    /// Events whose payload was erased.
    pub events: u64,
    /// Suppressions that outlive it.
    pub survivors: usize,
}

/// What is left of a contact in all the brands that an erasure concerns.
pub(super) struct Rest<'a> {
    pub contact: ContactRef,
    pub address: &'a Address,
    /// Its state in each of these brands, `returned` included.
    pub states: Vec<(BrandId, ContactState)>,
    /// Its state for all brands.
    pub all_brands: ContactState,
    /// Blocks that the marks bring back, recorded behind the erasure, with the
    /// times that they count from.
    pub returned: Vec<(Item, i64)>,
}

impl Books {
    /// Erases a contact, and shows it in the view that comes next.
    ///
    /// # Errors
    /// The disk failed (A10).
    pub(super) fn erase(
        &mut self,
        erasure: &Erasure,
        salts: &mut StdRng,
    ) -> Result<Erased, WriteError> {
        let now = self.advance()?;
        let store = Arc::clone(&self.store);
        let mut batch = Batch::new(&store);
        let revision = self.tip.revision + 1;
        let recorded = now.suppressions.max(self.tip.recorded_time);
        let contact = self.contact(&erasure.address);
        let brands = self.brands_of(erasure.brand);

        let mut events = 0;
        let mut survivors: Vec<(BrandId, Vec<SuppressionEntry>)> = Vec::new();
        for brand in &brands {
            let Some(contact) = contact else { break };
            events += self.erase_rows(&mut batch, (*brand, contact), Cut::ALL)?.events;
            let states = self.states(&[(*brand, contact)])?;
            survivors.extend(states.iter().map(|state| (*brand, state.survivors())));
        }
        let kept = self.all_brands_rest(erasure.brand, contact)?;
        let remains = self.mark(erasure, survivors, (recorded, revision), !kept.is_empty());
        let outlived = remains.iter().map(|each| each.mark.survivors.len()).sum();
        let stored = StoredErasure {
            brand: erasure.brand,
            actor: erasure.actor.clone(),
            source: erasure.source.clone(),
            note: erasure.note.clone(),
            events,
            remains: self.with_mark_of_all(remains, &erasure.address),
        };
        let rest = contact.map(|contact| Rest {
            contact,
            address: &erasure.address,
            states: brands.into_iter().map(|brand| (brand, ContactState::default())).collect(),
            all_brands: kept,
            returned: Vec::new(),
        });
        self.commit_erasure(batch, stored, rest, salts)?;
        Ok(Erased { revision, events, survivors: outlived })
    }

    /// Takes a contact whose rows are erased out of planes and directory, but for
    /// what is left of it, and makes all of it durable in one commit. The marks
    /// are in the books already.
    ///
    /// # Errors
    /// The disk failed (A10).
    pub(super) fn commit_erasure(
        &mut self,
        mut batch: Batch<'_>,
        stored: StoredErasure,
        rest: Option<Rest<'_>>,
        salts: &mut StdRng,
    ) -> Result<(), WriteError> {
        let now = self.view.now;
        for each in &stored.remains {
            batch.erased(each.fingerprint, &each.mark)?;
        }
        if let Some(rest) = &rest {
            self.put_states(&mut batch, rest)?;
            self.leave_planes(rest, now)?;
            self.leave_directory(&mut batch, rest)?;
        }
        self.tip.recorded_time = now.suppressions.max(self.tip.recorded_time);
        self.tip.high_water = self.tip.high_water.max(now.consents);
        self.append(&mut batch, EventKind::Erasure, stored.encode(), salts)?;
        if let Some(rest) = rest {
            for (item, time) in &rest.returned {
                self.put_returned(&mut batch, rest.contact, (item, *time), salts)?;
            }
        }
        batch.tip(&self.tip)?;
        self.put_checkpoint(&mut batch)?;
        batch.commit()?;
        self.view.revision = self.tip.revision;
        self.view.erased = self.erased_index();
        self.view.directories = self.directories();
        Ok(())
    }

    /// Puts the next event into a commit.
    fn append(
        &mut self,
        batch: &mut Batch<'_>,
        kind: EventKind,
        payload: Vec<u8>,
        salts: &mut StdRng,
    ) -> Result<(), WriteError> {
        let recorded = self.tip.recorded_time;
        let row = EventRow::new(self.tip.chain, kind, recorded, salts.random(), payload);
        self.tip.revision += 1;
        self.tip.chain = row.hash(self.tip.revision);
        Ok(batch.event(self.tip.revision, &row)?)
    }

    /// Puts an event that brings a block back into the commit; the contact's
    /// state has it already.
    fn put_returned(
        &mut self,
        batch: &mut Batch<'_>,
        contact: ContactRef,
        (item, time): (&Item, i64),
        salts: &mut StdRng,
    ) -> Result<(), WriteError> {
        let entry = (item.change.brand, contact);
        let payload = item.content.payload(contact, time);
        self.append(batch, EventKind::from(&item.change.kind), payload, salts)?;
        let key = ContactKey::new(self.store.secret(), entry.0, contact);
        batch.history(&key, self.tip.revision)?;
        self.all_brands |= entry.0 == BrandId::ALL;
        if let ChangeKind::Suppression(Suppression { expires_at: Some(due), .. }) = item.change.kind
        {
            batch.end(due, &key)?;
            self.note_commit([entry].into_iter(), [(due, entry)].into_iter());
        }
        Ok(())
    }

    fn put_states(&self, batch: &mut Batch<'_>, rest: &Rest<'_>) -> Result<(), WriteError> {
        for (brand, state) in &rest.states {
            let key = ContactKey::new(self.store.secret(), *brand, rest.contact);
            if state.is_empty() {
                batch.forget_state(&key)?;
            } else {
                batch.state(&key, rest.contact.id, state)?;
            }
        }
        Ok(())
    }

    /// The brands that an erasure concerns: one, or every one there ever was.
    pub(super) fn brands_of(&self, brand: BrandId) -> Vec<BrandId> {
        if brand == BrandId::ALL {
            let named = self.view.policy.names().brands();
            named.chain([BrandId::ALL]).collect()
        } else {
            vec![brand]
        }
    }

    /// What is known for all brands of a contact erased in one.
    pub(super) fn all_brands_rest(
        &self,
        brand: BrandId,
        contact: Option<ContactRef>,
    ) -> Result<ContactState, WriteError> {
        let contact = contact.filter(|_| brand != BrandId::ALL);
        let mut states = self.all_brands_states(contact.into_iter())?;
        Ok(contact.and_then(|contact| states.remove(&contact)).unwrap_or_default())
    }

    /// Sets the marks: of the brand erased in and, for all brands, of each that
    /// has survivors of its own or an older mark.
    fn mark(
        &mut self,
        erasure: &Erasure,
        survivors: Vec<(BrandId, Vec<SuppressionEntry>)>,
        (recorded, revision): (i64, u64),
        still_known: bool,
    ) -> Vec<Remains> {
        let mut brands: Vec<BrandId> = self.brands_of(erasure.brand);
        brands.retain(|brand| {
            let has_survivors =
                survivors.iter().any(|(each, entries)| each == brand && !entries.is_empty());
            *brand == erasure.brand
                || has_survivors
                || self.erased.contains_key(&self.mark_of(*brand, &erasure.address))
        });
        let mut remains = Vec::with_capacity(brands.len());
        for brand in brands {
            let fingerprint = self.mark_of(brand, &erasure.address);
            let own = survivors.iter().find(|(each, _)| *each == brand);
            let own = own.map(|(_, entries)| entries.clone()).unwrap_or_default();
            let blank = || ErasedMark { kept_only: true, ..ErasedMark::default() };
            let mark = self.erased.entry(fingerprint).or_insert_with(blank);
            if brand == erasure.brand {
                mark.erase(recorded, revision, own, still_known);
            } else {
                mark.keep(recorded, revision, own);
            }
            remains.push(Remains { fingerprint, mark: mark.clone() });
        }
        remains
    }

    /// Adds the mark of all brands, which an erasure in one leaves as it is.
    pub(super) fn with_mark_of_all(
        &self,
        mut remains: Vec<Remains>,
        address: &Address,
    ) -> Vec<Remains> {
        let fingerprint = self.mark_of(BrandId::ALL, address);
        if let Some(mark) = self.erased.get(&fingerprint)
            && remains.iter().all(|each| each.fingerprint != fingerprint)
        {
            remains.push(Remains { fingerprint, mark: mark.clone() });
        }
        remains
    }

    /// Takes a contact out of the planes, unless what is left keeps it there.
    fn leave_planes(&mut self, rest: &Rest<'_>, now: Now) -> Result<(), WriteError> {
        let mut edits = Edits::default();
        // What is said for all brands is decided on in each of them.
        for (brand, state) in rest.states.iter().filter(|(brand, _)| *brand != BrandId::ALL) {
            let erased = self.marks(*brand, rest.contact)?;
            let known = Known { brand: state, all_brands: &rest.all_brands, erased };
            let subject = Subject { brand: *brand, contact: rest.contact, known };
            edits.decide(&self.view, &subject, now, &[Reach::ALL]);
        }
        self.apply(edits);
        rest.states.iter().for_each(|(brand, _)| self.due.touched((*brand, rest.contact)));
        Ok(())
    }

    /// Takes an address out of the directory once no brand knows it. Its
    /// ordinal stays taken, so that it never names somebody else (A8).
    fn leave_directory(
        &mut self,
        batch: &mut Batch<'_>,
        rest: &Rest<'_>,
    ) -> Result<(), WriteError> {
        let Some(text) = rest.address.text() else { return Ok(()) };
        if rest.states.iter().any(|(_, state)| !state.is_empty()) {
            return Ok(());
        }
        let contact = rest.contact;
        let others = self.brands_of(BrandId::ALL).into_iter();
        for brand in others.filter(|brand| rest.states.iter().all(|(left, _)| left != brand)) {
            let key = ContactKey::new(self.store.secret(), brand, contact);
            if !self.store.history(&key)?.is_empty() {
                return Ok(());
            }
        }
        batch.address(contact.kind, contact.id, "")?;
        self.erase_in_block(batch, contact)?;
        let fingerprint = self.view.secret.fingerprint(text.as_bytes());
        let removed = match contact.kind {
            ContactKind::Email => self.email.remove(&[fingerprint]),
            _ => self.external_id.remove(&[fingerprint]),
        };
        removed.map(|_| ()).map_err(|error| {
            tracing::error!(%error, "the directory kept an erased address");
            WriteError::OutcomeUnknown
        })
    }

    /// Puts the erased place into the block that holds an ordinal: the block in
    /// memory that the checkpoint writes anyway, or one that is full and on disk.
    fn erase_in_block(
        &mut self,
        batch: &mut Batch<'_>,
        contact: ContactRef,
    ) -> Result<(), WriteError> {
        let (kind, ordinal) = (contact.kind, contact.id);
        let block = ordinal / DIRECTORY_BLOCK;
        let blocks = self.pages.blocks(kind);
        let tail_from = blocks.sum.ordinals / DIRECTORY_BLOCK * DIRECTORY_BLOCK;
        if let Some(place) = ordinal.checked_sub(tail_from) {
            let slot = usize::try_from(place).ok().and_then(|place| blocks.tail.get_mut(place));
            if let Some(slot) = slot {
                *slot = ERASED_FINGERPRINT;
            }
            return Ok(());
        }
        let first = block * DIRECTORY_BLOCK;
        let mut fingerprints = Vec::with_capacity(DIRECTORY_BLOCK as usize);
        for row in self.store.addresses_from(kind, first)?.take(DIRECTORY_BLOCK as usize) {
            let (each, text) = row?;
            fingerprints.push(fingerprint_of(&self.store, &text, each == ordinal));
        }
        let missing = || StoreError::refused("a block of the directory is missing");
        let replaced = self.store.block_hash(kind, block)?.ok_or_else(missing)?;
        let hash = batch.directory_block(kind, block, &fingerprints)?;
        let sum = &mut self.pages.blocks(kind).sum.blocks;
        sum.remove(replaced);
        sum.add(hash);
        Ok(())
    }
}

fn fingerprint_of(store: &Store, text: &str, erased: bool) -> Fingerprint {
    if erased || text.is_empty() {
        ERASED_FINGERPRINT
    } else {
        store.secret().fingerprint(text.as_bytes())
    }
}
