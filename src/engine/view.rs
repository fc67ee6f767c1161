//! A view: everything that a batch is answered from, at one revision (A11).
//!
//! Views are immutable. The writer derives each from the one before, sharing
//! all planes that did not change, and publishes it (A4).

use std::sync::Arc;

use super::{directory::DirectoryView, erased::Erased, plane::Plane};
use crate::domain::{
    contact::{ContactKind, ContactRef},
    plane::{Area, PlaneId, PlaneRole},
    policy::Policy,
    reason::Reason,
    scope::{BrandId, ScopeRules},
    secret::Secret,
    time::Now,
};

/// The planes of one area and contact kind.
#[derive(Clone, Debug, Default)]
pub struct KindPlanes {
    verdict: Option<Plane>,
    /// By the reason's number.
    reasons: [Option<Plane>; Reason::TABLE],
}

impl KindPlanes {
    /// A plane, if it has members.
    #[must_use]
    pub fn plane(&self, role: PlaneRole) -> Option<&Plane> {
        match role {
            PlaneRole::Verdict => self.verdict.as_ref(),
            PlaneRole::Reason(reason) => self.reasons.get(reason as usize)?.as_ref(),
        }
    }

    /// All planes that have members.
    pub fn roles(&self) -> impl Iterator<Item = (PlaneRole, &Plane)> + Clone {
        let verdict = self.verdict.iter().map(|plane| (PlaneRole::Verdict, plane));
        verdict.chain(self.reasons().map(|(reason, plane)| (PlaneRole::Reason(reason), plane)))
    }

    /// The reason planes that have members, by rank.
    pub fn reasons(&self) -> impl Iterator<Item = (Reason, &Plane)> + Clone {
        Reason::ALL
            .into_iter()
            .filter_map(|reason| self.plane(PlaneRole::Reason(reason)).map(|plane| (reason, plane)))
    }

    fn replace(&mut self, role: PlaneRole, plane: Plane) {
        let plane = (!plane.is_empty()).then_some(plane);
        match role {
            PlaneRole::Verdict => self.verdict = plane,
            PlaneRole::Reason(reason) => {
                if let Some(slot) = self.reasons.get_mut(reason as usize) {
                    *slot = plane;
                }
            }
        }
    }
}

/// The planes of one area.
pub type AreaPlanes = [KindPlanes; ContactKind::ALL.len()];

/// An area by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A scope, by its position in the policy.
    Scope(usize),
    /// All scopes of a brand that ask for consent.
    Brand(BrandId),
}

impl Place {
    /// The place of an area; `None` if the policy does not have it.
    #[must_use]
    pub fn of(area: Area, policy: &Policy) -> Option<Self> {
        match area {
            Area::Scope(scope) => policy.position(&scope).map(Self::Scope),
            Area::Brand(brand) => policy.has_brand(brand).then_some(Self::Brand(brand)),
        }
    }

    /// The area at this place.
    #[must_use]
    pub fn area(self, policy: &Policy) -> Option<Area> {
        match self {
            Self::Scope(at) => policy.scopes().get(at).map(|rules| Area::Scope(rules.scope)),
            Self::Brand(brand) => Some(Area::Brand(brand)),
        }
    }
}

/// All planes.
#[derive(Clone, Debug)]
pub struct Planes {
    /// In the order of the policy's scopes.
    scopes: Vec<Arc<AreaPlanes>>,
    /// Those of whole brands, ascending; brands without any may be missing.
    brands: Vec<(BrandId, Arc<AreaPlanes>)>,
}

impl Planes {
    /// Empty planes for so many scopes.
    #[must_use]
    pub fn empty(scopes: usize) -> Self {
        let none = Arc::new(AreaPlanes::default());
        Self { scopes: vec![none; scopes], brands: Vec::new() }
    }

    /// The planes of a scope and kind; `None` past the last scope.
    #[must_use]
    pub fn of(&self, scope: usize, kind: ContactKind) -> Option<&KindPlanes> {
        self.scopes.get(scope)?.get(slot(kind))
    }

    /// The planes of a whole brand and kind, if it has any.
    #[must_use]
    pub fn of_brand(&self, brand: BrandId, kind: ContactKind) -> Option<&KindPlanes> {
        let at = self.brands.binary_search_by_key(&brand, |(brand, _)| *brand).ok()?;
        self.brands.get(at)?.1.get(slot(kind))
    }

    /// A plane, if it has members.
    #[must_use]
    pub fn plane(&self, place: Place, kind: ContactKind, role: PlaneRole) -> Option<&Plane> {
        let planes = match place {
            Place::Scope(scope) => self.of(scope, kind),
            Place::Brand(brand) => self.of_brand(brand, kind),
        };
        planes?.plane(role)
    }

    /// The plane of this name, if it has members.
    #[must_use]
    pub fn named(&self, name: &PlaneId, policy: &Policy) -> Option<&Plane> {
        self.plane(Place::of(name.area, policy)?, name.kind, name.role)
    }

