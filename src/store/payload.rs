//! What an event says, as its payload holds it.
//!
//! Payloads are protobuf: fields may be added, never renumbered (A8). The
//! payload names the contact by its address, so that the events alone suffice
//! to build everything else again.

use prost::{Message, encoding};
use sha2::{Digest, Sha256};

use super::{EventKind, KeyHash, StoreError};
use crate::domain::{
    contact::{Address, ContactKind, ContactRef},
    event::{Actor, ActorRole, Change, ChangeKind, Consent, Evidence, Lift, Notice, Suppression},
    reason::Reason,
    scope::{BrandId, ChannelId, Level, PurposeId, TypeSelector},
    state::{ContentDigest, Status},
    time::{Precision, StatedTime},
};

/// A change as it is stored: what the caller said, the contact ID it was given,
/// and the time that the rules compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredChange {
    /// What the caller said.
    pub change: Change,
    /// The contact.
    pub contact: ContactRef,
    /// The stored time (R2).
    pub effective_time: i64,
    /// Set once the payload was redacted: who, where, how and the proof are
    /// gone, and what the rules and an erasure need is left.
    pub redacted: Option<Redacted>,
}

/// What a redaction keeps of a payload beside what the rules compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redacted {
    /// Digest of the content as it was.
    pub content: ContentDigest,
    /// The hashes of its keys, which an erasure must forget.
    pub keys: [KeyHash; 2],
}

impl StoredChange {
    /// The payload's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let redacted = self.redacted.map(RedactedPayload::from);
        let said = ChangePayload { redacted, ..ChangePayload::from(&self.change) };
        placed(said.encode_to_vec(), self.contact, self.effective_time)
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// The bytes are not a payload that this or an earlier version wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        ChangePayload::decode(bytes)
            .ok()
            .and_then(ChangePayload::read)
            .ok_or_else(|| StoreError::refused("the payload of an event is damaged"))
    }

    /// The digest of what the caller said, also after a redaction.
    #[must_use]
    pub fn content(&self) -> ContentDigest {
        self.redacted.map_or_else(|| Content::of(&self.change).digest, |redacted| redacted.content)
    }
}

impl From<&ChangeKind> for EventKind {
    fn from(kind: &ChangeKind) -> Self {
        match kind {
            ChangeKind::Consent(_) => Self::Consent,
            ChangeKind::Suppression(_) => Self::Suppression,
            ChangeKind::Lift(_) => Self::Lift,
        }
    }
}

/// What the caller said: a payload without what the server adds, so that a
/// repeat at another hour is the same.
pub(crate) struct Content {
    said: Vec<u8>,
    /// SHA-256, halved: equal for repeats, and the last word of R4.
    pub digest: ContentDigest,
}

impl Content {
    /// The content of a change.
    #[must_use]
    pub fn of(change: &Change) -> Self {
        let said = ChangePayload::from(change).encode_to_vec();
        let digest: [u8; 32] = Sha256::digest(&said).into();
        let (half, _) = digest.split_at(16);
        Self { said, digest: half.try_into().unwrap_or_default() }
    }

    /// The payload of the event: what was said, and what the server adds.
    #[must_use]
    pub fn payload(&self, contact: ContactRef, effective_time: i64) -> Vec<u8> {
        placed(self.said.clone(), contact, effective_time)
    }
}

/// A payload with what the server adds, in fields behind all others.
fn placed(mut said: Vec<u8>, contact: ContactRef, effective_time: i64) -> Vec<u8> {
    if contact.id != 0 {
        encoding::fixed64::encode(CONTACT_ID, &contact.id, &mut said);
    }
    if effective_time != 0 {
        encoding::int64::encode(EFFECTIVE_TIME, &effective_time, &mut said);
    }
    said
}

/// The numbers of the fields that the server adds.
const CONTACT_ID: u32 = 3;
const EFFECTIVE_TIME: u32 = 5;

