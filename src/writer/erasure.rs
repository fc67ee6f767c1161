//! Erasure (R11): everything known of a contact goes, in one commit with the
//! checkpoint that no longer shows it.
//!
//! Recovery replays events, and an erased event has nothing left to replay: so
//! the pages that lack the contact become durable together with the erasure.

use std::{collections::BTreeSet, sync::Arc};

use rand::{RngExt, rngs::StdRng};

use super::{
    books::{Books, Entry},
    edits::{Edits, Reach, Subject},
    item::keys,
    outcome::WriteError,
};
use crate::{
    domain::{
        contact::{Address, ContactKind, ContactRef},
        decide::Known,
        erased::ErasedMark,
        event::{Actor, ChangeKind},
        policy::Policy,
        scope::BrandId,
        secret::Fingerprint,
        state::{ContactState, SuppressionEntry},
        time::Now,
        validity::registration_end,
    },
    store::{
        Batch, ContactKey, DIRECTORY_BLOCK, ERASED_FINGERPRINT, EventKind, EventRow, KeyHash,
        Remains, Store, StoreError, StoredChange, StoredErasure, Tip,
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
            events += self.erase_rows(&mut batch, (*brand, contact))?;
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
        let contact = contact.map(|contact| (contact, &erasure.address));
        self.commit_erasure(batch, stored, contact, &kept, salts)?;
        Ok(Erased { revision, events, survivors: outlived })
    }

    /// Takes a contact whose rows are erased out of planes and directory, and
    /// makes all of it durable in one commit. The marks are in the books already.
    ///
    /// # Errors
    /// The disk failed (A10).
    pub(super) fn commit_erasure(
        &mut self,
        mut batch: Batch<'_>,
        stored: StoredErasure,
        contact: Option<(ContactRef, &Address)>,
        kept: &ContactState,
        salts: &mut StdRng,
    ) -> Result<(), WriteError> {
        let now = self.view.now;
        for each in &stored.remains {
            batch.erased(each.fingerprint, &each.mark)?;
        }
        if let Some((contact, address)) = contact {
            let brands = self.brands_of(stored.brand);
            self.leave_planes(&brands, contact, kept, now)?;
            self.leave_directory(&mut batch, &brands, contact, address)?;
        }
        let revision = self.tip.revision + 1;
        let recorded = now.suppressions.max(self.tip.recorded_time);
        let payload = stored.encode();
        let row =
            EventRow::new(self.tip.chain, EventKind::Erasure, recorded, salts.random(), payload);
        self.tip = Tip {
            revision,
            chain: row.hash(revision),
            recorded_time: recorded,
            high_water: self.tip.high_water.max(now.consents),
            ..self.tip
        };
        batch.event(revision, &row)?;
        batch.tip(&self.tip)?;
        self.put_checkpoint(&mut batch)?;
        batch.commit()?;
        self.view.revision = revision;
        self.view.erased = self.erased_index();
        self.view.directories = self.directories();
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

    /// Erases the rows of a contact in one brand; returns how many events lost
    /// their payload.
    pub(super) fn erase_rows(
        &self,
        batch: &mut Batch<'_>,
        entry: Entry,
    ) -> Result<u64, WriteError> {
        let (brand, contact) = entry;
        let key = ContactKey::new(self.store.secret(), brand, contact);
        let validities = validities(&self.store, self.view.policy_revision)?;
        let mut erased = 0;
        for revision in self.store.history(&key)? {
            batch.forget_history(&key, revision)?;
            let Some(row) = self.store.event(revision)? else { continue };
            let Some((_, payload)) = &row.body else { continue };
            let stored = StoredChange::decode(payload)?;
            if (stored.change.brand, stored.contact) != entry {
                // The other side of a rectification keeps its event.
                continue;
            }
            for hash in keys_of(self, &stored) {
                batch.forget_event_key(hash)?;
            }
            for due in ends(&stored, &validities) {
                batch.forget_end(due, &key)?;
            }
            batch.event(revision, &row.erased())?;
            erased += 1;
        }
        batch.forget_state(&key)?;
        Ok(erased)
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
    fn with_mark_of_all(&self, mut remains: Vec<Remains>, address: &Address) -> Vec<Remains> {
        let fingerprint = self.mark_of(BrandId::ALL, address);
        if let Some(mark) = self.erased.get(&fingerprint)
            && remains.iter().all(|each| each.fingerprint != fingerprint)
        {
            remains.push(Remains { fingerprint, mark: mark.clone() });
        }
        remains
    }

    /// Takes a contact out of the planes of these brands, unless something
    /// said for all brands keeps it there.
    fn leave_planes(
        &mut self,
        brands: &[BrandId],
        contact: ContactRef,
        kept: &ContactState,
        now: Now,
    ) -> Result<(), WriteError> {
        let nothing = ContactState::default();
        let mut edits = Edits::default();
        for brand in brands {
            let erased = self.marks(*brand, contact)?;
            let known = Known { brand: &nothing, all_brands: kept, erased };
            let subject = Subject { brand: *brand, contact, known };
            edits.decide(&self.view, &subject, now, &[Reach::ALL]);
        }
        self.apply(edits);
        brands.iter().for_each(|brand| self.due.touched((*brand, contact)));
        Ok(())
    }

    /// Takes an address out of the directory once no brand knows it. Its
    /// ordinal stays taken, so that it never names somebody else (A8).
    fn leave_directory(
        &mut self,
        batch: &mut Batch<'_>,
        brands: &[BrandId],
        contact: ContactRef,
        address: &Address,
    ) -> Result<(), WriteError> {
        let Some(text) = address.text() else { return Ok(()) };
        let others = self.brands_of(BrandId::ALL);
        for brand in others.into_iter().filter(|brand| !brands.contains(brand)) {
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

/// The hashes that an event's key and content are remembered under.
pub(super) fn keys_of(books: &Books, stored: &StoredChange) -> [KeyHash; 2] {
    match &stored.redacted {
        Some(redacted) => redacted.keys,
        None => keys(books.store.secret(), &stored.change, stored.content()),
    }
}

fn fingerprint_of(store: &Store, text: &str, erased: bool) -> Fingerprint {
    if erased || text.is_empty() {
        ERASED_FINGERPRINT
    } else {
        store.secret().fingerprint(text.as_bytes())
    }
}

/// Every default validity there ever was: each may have queued ends of its own.
fn validities(store: &Store, revision: u64) -> Result<BTreeSet<i64>, StoreError> {
    let mut validities = BTreeSet::new();
    for row in store.policies(revision) {
        let stored = row?.stored;
        // Every version reads what earlier ones applied.
        let policy = Policy::read(&stored.text, stored.names)
            .map_err(|error| StoreError::Refused(error.to_string()))?;
        validities.extend(policy.scopes().iter().filter_map(|rules| rules.default_validity));
    }
    Ok(validities)
}

/// The ends that an event may have queued, under any policy: what ends a grant
/// first is one of these.
fn ends(stored: &StoredChange, validities: &BTreeSet<i64>) -> Vec<i64> {
    match &stored.change.kind {
        ChangeKind::Consent(consent) => {
            let given = stored.effective_time;
            let by_policy = validities.iter().map(|validity| given.saturating_add(*validity));
            by_policy.chain(consent.valid_until).chain([registration_end(given)]).collect()
        }
        ChangeKind::Suppression(suppression) => suppression.expires_at.into_iter().collect(),
        ChangeKind::Lift(_) => Vec::new(),
    }
}
