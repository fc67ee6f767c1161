//! An event of the ledger, as it is read back.

use super::{ReadError, ledger::read_policy};
use crate::{
    domain::scope::BrandId,
    store::{EventKind, EventRow, StoredChange, StoredErasure, StoredPolicy},
};

/// An event with its revision and recorded time.
#[derive(Clone, Debug)]
pub struct Record {
    /// The event's revision.
    pub revision: u64,
    /// When it was committed, in ms.
    pub recorded_time: i64,
    /// What it says; none where that was erased or redacted, and where it says
    /// nothing of anybody.
    pub content: Option<Content>,
}

/// What an event says.
#[derive(Clone, Debug)]
pub enum Content {
    /// Of a contact.
    Change(Box<StoredChange>),
    /// A contact was erased.
    Erasure(Box<StoredErasure>),
    /// A policy of this version was applied.
    Policy(String, Box<StoredPolicy>),
}

impl Record {
    pub(super) fn read(revision: u64, row: EventRow) -> Result<Self, ReadError> {
        let content = match (row.kind, row.body) {
            (_, None) | (EventKind::Redaction, _) => None,
            (EventKind::Policy, Some((_, payload))) => {
                let stored = StoredPolicy::decode(&payload)?;
                let version = read_policy(&stored)?.version().to_owned();
                Some(Content::Policy(version, Box::new(stored)))
            }
            (EventKind::Erasure, Some((_, payload))) => {
                Some(Content::Erasure(Box::new(StoredErasure::decode(&payload)?)))
            }
            (EventKind::Consent | EventKind::Suppression | EventKind::Lift, Some((_, payload))) => {
                Some(Content::Change(Box::new(StoredChange::decode(&payload)?)))
            }
        };
        Ok(Self { revision, recorded_time: row.recorded_time, content })
    }

    /// The brand that the event belongs to; none where the event does not say.
    #[must_use]
    pub fn brand(&self) -> Option<BrandId> {
        match self.content.as_ref()? {
            Content::Change(stored) => Some(stored.change.brand),
            Content::Erasure(erasure) => Some(erasure.brand),
            Content::Policy(..) => Some(BrandId::ALL),
        }
    }
}
