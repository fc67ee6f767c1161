//! Stored bytes that were damaged in every small way, and bytes that never were
//! any. `fuzz/` goes on from here for as long as one lets it.

use proptest::{collection::vec, prelude::*, sample::Index};

use super::*;
use crate::{
    domain::{
        contact::{Address, ContactKind, ContactRef},
        erased::ErasedMark,
        event::{Actor, ActorRole, Change, ChangeKind, Lift, Suppression},
        plane::{Area, PlaneId, PlaneRole},
        policy::{NameClass, Names},
        reason::Reason,
        scope::{BrandId, ChannelId, Level, PurposeId, RecipientType, Scope, TypeSelector},
        state::{ConsentRecord, ContactState, Registered, Span, Status},
        time::{Precision, StatedTime},
    },
    store::{DirectorySum, EventKind, PLANE_LAYOUT, PlaneSum, Remains},
};

fn state() -> ContactState {
    let level = Level::new(ChannelId(2), PurposeId(3)).unwrap();
    let mut state = ContactState::default();
    state.record(ConsentRecord {
        level,
        selector: TypeSelector::Merchant,
        status: Status::Granted,
        consent_time: -7,
        valid_until: Some(9),
        content: [5; 16],
        revision: 11,
    });
    state.register(Registered { level, selector: TypeSelector::Merchant, consent_time: -9 });
    state.suppress(
        ChannelId::ANY,
        Reason::HardBounce,
        Span { since: 1, expires_at: Some(4), revision: 12 },
    );
    state.lift(ChannelId(2), Reason::LegalBlock, 3, 13);
    state
}

fn change(address: Address, kind: ChangeKind) -> StoredChange {
    let contact = ContactRef { kind: address.kind(), id: address.direct_id().unwrap_or(7) };
    let change = Change {
        brand: BrandId(3),
        address,
        stated: Some(StatedTime { unix_ms: 5, precision: Precision::Second }),
        source: "form".to_owned(),
        actor: Actor { role: ActorRole::Staff, id: "anna".to_owned() },
        event_key: "k".to_owned(),
        rectification: 2,
        kind,
    };
    StoredChange { change, contact, effective_time: 6, redacted: None }
}

/// One of every row, as a store writes it.
fn seeds() -> Vec<Vec<u8>> {
    let mark = ErasedMark {
        erased_at: 5,
        revision: 6,
        kept_only: true,
        lifted_at: Some(4),
        reappeared: true,
        reappeared_in: vec![1 << 100, 7],
        survivors: state().suppressions().to_vec(),
    };
    let scope = Scope {
        brand: BrandId(1),
        recipient_type: RecipientType::Merchant,
        channel: ChannelId(2),
        purpose: PurposeId(3),
    };
    let area = Area::Scope(scope);
    let plane = PlaneId { area, kind: ContactKind::Email, role: PlaneRole::Verdict };
    let of_brand = PlaneId {
        area: Area::Brand(BrandId(1)),
        role: PlaneRole::Reason(Reason::HardBounce),
        ..plane
    };
    let sum = PlaneSum { pages: 3, sum: 1 << 99 };
    let checkpoint = Checkpoint {
        revision: 9,
        layout: PLANE_LAYOUT,
        planes: vec![(plane, sum), (of_brand, sum)],
        directories: vec![(ContactKind::Email, DirectorySum::default())],
        ..Checkpoint::default()
    };
    let suppression = Suppression {
        channel: ChannelId(2),
        reason: Reason::HardBounce,
        expires_at: Some(7),
        note: "note".to_owned(),
    };
    let lift = Lift { channel: ChannelId::ANY, reason: Reason::HardBounce, note: String::new() };
    let mut names = Names::default();
    assert!(names.restore(NameClass::Brand, 1, "main"));
    let policy = StoredPolicy {
        text: "version = \"1\"".to_owned(),
        names,
        previous: 4,
        actor: Actor::default(),
        note: String::new(),
    };
    let erasure = StoredErasure {
        brand: BrandId(1),
        actor: Actor::default(),
        source: "letter".to_owned(),
        note: String::new(),
        events: 3,
        remains: vec![Remains { fingerprint: 1 << 90, mark: mark.clone() }],
    };
    let event = EventRow::new([1; 32], EventKind::Lift, -3, [2; 16], b"payload".to_vec());
    let head = head::Head { epoch: 7, revision: 8, chain: [9; 32] };
    vec![
        event.encode(),
        event.clone().erased().encode(),
        event.redacted([3; 16], b"less".to_vec()).encode(),
        KeyRow { revision: 4, content: [3; 16], effective_time: -2 }.encode(),
        Tip { revision: 4, chain: [9; 32], next_email: 3, ..Tip::default() }.encode(),
        head::encode(5, &head),
        StoredState::encode(77, &state()),
        encode_erased(&mark),
        checkpoint.encode(),
        change(Address::Phone(905_321_234_567), ChangeKind::Suppression(suppression)).encode(),
        change(Address::Email("a@x.com".to_owned()), ChangeKind::Lift(lift)).encode(),
        policy.encode(),
        erasure.encode(),
        StoredRedaction { events: vec![(3, [4; 32]), (5, [6; 32])] }.encode(),
        PageKey::Plane(plane, 77).encode(),
        PageKey::Directory(ContactKind::Email, 5).encode(),
    ]
}

