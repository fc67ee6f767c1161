//! Rows against their bytes.

use super::*;
use crate::store::{EventKind, EventRow};

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
