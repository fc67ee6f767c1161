//! Retention: payloads of consents that ended long ago are redacted.
//!
//! A policy may say how long after its end a consent's proof is kept. What goes
//! is who said it, where, on which text, and the evidence; what the rules
//! compare stays, so that no verdict changes. The chain stays whole: the event
//! of the redaction vouches for the bodies that took the place of others.

use rand::{RngExt, rngs::StdRng};

use super::{books::Books, erased_rows::keys_of, outcome::WriteError};
use crate::{
    domain::{
        event::{Actor, Change, ChangeKind, Consent, Evidence, Notice},
        scope::{RecipientType, Scope, TypeSelector},
        state::Status,
    },
    store::{Batch, ContactKey, EventKind, EventRow, Redacted, StoredChange, StoredRedaction, Tip},
};

/// Contacts looked at between two tasks: some milliseconds of reading.
const SLICE: usize = 200;
/// How long after one pass over all contacts the next one begins, in ms.
const PAUSE: i64 = 24 * 3_600_000;

/// Where the pass over all contacts stands.
#[derive(Default)]
pub struct Retention {
    /// The last contact that was looked at; none before the first.
    last: Option<ContactKey>,
    /// When the next pass begins, by the clock.
    next_pass: i64,
}

/// A consent event of a contact.
struct Said {
    revision: u64,
    row: EventRow,
    stored: StoredChange,
}

impl Books {
    /// Looks at some contacts and redacts what the policy no longer keeps.
    /// Whether the view that comes next has another revision.
    ///
    /// # Errors
    /// The disk failed (A10).
    pub(super) fn retain(&mut self, salts: &mut StdRng) -> Result<bool, WriteError> {
        let now = self.view.now.consents;
        let Some(redact_after) = self.view.policy.redact_after() else { return Ok(false) };
        if now < self.retention.next_pass {
            return Ok(false);
        }
        let behind = self.store.contacts_behind(self.retention.last)?.take(SLICE);
        let contacts: Vec<ContactKey> = behind.collect::<Result<_, _>>()?;
        self.retention.last = contacts.last().copied();
        if contacts.len() < SLICE {
            self.retention = Retention { last: None, next_pass: now.saturating_add(PAUSE) };
        }
        let mut due = Vec::new();
        for contact in &contacts {
            let said = self.consents_of(contact)?;
            let over = |event: &&Said| {
                self.end_of(event, &said).is_some_and(|end| end.saturating_add(redact_after) <= now)
            };
            let fresh = |event: &&Said| !event.row.redacted;
            due.extend(said.iter().filter(fresh).filter(over).map(|event| {
                let reduced = reduced(self, &event.stored);
                let row = event.row.clone().redacted(salts.random(), reduced.encode());
                (event.revision, row)
            }));
        }
        if due.is_empty() {
            return Ok(false);
        }
        self.redact(&due, salts)?;
        Ok(true)
    }

    fn redact(&mut self, due: &[(u64, EventRow)], salts: &mut StdRng) -> Result<(), WriteError> {
        let store = std::sync::Arc::clone(&self.store);
        let mut batch = Batch::new(&store);
        let mut stored = StoredRedaction::default();
        for (revision, row) in due {
            batch.event(*revision, row)?;
            stored.events.extend(row.body_digest().map(|digest| (*revision, digest)));
        }
        let now = self.view.now;
        let revision = self.tip.revision + 1;
        let recorded = now.suppressions.max(self.tip.recorded_time);
        let payload = stored.encode();
        let row =
            EventRow::new(self.tip.chain, EventKind::Redaction, recorded, salts.random(), payload);
        batch.event(revision, &row)?;
        batch.redacted(store.redacted()? + due.len() as u64)?;
        let tip = Tip {
            revision,
            chain: row.hash(revision),
            recorded_time: recorded,
            high_water: self.tip.high_water.max(now.consents),
            ..self.tip
        };
        batch.tip(&tip)?;
        batch.commit()?;
        self.tip = tip;
        self.view.revision = revision;
        Ok(())
    }

    /// The consent events of a contact that still have a payload.
    fn consents_of(&self, contact: &ContactKey) -> Result<Vec<Said>, WriteError> {
        let mut said = Vec::new();
        for revision in self.store.history(contact)? {
            let row = self.store.event(revision)?.filter(|row| row.kind == EventKind::Consent);
            let Some(row) = row else { continue };
            let Some((_, payload)) = &row.body else { continue };
            let stored = StoredChange::decode(payload)?;
            // A rectification also stands in the right address's history.
            if Some(stored.contact) == contact.contact(self.store.secret()) {
                said.push(Said { revision, row, stored });
            }
        }
        Ok(said)
    }

    /// When a grant was over: by its own end or its scope's validity, or by the
    /// first later word on its scope. One that waits for the registry (R12) is
    /// not over: once registered it counts again, and needs its proof.
    fn end_of(&self, event: &Said, said: &[Said]) -> Option<i64> {
        let (grant, given) = (granted(&event.stored.change)?, event.stored.effective_time);
        let validity = scope_of(&event.stored.change, grant)
            .and_then(|scope| self.view.policy.default_validity(&scope))
            .map(|validity| given.saturating_add(validity));
        let later = said.iter().filter_map(|other| {
            let ChangeKind::Consent(consent) = &other.stored.change.kind else { return None };
            let covers = consent.level.covers(grant.level.channel(), grant.level.purpose())
                && (consent.selector == TypeSelector::Any || consent.selector == grant.selector);
            let time = other.stored.effective_time;
            let ends = time > given || (time == given && consent.status == Status::Withdrawn);
            (covers && ends).then_some(time)
        });
        later.chain(grant.valid_until).chain(validity).min()
    }
}

fn granted(change: &Change) -> Option<&Consent> {
    match &change.kind {
        ChangeKind::Consent(consent) if consent.status == Status::Granted => Some(consent),
        _ => None,
    }
}

fn scope_of(change: &Change, grant: &Consent) -> Option<Scope> {
    let recipient_type = match grant.selector {
        TypeSelector::Individual => RecipientType::Individual,
        TypeSelector::Merchant => RecipientType::Merchant,
        TypeSelector::Any => return None,
    };
    let (channel, purpose) = (grant.level.channel(), grant.level.purpose());
    Some(Scope { brand: change.brand, recipient_type, channel, purpose })
}

/// What stays of a grant: what the rules compare, and what an erasure needs.
fn reduced(books: &Books, stored: &StoredChange) -> StoredChange {
    let redacted = Redacted { content: stored.content(), keys: keys_of(books, stored) };
    let change = &stored.change;
    let kind = match granted(change) {
        Some(grant) => ChangeKind::Consent(Consent {
            legal_basis: String::new(),
            notice: Notice::default(),
            collected_by: String::new(),
            evidence: Evidence::default(),
            ..grant.clone()
        }),
        None => change.kind.clone(),
    };
    StoredChange {
        change: Change {
            source: String::new(),
            actor: Actor::default(),
            event_key: String::new(),
            stated: None,
            kind,
            ..change.clone()
        },
        redacted: Some(redacted),
        ..stored.clone()
    }
}
