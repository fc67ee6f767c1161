//! The values of the column families: fixed layouts, little-endian.
//!
//! Every layout begins with its version, so that a later one can tell.

use sha2::{Digest, Sha256};

use super::{ChainHash, StoreError};
use crate::domain::state::ContentDigest;

pub(super) const VERSION: u8 = 1;
/// The version of an event row with a redacted body.
const REDACTED: u8 = 2;
/// Stands for "no end" and "no lift"; not a plausible time.
pub(super) const NONE: i64 = i64::MAX;

/// What an event row records. The numbers are stored (A8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// Consent given or withdrawn.
    Consent = 1,
    /// A suppression set.
    Suppression = 2,
    /// A suppression lifted.
    Lift = 3,
    /// A policy applied.
    Policy = 4,
    /// A contact erased.
    Erasure = 5,
    /// Payloads redacted by the policy's retention.
    Redaction = 6,
}

impl EventKind {
    /// Whether the event is a change to one contact: a [`super::StoredChange`].
    #[must_use]
    pub fn is_change(self) -> bool {
        matches!(self, Self::Consent | Self::Suppression | Self::Lift)
    }

    fn from_tag(tag: u8) -> Option<Self> {
        [Self::Consent, Self::Suppression, Self::Lift, Self::Policy, Self::Erasure, Self::Redaction]
            .into_iter()
            .find(|kind| *kind as u8 == tag)
    }
}

/// A row of the ledger. Each carries the hash of the one before it, so that no
/// row can be changed, removed or put in without all later hashes changing.
/// The hash covers the payload only through a salted digest: an erasure deletes
/// salt and payload, and the chain stays whole and reveals nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRow {
    /// Hash of the previous row; zeros before the first.
    pub previous: ChainHash,
    /// What it records.
    pub kind: EventKind,
    /// When it was committed, in ms.
    pub recorded_time: i64,
    /// SHA-256 of salt ‖ payload.
    pub digest: [u8; 32],
    /// Salt and payload; absent once erased.
    pub body: Option<([u8; EventRow::SALT], Vec<u8>)>,
    /// Whether the body took the place of the one that the digest was made of.
    pub redacted: bool,
}

impl EventRow {
    /// Bytes of salt: too many to guess a payload from its digest.
    pub const SALT: usize = 16;

    /// A row for a payload.
    #[must_use]
    pub fn new(
        previous: ChainHash,
        kind: EventKind,
        recorded_time: i64,
        salt: [u8; Self::SALT],
        payload: Vec<u8>,
    ) -> Self {
        let digest = body_digest(&salt, &payload);
        let body = Some((salt, payload));
        Self { previous, kind, recorded_time, digest, body, redacted: false }
    }

    /// The chain up to and including this row.
    #[must_use]
    pub fn hash(&self, revision: u64) -> ChainHash {
        Sha256::new()
            .chain_update(b"sendgate event 1")
            .chain_update(self.previous)
            .chain_update(revision.to_le_bytes())
            .chain_update(self.recorded_time.to_le_bytes())
            .chain_update([self.kind as u8])
            .chain_update(self.digest)
            .finalize()
            .into()
    }

    /// Whether salt and payload, if they are there and not redacted, are the
    /// ones that the digest was made of. A redacted body is vouched for by the
    /// event of its redaction.
    #[must_use]
    pub fn body_matches(&self) -> bool {
        self.redacted || self.body_digest().is_none_or(|digest| digest == self.digest)
    }

    /// The digest of the body that is there.
    #[must_use]
    pub fn body_digest(&self) -> Option<[u8; 32]> {
        self.body.as_ref().map(|(salt, payload)| body_digest(salt, payload))
    }

    /// The row without its body: the chain stays as it was.
    #[must_use]
    pub fn erased(self) -> Self {
        Self { body: None, redacted: false, ..self }
    }

