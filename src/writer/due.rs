//! Due masks: what the coming minute's ends will change, prepared ahead (R6).
//!
//! Tens of millions of consents may end at one instant. Deciding on each then
//! would take minutes; so the writer decides ahead, a slice between two tasks,
//! and keeps the changes as compressed masks a plane. When their time comes they are
//! applied page by page, within the second.

use std::collections::{BTreeMap, HashMap};

use roaring::RoaringTreemap;

use super::{
    books::{Books, CHUNK, Entry},
    edits::{DirtyPages, Edits, PlaneSlot},
};
use crate::{
    domain::{
        contact::{ContactKind, ContactRef},
        policy::Policy,
        scope::BrandId,
        time::Now,
    },
    engine::{plane::Plane, view::Planes},
    store::{ContactKey, StoreError},
};

/// How far ahead ends are prepared, in ms.
const AHEAD: i64 = 60_000;

/// The contacts to be inserted into a plane, and to be removed from it.
#[derive(Default)]
struct Mask {
    insert: RoaringTreemap,
    remove: RoaringTreemap,
}

/// The ends that are prepared.
#[derive(Default)]
pub struct Due {
    /// Everything that ends up to here is prepared, or decided already.
    until: i64,
    /// The masks by the time at which they are due.
    masks: BTreeMap<i64, HashMap<PlaneSlot, Mask>>,
    /// The contacts in the masks.
    prepared: Contacts,
    /// Of those, the ones for which the masks no longer hold: something was
    /// recorded since, or they end twice. They are decided on one by one.
    stale: Contacts,
    /// Ends that came too late to be prepared.
    late: BTreeMap<i64, Vec<Entry>>,
    /// The contacts with such ends. What is prepared for them later would not
    /// know what the late end changes, so they are never masked.
    with_late: Contacts,
    /// A time whose ends are not all prepared yet, and the last one that is.
    partial: Option<(i64, ContactKey)>,
}

/// Sets of contacts, by brand and kind.
#[derive(Default)]
struct Contacts(HashMap<(BrandId, ContactKind), RoaringTreemap>);

impl Contacts {
    fn insert(&mut self, (brand, contact): Entry) -> bool {
        self.0.entry((brand, contact.kind)).or_default().insert(contact.id)
    }

    fn contains(&self, (brand, contact): Entry) -> bool {
        self.0.get(&(brand, contact.kind)).is_some_and(|ids| ids.contains(contact.id))
    }

    fn entries(&self) -> impl Iterator<Item = Entry> {
        self.0.iter().flat_map(|((brand, kind), ids)| {
            ids.iter().map(|id| (*brand, ContactRef { kind: *kind, id }))
        })
    }
}

/// What is due: masks to apply, contacts to decide on, and from when on ends
/// are not prepared.
pub(super) struct Taken {
    pub masks: Masks,
    pub entries: Vec<Entry>,
    pub unprepared_from: i64,
}

/// The masks that are due, in the order of their times.
#[derive(Default)]
pub(super) struct Masks(Vec<HashMap<PlaneSlot, Mask>>);

impl Due {
    /// Forgets what was prepared: the clock was set, or the policy changed.
    pub fn reset(&mut self, until: i64) {
        *self = Self { until, ..Self::default() };
    }

    /// Notes that nothing more ends up to this time.
    pub(super) fn settled(&mut self, now: i64) {
        self.until = self.until.max(now);
    }

    /// Whether the ends of the coming minute are still to be prepared.
    pub fn is_behind(&self, now: Now, next_end: Option<i64>) -> bool {
        now.consents == now.suppressions
            && next_end.is_some_and(|next| next <= now.consents + AHEAD)
            && self.until < now.consents + AHEAD
    }

    /// Notes that something was recorded for a contact.
    pub fn touched(&mut self, entry: Entry) {
        if self.prepared.contains(entry) {
            self.stale.insert(entry);
        }
    }

    /// Notes an end that was recorded now; one past the prepared time will be
    /// found in the ledger.
    pub fn ends(&mut self, due: i64, entry: Entry) {
        let in_partial = self.partial.is_some_and(|(partial, _)| partial == due);
        if due <= self.until || in_partial {
            self.late.entry(due).or_default().push(entry);
            self.with_late.insert(entry);
        }
    }

