//! The names of planes, and which contacts stand in them.

use super::{
    contact::ContactKind,
    reason::Reason,
    scope::{BrandId, Regime, Scope, ScopeRules},
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

/// Where the contacts of a plane have what its role says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Area {
    /// In one scope.
    Scope(Scope),
    /// In every scope of a brand that asks for consent, on channels that take
    /// contacts of the plane's kind: see [`shared_reason`].
    Brand(BrandId),
}

impl Area {
    /// The brand.
    #[must_use]
    pub fn brand(self) -> BrandId {
        match self {
            Self::Scope(scope) => scope.brand,
            Self::Brand(brand) => brand,
        }
    }
}

/// The name of a plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PlaneId {
    /// Where it holds.
    pub area: Area,
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

/// The reason that a contact is refused for wherever its brand asks for
/// consent, from the verdicts there.
///
/// A contact that is refused everywhere, as by "never write to me again", stands
/// in one plane of its brand, and not in a plane of each scope: of those there
/// may be dozens, and its withdrawal would change them all. A reason of one
/// scope alone is not shared.
#[must_use]
pub fn shared_reason(verdicts: impl IntoIterator<Item = Reason>) -> Option<Reason> {
    let mut verdicts = verdicts.into_iter();
    let first = verdicts.next().filter(|reason| reason.has_plane())?;
    let second = verdicts.next()?;
    (second == first && verdicts.all(|each| each == first)).then_some(first)
}

/// The planes of a scope that a contact with this verdict stands in. The reason
/// that its brand's scopes share is not among them.
pub fn roles_in(
    rules: &ScopeRules,
    verdict: Reason,
    shared: Option<Reason>,
) -> impl Iterator<Item = PlaneRole> + Clone {
    let is_shared = shared.is_some() && rules.regime.asks_for_consent();
    let of_verdict = in_verdict_plane(rules.regime, verdict).then_some(PlaneRole::Verdict);
    let of_reason = (verdict.has_plane() && !is_shared).then_some(PlaneRole::Reason(verdict));
    of_verdict.into_iter().chain(of_reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_shared_by_two_scopes_or_more_that_all_give_it() {
        let shared = |verdicts: &[Reason]| shared_reason(verdicts.iter().copied());
        let (optout, bounce) = (Reason::ContactOptOut, Reason::HardBounce);
        assert_eq!(shared(&[optout, optout]), Some(optout));
        assert_eq!(shared(&[bounce; 5]), Some(bounce));
        for verdicts in [
            &[][..],
            &[optout],
            &[optout, bounce],
            &[optout, optout, bounce],
            &[optout, Reason::Permitted],
            &[Reason::Permitted, optout],
            &[Reason::Permitted; 3],
            &[Reason::NoConsent; 3],
        ] {
            assert_eq!(shared(verdicts), None, "{verdicts:?}");
        }
    }
}
