//! A view: everything that a batch is answered from, at one revision (A11).
//!
//! Views are immutable. The writer derives each from the one before, sharing
//! all planes that did not change, and publishes it (A4).

use std::sync::Arc;

use super::{directory::DirectoryView, erased::Erased, plane::Plane};
use crate::domain::{
    contact::{ContactKind, ContactRef},
    plane::{PlaneId, PlaneRole},
    policy::Policy,
    reason::Reason,
    scope::ScopeRules,
    secret::Secret,
    time::Now,
};

/// The planes of one scope and contact kind.
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

/// The planes of one scope.
pub type ScopePlanes = [KindPlanes; ContactKind::ALL.len()];

/// All planes, in the order of the policy's scopes.
#[derive(Clone, Debug)]
pub struct Planes(Vec<Arc<ScopePlanes>>);

impl Planes {
    /// Empty planes for so many scopes.
    #[must_use]
    pub fn empty(scopes: usize) -> Self {
        let none = Arc::new(ScopePlanes::default());
        Self(vec![none; scopes])
    }

    /// The planes of a scope and kind; `None` past the last scope.
    #[must_use]
    pub fn of(&self, scope: usize, kind: ContactKind) -> Option<&KindPlanes> {
        self.0.get(scope)?.get(slot(kind))
    }

    /// Puts a plane in place. Nothing happens past the last scope.
    pub fn replace(&mut self, scope: usize, kind: ContactKind, role: PlaneRole, plane: Plane) {
        if let Some(planes) = self.0.get_mut(scope)
            && let Some(planes) = Arc::make_mut(planes).get_mut(slot(kind))
        {
            planes.replace(role, plane);
        }
    }

    /// Every plane that has members, under its name.
    pub fn all<'a>(&'a self, policy: &'a Policy) -> impl Iterator<Item = (PlaneId, &'a Plane)> {
        policy.scopes().iter().zip(&self.0).flat_map(|(rules, planes)| {
            ContactKind::ALL.into_iter().zip(planes.iter()).flat_map(move |(kind, planes)| {
                let scope = rules.scope;
                planes.roles().map(move |(role, plane)| (PlaneId { scope, kind, role }, plane))
            })
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
