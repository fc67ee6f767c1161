//! The rows of the ledger, and the chain that binds them.

use sha2::{Digest, Sha256};

use super::{
    ChainHash, StoreError,
    rows::{Reader, VERSION, damaged},
};

/// The version of a row with a redacted body.
const REDACTED: u8 = 2;

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
        Self::read(Reader(bytes)).ok_or_else(|| damaged("an event"))
    }

    fn read(mut reader: Reader<'_>) -> Option<Self> {
        let redacted = match reader.u8()? {
            VERSION => false,
            REDACTED => true,
            _ => return None,
        };
        let kind = EventKind::from_tag(reader.u8()?)?;
        let recorded_time = reader.i64()?;
        let (previous, digest) = (reader.array()?, reader.array()?);
        let body = if reader.end() { None } else { Some((reader.array()?, reader.0.to_vec())) };
        Some(Self { previous, kind, recorded_time, digest, body, redacted })
    }
}

fn body_digest(salt: &[u8], payload: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(salt).chain_update(payload).finalize().into()
}