    /// Takes what is due at `now`.
    pub(super) fn take(&mut self, now: i64) -> Taken {
        if let Some((due, _)) = self.partial.take_if(|(due, _)| *due <= now) {
            // Half a mask would be applied beside decisions on everybody.
            self.masks.remove(&due);
        }
        let later = self.masks.split_off(&(now + 1));
        let mut masks: Vec<_> = std::mem::replace(&mut self.masks, later).into_values().collect();
        let later = self.late.split_off(&(now + 1));
        let late = std::mem::replace(&mut self.late, later);
        let mut entries: Vec<Entry> = late.into_values().flatten().collect();
        if !masks.is_empty() {
            entries.extend(self.stale.entries());
            for masks in &mut masks {
                self.stale.subtract_from(masks);
            }
        }
        if self.masks.is_empty() && self.late.is_empty() {
            self.prepared = Contacts::default();
            self.stale = Contacts::default();
            self.with_late = Contacts::default();
        }
        let unprepared_from = self.until;
        self.until = self.until.max(now);
        Taken { masks: Masks(masks), entries, unprepared_from }
    }

    fn add(&mut self, due: i64, edits: Edits) {
        let masks = self.masks.entry(due).or_default();
        for (slot, changes) in edits.into_changes() {
            let mask = masks.entry(slot).or_default();
            for (id, member) in changes {
                if member {
                    mask.insert.insert(id)
                } else {
                    mask.remove.insert(id)
                };
            }
        }
    }
}

impl Contacts {
    fn subtract_from(&self, masks: &mut HashMap<PlaneSlot, Mask>) {
        for (slot, mask) in masks {
            if let Some(ids) = self.0.get(&(slot.brand, slot.kind)) {
                mask.insert -= ids;
                mask.remove -= ids;
            }
        }
    }
}

impl Masks {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Applies the masks to the planes, and notes the pages that they touch.
    pub fn apply(self, policy: &Policy, planes: &mut Planes, dirty: &mut DirtyPages) {
        for (slot, mask) in self.0.into_iter().flatten() {
            let Some(name) = slot.name(policy) else { continue };
            let pages = dirty.0.entry(name).or_default();
            for id in mask.insert.iter().chain(&mask.remove) {
                pages.insert(id >> 16);
            }
            let empty = Plane::empty();
            let before = planes.plane(slot.place, slot.kind, slot.role).unwrap_or(&empty);
            let after = before
                .with_changes(mask.insert.iter().map(|id| (id, true)))
                .with_changes(mask.remove.iter().map(|id| (id, false)));
            planes.replace(slot.place, slot.kind, slot.role, after);
        }
    }
}

impl Books {
    /// Prepares a slice of the coming minute's ends. Called between two tasks.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub(super) fn prepare_ends(&mut self) -> Result<(), StoreError> {
        let now = self.view.now;
        let horizon = now.consents + AHEAD;
        let mut slice: BTreeMap<i64, Vec<Entry>> = BTreeMap::new();
        let (mut until, mut partial) = (horizon, None);
        // A slice goes on behind the one before, also within one instant, so
        // that other work comes in between.
        let (from, behind) = match self.due.partial {
            Some((due, key)) => (due - 1, Some((due, key))),
            None => (self.due.until, None),
        };
        let fresh_ends = self.store.ends(from, horizon)?.filter(
            |end| !matches!((end, behind), (Ok((due, key, _)), Some(last)) if (*due, *key) <= last),
        );
        for (count, end) in fresh_ends.enumerate() {
            let (due, key, contact) = end?;
            slice.entry(due).or_default().push((key.brand(), contact));
            if count + 1 >= CHUNK {
                until = due - 1;
                partial = Some((due, key));
                break;
            }
        }
        for (due, entries) in slice {
            let mut fresh = Vec::with_capacity(entries.len());
            for entry in self.expand_all_brands(&entries) {
                let late = self.due.with_late.contains(entry)
                    || self.due.with_late.contains((BrandId::ALL, entry.1));
                if self.due.prepared.insert(entry) && !late {
                    fresh.push(entry);
                } else {
                    self.due.stale.insert(entry);
                }
            }
            let mut edits = Edits::default();
            self.decide_stored(&fresh, Now::at(due), &mut edits)?;
            self.due.add(due, edits);
        }
        self.due.until = until;
        self.due.partial = partial;
        Ok(())
    }
}
