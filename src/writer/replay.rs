//! Erasures replayed into a restored store.
//!
//! The events of a change feed name nobody who was erased. But the marks that
//! an erasure left stand under fingerprints keyed by the store's secret, and a
//! restored store has the same one: so it finds the contact by computing the
//! fingerprints of all that it knows. Of a contact that it never knew, the
//! marks are all that there is to know.
//!
//! It does not matter whether an erasure is replayed before or behind the other
//! events of its feed: what was recorded before it has no content any more, and
//! what came after it counts from a later time than the mark's.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use rand::rngs::StdRng;

use super::{
    books::Books,
    outcome::{Committed, Outcome, Rejection, WriteError},
    publish::Published,
};
use crate::{
    domain::{
        contact::{Address, ContactKind, ContactRef},
        erased::ErasedMark,
        event::Actor,
        scope::BrandId,
        secret::Fingerprint,
    },
    store::{Batch, Remains, Restored, StoreError, StoredErasure},
};

/// An erasure of the former epoch.
#[derive(Clone, Debug)]
pub struct ReplayedErasure {
    /// The brand, or all.
    pub brand: BrandId,
    /// Its revision in the former epoch.
    pub revision: u64,
    /// The marks that it left.
    pub remains: Vec<Remains>,
    /// Where the request came from.
    pub source: String,
    /// A remark.
    pub note: String,
    /// Who erased.
    pub actor: Actor,
}

/// Contacts by the fingerprint of their mark.
type Found = HashMap<Fingerprint, (ContactRef, Address)>;

impl ReplayedErasure {
    /// The mark of the brand erased in, or of all brands; the other marks are
    /// older, or keep what survived elsewhere.
    fn own(&self) -> Option<&Remains> {
        let is_own = |mark: &ErasedMark| mark.revision == self.revision && !mark.kept_only;
        self.remains.iter().find(|each| is_own(&each.mark))
    }
}

impl Books {
    /// Replays erasures, one commit each, and shows them.
    ///
    /// # Errors
    /// The store is not a restored one whose loss is undecided, or the disk
    /// failed (A10).
    pub(super) fn replay_erasures(
        &mut self,
        replayed: &[ReplayedErasure],
        salts: &mut StdRng,
        published: &Published,
    ) -> Result<Committed, WriteError> {
        if !self.restored.as_ref().is_some_and(Restored::is_undecided) {
            let what = "erasures are replayed into restored stores only, before they serve";
            return Err(WriteError::NotRestored(what.to_owned()));
        }
        let found = self.find(replayed)?;
        let mut outcomes = Vec::with_capacity(replayed.len());
        for each in replayed {
            outcomes.push(self.replay_erasure(each, &found, salts)?);
            self.publish(published);
        }
        Ok(Committed { outcomes, revision: self.tip.revision })
    }

    fn replay_erasure(
        &mut self,
        replayed: &ReplayedErasure,
        found: &Found,
        salts: &mut StdRng,
    ) -> Result<Outcome, WriteError> {
        let Some(own) = replayed.own() else { return Ok(Outcome::Rejected(Rejection::NoMark)) };
        let erased_at = own.mark.erased_at;
        let before = self.erased.get(&own.fingerprint).filter(|mark| !mark.kept_only);
        if let Some(mark) = before.filter(|mark| mark.erased_at >= erased_at) {
            return Ok(Outcome::Duplicate(mark.revision));
        }
        self.advance()?;
        let store = Arc::clone(&self.store);
        let mut batch = Batch::new(&store);
        let revision = self.tip.revision + 1;
        let contact = found.get(&own.fingerprint);
        let mut events = 0;
        for brand in self.brands_of(replayed.brand) {
            let Some((contact, _)) = contact else { break };
            events += self.erase_rows(&mut batch, (brand, *contact))?;
        }
        let known = contact.map(|(contact, _)| *contact);
        let kept = self.all_brands_rest(replayed.brand, known)?;
        let remains: Vec<Remains> =
            replayed.remains.iter().map(|each| self.here(each, replayed, revision)).collect();
        self.erased.extend(remains.iter().map(|each| (each.fingerprint, each.mark.clone())));
        let stored = StoredErasure {
            brand: replayed.brand,
            actor: replayed.actor.clone(),
            source: replayed.source.clone(),
            note: replayed.note.clone(),
            events,
            remains,
        };
        let contact = contact.map(|(contact, address)| (*contact, address));
        self.commit_erasure(batch, stored, contact, &kept, salts)?;
        Ok(Outcome::Applied(revision))
    }

    /// A mark as it stands here: its erasure has another revision.
    fn here(&self, each: &Remains, replayed: &ReplayedErasure, revision: u64) -> Remains {
        let older = || self.erased.get(&each.fingerprint).map_or(0, |mark| mark.revision);
        let revision = if each.mark.revision == replayed.revision { revision } else { older() };
        let mark = ErasedMark { revision, ..each.mark.clone() };
        Remains { fingerprint: each.fingerprint, mark }
    }

    /// Finds whose marks these are, among all contacts that are known.
    fn find(&self, replayed: &[ReplayedErasure]) -> Result<Found, StoreError> {
        let wanted: HashSet<Fingerprint> =
            replayed.iter().filter_map(ReplayedErasure::own).map(|own| own.fingerprint).collect();
        let brands: HashSet<BrandId> = replayed.iter().map(|each| each.brand).collect();
        let mut found = Found::new();
        let mut look = |contact: ContactRef, address: Address, among: &[BrandId]| {
            for brand in among.iter().filter(|brand| brands.contains(brand)) {
                let mark = self.mark_of(*brand, &address);
                if wanted.contains(&mark) {
                    found.insert(mark, (contact, address.clone()));
                }
            }
        };
        for state in self.all_states()? {
            let ((brand, contact), _) = state?;
            let address = match contact.kind {
                ContactKind::Phone => Address::Phone(contact.id),
                ContactKind::ContactId => Address::ContactId(contact.id),
                ContactKind::Email | ContactKind::ExternalId => continue,
            };
            look(contact, address, &[brand, BrandId::ALL]);
        }
        let all: Vec<BrandId> = brands.iter().copied().collect();
        for kind in [ContactKind::Email, ContactKind::ExternalId] {
            for row in self.store.addresses_from(kind, 0)? {
                let (id, text) = row?;
                let address = match kind {
                    ContactKind::Email => Address::Email(text),
                    _ => Address::ExternalId(text),
                };
                look(ContactRef { kind, id }, address, &all);
            }
        }
        Ok(found)
    }
}