    /// The row with another body.
    #[must_use]
    pub fn redacted(self, salt: [u8; Self::SALT], payload: Vec<u8>) -> Self {
        Self { body: Some((salt, payload)), redacted: true, ..self }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let (salt, payload) = match &self.body {
            Some((salt, payload)) => (salt.as_slice(), payload.as_slice()),
            None => (&[][..], &[][..]),
        };
        [
            &[if self.redacted { REDACTED } else { VERSION }, self.kind as u8][..],
            &self.recorded_time.to_le_bytes(),
            &self.previous,
            &self.digest,
            salt,
            payload,
        ]
        .concat()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let mut reader = Reader(bytes);
        let row = reader.event().ok_or_else(|| damaged("an event"))?;
        Ok(row)
    }
}

fn body_digest(salt: &[u8], payload: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(salt).chain_update(payload).finalize().into()
}

/// A row of `keys`: the event that a key stands for, and its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRow {
    /// The event's revision.
    pub revision: u64,
    /// Digest of its content.
    pub content: ContentDigest,
    /// The stored time of the event.
    pub effective_time: i64,
}

impl KeyRow {
    pub(super) fn encode(&self) -> Vec<u8> {
        [
            &[VERSION][..],
            &self.revision.to_le_bytes(),
            &self.content,
            &self.effective_time.to_le_bytes(),
        ]
        .concat()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let mut reader = Reader(bytes);
        let row = (|| {
            reader.version()?;
            let revision = reader.u64()?;
            let content = reader.array()?;
            let effective_time = reader.i64()?;
            reader.end().then_some(Self { revision, content, effective_time })
        })();
        row.ok_or_else(|| damaged("an event key"))
    }
}

/// The end of the ledger, rewritten by every commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tip {
    /// The last revision.
    pub revision: u64,
    /// The chain up to and including it.
    pub chain: ChainHash,
    /// Its recorded time.
    pub recorded_time: i64,
    /// The latest time that ends of consents were applied for (R6).
    pub high_water: i64,
    /// The next ordinal of an e-mail.
    pub next_email: u64,
    /// The next ordinal of an external ID.
    pub next_external_id: u64,
}

impl Tip {
    pub(super) fn encode(&self) -> Vec<u8> {
        [
            &[VERSION][..],
            &self.revision.to_le_bytes(),
            &self.chain,
            &self.recorded_time.to_le_bytes(),
            &self.high_water.to_le_bytes(),
            &self.next_email.to_le_bytes(),
            &self.next_external_id.to_le_bytes(),
        ]
        .concat()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let mut reader = Reader(bytes);
        let tip = (|| {
            reader.version()?;
            let tip = Self {
                revision: reader.u64()?,
                chain: reader.array()?,
                recorded_time: reader.i64()?,
                high_water: reader.i64()?,
                next_email: reader.u64()?,
                next_external_id: reader.u64()?,
            };
            reader.end().then_some(tip)
        })();
        tip.ok_or_else(|| damaged("the ledger's tip"))
    }
}

pub(super) fn damaged(what: &str) -> StoreError {
    StoreError::refused(format!("the row of {what} is damaged or of an unknown version"))
}

/// Reads fields off the front; every method is `None` once the bytes run out.
pub(super) struct Reader<'a>(pub &'a [u8]);

impl Reader<'_> {
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    pub fn optional_time(&mut self) -> Option<Option<i64>> {
        self.i64().map(|time| (time != NONE).then_some(time))
    }

    pub fn end(&self) -> bool {
        self.0.is_empty()
    }

    pub fn version(&mut self) -> Option<()> {
        (self.u8()? == VERSION).then_some(())
    }

    fn event(&mut self) -> Option<EventRow> {
        let redacted = match self.u8()? {
            VERSION => false,
            REDACTED => true,
            _ => return None,
        };
        let kind = EventKind::from_tag(self.u8()?)?;
        let recorded_time = self.i64()?;
        let (previous, digest) = (self.array()?, self.array()?);
        let body = if self.end() { None } else { Some((self.array()?, self.0.to_vec())) };
        Some(EventRow { previous, kind, recorded_time, digest, body, redacted })
    }
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
