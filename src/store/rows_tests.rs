//! Rows against their bytes.

use super::*;
use crate::store::{EventKind, EventRow};

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
fn events_round_trip_with_and_without_their_body() {
    let row = EventRow::new([1; 32], EventKind::Lift, -3, [2; 16], b"payload".to_vec());
    assert!(row.body_matches());
    let erased = row.clone().erased();
    let redacted = row.clone().redacted([3; 16], b"less".to_vec());
    assert!(redacted.body_matches() && redacted.body_digest() != Some(row.digest));
    assert_eq!(row.hash(8), erased.hash(8), "an erasure leaves the chain as it was");
    assert_eq!(row.hash(8), redacted.hash(8));
    for each in [row, erased, redacted] {
        assert_eq!(EventRow::decode(&each.encode()).unwrap(), each);
    }
}

#[test]
fn the_chain_covers_every_field() {
    let row = EventRow::new([1; 32], EventKind::Lift, 3, [2; 16], b"payload".to_vec());
    let mut others = vec![row.clone(); 4];
    others[0].previous[0] ^= 1;
    others[1].kind = EventKind::Consent;
    others[2].recorded_time += 1;
    others[3].digest[31] ^= 1;
    for other in others {
        assert_ne!(other.hash(8), row.hash(8));
    }
    assert_ne!(row.hash(9), row.hash(8));
}

#[test]
fn keys_and_tips_round_trip_and_other_lengths_are_refused() {
    let key = KeyRow { revision: 4, content: [3; 16], effective_time: -2 };
    let tip = Tip { revision: 4, chain: [9; 32], next_email: 3, ..Tip::default() };
    assert_eq!(KeyRow::decode(&key.encode()).unwrap(), key);
    assert_eq!(Tip::decode(&tip.encode()).unwrap(), tip);
    assert!(KeyRow::decode(&[key.encode(), vec![0]].concat()).is_err());
    assert!(Tip::decode(&tip.encode()[..40]).is_err());
}
