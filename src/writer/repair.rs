//! Rebuilding damaged parts of a plane from the ledger, never from memory (F5).
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
    engine::{
        page::Page,
        plane::Plane,
        view::{Place, Planes},
    },
    store::{StoreError, StoredChange},
};

/// Damage that was found: the stretch of a plane's table that it may have
/// spread over by the time it is repaired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Damage {
    pub plane: PlaneId,
    from: u64,
    /// Where the stretch ends; none for the end of the table.
    to: Option<u64>,
}

impl Damage {
    /// Damage in the part of a plane that holds a place.
    pub fn at(name: PlaneId, plane: &Plane, at: u64) -> Self {
        let (from, to) = plane.spread(at);
        Self { plane: name, from, to }
    }

    /// The places of the parts that are damaged now.
    fn places(&self, plane: &Plane) -> Vec<u64> {
        let mut places = Vec::new();
        let mut next = Some(self.from);
        while let Some(at) = next.filter(|at| self.to.is_none_or(|to| *at < to)) {
            let checked = plane.check(at);
            places.extend((!checked.is_sound).then_some(at));
            next = checked.next;
        }
        places
    }
}

/// The parts of a plane that are rebuilt.
struct Parts<'a> {
    name: PlaneId,
    plane: &'a Plane,
    places: Vec<u64>,
}

impl Parts<'_> {
    fn hold(&self, page: u64) -> bool {
        let place = self.plane.place(page);
        self.places.iter().any(|at| self.plane.is_one_part(*at, place))
    }

    /// The plane with these pages in the parts, and nothing else there.
    fn replaced(&self, pages: &[Page]) -> Plane {
        let of = |at: u64| {
            let is_there =
                |page: &&Page| self.plane.is_one_part(at, self.plane.place(page.index()));
            (at, pages.iter().filter(is_there).cloned().collect())
        };
        self.plane.with_parts(self.places.iter().map(|at| of(*at)))
    }
}

impl Books {
    /// The plane of this name in the view that comes next.
    pub(super) fn plane(&self, name: &PlaneId) -> Option<&Plane> {
        self.view.planes.named(name, &self.view.policy)
    }

    /// Rebuilds what is left of damage that was found, and for which a doubt
    /// was raised, for the view that comes next: publishing that settles it.
    /// Returns how many pages were rebuilt.
    ///
    /// # Errors
    /// The ledger is damaged too, or cannot be read: nobody may be served (A9).
    pub(super) fn repair(&mut self, damage: Damage) -> Result<u64, WriteError> {
        let name = damage.plane;
        let mut rebuilt = 0;
        // A plane that has gone meanwhile needs no repair.
        if let Some(plane) = self.plane(&name).cloned() {
            let places = damage.places(&plane);
            if !places.is_empty() {
                rebuilt = self.rebuild(&Parts { name, plane: &plane, places })?;
            }
        }
        self.mended.push(name.area);
        Ok(rebuilt)
    }

    fn rebuild(&mut self, parts: &Parts<'_>) -> Result<u64, WriteError> {
        let name = parts.name;
        tracing::error!(
            brand = self.view.policy.brand_name(name.area.brand()),
            "a page in memory was damaged; it is rebuilt from the ledger. Check the machine's memory"
        );
        let pages = if self.pages.saved.is_of(self.view.policy_revision) {
            self.pages_on_disk(parts)?
        } else {
            // The planes on disk are others.
            self.derived_pages(parts)?
        };
        let mut planes = Planes::clone(&self.view.planes);
        if let Some(place) = Place::of(name.area, &self.view.policy) {
            planes.replace(place, name.kind, name.role, parts.replaced(&pages));
        }
        self.view.planes = Arc::new(planes);
        // Ends that were prepared from the damaged part are prepared anew.
        self.due.reset(self.view.now.consents);
        let touched = self.touched_since_saved(parts)?;
        let mut edits = Default::default();
        self.decide_stored(&touched, self.view.now, &mut edits)?;
        self.apply(edits);
        let count = pages.len() as u64;
        self.scrubbed.add_rebuilt(count);
        Ok(count)
    }

    fn pages_on_disk(&self, parts: &Parts<'_>) -> Result<Vec<Page>, StoreError> {
        let Some(saved) = self.pages.planes.get(&parts.name) else { return Ok(Vec::new()) };
        let there = saved.hashes().filter(|(index, _)| parts.hold(*index));
        let page = |(index, hash)| {
            let bytes = self.store.page(&parts.name, index, hash)?;
            Page::from_bytes(index, &bytes).map_err(|error| {
                StoreError::Refused(format!("a page of a plane is damaged: {error}"))
            })
        };
        there.map(page).collect()
    }

    fn derived_pages(&self, parts: &Parts<'_>) -> Result<Vec<Page>, StoreError> {
        let (name, policy) = (&parts.name, &self.view.policy);
        let planes = derive(
            self.all_states()?,
            policy,
            self.view.now,
            |(brand, contact)| self.marks(brand, contact),
            |_, _| {},
        )?;
        let pages = planes.named(name, policy).into_iter().flat_map(Plane::pages);
        let there = pages.filter(|(index, _)| parts.hold(*index));
        Ok(there.map(|(_, page)| page.clone()).collect())
    }

    /// The contacts in these parts whose pages on disk may be older than what is
    /// known of them, or newer.
    fn touched_since_saved(&self, parts: &Parts<'_>) -> Result<Vec<Entry>, StoreError> {
        let (name, saved) = (&parts.name, self.pages.saved);
        let concerns = |(brand, contact): Entry| {
            (brand == name.area.brand() || brand == BrandId::ALL)
                && contact.kind == name.kind
                && parts.hold(contact.id >> 16)
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