#[derive(Clone, PartialEq, Message)]
struct ChangePayload {
    #[prost(uint32, tag = "1")]
    brand: u32,
    #[prost(uint32, tag = "2")]
    kind: u32,
    /// 0 where only the content is meant.
    #[prost(fixed64, tag = "3")]
    contact_id: u64,
    /// The digits of a phone or contact ID; the text of the others.
    #[prost(string, tag = "4")]
    address: String,
    /// 0 where only the content is meant.
    #[prost(int64, tag = "5")]
    effective_time: i64,
    #[prost(int64, optional, tag = "6")]
    stated_ms: Option<i64>,
    #[prost(int32, tag = "7")]
    stated_precision: i32,
    #[prost(string, tag = "8")]
    source: String,
    #[prost(int32, tag = "9")]
    actor_role: i32,
    #[prost(string, tag = "10")]
    actor_id: String,
    #[prost(string, tag = "11")]
    event_key: String,
    #[prost(uint64, tag = "12")]
    rectification: u64,
    #[prost(message, optional, tag = "13")]
    redacted: Option<RedactedPayload>,
    #[prost(oneof = "KindPayload", tags = "16, 17, 18")]
    what: Option<KindPayload>,
}

#[derive(Clone, PartialEq, Message)]
struct RedactedPayload {
    #[prost(bytes = "vec", tag = "1")]
    content: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    reused_key: Vec<u8>,
}

impl From<Redacted> for RedactedPayload {
    fn from(redacted: Redacted) -> Self {
        let [key, reused_key] = redacted.keys.map(|key| key.0.to_be_bytes().to_vec());
        Self { content: redacted.content.to_vec(), key, reused_key }
    }
}

