//! Books to try things on, with a clock that a test sets.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use rand::{SeedableRng, rngs::StdRng};

use super::{Books, Outcome, PolicyProposal, item::Item};
use crate::{
    clock::Clock,
    domain::{
        contact::Address,
        event::{Actor, ActorRole, Change, ChangeKind, Consent, Suppression},
        plane::PlaneRole,
        policy::NameClass,
        reason::Reason,
        scope::{BrandId, ChannelId, Level, PurposeId, TypeSelector},
        state::Status,
        time::{Precision, StatedTime},
    },
    recovery,
};

pub const START: i64 = 1_767_225_600_000;

pub struct Bench {
    pub books: Books,
    clock: Arc<AtomicI64>,
    salts: StdRng,
    folder: tempfile::TempDir,
}

impl Bench {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(AtomicI64::new(START));
        let books = recovery::open(folder.path(), Clock::Manual(Arc::clone(&clock))).unwrap();
        Self { books, clock, salts: StdRng::seed_from_u64(1), folder }
    }

    pub fn consent(&self, phone: u64, channel: &str, status: Status, until: Option<i64>) -> Change {
        let names = self.books.view.policy.names();
        let channel = ChannelId(names.number(NameClass::Channel, channel).unwrap() as u16);
        let purpose = PurposeId(names.number(NameClass::Purpose, "marketing").unwrap() as u16);
        let unix_ms = self.time();
        Change {
            brand: BrandId(1),
            address: Address::Phone(phone),
            stated: Some(StatedTime { unix_ms, precision: Precision::Millisecond }),
            source: String::new(),
            actor: Actor { role: ActorRole::Customer, id: String::new() },
            event_key: String::new(),
            rectification: 0,
            kind: ChangeKind::Consent(Consent {
                selector: TypeSelector::Individual,
                level: Level::new(channel, purpose).unwrap(),
                status,
                valid_until: until,
                legal_basis: String::new(),
                notice: Default::default(),
                collected_by: String::new(),
                evidence: Default::default(),
                registered_with: String::new(),
            }),
        }
    }

    pub fn complaint(&self, phone: u64, since: i64, expires_at: Option<i64>) -> Change {
        let kind = ChangeKind::Suppression(Suppression {
            channel: ChannelId::ANY,
            reason: Reason::SpamComplaint,
            expires_at,
            note: String::new(),
        });
        let stated = Some(StatedTime { unix_ms: since, precision: Precision::Millisecond });
        Change { kind, stated, ..self.consent(phone, "sms", Status::Granted, None) }
    }

    pub fn commit(&mut self, changes: &[Change]) {
        let outcomes = self.record(changes);
        assert!(outcomes.iter().all(|each| matches!(each, Outcome::Applied(_))));
    }

    /// Commits changes, whatever becomes of them.
    pub fn record(&mut self, changes: &[Change]) -> Vec<Outcome> {
        let secret = self.books.store.secret();
        let items = changes.iter().map(|change| Item::new(secret, change.clone())).collect();
        self.books.commit(items, &mut self.salts).unwrap().outcomes
    }

    /// The time that the clock shows.
    pub fn time(&self) -> i64 {
        self.clock.load(Ordering::SeqCst)
    }

    pub fn apply(&mut self, policy: &PolicyProposal) {
        self.books.apply_policy(policy, &mut self.salts).unwrap();
    }

    pub fn advance(&mut self, time: i64) {
        self.clock.store(time, Ordering::SeqCst);
        self.books.advance().unwrap();
    }

    pub fn prepare(&mut self) {
        while self.books.due.is_behind(self.books.view.now, self.books.next_end) {
            self.books.prepare_ends().unwrap();
        }
    }

    /// The planes as they stand are the planes that the ledger makes now.
    pub fn assert_right(&self) {
        let policy = &self.books.view.policy;
        let expected = recovery::planes_of(&self.books).unwrap();
        let list = |planes: &crate::engine::view::Planes| -> Vec<_> {
            planes
                .all(policy)
                .map(|(name, plane)| (name, plane.ids().collect::<Vec<_>>()))
                .collect()
        };
        assert_eq!(list(&self.books.view.planes), list(&expected));
    }

    /// How many consents the planes show as expired.
    pub fn expired(&self) -> u64 {
        let planes = self.books.view.planes.all(&self.books.view.policy);
        planes
            .filter(|(name, _)| name.role == PlaneRole::Reason(Reason::Expired))
            .map(|(_, plane)| plane.len())
            .sum()
    }

    /// The books that a start at `time` makes of what is on disk now, as after
    /// a crash.
    pub fn after_crash(&self, time: i64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(self.folder.path()).unwrap() {
            let entry = entry.unwrap();
            // RocksDB removes files of its own in the background.
            if entry.file_name() != "LOCK" && entry.path().is_file() {
                drop(fs::copy(entry.path(), folder.path().join(entry.file_name())));
            }
        }
        let clock = Arc::new(AtomicI64::new(time));
        let books = recovery::open(folder.path(), Clock::Manual(Arc::clone(&clock))).unwrap();
        Self { books, clock, salts: StdRng::seed_from_u64(2), folder }
    }
}
