//! Prepared ends give the same planes as deciding on everybody when they are due.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use rand::{SeedableRng, rngs::StdRng};

use super::{Books, Outcome};
use crate::{
    clock::Clock,
    domain::{
        contact::Address,
        event::{Actor, ActorRole, Change, ChangeKind, Consent, Suppression},
        policy::NameClass,
        reason::Reason,
        scope::{BrandId, ChannelId, Level, PurposeId, TypeSelector},
        state::Status,
        time::{Precision, StatedTime},
    },
    recovery,
};

const START: i64 = 1_767_225_600_000;
const END: i64 = START + 30_000;

struct Bench {
    books: Books,
    clock: Arc<AtomicI64>,
    salts: StdRng,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(AtomicI64::new(START));
        let books = recovery::open(folder.path(), Clock::Manual(Arc::clone(&clock))).unwrap();
        Self { books, clock, salts: StdRng::seed_from_u64(1), _folder: folder }
    }

    fn consent(&self, phone: u64, channel: &str, status: Status, until: Option<i64>) -> Change {
        let names = self.books.view.policy.names();
        let channel = ChannelId(names.number(NameClass::Channel, channel).unwrap() as u16);
        let purpose = PurposeId(names.number(NameClass::Purpose, "marketing").unwrap() as u16);
        let unix_ms = self.clock.load(Ordering::SeqCst);
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

    fn complaint(&self, phone: u64, since: i64, expires_at: Option<i64>) -> Change {
        let kind = ChangeKind::Suppression(Suppression {
            channel: ChannelId::ANY,
            reason: Reason::SpamComplaint,
            expires_at,
            note: String::new(),
        });
        let stated = Some(StatedTime { unix_ms: since, precision: Precision::Millisecond });
        Change { kind, stated, ..self.consent(phone, "sms", Status::Granted, None) }
    }

    fn commit(&mut self, changes: &[Change]) {
        let committed = self.books.commit(changes, &mut self.salts).unwrap();
        assert!(committed.outcomes.iter().all(|each| matches!(each, Outcome::Applied(_))));
    }

    fn advance(&mut self, time: i64) {
        self.clock.store(time, Ordering::SeqCst);
        self.books.advance().unwrap();
    }

    fn prepare(&mut self) {
        while self.books.due.is_behind(self.books.view.now, self.books.next_end) {
            self.books.prepare_ends().unwrap();
        }
    }

    /// The planes as they stand are the planes that the ledger makes now.
    fn assert_right(&self) {
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

    fn expired(&self) -> u64 {
        let planes = self.books.view.planes.all(&self.books.view.policy);
        planes
            .filter(|(name, _)| {
                name.role == crate::domain::plane::PlaneRole::Reason(Reason::Expired)
            })
            .map(|(_, plane)| plane.len())
            .sum()
    }
}

const FIRST: u64 = 905_320_000_000;
/// More than one slice of preparation.
const PEOPLE: u64 = 20_000;

#[test]
fn prepared_ends_take_effect_when_due_and_not_before() {
    let mut bench = Bench::new();
    let grants: Vec<Change> = (FIRST..FIRST + PEOPLE)
        .map(|phone| bench.consent(phone, "sms", Status::Granted, Some(END + (phone % 3) as i64)))
        .collect();
    bench.commit(&grants);
    bench.prepare();
    for time in [END - 1, END, END + 1, END + 2] {
        bench.advance(time);
        bench.assert_right();
    }
    assert_eq!(bench.expired(), PEOPLE);
}

#[test]
fn what_is_recorded_after_the_preparation_counts() {
    let mut bench = Bench::new();
    let mut grants: Vec<Change> = (FIRST..FIRST + 100)
        .map(|phone| bench.consent(phone, "sms", Status::Granted, Some(END)))
        .collect();
    for phone in FIRST + 100..FIRST + 150 {
        // Two ends of one contact: the masks of the first must not undo the second.
        for (channel, end) in [("sms", END), ("call", END + 5)] {
            grants.push(bench.consent(phone, channel, Status::Granted, Some(end)));
        }
    }
    bench.commit(&grants);
    bench.prepare();
    bench.advance(START + 1_000);
    let later = [
        bench.consent(FIRST, "sms", Status::Granted, None),
        bench.consent(FIRST + 1, "sms", Status::Withdrawn, None),
        bench.consent(FIRST + 2, "sms", Status::Granted, Some(END + 2)),
        bench.consent(FIRST + 1_000, "sms", Status::Granted, Some(END)),
    ];
    bench.commit(&later);
    for time in [END, END + 2, END + 5] {
        bench.advance(time);
        bench.assert_right();
    }
    // Of the first hundred all but two, the late one, and two each of fifty.
    assert_eq!(bench.expired(), 98 + 1 + 100);
}

#[test]
fn a_clock_that_steps_back_revives_nothing() {
    let mut bench = Bench::new();
    let grant = bench.consent(FIRST, "sms", Status::Granted, Some(END));
    bench.commit(&[grant]);
    bench.prepare();
    bench.advance(END);
    assert_eq!(bench.expired(), 1);
    for time in [START, END - 1, END + 1] {
        bench.advance(time);
        assert_eq!(bench.expired(), 1);
        bench.assert_right();
    }
}

#[test]
fn an_end_recorded_late_is_known_to_what_is_prepared_after_it() {
    let mut bench = Bench::new();
    // Somebody else's end, so that the coming minute is prepared at once.
    let other = bench.consent(FIRST, "sms", Status::Granted, Some(START + 50_000));
    let first = bench.complaint(FIRST + 1, START - 20_000, None);
    let mut grant = bench.consent(FIRST + 1, "sms", Status::Granted, Some(START + 70_000));
    grant.stated = Some(StatedTime { unix_ms: START - 10_000, precision: Precision::Millisecond });
    bench.commit(&[other, first, grant]);
    bench.prepare();
    // It blocks the grant until START + 30 s, and comes after the preparation.
    let second = bench.complaint(FIRST + 1, START, Some(START + 30_000));
    bench.commit(&[second]);
    for time in [11_000, 30_000, 50_000, 69_999, 70_000] {
        bench.advance(START + time);
        bench.prepare();
        bench.assert_right();
    }
    // The grant that ended no longer ends the complaint.
    assert_eq!(bench.expired(), 1);
}
