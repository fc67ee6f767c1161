//! Rectification (R11): an address was wrong, and another one is right.

use rand::{RngExt, rngs::StdRng};

use super::{
    books::Books,
    item::Item,
    outcome::{Outcome, WriteError},
};
use crate::{
    domain::{
        contact::Address,
        decide::ends_by_later_grant,
        event::{Actor, Change, ChangeKind, Consent, Evidence, Notice},
        scope::{BrandId, Level, TypeSelector},
        state::{ConsentRecord, ContactState, Status},
        time::{Precision, StatedTime},
    },
    store::StoredChange,
};

/// A wrong address and the right one, of the same kind.
#[derive(Clone, Debug)]
pub struct Rectification {
    /// The brand.
    pub brand: BrandId,
    /// The wrong address.
    pub from: Address,
    /// The right address.
    pub to: Address,
    /// Where the request comes from.
    pub source: String,
    /// Who corrects.
    pub actor: Actor,
}

/// What a rectification did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rectified {
    /// The event that links both histories: the withdrawal of the wrong
    /// address; 0 if that was refused.
    pub revision: u64,
    /// Consents that moved.
    pub moved: usize,
    /// Consents that did not.
    pub kept: usize,
    /// A revision at which all of it is visible.
    pub reached: u64,
}

impl Books {
    /// Withdraws everything of the wrong address and moves its consents to the
    /// right one, where nothing is recorded in their scopes; all in one commit.
    ///
    /// # Errors
    /// The disk failed (A10).
    pub(super) fn rectify(
        &mut self,
        rectification: &Rectification,
        salts: &mut StdRng,
    ) -> Result<Rectified, WriteError> {
        let brand = rectification.brand;
        let (from, from_all, to) = (
            self.known_state(brand, &rectification.from)?,
            self.known_state(BrandId::ALL, &rectification.from)?,
            self.known_state(brand, &rectification.to)?,
        );
        let clock = self.clock.now();
        let is_blocked = |grant: &ConsentRecord| {
            [&from, &from_all].into_iter().any(|state| is_blocked(state, grant, clock))
        };
        let grants = || {
            let granted = from.consents().iter().filter(|record| record.status == Status::Granted);
            granted.filter(|record| !is_overtaken(&from, record))
        };
        let revision = self.tip.revision + 1;
        let mut changes = vec![withdrawal(rectification, salts)];
        for record in grants().filter(|record| is_free(&to, record) && !is_blocked(record)) {
            changes.push(self.moved(rectification, record, revision)?);
        }
        let secret = self.store.secret();
        let items = changes.into_iter().map(|change| Item::new(secret, change)).collect();
        let committed = self.commit(items, salts)?;
        let recorded = |outcome: &&Outcome| {
            matches!(outcome, Outcome::Applied(_) | Outcome::Superseded(_) | Outcome::Duplicate(_))
        };
        // The first is the withdrawal; a grant may be refused, for one if the
        // right address was erased since.
        let moved = committed.outcomes.iter().skip(1).filter(recorded).count();
        let kept = grants().count() - moved;
        // Refused if the wrong address was erased in this very millisecond.
        let withdrawn = committed.outcomes.first().filter(recorded);
        let revision = withdrawn.map_or(0, |_| revision);
        Ok(Rectified { revision, moved, kept, reached: committed.revision })
    }

    fn known_state(&self, brand: BrandId, address: &Address) -> Result<ContactState, WriteError> {
        let Some(contact) = self.contact(address) else { return Ok(ContactState::default()) };
        let states = self.states(&[(brand, contact)])?;
        Ok(states.into_iter().next().unwrap_or_default())
    }

    /// A grant as it was given, for the right address. Where its event has no
    /// payload any more, what the rules need is all that moves.
    fn moved(
        &self,
        rectification: &Rectification,
        record: &ConsentRecord,
        revision: u64,
    ) -> Result<Change, WriteError> {
        let body = self.store.event(record.revision)?.and_then(|row| row.body);
        let stored = body.map(|(_, payload)| StoredChange::decode(&payload)).transpose()?;
        let given = stored.map(|stored| stored.change);
        let source = given.as_ref().map(|change| change.source.clone()).unwrap_or_default();
        let consent = match given.map(|change| change.kind) {
            Some(ChangeKind::Consent(consent)) => consent,
            _ => Consent {
                selector: record.selector,
                level: record.level,
                status: record.status,
                valid_until: record.valid_until,
                legal_basis: String::new(),
                notice: Notice::default(),
                collected_by: String::new(),
                evidence: Evidence::default(),
                registered_with: String::new(),
            },
        };
        Ok(Change {
            brand: rectification.brand,
            address: rectification.to.clone(),
            stated: Some(StatedTime {
                unix_ms: record.consent_time,
                precision: Precision::Millisecond,
            }),
            source,
            actor: rectification.actor.clone(),
            event_key: String::new(),
            rectification: revision,
            // A registry holds the consent under the wrong address.
            kind: ChangeKind::Consent(Consent { registered_with: String::new(), ..consent }),
        })
    }
}

/// Whether nothing is recorded in the scope of a grant.
fn is_free(state: &ContactState, grant: &ConsentRecord) -> bool {
    !state.consents().iter().any(|record| speaks_of(record, grant))
}

/// Whether a withdrawal, at whatever level, has overtaken a grant (R5): what the
/// person took back must not be given back by another address.
fn is_overtaken(state: &ContactState, grant: &ConsentRecord) -> bool {
    state.consents().iter().any(|record| {
        record.status == Status::Withdrawn
            && record.consent_time >= grant.consent_time
            && speaks_of(record, grant)
    })
}

/// Whether a block on the person, rather than on the wrong address, suppresses
/// what a grant permits: it would not follow to the right address.
fn is_blocked(state: &ContactState, grant: &ConsentRecord, clock: i64) -> bool {
    let entries = state.suppressions().iter().filter(|entry| {
        entry.reason.concerns_person() && entry.channel.covers(grant.level.channel())
    });
    entries
        .filter_map(|entry| Some((entry.reason, entry.active(clock)?)))
        .any(|(reason, span)| !(ends_by_later_grant(reason) && grant.consent_time > span.since))
}

fn speaks_of(record: &ConsentRecord, grant: &ConsentRecord) -> bool {
    let same_type = record.selector == TypeSelector::Any || record.selector == grant.selector;
    same_type && record.level.covers(grant.level.channel(), grant.level.purpose())
}

/// The withdrawal of everything of the wrong address. Its key makes it an
/// event of its own, also where a withdrawal is in force already.
fn withdrawal(rectification: &Rectification, salts: &mut StdRng) -> Change {
    Change {
        brand: rectification.brand,
        address: rectification.from.clone(),
        stated: None,
        source: rectification.source.clone(),
        actor: rectification.actor.clone(),
        event_key: format!("rectification-{:032x}", salts.random::<u128>()),
        rectification: 0,
        kind: ChangeKind::Consent(Consent {
            selector: TypeSelector::Any,
            level: Level::CONTACT,
            status: Status::Withdrawn,
            valid_until: None,
            legal_basis: String::new(),
            notice: Notice::default(),
            collected_by: String::new(),
            evidence: Evidence::default(),
            registered_with: String::new(),
        }),
    }
}
