//! What holds for every decoder of stored bytes, whatever the bytes: they are
//! refused, or mean what writing them again means. For the tests and, by the
//! feature `fuzzing`, for the fuzz targets; nothing else calls it.

use super::{
    Checkpoint, EventRow, KeyRow, StoredChange, StoredErasure, StoredPolicy, StoredRedaction,
    StoredState, Tip, head,
    keys::{ContactKey, PageKey, parse_expiry},
    state_rows::{decode_erased, encode_erased},
};

/// Holds every decoder to the bytes.
pub fn check(bytes: &[u8]) {
    rows(bytes);
    payloads(bytes);
    keys(bytes);
}

/// Rows of fixed layout have one spelling. What is joined while it is read, or
/// travels as protobuf, has one meaning.
fn rows(bytes: &[u8]) {
    if let Ok(row) = EventRow::decode(bytes) {
        assert!(row.encode() == bytes, "an event row");
    }
    if let Ok(row) = KeyRow::decode(bytes) {
        assert!(row.encode() == bytes, "an event key");
    }
    if let Ok(tip) = Tip::decode(bytes) {
        assert!(tip.encode() == bytes, "a tip");
    }
    if let Some((sequence, found)) = head::decode(bytes) {
        let written = head::encode(sequence, &found);
        assert!(head::decode(&written) == Some((sequence, found)), "a slot of HEAD");
    }
    if let Ok(stored) = StoredState::decode(bytes) {
        let written = StoredState::encode(stored.contact_id, &stored.state);
        assert!(StoredState::decode(&written).ok() == Some(stored), "a state");
    }
    if let Ok(mark) = decode_erased(bytes) {
        assert!(decode_erased(&encode_erased(&mark)).ok() == Some(mark), "a mark");
    }
    if let Ok(checkpoint) = Checkpoint::decode(bytes) {
        assert!(Checkpoint::decode(&checkpoint.encode()).ok() == Some(checkpoint), "a checkpoint");
    }
}

fn payloads(bytes: &[u8]) {
    if let Ok(change) = StoredChange::decode(bytes) {
        assert!(StoredChange::decode(&change.encode()).ok() == Some(change), "a change");
    }
    if let Ok(policy) = StoredPolicy::decode(bytes) {
        assert!(StoredPolicy::decode(&policy.encode()).ok() == Some(policy), "a policy");
    }
    if let Ok(erasure) = StoredErasure::decode(bytes) {
        assert!(StoredErasure::decode(&erasure.encode()).ok() == Some(erasure), "an erasure");
    }
    if let Ok(redaction) = StoredRedaction::decode(bytes) {
        let again = StoredRedaction::decode(&redaction.encode()).ok();
        assert!(again == Some(redaction), "a redaction");
    }
}

fn keys(bytes: &[u8]) {
    if let Some(key) = PageKey::parse(bytes) {
        assert!(key.encode() == bytes, "a key of pages");
    }
    if let Some(key) = ContactKey::parse(bytes) {
        assert!(key.as_bytes() == bytes, "a contact key");
    }
    if let Some((due, contact)) = parse_expiry(bytes) {
        assert!(super::keys::expiry(due, &contact) == bytes, "a key of expiry");
    }
}

#[cfg(test)]
#[path = "decoders_tests.rs"]
mod tests;
