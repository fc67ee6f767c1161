//! Erasures in the past, on a store made by hand.

use std::sync::Arc;

use crate::{
    domain::{
        contact::{Address, ContactKind, ContactRef},
        erased::ErasedMark,
        event::{Actor, ActorRole, Change, ChangeKind, Consent, Evidence, Notice, Suppression},
        reason::Reason,
        scope::{
            BrandId, ChannelId, Level, PurposeId, RecipientType, Regime, Scope, ScopeRules,
            TypeSelector,
        },
        state::Status,
    },
    reader::{AsOf, Reader, Subject},
    store::{
        Batch, ContactKey, EventKind, EventRow, Remains, Store, StoredChange, StoredErasure, Tip,
    },
};

const NUMBER: u64 = 905_321_234_567;
const BRAND: BrandId = BrandId(1);

fn rules(regime: Regime) -> ScopeRules {
    let scope = Scope {
        brand: BRAND,
        recipient_type: RecipientType::Individual,
        channel: ChannelId(1),
        purpose: PurposeId(1),
    };
    ScopeRules { scope, regime, default_validity: None, registration_required: false }
}

fn grant(time: i64) -> StoredChange {
    StoredChange {
        contact: ContactRef { kind: ContactKind::Phone, id: NUMBER },
        effective_time: time,
        redacted: None,
        change: Change {
            brand: BRAND,
            address: Address::Phone(NUMBER),
            stated: None,
            source: String::new(),
            actor: Actor { role: ActorRole::Unstated, id: String::new() },
            event_key: String::new(),
            rectification: 0,
            kind: ChangeKind::Consent(Consent {
                selector: TypeSelector::Individual,
                level: Level::new(ChannelId(1), PurposeId(1)).unwrap(),
                status: Status::Granted,
                valid_until: None,
                legal_basis: String::new(),
                notice: Notice::default(),
                collected_by: String::new(),
                evidence: Evidence::default(),
                registered_with: String::new(),
            }),
        },
    }
}

struct Made {
    store: Store,
    tip: Tip,
}

impl Made {
    fn add(&mut self, kind: EventKind, time: i64, payload: Option<Vec<u8>>) -> u64 {
        let body = payload.is_some();
        let mut row =
            EventRow::new(self.tip.chain, kind, time, [7; 16], payload.unwrap_or_default());
        if !body {
            row.body = None;
        }
        let revision = self.tip.revision + 1;
        let chain = row.hash(revision);
        self.tip = Tip { revision, chain, recorded_time: time, ..self.tip };
        let mut batch = Batch::new(&self.store);
        batch.event(revision, &row).unwrap();
        batch.tip(&self.tip).unwrap();
        batch.commit().unwrap();
        revision
    }

    fn add_grant(&mut self, time: i64) -> u64 {
        let stored = grant(time);
        let revision = self.add(EventKind::Consent, time, Some(stored.encode()));
        self.enter(revision);
        revision
    }

    fn enter(&self, revision: u64) {
        let contact = ContactRef { kind: ContactKind::Phone, id: NUMBER };
        let key = ContactKey::new(self.store.secret(), BRAND, contact);
        let mut batch = Batch::new(&self.store);
        batch.history(&key, revision).unwrap();
        batch.commit().unwrap();
    }

    /// The event that brings back a block that outlived an erasure.
    fn add_block(&mut self, time: i64, since: i64) -> u64 {
        let kind = ChangeKind::Suppression(Suppression {
            channel: ChannelId::ANY,
            reason: Reason::LegalBlock,
            expires_at: None,
            note: String::new(),
        });
        let mut stored = grant(since);
        stored.change.kind = kind;
        let revision = self.add(EventKind::Suppression, time, Some(stored.encode()));
        self.enter(revision);
        revision
    }

