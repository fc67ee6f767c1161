//! Until when a grant counts (R6), and for how long without the registry (R12).

use super::{
    business_days::certain_deadline,
    scope::{ScopeRules, TypeSelector, Width},
    state::{ConsentRecord, ContactState, Status},
};

/// The end of a current grant of `state`, if it has one: the earliest of its
/// own, its scope's default, and the end of the time to register it, where the
/// scope asks for that and the registry does not hold it. It counts no more
/// from this millisecond on.
#[must_use]
pub fn grant_end(state: &ContactState, grant: &ConsentRecord, rules: &ScopeRules) -> Option<i64> {
    if grant.status != Status::Granted {
        return None;
    }
    let given = grant.consent_time;
    let default = rules.default_validity.map(|validity| given.saturating_add(validity));
    let is_unregistered = rules.registration_required && !is_registered(state, grant);
    let unregistered = is_unregistered.then(|| registration_end(given));
    [grant.valid_until, default, unregistered].into_iter().flatten().min()
}

/// The first millisecond at which a consent given at this time is registered
/// too late. A time that no calendar has is too late already (A1).
#[must_use]
pub fn registration_end(consent_time: i64) -> i64 {
    certain_deadline(consent_time).map_or(consent_time, |last| last.saturating_add(1))
}

/// Whether the registry holds the consent of this grant. It need not hold the
/// grant itself: a consent that it has already cannot be registered again
/// (H174), so a renewal stands on what was registered before. What ends that
/// is a refusal that the registry was told: of the channel or of everything.
fn is_registered(state: &ContactState, grant: &ConsentRecord) -> bool {
    let Some(registered) = state.registered_at(grant.level, grant.selector) else { return false };
    !state.consents().iter().any(|record| {
        record.status == Status::Withdrawn
            && record.level.width() != Width::Purpose
            && record.level.covers(grant.level.channel(), grant.level.purpose())
            && (record.selector == TypeSelector::Any || record.selector == grant.selector)
            && record.consent_time >= registered
    })
}

#[cfg(test)]
#[path = "validity_tests.rs"]
mod tests;
