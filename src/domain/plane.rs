//! The names of planes: which set of contacts a plane holds.

use super::{
    contact::ContactKind,
    reason::Reason,
    scope::{Regime, Scope},
};

/// What a plane says of the contacts in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PlaneRole {
    /// The verdict: the permitted contacts of an `opt_in` scope, the refused
    /// ones of an `opt_out` or `exempt` scope.
    Verdict,
    /// The contacts refused for this reason; one that has a plane.
    Reason(Reason),
}

impl PlaneRole {
    /// The stored number (A8): 0, or the reason's.
    #[must_use]
    pub fn tag(self) -> u8 {
        match self {
            Self::Verdict => 0,
            Self::Reason(reason) => reason as u8,
        }
    }

    /// The role with this stored number.
    #[must_use]
    pub fn from_tag(tag: u8) -> Option<Self> {
        if tag == 0 {
            return Some(Self::Verdict);
        }
        Reason::from_tag(tag).filter(|reason| reason.has_plane()).map(Self::Reason)
    }
}

/// The name of a plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PlaneId {
    /// The scope.
    pub scope: Scope,
    /// The kind of the contacts in it.
    pub kind: ContactKind,
    /// What being in it means.
    pub role: PlaneRole,
}

/// Whether a contact with this verdict is in the verdict plane of a scope.
#[must_use]
pub fn in_verdict_plane(regime: Regime, reason: Reason) -> bool {
    let permitted = reason == Reason::Permitted;
    match regime {
        Regime::OptIn => permitted,
        Regime::OptOut | Regime::Exempt => !permitted,
    }
}