impl RedactedPayload {
    fn read(self) -> Option<Redacted> {
        let key = |bytes: Vec<u8>| bytes.try_into().ok().map(u128::from_be_bytes).map(KeyHash);
        Some(Redacted {
            content: self.content.try_into().ok()?,
            keys: [key(self.key)?, key(self.reused_key)?],
        })
    }
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum KindPayload {
    #[prost(message, tag = "16")]
    Consent(ConsentPayload),
    #[prost(message, tag = "17")]
    Suppression(SuppressionPayload),
    #[prost(message, tag = "18")]
    Lift(LiftPayload),
}

#[derive(Clone, PartialEq, Message)]
struct ConsentPayload {
    #[prost(uint32, tag = "1")]
    selector: u32,
    #[prost(uint32, tag = "2")]
    channel: u32,
    #[prost(uint32, tag = "3")]
    purpose: u32,
    #[prost(uint32, tag = "4")]
    status: u32,
    #[prost(int64, optional, tag = "5")]
    valid_until: Option<i64>,
    #[prost(string, tag = "6")]
    legal_basis: String,
    #[prost(string, tag = "7")]
    notice_id: String,
    #[prost(string, tag = "8")]
    notice_version: String,
    #[prost(string, tag = "9")]
    collected_by: String,
    #[prost(string, tag = "10")]
    evidence_uri: String,
    #[prost(bytes = "vec", tag = "11")]
    evidence_sha256: Vec<u8>,
    #[prost(string, tag = "12")]
    registered_with: String,
}

#[derive(Clone, PartialEq, Message)]
struct SuppressionPayload {
    #[prost(uint32, tag = "1")]
    channel: u32,
    #[prost(uint32, tag = "2")]
    reason: u32,
    #[prost(int64, optional, tag = "3")]
    expires_at: Option<i64>,
    #[prost(string, tag = "4")]
    note: String,
}

#[derive(Clone, PartialEq, Message)]
struct LiftPayload {
    #[prost(uint32, tag = "1")]
    channel: u32,
    #[prost(uint32, tag = "2")]
    reason: u32,
    #[prost(string, tag = "3")]
    note: String,
}

impl From<&Change> for ChangePayload {
    fn from(change: &Change) -> Self {
        let address = match &change.address {
            Address::Phone(id) | Address::ContactId(id) => id.to_string(),
            Address::Email(text) | Address::ExternalId(text) => text.clone(),
        };
        Self {
            brand: change.brand.0,
            kind: change.address.kind() as u32,
            contact_id: 0,
            address,
            effective_time: 0,
            stated_ms: change.stated.map(|stated| stated.unix_ms),
            stated_precision: change.stated.map_or(0, |stated| stated.precision as i32),
            source: change.source.clone(),
            actor_role: change.actor.role as i32,
            actor_id: change.actor.id.clone(),
            event_key: change.event_key.clone(),
            rectification: change.rectification,
            redacted: None,
            what: Some(KindPayload::from(&change.kind)),
        }
    }
}

impl From<&ChangeKind> for KindPayload {
    fn from(kind: &ChangeKind) -> Self {
        match kind {
            ChangeKind::Consent(consent) => Self::Consent(ConsentPayload {
                selector: consent.selector as u32,
                channel: consent.level.channel().0.into(),
                purpose: consent.level.purpose().0.into(),
                status: consent.status as u32,
                valid_until: consent.valid_until,
                legal_basis: consent.legal_basis.clone(),
                notice_id: consent.notice.id.clone(),
                notice_version: consent.notice.version.clone(),
                collected_by: consent.collected_by.clone(),
                evidence_uri: consent.evidence.uri.clone(),
                evidence_sha256: consent.evidence.sha256.clone(),
                registered_with: consent.registered_with.clone(),
            }),
            ChangeKind::Suppression(suppression) => Self::Suppression(SuppressionPayload {
                channel: suppression.channel.0.into(),
                reason: suppression.reason as u32,
                expires_at: suppression.expires_at,
                note: suppression.note.clone(),
            }),
            ChangeKind::Lift(lift) => Self::Lift(LiftPayload {
                channel: lift.channel.0.into(),
                reason: lift.reason as u32,
                note: lift.note.clone(),
            }),
        }
    }
}

impl ChangePayload {
    /// `None` where a number or text is none that was ever written.
    fn read(self) -> Option<StoredChange> {
        let kind = ContactKind::from_tag(u8::try_from(self.kind).ok()?)?;
        let address = match kind {
            ContactKind::Phone => Address::Phone(self.address.parse().ok()?),
            ContactKind::ContactId => Address::ContactId(self.address.parse().ok()?),
            ContactKind::Email => Address::Email(self.address),
            ContactKind::ExternalId => Address::ExternalId(self.address),
        };
        let precision = Precision::from_tag(self.stated_precision);
        let stated = match self.stated_ms {
            Some(unix_ms) => Some(StatedTime { unix_ms, precision: precision? }),
            None => None,
        };
        Some(StoredChange {
            contact: ContactRef { kind, id: self.contact_id },
            effective_time: self.effective_time,
            redacted: match self.redacted {
                Some(redacted) => Some(redacted.read()?),
                None => None,
            },
            change: Change {
                brand: BrandId(self.brand),
                address,
                stated,
                source: self.source,
                actor: Actor { role: ActorRole::from_tag(self.actor_role)?, id: self.actor_id },
                event_key: self.event_key,
                rectification: self.rectification,
                kind: self.what?.read()?,
            },
        })
    }
}

impl KindPayload {
    fn read(self) -> Option<ChangeKind> {
        Some(match self {
            Self::Consent(consent) => ChangeKind::Consent(Consent {
                selector: TypeSelector::from_tag(u8::try_from(consent.selector).ok()?)?,
                level: Level::new(
                    channel(consent.channel)?,
                    PurposeId(u16::try_from(consent.purpose).ok()?),
                )?,
                status: [Status::Granted, Status::Withdrawn]
                    .into_iter()
                    .find(|status| *status as u32 == consent.status)?,
                valid_until: consent.valid_until,
                legal_basis: consent.legal_basis,
                notice: Notice { id: consent.notice_id, version: consent.notice_version },
                collected_by: consent.collected_by,
                evidence: Evidence { uri: consent.evidence_uri, sha256: consent.evidence_sha256 },
                registered_with: consent.registered_with,
            }),
            Self::Suppression(suppression) => ChangeKind::Suppression(Suppression {
                channel: channel(suppression.channel)?,
                reason: reason(suppression.reason)?,
                expires_at: suppression.expires_at,
                note: suppression.note,
            }),
            Self::Lift(lift) => ChangeKind::Lift(Lift {
                channel: channel(lift.channel)?,
                reason: reason(lift.reason)?,
                note: lift.note,
            }),
        })
    }
}

fn channel(number: u32) -> Option<ChannelId> {
    u16::try_from(number).ok().map(ChannelId)
}

fn reason(number: u32) -> Option<Reason> {
    Reason::from_tag(u8::try_from(number).ok()?).filter(|reason| reason.is_suppression())
}
