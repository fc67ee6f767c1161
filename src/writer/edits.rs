//! From decisions to planes: what must change so that they cache `decide()`.

use hashbrown::HashMap;

use roaring::RoaringTreemap;

use crate::{
    domain::{
        contact::{ContactKind, ContactRef},
        decide::{Known, decide},
        plane::{PlaneId, PlaneRole, roles_in, shared_reason},
        policy::Policy,
        reason::Reason,
        scope::{BrandId, Level, Scope, TypeSelector},
        time::Now,
    },
    engine::{
        ask_for,
        plane::Plane,
        view::{KindPlanes, Place, Planes, View},
    },
};

/// Changes to planes, gathered over many contacts. A contact is decided on at
/// most once per set.
#[derive(Default)]
pub struct Edits {
    changes: HashMap<PlaneSlot, Vec<(u64, bool)>>,
    /// Contacts that are refused, and were so already by their verdict plane. A
    /// page that memory has damaged may say that wrongly, while the one on disk
    /// permits: so the next checkpoint looks at these pages too, before events
    /// like this one count as contained in what is on disk (F5).
    refused: HashMap<PlaneSlot, Vec<u64>>,
}

/// A plane by its place, its kind and role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PlaneSlot {
    /// The area's place.
    pub place: Place,
    /// The area's brand.
    pub brand: BrandId,
    /// The kind of contacts.
    pub kind: ContactKind,
    /// What being in the plane means.
    pub role: PlaneRole,
}

impl PlaneSlot {
    /// The plane's name under a policy that has its area.
    pub(super) fn name(self, policy: &Policy) -> Option<PlaneId> {
        Some(PlaneId { area: self.place.area(policy)?, kind: self.kind, role: self.role })
    }
}

/// A contact to decide on, within a brand.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The brand.
    pub brand: BrandId,
    /// The contact.
    pub contact: ContactRef,
    /// What is known of it.
    pub known: Known<'a>,
}

/// The scopes that a change can bear on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The channels and purposes.
    pub level: Level,
    /// The recipient types.
    pub selector: TypeSelector,
}

impl Reach {
    /// Every scope.
    pub const ALL: Self = Self { level: Level::CONTACT, selector: TypeSelector::Any };

    fn covers(self, scope: &Scope) -> bool {
        self.level.covers(scope.channel, scope.purpose)
            && self.selector.covers(scope.recipient_type)
    }
}

impl Edits {
    /// Decides on a contact in every scope of a brand that is within reach, and
    /// notes where the planes say otherwise.
    pub fn decide(&mut self, view: &View, subject: &Subject<'_>, now: Now, reach: &[Reach]) {
        let (policy, planes) = (&view.policy, &view.planes);
        let Subject { brand, contact: ContactRef { kind, id }, known } = *subject;
        // Erased, as far as any plane is concerned: filters find such contacts
        // by their marks (R11).
        let is_unknown = known.brand.is_empty() && known.all_brands.is_empty();
        let verdict = |rules| (!is_unknown).then(|| decide(known, rules, now).reason);
        let scopes = policy.scopes_for(brand, kind);
        let asking = scopes.clone().filter(|(_, rules)| rules.regime.asks_for_consent());
        let shared = shared_reason(asking.map_while(|(_, rules)| verdict(rules)));

        let of_brand = planes.of_brand(brand, kind);
        let known_to_brand = of_brand.into_iter().flat_map(KindPlanes::reasons);
        ask_for(id, known_to_brand.clone().map(|(_, plane)| plane));
        let was_shared = known_to_brand.filter(|(_, plane)| plane.contains(id));
        let is_shared_otherwise = !was_shared.map(|(reason, _)| reason).eq(shared);
        if is_shared_otherwise {
            let slot = |role| PlaneSlot { place: Place::Brand(brand), brand, kind, role };
            self.note(slot, of_brand, id, shared.map(PlaneRole::Reason).into_iter(), false);
        }

        // What was shared and no longer is, or the reverse, concerns all scopes.
        let is_reached =
            |scope| is_shared_otherwise || reach.iter().any(|reach| reach.covers(scope));
        let reached = scopes.filter_map(|(position, rules)| {
            let planes = planes.of(position, kind).filter(|_| is_reached(&rules.scope))?;
            Some((position, rules, planes))
        });
        let reached: Vec<_> = reached.collect();
        // One by one, dozens of scopes would wait for as many planes.
        let found: Vec<_> = reached.iter().flat_map(|(.., planes)| planes.roles()).collect();
        ask_for(id, found.iter().map(|(_, plane)| *plane));
        for (position, rules, planes) in reached {
            let verdict = verdict(rules);
            let slot = |role| PlaneSlot { place: Place::Scope(position), brand, kind, role };
            let roles = verdict.into_iter().flat_map(|reason| roles_in(rules, reason, shared));
            self.note(slot, Some(planes), id, roles, verdict != Some(Reason::Permitted));
        }
    }

    /// Notes what must change so that a contact is in the planes of these roles,
    /// and in no other one of the same area.
    fn note(
        &mut self,
        slot: impl Fn(PlaneRole) -> PlaneSlot,
        planes: Option<&KindPlanes>,
        id: u64,
        roles: impl Iterator<Item = PlaneRole> + Clone,
        is_refused: bool,
    ) {
        // Each plane by itself: after a crash some may be newer than others.
        for (role, plane) in planes.into_iter().flat_map(KindPlanes::roles) {
            let member = roles.clone().any(|each| each == role);
            if plane.contains(id) != member {
                self.changes.entry(slot(role)).or_default().push((id, member));
            } else if is_refused && role == PlaneRole::Verdict {
                self.refused.entry(slot(role)).or_default().push(id);
            }
        }
        for role in roles {
            if planes.is_none_or(|planes| planes.plane(role).is_none()) {
                self.changes.entry(slot(role)).or_default().push((id, true));
            }
        }
    }

    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.refused.is_empty()
    }

    /// The changes by plane, in no particular order.
    pub(super) fn into_changes(self) -> impl Iterator<Item = (PlaneSlot, Vec<(u64, bool)>)> {
        self.changes.into_iter()
    }

    /// Makes the changes, and notes the pages that they touch.
    pub fn apply(self, policy: &Policy, planes: &mut Planes, dirty: &mut DirtyPages) {
        for (slot, ids) in self.refused {
            if let Some(name) = slot.name(policy) {
                dirty.0.entry(name).or_default().extend(ids.into_iter().map(|id| id >> 16));
            }
        }
        for (slot, mut changes) in self.changes {
            let PlaneSlot { place, kind, role, .. } = slot;
            let Some(name) = slot.name(policy) else { continue };
            changes.sort_unstable_by_key(|(id, _)| *id);
            let pages = dirty.0.entry(name).or_default();
            changes.iter().for_each(|(id, _)| {
                pages.insert(id >> 16);
            });
            let empty = Plane::empty();
            let before = planes.plane(place, kind, role).unwrap_or(&empty);
            let after = before.with_changes(changes.into_iter());
            planes.replace(place, kind, role, after);
        }
    }
}

/// The pages that differ from the last checkpoint.
#[derive(Default)]
pub struct DirtyPages(pub HashMap<PlaneId, RoaringTreemap>);

impl DirtyPages {
    /// Counts every page of these planes as changed.
    pub fn all(&mut self, policy: &Policy, planes: &Planes) {
        for (name, plane) in planes.all(policy) {
            self.0.entry(name).or_default().extend(plane.pages().map(|(page, _)| page));
        }
    }
}
