//! Rows against their bytes.

use super::*;

fn state() -> ContactState {
    let mut state = ContactState::default();
    assert!(state.record(ConsentRecord {
        level: Level::new(ChannelId(2), PurposeId(3)).unwrap(),
        selector: TypeSelector::Merchant,
        status: Status::Granted,
        consent_time: -7,
        valid_until: Some(9),
        content: [5; 16],
        revision: 11,
    }));
    let level = Level::new(ChannelId(2), PurposeId(3)).unwrap();
    for (selector, consent_time) in [(TypeSelector::Merchant, -9), (TypeSelector::Individual, 5)] {
        assert!(state.register(Registered { level, selector, consent_time }));
    }
    for (since, expires_at) in [(1, None), (4, Some(9))] {
        let span = Span { since, expires_at, revision: 12 };
        assert!(state.suppress(ChannelId::ANY, Reason::HardBounce, span));
    }
    assert!(state.lift(ChannelId(2), Reason::LegalBlock, 3, 13));
    state
}

#[test]
fn states_round_trip_and_truncated_ones_are_refused() {
    let bytes = StoredState::encode(77, &state());
    let stored = StoredState { contact_id: 77, state: state() };
    assert_eq!(StoredState::decode(&bytes).unwrap(), stored);
    // A cut inside a record is noticed; between records the length is free,
    // and RocksDB's own checksums answer for the whole value.
    for length in 0..bytes.len() {
        if let Ok(shorter) = StoredState::decode(&bytes[..length]) {
            assert_ne!(shorter, stored);
        }
    }
}

#[test]
fn erased_marks_round_trip() {
    let mark = ErasedMark {
        erased_at: 5,
        revision: 6,
        kept_only: true,
        lifted_at: Some(4),
        reappeared: true,
        reappeared_in: vec![1 << 100, 7],
        survivors: state().suppressions().to_vec(),
    };
    assert_eq!(decode_erased(&encode_erased(&mark)).unwrap(), mark);
}

#[test]
fn a_state_from_before_registrations_were_kept_reads_as_before() {
    let consents = vec![ConsentRecord {
        level: Level::new(ChannelId(2), PurposeId(3)).unwrap(),
        selector: TypeSelector::Individual,
        status: Status::Granted,
        consent_time: 1,
        valid_until: None,
        content: [5; 16],
        revision: 11,
    }];
    let mut state = ContactState::from_parts(consents, Vec::new(), Vec::new());
    let old = [
        &[1][..],
        &77_u64.to_le_bytes(),
        &[1, 2, 0, 3, 0, 1, 1],
        &1_i64.to_le_bytes(),
        &i64::MAX.to_le_bytes(),
        &[5; 16],
        &11_u64.to_le_bytes(),
    ]
    .concat();
    assert_eq!(StoredState::encode(77, &state), old);
    assert_eq!(StoredState::decode(&old).unwrap().state, state);

    let level = Level::new(ChannelId(2), PurposeId(3)).unwrap();
    state.register(Registered { level, selector: TypeSelector::Individual, consent_time: 1 });
    let new = [&old[..], &[4, 2, 0, 3, 0, 1], &1_i64.to_le_bytes()].concat();
    assert_eq!(StoredState::encode(77, &state), new);
    // Behind the suppressions it is none of ours.
    let lift = [&[3, 2, 0, Reason::LegalBlock as u8][..], &[0; 24]].concat();
    let misplaced = [&old[..], &lift, &new[old.len()..]].concat();
    assert!(StoredState::decode(&misplaced).is_err());
}