    /// Puts a plane in place. Nothing happens past the last scope.
    pub fn replace(&mut self, place: Place, kind: ContactKind, role: PlaneRole, plane: Plane) {
        let planes = match place {
            Place::Scope(scope) => self.scopes.get_mut(scope),
            Place::Brand(brand) => {
                let at = self.brands.binary_search_by_key(&brand, |(brand, _)| *brand);
                let at = at.unwrap_or_else(|at| {
                    self.brands.insert(at, (brand, Arc::default()));
                    at
                });
                self.brands.get_mut(at).map(|(_, planes)| planes)
            }
        };
        if let Some(planes) = planes.and_then(|planes| Arc::make_mut(planes).get_mut(slot(kind))) {
            planes.replace(role, plane);
        }
    }

    /// Every plane that has members, under its name: those of scopes in the
    /// order of the policy, then those of brands.
    pub fn all<'a>(&'a self, policy: &'a Policy) -> impl Iterator<Item = (PlaneId, &'a Plane)> {
        let scopes = policy.scopes().iter().map(|rules| Area::Scope(rules.scope));
        let brands = self.brands.iter().map(|(brand, planes)| (Area::Brand(*brand), planes));
        scopes.zip(&self.scopes).chain(brands).flat_map(|(area, planes)| {
            ContactKind::ALL.into_iter().zip(planes.iter()).flat_map(move |(kind, planes)| {
                planes.roles().map(move |(role, plane)| (PlaneId { area, kind, role }, plane))
            })
        })
    }
}

/// The planes that answers about one scope and kind come from.
#[derive(Clone, Copy)]
pub struct Answering<'a> {
    own: &'a KindPlanes,
    /// Those of the brand, where the scope asks for consent.
    shared: Option<&'a KindPlanes>,
}

impl<'a> Answering<'a> {
    /// The verdict plane, if it has members.
    #[must_use]
    pub fn verdict(self) -> Option<&'a Plane> {
        self.own.plane(PlaneRole::Verdict)
    }

    /// The reason planes that have members, by rank.
    pub fn reasons(self) -> impl Iterator<Item = (Reason, &'a Plane)> + Clone {
        let both = [Some(self.own), self.shared];
        Reason::ALL.into_iter().flat_map(move |reason| {
            let of = move |planes: &'a KindPlanes| planes.plane(PlaneRole::Reason(reason));
            both.into_iter().flatten().filter_map(of).map(move |plane| (reason, plane))
        })
    }
}

fn slot(kind: ContactKind) -> usize {
    kind as usize - 1
}

/// The directories' readers.
#[derive(Clone)]
pub struct Directories {
    /// Of e-mails.
    pub email: DirectoryView,
    /// Of external IDs.
    pub external_id: DirectoryView,
    /// Addresses in the directory of e-mails.
    pub emails: u64,
    /// Addresses in the directory of external IDs.
    pub external_ids: u64,
    /// Memory of both, in bytes.
    pub bytes: u64,
}

/// Everything that a batch is answered from.
#[derive(Clone)]
pub struct View {
    /// The name of the store's history, as every answer bears it: 32 hexadecimal digits.
    pub epoch: Arc<str>,
    /// The last revision in the view.
    pub revision: u64,
    /// The instant that the view's verdicts are decided for.
    pub now: Now,
    /// The policy.
    pub policy: Arc<Policy>,
    /// The revision that applied it.
    pub policy_revision: u64,
    /// All planes.
    pub planes: Arc<Planes>,
    /// The directories.
    pub directories: Directories,
    /// The marks of erased contacts that nothing is known of since (R11).
    pub erased: Arc<Erased>,
    /// The key of the fingerprints.
    pub secret: Secret,
}

impl View {
    /// The time that answers say they are `as_of`, in ms.
    #[must_use]
    pub fn as_of(&self) -> i64 {
        self.now.consents
    }

    /// A scope's rules, by position.
    #[must_use]
    pub fn rules(&self, scope: usize) -> Option<&ScopeRules> {
        self.policy.scopes().get(scope)
    }

    /// What answers about the scope at this position come from.
    #[must_use]
    pub fn answering(&self, scope: usize, kind: ContactKind) -> Option<Answering<'_>> {
        let (rules, own) = (self.rules(scope)?, self.planes.of(scope, kind)?);
        let is_asked = rules.regime.asks_for_consent();
        let shared = is_asked.then(|| self.planes.of_brand(rules.scope.brand, kind)).flatten();
        Some(Answering { own, shared })
    }

    /// The ordinal of a text address, if it is registered.
    #[must_use]
    pub fn ordinal(&self, kind: ContactKind, text: &str) -> Option<ContactRef> {
        let directory = self.directory(kind)?;
        let mut found = [super::directory::NONE];
        directory.resolve(&[self.secret.fingerprint(text.as_bytes())], &mut found);
        let [id] = found;
        (id != super::directory::NONE).then_some(ContactRef { kind, id })
    }

    /// The directory of a kind that has one.
    #[must_use]
    pub fn directory(&self, kind: ContactKind) -> Option<&DirectoryView> {
        match kind {
            ContactKind::Email => Some(&self.directories.email),
            ContactKind::ExternalId => Some(&self.directories.external_id),
            ContactKind::Phone | ContactKind::ContactId => None,
        }
    }
}
