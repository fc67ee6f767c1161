//! From decisions to planes: what must change so that they cache `decide()`.

use hashbrown::HashMap;

use roaring::RoaringTreemap;

use crate::{
    domain::{
        contact::{ContactKind, ContactRef},
        decide::{Known, decide},
        plane::{PlaneId, PlaneRole, in_verdict_plane},
        policy::Policy,
        reason::Reason,
        scope::{BrandId, Level, Scope, TypeSelector},
        time::Now,
    },
    engine::{
        ask_for,
        plane::Plane,
        view::{Planes, View},
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

/// Where a plane stands: its scope by position, its kind and role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PlaneSlot {
    /// The scope's position in the policy.
    pub position: usize,
    /// The scope's brand.
    pub brand: BrandId,
    /// The kind of contacts.
    pub kind: ContactKind,
    /// What being in the plane means.
    pub role: PlaneRole,
}

impl PlaneSlot {
    fn name(self, policy: &Policy) -> Option<PlaneId> {
        let rules = policy.scopes().get(self.position)?;
        Some(PlaneId { scope: rules.scope, kind: self.kind, role: self.role })
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
        let Subject { brand, contact, known } = *subject;
        // Erased, as far as any plane is concerned: filters find such contacts
        // by their marks (R11).
        let is_unknown = known.brand.is_empty() && known.all_brands.is_empty();
        let reached = policy.scopes_of(brand).filter_map(|position| {
            let rules = policy.scopes().get(position)?;
            let is_reached = reach.iter().any(|reach| reach.covers(&rules.scope))
                && policy.kinds(rules.scope.channel).contains(&contact.kind);
            let kind_planes = planes.of(position, contact.kind).filter(|_| is_reached)?;
            Some((position, rules, kind_planes))
        });
        let reached: Vec<_> = reached.collect();
        // One by one, dozens of scopes would wait for as many planes.
        let found: Vec<_> = reached.iter().flat_map(|(.., planes)| planes.roles()).collect();
        ask_for(contact.id, found.iter().map(|(_, plane)| *plane));
        for (position, rules, kind_planes) in reached {
            let decided = (!is_unknown).then(|| decide(known, rules, now).reason);
            let belongs = |role| {
                decided.is_some_and(|reason| match role {
                    PlaneRole::Verdict => in_verdict_plane(rules.regime, reason),
                    PlaneRole::Reason(each) => each == reason,
                })
            };
            let slot = |role| PlaneSlot { position, brand, kind: contact.kind, role };
            let mut put = |role, member| {
                self.changes.entry(slot(role)).or_default().push((contact.id, member));
            };
            let is_refused = decided != Some(Reason::Permitted);
            // Each plane by itself: after a crash some may be newer than others.
            for (role, plane) in kind_planes.roles() {
                let member = belongs(role);
                if plane.contains(contact.id) != member {
                    put(role, member);
                } else if is_refused && role == PlaneRole::Verdict {
                    self.refused.entry(slot(role)).or_default().push(contact.id);
                }
            }
            let of_reason = decided.filter(|reason| reason.has_plane()).map(PlaneRole::Reason);
            for role in [Some(PlaneRole::Verdict), of_reason].into_iter().flatten() {
                if belongs(role) && kind_planes.plane(role).is_none() {
                    put(role, true);
                }
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
            let PlaneSlot { position, kind, role, .. } = slot;
            let Some(name) = slot.name(policy) else { continue };
            changes.sort_unstable_by_key(|(id, _)| *id);
            let pages = dirty.0.entry(name).or_default();
            changes.iter().for_each(|(id, _)| {
                pages.insert(id >> 16);
            });
            let before = planes.of(position, kind).and_then(|planes| planes.plane(role));
            let empty = Plane::empty();
            let after = before.unwrap_or(&empty).with_changes(changes.into_iter());
            planes.replace(position, kind, role, after);
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
