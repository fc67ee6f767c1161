//! The values of the column families: fixed layouts, little-endian.
//!
//! Every layout begins with its version, so that a later one can tell.

use super::{ChainHash, StoreError};
use crate::domain::state::ContentDigest;

pub(super) const VERSION: u8 = 1;
/// Stands for "no end" and "no lift"; not a plausible time.
pub(super) const NONE: i64 = i64::MAX;

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

    pub fn flag(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