    /// An erasure, and its mark as it stands once the contact is back.
    fn erase(&mut self, time: i64) -> u64 {
        let digits = NUMBER.to_string();
        let secret = self.store.secret();
        let mark = secret.erased_fingerprint(BRAND, ContactKind::Phone, digits.as_bytes());
        let revision = self.tip.revision + 1;
        let erased =
            ErasedMark { erased_at: time, revision, reappeared: true, ..ErasedMark::default() };
        let erasure = StoredErasure {
            brand: BRAND,
            actor: Actor { role: ActorRole::Staff, id: String::new() },
            source: String::new(),
            note: String::new(),
            events: 1,
            remains: vec![Remains { fingerprint: mark, mark: erased.clone() }],
        };
        let revision = self.add(EventKind::Erasure, time, Some(erasure.encode()));
        let mut batch = Batch::new(&self.store);
        batch.erased(mark, &erased).unwrap();
        batch.commit().unwrap();
        revision
    }
}

fn verdict(reader: &Reader, regime: Regime, revision: u64, time: i64) -> Option<Reason> {
    let subject = Subject {
        address: Address::Phone(NUMBER),
        contact: Some(ContactRef { kind: ContactKind::Phone, id: NUMBER }),
    };
    let as_of = AsOf { revision, time, with_hindsight: false };
    let decided = reader.ledger().unwrap().decide_as_of(&subject, &rules(regime), as_of).unwrap();
    decided.map(|decision| decision.reason)
}

#[test]
fn what_outlived_an_erasure_counts_from_the_grant_that_brought_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let opened = Store::open(folder.path()).unwrap();
    let mut made = Made { store: opened.store, tip: opened.tip };
    // The event that was erased has no body and no place in the history.
    let first = made.add(EventKind::Suppression, 5, None);
    // Committed in the same millisecond as the erasure, and before it.
    let same_time = made.add(EventKind::Consent, 20, Some(grant(20).encode()));
    let erasure = made.erase(20);
    let unrelated = made.add(EventKind::Consent, 20, None);
    made.add_grant(30);
    let granted = made.add_block(30, 5);
    let reader = Reader::new(Arc::new(made.store));

    assert_eq!(verdict(&reader, Regime::OptIn, first, 10), None);
    assert_eq!(verdict(&reader, Regime::OptIn, same_time, 20), None);
    for revision in [erasure, unrelated] {
        assert_eq!(verdict(&reader, Regime::OptIn, revision, 20), Some(Reason::NoConsent));
        assert_eq!(verdict(&reader, Regime::OptOut, revision, 20), Some(Reason::Erased));
        assert_eq!(verdict(&reader, Regime::Exempt, revision, 20), Some(Reason::Erased));
    }
    // The grant ends the mark in its scope, and brings the block back with it.
    assert_eq!(verdict(&reader, Regime::OptIn, granted, 30), Some(Reason::LegalBlock));
    assert_eq!(verdict(&reader, Regime::OptOut, granted, 30), Some(Reason::LegalBlock));
}

#[test]
fn an_event_that_was_redacted_makes_the_past_unsayable() {
    let folder = tempfile::tempdir().unwrap();
    let opened = Store::open(folder.path()).unwrap();
    let mut made = Made { store: opened.store, tip: opened.tip };
    let granted = made.add_grant(10);
    let redacted = made.add(EventKind::Consent, 20, None);
    made.enter(redacted);
    let reader = Reader::new(Arc::new(made.store));
    assert_eq!(verdict(&reader, Regime::OptIn, granted, 10), Some(Reason::Permitted));
    assert_eq!(verdict(&reader, Regime::OptIn, redacted, 20), None);
}

#[test]
fn a_time_finds_the_last_revision_that_was_recorded_by_then() {
    let folder = tempfile::tempdir().unwrap();
    let opened = Store::open(folder.path()).unwrap();
    let mut made = Made { store: opened.store, tip: opened.tip };
    for time in [10, 10, 20, 30, 30, 30, 50] {
        made.add(EventKind::Consent, time, None);
    }
    let reader = Reader::new(Arc::new(made.store));
    let ledger = reader.ledger().unwrap();
    for (time, revision) in
        [(i64::MIN, 0), (9, 0), (10, 2), (19, 2), (20, 3), (30, 6), (49, 6), (50, 7), (i64::MAX, 7)]
    {
        assert_eq!(ledger.revision_at(time).unwrap(), revision, "at {time}");
    }
}
