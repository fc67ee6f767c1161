//! The rows of an erased contact: which events lose their payload, and what goes
//! with them.

use std::collections::BTreeSet;

use super::{
    books::{Books, Entry},
    item::keys,
    outcome::WriteError,
};
use crate::{
    domain::{event::ChangeKind, policy::Policy, state::ContactState, validity::registration_end},
    store::{Batch, ContactKey, KeyHash, Store, StoreError, StoredChange},
};

/// Which of a contact's events an erasure takes.
#[derive(Clone, Copy)]
pub(super) struct Cut {
    /// Those that count from this time or from one before it.
    pub until: i64,
    /// Suppressions behind this revision are told in [`Left::gone`].
    pub since: u64,
}

impl Cut {
    /// Every event.
    pub const ALL: Self = Self { until: i64::MAX, since: u64::MAX };
}

/// What an erasure leaves of a contact in one brand.
#[derive(Default)]
pub(super) struct Left {
    /// What the events make that it does not take.
    pub state: ContactState,
    /// The suppressions and lifts among the erased events.
    pub gone: ContactState,
    /// Events whose payload was erased.
    pub events: u64,
}

impl Books {
    /// Erases the rows of a contact in one brand, but for its state, which the
    /// commit replaces by what is left.
    pub(super) fn erase_rows(
        &self,
        batch: &mut Batch<'_>,
        entry: Entry,
        cut: Cut,
    ) -> Result<Left, WriteError> {
        let (brand, contact) = entry;
        let key = ContactKey::new(self.store.secret(), brand, contact);
        let validities = validities(&self.store, self.view.policy_revision)?;
        let mut left = Left::default();
        let (mut over, mut queued) = (BTreeSet::new(), BTreeSet::new());
        for revision in self.store.history(&key)? {
            let row = self.store.event(revision)?;
            let payload = row.as_ref().and_then(|row| row.body.as_ref());
            let stored = payload.map(|(_, payload)| StoredChange::decode(payload)).transpose()?;
            // The other side of a rectification keeps its event.
            let own =
                stored.filter(|stored| (stored.change.brand, stored.contact) == entry).zip(row);
            let Some((stored, row)) = own else {
                batch.forget_history(&key, revision)?;
                continue;
            };
            let (kind, time) = (&stored.change.kind, stored.effective_time);
            if time > cut.until {
                left.state.enter(kind, time, stored.content(), revision);
                queued.extend(ends(&stored, &validities));
                continue;
            }
            if revision > cut.since && !matches!(kind, ChangeKind::Consent(_)) {
                left.gone.enter(kind, time, stored.content(), revision);
            }
            for hash in keys_of(self, &stored) {
                batch.forget_event_key(hash)?;
            }
            over.extend(ends(&stored, &validities));
            batch.forget_history(&key, revision)?;
            batch.event(revision, &row.erased())?;
            left.events += 1;
        }
        for due in over.difference(&queued) {
            batch.forget_end(*due, &key)?;
        }
        Ok(left)
    }
}

/// The hashes that an event's key and content are remembered under.
pub(super) fn keys_of(books: &Books, stored: &StoredChange) -> [KeyHash; 2] {
    match &stored.redacted {
        Some(redacted) => redacted.keys,
        None => keys(books.store.secret(), &stored.change, stored.content()),
    }
}

/// Every default validity there ever was: each may have queued ends of its own.
fn validities(store: &Store, revision: u64) -> Result<BTreeSet<i64>, StoreError> {
    let mut validities = BTreeSet::new();
    for row in store.policies(revision) {
        let stored = row?.stored;
        // Every version reads what earlier ones applied.
        let policy = Policy::read(&stored.text, stored.names)
            .map_err(|error| StoreError::Refused(error.to_string()))?;
        validities.extend(policy.scopes().iter().filter_map(|rules| rules.default_validity));
    }
    Ok(validities)
}

/// The ends that an event may have queued, under any policy: what ends a grant
/// first is one of these.
fn ends(stored: &StoredChange, validities: &BTreeSet<i64>) -> Vec<i64> {
    match &stored.change.kind {
        ChangeKind::Consent(consent) => {
            let given = stored.effective_time;
            let by_policy = validities.iter().map(|validity| given.saturating_add(*validity));
            by_policy.chain(consent.valid_until).chain([registration_end(given)]).collect()
        }
        ChangeKind::Suppression(suppression) => suppression.expires_at.into_iter().collect(),
        ChangeKind::Lift(_) => Vec::new(),
    }
}