#[test]
fn rows_as_they_are_written_are_read() {
    for (number, bytes) in seeds().iter().enumerate() {
        check(bytes);
        let is_read = EventRow::decode(bytes).is_ok()
            || KeyRow::decode(bytes).is_ok()
            || Tip::decode(bytes).is_ok()
            || head::decode(bytes).is_some()
            || StoredState::decode(bytes).is_ok()
            || decode_erased(bytes).is_ok()
            || Checkpoint::decode(bytes).is_ok()
            || StoredChange::decode(bytes).is_ok()
            || StoredPolicy::decode(bytes).is_ok()
            || StoredErasure::decode(bytes).is_ok()
            || StoredRedaction::decode(bytes).is_ok()
            || PageKey::parse(bytes).is_some();
        assert!(is_read, "seed {number}");
    }
}

#[test]
fn every_cut_and_every_flipped_bit_is_refused_or_means_something() {
    for seed in seeds() {
        for length in 0..seed.len() {
            check(seed.get(..length).unwrap());
        }
        for at in 0..seed.len() {
            for bit in 0..8 {
                let mut damaged = seed.clone();
                *damaged.get_mut(at).unwrap() ^= 1 << bit;
                check(&damaged);
            }
        }
    }
}

/// The states and marks of a store come from `ContactState`, which keeps at most
/// one record a level: here any may stand twice.
fn doubled() -> impl Strategy<Value = Vec<u8>> {
    (any::<Index>(), any::<Index>(), any::<Index>(), any::<Index>()).prop_map(
        |(which, a, b, to)| {
            let seeds = seeds();
            let mut bytes = which.get(&seeds).clone();
            let (a, b) = (a.index(bytes.len() + 1), b.index(bytes.len() + 1));
            let part = bytes.get(a.min(b)..a.max(b)).unwrap().to_vec();
            let to = to.index(bytes.len() + 1);
            bytes.splice(to..to, part);
            bytes
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn garbage_is_refused_or_means_something(
        mut bytes in vec(any::<u8>(), 0..300),
        version in 0..4_u8,
        kind in 0..8_u8,
    ) {
        check(&bytes);
        // Behind a version that exists more of it is looked at.
        for (place, byte) in bytes.iter_mut().zip([version, kind]) {
            *place = byte;
        }
        check(&bytes);
    }

    #[test]
    fn rows_with_a_part_put_in_twice_are_refused_or_mean_something(bytes in doubled()) {
        check(&bytes);
    }
}
