//! Erasures replayed into a restored store.
//!
//! Of a contact that the store never knew, the marks are all that there is to
//! know. Of one that it finds ([`search`](super::search)), a replayed erasure
//! takes what the erasure took: whatever counts from no later than itself. What
//! was recorded after it stays, and the marks are told of it as if it had come
//! after. So it does not matter whether an erasure is replayed before or behind
//! the other events of its feed, but for this: of a suppression that is replayed
//! before it and stated to be older, nobody can tell whether it was recorded
//! after the erasure and stands. So it lives on in the mark, without what was
//! erased, and comes back with the next consent or lift (A1).
//!
//! Nothing of a mark is taken over that says whether the contact is known: that
//! is another matter here.

use std::sync::Arc;

use rand::rngs::StdRng;

use super::{
    books::{Books, Entry},
    erased_rows::{Cut, Left},
    erasure::Rest,
    item::Item,
    outcome::{Committed, Outcome, Rejection, WriteError},
    publish::Published,
    search::Search,
};
use crate::{
    domain::{
        contact::{Address, ContactRef},
        erased::{ErasedMark, events_of},
        event::Actor,
        reason::Reason,
        scope::BrandId,
        secret::Fingerprint,
        state::{ContactState, Status, SuppressionEntry},
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

impl ReplayedErasure {
    /// The mark of the brand erased in, or of all brands; the other marks are
    /// older, or keep what survived elsewhere.
    pub(super) fn own(&self) -> Option<&Remains> {
        let is_own = |mark: &ErasedMark| mark.revision == self.revision && !mark.kept_only;
        self.remains.iter().find(|each| is_own(&each.mark))
    }

    /// What the erasure says of the mark under a fingerprint, where it is
    /// committed as `revision`. An erasure in one brand leaves that of all brands
    /// as it is, and says nothing of it.
    fn says(&self, fingerprint: Fingerprint, own: &Remains, revision: u64) -> Option<ErasedMark> {
        let is_own = fingerprint == own.fingerprint;
        let said = self.remains.iter().find(|each| each.fingerprint == fingerprint)?;
        (is_own || self.brand == BrandId::ALL).then(|| ErasedMark {
            erased_at: own.mark.erased_at,
            revision,
            kept_only: !is_own,
            lifted_at: said.mark.lifted_at,
            survivors: said.mark.survivors.clone(),
            ..ErasedMark::default()
        })
    }
}

/// A contact in one of the brands that an erasure concerns.
struct Place {
    brand: BrandId,
    fingerprint: Fingerprint,
    /// What the erasure says of its mark.
    said: Option<ErasedMark>,
    /// What is left of it.
    left: Left,
    /// The mark as it is then; none where there is nothing to mark.
    mark: Option<ErasedMark>,
}

impl Place {
    fn new(brand: BrandId, fingerprint: Fingerprint, said: Option<ErasedMark>) -> Self {
        Self { brand, fingerprint, said, left: Left::default(), mark: None }
    }
}

/// Whether a contact is known again by nothing but what is older than its
/// erasure: a feed that was kept as it came told of that, and is replayed once
/// more.
fn is_back(places: &[Place]) -> bool {
    places.iter().any(|place| place.left.events > 0)
        && places.iter().all(|place| place.left.state.is_empty())
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
        search: &mut Search,
        salts: &mut StdRng,
        published: &Published,
    ) -> Result<Committed, WriteError> {
        let Some(restored) = self.restored.filter(Restored::is_undecided) else {
            let what = "erasures are replayed into restored stores only, before they serve";
            return Err(WriteError::NotRestored(what.to_owned()));
        };
        let mut outcomes = Vec::with_capacity(replayed.len());
        for each in replayed {
            search.catch_up(&self.store, self.tip.revision)?;
            outcomes.push(self.replay_erasure(each, search, restored.former_revision, salts)?);
            self.publish(published);
        }
        Ok(Committed { outcomes, revision: self.tip.revision })
    }

    fn replay_erasure(
        &mut self,
        replayed: &ReplayedErasure,
        search: &Search,
        since: u64,
        salts: &mut StdRng,
    ) -> Result<Outcome, WriteError> {
        let Some(own) = replayed.own() else { return Ok(Outcome::Rejected(Rejection::NoMark)) };
        self.advance()?;
        let revision = self.tip.revision + 1;
        let known = search.found(own.fingerprint);
        let known = known.and_then(|address| Some((self.contact(address)?, address)));
        let said = |fingerprint| replayed.says(fingerprint, own, revision);
        let mut places: Vec<Place> = match known {
            Some((_, address)) => {
                let brands = self.brands_of(replayed.brand).into_iter();
                let marks = brands.map(|brand| (brand, self.mark_of(brand, address)));
                marks.map(|(brand, mark)| Place::new(brand, mark, said(mark))).collect()
            }
            // Known in no brand: all marks are alike.
            None => {
                let marks = replayed.remains.iter().map(|each| each.fingerprint);
                let marks = marks.filter_map(|mark| Some((mark, said(mark)?)));
                marks.map(|(mark, said)| Place::new(replayed.brand, mark, Some(said))).collect()
            }
        };
        let store = Arc::clone(&self.store);
        let mut batch = Batch::new(&store);
        let cut = Cut { until: own.mark.erased_at, since };
        let is_new = self.says_something_new(&places, known)?;
        if let Some((contact, _)) = known {
            for place in &mut places {
                place.left = self.erase_rows(&mut batch, (place.brand, contact), cut)?;
            }
        }
        if !is_new && !is_back(&places) {
            // The batch is dropped: nothing of it is written.
            let mark = self.erased.get(&own.fingerprint);
            return Ok(Outcome::Duplicate(mark.map_or(0, |mark| mark.revision)));
        }
        for place in &mut places {
            place.mark = self.joined(place, cut);
        }
        let contact = known.map(|(contact, _)| contact);
        let mut all_brands = self.all_brands_rest(replayed.brand, contact)?;
        let mut returned = Vec::new();
        if let Some((_, address)) = known {
            returned = self.bring_back(&mut places, &mut all_brands, address, cut);
        }
        Self::note_known(&mut places, &all_brands);

        let marked = places.iter().filter_map(|place| {
            Some(Remains { fingerprint: place.fingerprint, mark: place.mark.clone()? })
        });
        let remains: Vec<Remains> = marked.collect();
        self.erased.extend(remains.iter().map(|each| (each.fingerprint, each.mark.clone())));
        let stored = StoredErasure {
            brand: replayed.brand,
            actor: replayed.actor.clone(),
            source: replayed.source.clone(),
            note: replayed.note.clone(),
            events: places.iter().map(|place| place.left.events).sum(),
            remains: match known {
                Some((_, address)) => self.with_mark_of_all(remains, address),
                None => remains,
            },
        };
        let rest = known.map(|(contact, address)| Rest {
            contact,
            address,
            states: places.into_iter().map(|place| (place.brand, place.left.state)).collect(),
            all_brands,
            returned,
        });
        self.commit_erasure(batch, stored, rest, salts)?;
        Ok(Outcome::Applied(revision))
    }

    /// Whether the marks here do not say already what an erasure says.
    fn says_something_new(
        &self,
        places: &[Place],
        known: Option<(ContactRef, &Address)>,
    ) -> Result<bool, StoreError> {
        let mut states = vec![ContactState::default(); places.len()];
        if let Some((contact, _)) = known {
            let entries: Vec<Entry> = places.iter().map(|place| (place.brand, contact)).collect();
            states = self.states(&entries)?;
        }
        Ok(places.iter().zip(&states).any(|(place, state)| {
            let before = self.erased.get(&place.fingerprint).cloned();
            match (before, place.said.clone()) {
                (_, None) => false,
                (None, Some(_)) => true,
                (Some(mut mark), Some(said)) => mark.join(said, state),
            }
        }))
    }

    /// The mark of a place, joined with what the erasure says of it and with the
    /// suppressions that it takes without knowing of them.
    fn joined(&self, place: &Place, cut: Cut) -> Option<ErasedMark> {
        let before = self.erased.get(&place.fingerprint);
        let gone = place.left.gone.suppressions();
        let gone: Vec<SuppressionEntry> =
            gone.iter().filter(|entry| entry.reason != Reason::Erased).cloned().collect();
        if before.is_none() && place.said.is_none() && gone.is_empty() {
            return None;
        }
        let kept = ErasedMark {
            kept_only: true,
            erased_at: cut.until,
            revision: self.tip.revision + 1,
            ..ErasedMark::default()
        };
        let mut mark = before.cloned().unwrap_or_else(|| kept.clone());
        let state = &place.left.state;
        mark.join(ErasedMark { survivors: gone, ..kept }, state);
        if let Some(said) = &place.said {
            mark.join(said.clone(), state);
        }
        Some(mark)
    }

    /// Tells the marks what is left, and enters the blocks that this brings back
    /// into it, to be recorded behind the erasure.
    fn bring_back(
        &self,
        places: &mut [Place],
        all_brands: &mut ContactState,
        address: &Address,
        cut: Cut,
    ) -> Vec<(Item, i64)> {
        let has_grant = |state: &ContactState| {
            state.consents().iter().any(|record| record.status == Status::Granted)
        };
        let granted_anywhere = places.iter().any(|place| has_grant(&place.left.state));
        let of_all = places.iter().find(|place| place.brand == BrandId::ALL);
        let of_all = of_all.map_or(&*all_brands, |place| &place.left.state);
        let lifted_for_all = of_all.erasure_lifted_after(cut.until).is_some();
        let mut returned = Vec::new();
        let mut revision = self.tip.revision + 1;
        for Place { brand, left, mark, .. } in places.iter_mut() {
            let Some(mark) = mark else { continue };
            let lifted = left.state.erasure_lifted_after(cut.until);
            mark.lifted_at = mark.lifted_at.max(lifted);
            let is_granted = if *brand == BrandId::ALL {
                granted_anywhere
            } else {
                has_grant(&left.state) || lifted_for_all
            };
            if !is_granted && lifted.is_none() {
                continue;
            }
            let entries = std::mem::take(&mut mark.survivors).into_iter();
            for (block, time) in entries.flat_map(|entry| events_of(*brand, address, entry)) {
                revision += 1;
                let item = Item::new(&self.view.secret, block);
                left.state.enter(&item.change.kind, time, item.content.digest, revision);
                returned.push((item, time));
            }
        }
        if let Some(place) = places.iter().find(|place| place.brand == BrandId::ALL) {
            all_brands.clone_from(&place.left.state);
        }
        returned
    }

    /// Notes in the marks where the contact is known all the same: its planes say
    /// there what is decided.
    fn note_known(places: &mut [Place], all_brands: &ContactState) {
        let known: Vec<Fingerprint> = places
            .iter()
            .filter(|place| place.brand != BrandId::ALL && !place.left.state.is_empty())
            .map(|place| place.fingerprint)
            .collect();
        for place in places {
            let Some(mark) = &mut place.mark else { continue };
            mark.reappeared = !place.left.state.is_empty() || !all_brands.is_empty();
            mark.reappeared_in.clear();
            if place.brand == BrandId::ALL {
                mark.reappeared_in.clone_from(&known);
            }
        }
    }
}
