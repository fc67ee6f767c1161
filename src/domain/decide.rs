//! The verdict: rules R5 to R9 in one pure function.

use std::cmp::Reverse;

use super::{
    erased::ErasedMark,
    reason::Reason,
    scope::{Regime, ScopeRules},
    state::{ConsentRecord, ContactState, Status, SuppressionEntry, opt_out_reason},
    time::Now,
    validity::grant_end,
};

/// All that is known of a contact and can bear on one brand.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The contact's state within the brand.
    pub brand: &'a ContactState,
    /// Its state for all brands: suppressions only.
    pub all_brands: &'a ContactState,
    /// What outlived an erasure in the brand, and in all brands.
    pub erased: [Option<&'a ErasedMark>; 2],
}

/// A verdict with the revision of the record that decided, where one did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The verdict.
    pub reason: Reason,
    /// The deciding event. None for NO_CONSENT, ERASED, and where nothing is
    /// known or asked.
    pub revision: Option<u64>,
    /// Since when it holds: the time of the consent or withdrawal, the since of
    /// the suppression, the end of an expired consent, the time of the erasure.
    /// None where nothing is known or asked.
    pub since: Option<i64>,
}

impl Decision {
    /// A verdict that no record decided.
    #[must_use]
    pub fn unrecorded(reason: Reason) -> Self {
        Self { reason, revision: None, since: None }
    }
}

/// Decides whether a message of this scope may go to this contact, at `now`.
///
/// Pure: planes, reason planes, checks and explanations all cache or repeat
/// this answer, and nothing else decides.
#[must_use]
pub fn decide(known: Known<'_>, rules: &ScopeRules, now: Now) -> Decision {
    let consent = effective_consent(known.brand, rules).map(|record| {
        let end = grant_end(known.brand, record, rules);
        (record, end.filter(|end| *end <= now.consents))
    });
    // The time of the consent that may end suppressions "by a later grant". In
    // an exempt scope grants end nothing.
    let granted = consent
        .filter(|(record, ended)| record.status == Status::Granted && ended.is_none())
        .map(|(record, _)| record.consent_time)
        .filter(|_| rules.regime != Regime::Exempt);
    if let Some(blocked) = strongest_block(known, granted, rules, now) {
        return blocked;
    }
    match (rules.regime, consent) {
        (Regime::Exempt, _) => Decision::unrecorded(Reason::Permitted),
        (Regime::OptIn, None) => Decision::unrecorded(Reason::NoConsent),
        (Regime::OptOut, None) => Decision::unrecorded(Reason::Permitted),
        (_, Some((record, ended))) => {
            let (reason, since) = match (record.status, ended) {
                (Status::Withdrawn, _) => {
                    (opt_out_reason(record.level.width()), record.consent_time)
                }
                (Status::Granted, Some(end)) => (Reason::Expired, end),
                (Status::Granted, None) => (Reason::Permitted, record.consent_time),
            };
            Decision { reason, revision: Some(record.revision), since: Some(since) }
        }
    }
}

/// The effective consent (R5): the latest current record that speaks of the
/// scope; at equal times a withdrawal, and of those the narrowest.
fn effective_consent<'a>(state: &'a ContactState, rules: &ScopeRules) -> Option<&'a ConsentRecord> {
    let scope = rules.scope;
    state
        .consents()
        .iter()
        .filter(|record| {
            record.level.covers(scope.channel, scope.purpose)
                && record.selector.covers(scope.recipient_type)
        })
        // Between a typed and an untyped withdrawal of one level and time the
        // verdict is the same; the typed one is named as the deciding record.
        .max_by_key(|record| {
            (record.consent_time, record.status, Reverse(record.level.width()), record.selector)
        })
}

/// The strongest suppression that blocks the scope (R7), ERASED first, beside
/// a grant of this time.
fn strongest_block(
    known: Known<'_>,
    granted: Option<i64>,
    rules: &ScopeRules,
    now: Now,
) -> Option<Decision> {
    // Under opt_in an erased contact is simply unknown (R11): older consents
    // were refused, so whatever is known here is newer than the erasure.
    let erased = known
        .erased
        .into_iter()
        .flatten()
        .filter(|mark| mark.is_active() && granted.is_none_or(|time| time <= mark.erased_at))
        .map(|mark| mark.erased_at)
        .max();
    if erased.is_some() && rules.regime.permits_unknown() {
        return Some(Decision { since: erased, ..Decision::unrecorded(Reason::Erased) });
    }

    let entries = known.brand.suppressions().iter().chain(known.all_brands.suppressions());
    entries
        .filter(|entry| entry.channel.covers(rules.scope.channel))
        .filter(|entry| blocks_regime(entry.reason, rules.regime))
        .filter_map(|entry| blocking(entry, granted, now))
        .min_by_key(|decision| (decision.reason, decision.revision))
}

fn blocking(entry: &SuppressionEntry, granted: Option<i64>, now: Now) -> Option<Decision> {
    let span = entry.active(now.suppressions)?;
    let ended = ends_by_later_grant(entry.reason) && granted.is_some_and(|time| time > span.since);
    (!ended).then_some(Decision {
        reason: entry.reason,
        revision: Some(span.revision),
        since: Some(span.since),
    })
}

/// Whether the suppression concerns messages for which consent is not asked.
fn blocks_regime(reason: Reason, regime: Regime) -> bool {
    !(reason == Reason::Objected && regime == Regime::Exempt)
}

/// Whether a new opt-in re-opens its scope in spite of the suppression (R7).
#[must_use]
pub fn ends_by_later_grant(reason: Reason) -> bool {
    matches!(reason, Reason::Erased | Reason::LineClosed | Reason::SpamComplaint | Reason::Objected)
}
