//! The values that tell what is known of a contact: its state, and what
//! outlived its erasure. Layouts as in the other rows.

use super::{
    StoreError,
    rows::{NONE, Reader, VERSION, damaged},
};
use crate::domain::{
    erased::ErasedMark,
    reason::Reason,
    scope::{ChannelId, Level, PurposeId, TypeSelector},
    state::{ConsentRecord, ContactState, Registered, Span, Status, SuppressionEntry},
};

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
const REGISTERED: u8 = 4;

impl StoredState {
    pub(super) fn encode(contact_id: u64, state: &ContactState) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::size(state));
        bytes.push(VERSION);
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
        for each in state.registered() {
            bytes.push(REGISTERED);
            bytes.extend(each.level.channel().0.to_le_bytes());
            bytes.extend(each.level.purpose().0.to_le_bytes());
            bytes.push(each.selector as u8);
            bytes.extend(each.consent_time.to_le_bytes());
        }
        encode_entries(&mut bytes, state.suppressions());
        bytes
    }

    /// The bytes that a state takes, or a few more.
    fn size(state: &ContactState) -> usize {
        let spans = state.suppressions().iter().map(|entry| entry.spans.len() + 1);
        9 + 47 * state.consents().len() + 14 * state.registered().len() + 28 * spans.sum::<usize>()
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

impl Reader<'_> {
    fn state(&mut self) -> Option<StoredState> {
        self.version()?;
        let contact_id = self.u64()?;
        let mut consents = Vec::new();
        while self.0.first() == Some(&CONSENT) {
            self.u8()?;
            consents.push(ConsentRecord {
                level: self.level()?,
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
        let mut registered = Vec::new();
        while self.0.first() == Some(&REGISTERED) {
            self.u8()?;
            registered.push(Registered {
                level: self.level()?,
                selector: TypeSelector::from_tag(self.u8()?)?,
                consent_time: self.i64()?,
            });
        }
        let state = ContactState::from_parts(consents, registered, self.entries()?);
        Some(StoredState { contact_id, state })
    }

    fn level(&mut self) -> Option<Level> {
        Level::new(ChannelId(self.u16()?), PurposeId(self.u16()?))
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
}

#[cfg(test)]
#[path = "state_rows_tests.rs"]
mod tests;
