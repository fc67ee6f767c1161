//! Rebuilding a damaged part of a plane from the ledger, never from memory (F5).
//!
//! As a start does it: the pages on disk, whose hashes are known, and then every
//! contact decided on anew that events or ends have touched since.

use std::{collections::HashSet, sync::Arc};

use super::{
    books::{Books, Entry},
    derive::derive,
    outcome::WriteError,
};
use crate::{
    domain::{contact::ContactRef, plane::PlaneId, scope::BrandId},
    engine::{page::Page, plane::Plane, view::Planes},
    store::{StoreError, StoredChange},
};

/// A part of a plane, by a place in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub plane: PlaneId,
    pub at: u64,
}

impl Books {
    /// The plane of this name in the view that comes next.
    pub(super) fn plane(&self, name: &PlaneId) -> Option<&Plane> {
        let position = self.view.policy.position(&name.scope)?;
        self.view.planes.of(position, name.kind)?.plane(name.role)
    }

    /// Rebuilds a part of a plane, for the view that comes next, if it is
    /// damaged; returns how many pages were rebuilt.
    ///
    /// # Errors
    /// The ledger is damaged too, or cannot be read: nobody may be served (A9).
    pub(super) fn repair(&mut self, part: Part) -> Result<u64, WriteError> {
        let Part { plane: name, at } = part;
        let damaged = self.plane(&name).filter(|plane| !plane.check(at).is_sound);
        let Some(plane) = damaged.cloned() else {
            return Ok(0);
        };
        self.doubts.raise(name.scope);
        self.mended.push(name.scope);
        tracing::error!(
            brand = self.view.policy.brand_name(name.scope.brand),
            "a page in memory was damaged; it is rebuilt from the ledger. Check the machine's memory"
        );
        let pages = if self.pages.saved.policy_revision == self.view.policy_revision {
            self.pages_on_disk(&name, &plane, at)?
        } else {
            // The pages on disk are of another policy.
            self.derived_pages(&name, &plane, at)?
        };
        let count = pages.len() as u64;
        let mut planes = Planes::clone(&self.view.planes);
        if let Some(position) = self.view.policy.position(&name.scope) {
            planes.replace(position, name.kind, name.role, plane.with_part(at, pages));
        }
        self.view.planes = Arc::new(planes);
        // Ends that were prepared from the damaged part are prepared anew.
        self.due.reset(self.view.now.consents);
        let touched = self.touched_since_saved(&name, &plane, at)?;
        let mut edits = Default::default();
        self.decide_stored(&touched, self.view.now, &mut edits)?;
        self.apply(edits);
        self.scrubbed.add_rebuilt(count);
        Ok(count)
    }

    fn pages_on_disk(
        &self,
        name: &PlaneId,
        plane: &Plane,
        at: u64,
    ) -> Result<Vec<Page>, StoreError> {
        let Some(saved) = self.pages.planes.get(name) else { return Ok(Vec::new()) };
        let there = saved.hashes().filter(|(index, _)| plane.is_one_part(plane.place(*index), at));
        let page = |(index, hash)| {
            let bytes = self.store.page(name, index, hash)?;
            Page::from_bytes(index, &bytes).map_err(|error| {
                StoreError::Refused(format!("a page of a plane is damaged: {error}"))
            })
        };
        there.map(page).collect()
    }

    fn derived_pages(
        &self,
        name: &PlaneId,
        plane: &Plane,
        at: u64,
    ) -> Result<Vec<Page>, StoreError> {
        let policy = &self.view.policy;
        let planes = derive(
            self.all_states()?,
            policy,
            self.view.now,
            |(brand, contact)| self.marks(brand, contact),
            |_, _| {},
        )?;
        let derived = policy.position(&name.scope).and_then(|it| planes.of(it, name.kind));
        let derived = derived.and_then(|planes| planes.plane(name.role));
        let pages = derived.into_iter().flat_map(Plane::pages);
        let there = pages.filter(|(index, _)| plane.is_one_part(plane.place(*index), at));
        Ok(there.map(|(_, page)| page.clone()).collect())
    }

    /// The contacts in a part of a plane whose pages on disk may be older than
    /// what is known of them, or newer.
    fn touched_since_saved(
        &self,
        name: &PlaneId,
        plane: &Plane,
        at: u64,
    ) -> Result<Vec<Entry>, StoreError> {
        let saved = self.pages.saved;
        let concerns = |(brand, contact): Entry| {
            (brand == name.scope.brand || brand == BrandId::ALL)
                && contact.kind == name.kind
                && plane.is_one_part(plane.place(contact.id >> 16), at)
        };
        let mut touched: HashSet<(BrandId, ContactRef)> = HashSet::new();
        for event in self.store.events(saved.revision + 1, saved.chain)? {
            let (_, row) = event?;
            if let Some((_, payload)) = row.body.filter(|_| row.kind.is_change()) {
                let stored = StoredChange::decode(&payload)?;
                touched.insert((stored.change.brand, stored.contact));
            }
        }
        let now = self.view.now;
        let times = [saved.now.consents, saved.now.suppressions, saved.clock_until];
        let times = times.into_iter().chain([now.consents, now.suppressions]);
        let from = times.clone().min().unwrap_or(i64::MIN);
        for end in self.store.ends(from, times.max().unwrap_or(i64::MAX))? {
            let (_, key, contact) = end?;
            touched.insert((key.brand(), contact));
        }
        Ok(touched.into_iter().filter(|entry| concerns(*entry)).collect())
    }
}
