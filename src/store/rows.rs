//! The values of the column families: fixed layouts, little-endian.
//!
//! Every layout begins with its version, so that a later one can tell.

use super::{ChainHash, StoreError};
use crate::domain::{
    erased::ErasedMark,
    reason::Reason,
    scope::{ChannelId, Level, PurposeId, TypeSelector},
    state::{ConsentRecord, ContactState, ContentDigest, Span, Status, SuppressionEntry},
};

pub(super) const VERSION: u8 = 1;

/// A row of `state`: one contact within one brand, or within all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredState {
    /// The contact ID, which the key holds only in sealed form.
    pub contact_id: u64,
    /// What is known of it.
    pub state: ContactState,
}

const CONSENT: u8 = 1;
const SUPPRESSION: u8 = 2;
const LIFT: u8 = 3;
/// Stands for "no end" and "no lift"; not a plausible time.
const NONE: i64 = i64::MAX;

impl StoredState {
    pub(super) fn encode(contact_id: u64, state: &ContactState) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend(contact_id.to_le_bytes());
        for record in state.consents() {
            bytes.push(CONSENT);
            bytes.extend(record.level.channel().0.to_le_bytes());
            bytes.extend(record.level.purpose().0.to_le_bytes());
            bytes.extend([record.selector as u8, record.status as u8]);
            bytes.extend(record.consent_time.to_le_bytes());
            bytes.extend(record.valid_until.unwrap_or(NONE).to_le_bytes());
            bytes.extend(record.content);
            bytes.extend(record.revision.to_le_bytes());
        }
        encode_entries(&mut bytes, state.suppressions());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        Reader(bytes).state().ok_or_else(|| damaged("a contact's state"))
    }
}

fn encode_entries(bytes: &mut Vec<u8>, entries: &[SuppressionEntry]) {
    for entry in entries {
        let mut put = |tag: u8, since: i64, expires_at: i64, revision: u64| {
            bytes.push(tag);
            bytes.extend(entry.channel.0.to_le_bytes());
            bytes.push(entry.reason as u8);
            bytes.extend(since.to_le_bytes());
            bytes.extend(expires_at.to_le_bytes());
            bytes.extend(revision.to_le_bytes());
        };
        for span in &entry.spans {
            put(SUPPRESSION, span.since, span.expires_at.unwrap_or(NONE), span.revision);
        }
        if let Some((time, revision)) = entry.lifted {
            put(LIFT, time, NONE, revision);
        }
    }
}

pub(super) fn decode_erased(bytes: &[u8]) -> Result<ErasedMark, StoreError> {
    Reader(bytes).erased().ok_or_else(|| damaged("an erasure's mark"))
}

pub(super) fn encode_erased(mark: &ErasedMark) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bytes.extend(mark.erased_at.to_le_bytes());
    bytes.extend(mark.revision.to_le_bytes());
    bytes.extend(mark.lifted_at.unwrap_or(NONE).to_le_bytes());
    bytes.extend([mark.kept_only, mark.reappeared].map(u8::from));
    bytes.extend((mark.reappeared_in.len() as u32).to_le_bytes());
    mark.reappeared_in.iter().for_each(|each| bytes.extend(each.to_le_bytes()));
    encode_entries(&mut bytes, &mark.survivors);
    bytes
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
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl Reader<'_> {
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    fn optional_time(&mut self) -> Option<Option<i64>> {
        self.i64().map(|time| (time != NONE).then_some(time))
    }

    pub(super) fn end(&self) -> bool {
        self.0.is_empty()
    }

    /// What is left.
    pub(super) fn rest(&self) -> &[u8] {
        self.0
    }

    fn version(&mut self) -> Option<()> {
        (self.u8()? == VERSION).then_some(())
    }

    fn state(&mut self) -> Option<StoredState> {
        self.version()?;
        let contact_id = self.u64()?;
        let mut consents = Vec::new();
        while self.0.first() == Some(&CONSENT) {
            self.u8()?;
            consents.push(ConsentRecord {
                level: Level::new(ChannelId(self.u16()?), PurposeId(self.u16()?))?,
                selector: TypeSelector::from_tag(self.u8()?)?,
                status: match self.u8()? {
                    1 => Status::Granted,
                    2 => Status::Withdrawn,
                    _ => return None,
                },
                consent_time: self.i64()?,
                valid_until: self.optional_time()?,
                content: self.array()?,
                revision: self.u64()?,
            });
        }
        let state = ContactState::from_parts(consents, self.entries()?);
        Some(StoredState { contact_id, state })
    }

    fn entries(&mut self) -> Option<Vec<SuppressionEntry>> {
        let mut entries: Vec<SuppressionEntry> = Vec::new();
        while !self.end() {
            let tag = self.u8()?;
            let channel = ChannelId(self.u16()?);
            let reason = Reason::from_tag(self.u8()?).filter(|reason| reason.is_suppression())?;
            let (since, expires_at, revision) = (self.i64()?, self.optional_time()?, self.u64()?);
            let same =
                |entry: &&mut SuppressionEntry| entry.channel == channel && entry.reason == reason;
            let entry = match entries.iter_mut().find(same) {
                Some(entry) => entry,
                None => {
                    entries.push(SuppressionEntry {
                        channel,
                        reason,
                        lifted: None,
                        spans: Vec::new(),
                    });
                    entries.last_mut()?
                }
            };
            match tag {
                SUPPRESSION => entry.spans.push(Span { since, expires_at, revision }),
                LIFT => entry.lifted = Some((since, revision)),
                _ => return None,
            }
        }
        Some(entries)
    }

    fn erased(&mut self) -> Option<ErasedMark> {
        self.version()?;
        let (erased_at, revision, lifted_at) = (self.i64()?, self.u64()?, self.optional_time()?);
        let (kept_only, reappeared) = (self.flag()?, self.flag()?);
        let count = self.array().map(u32::from_le_bytes)?;
        let reappeared_in = (0..count)
            .map(|_| self.array().map(u128::from_le_bytes))
            .collect::<Option<Vec<_>>>()?;
        let survivors = self.entries()?;
        Some(ErasedMark {
            erased_at,
            revision,
            kept_only,
            lifted_at,
            reappeared,
            reappeared_in,
            survivors,
        })
    }

    fn flag(&mut self) -> Option<bool> {
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
