//! What the events say that no contact caused: policies, erasures, redactions.
//!
//! Protobuf, as in [`super::payload`]: fields may be added, never renumbered (A8).

use prost::Message;

use super::{
    StoreError,
    state_rows::{decode_erased, encode_erased},
};
use crate::domain::{
    erased::ErasedMark,
    event::{Actor, ActorRole},
    policy::{NameClass, Names},
    scope::BrandId,
    secret::Fingerprint,
};

/// A policy as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPolicy {
    /// The text.
    pub text: String,
    /// All names with their numbers, this policy's included.
    pub names: Names,
    /// The revision of the policy before it; 0 for none.
    pub previous: u64,
    /// Who applied it.
    pub actor: Actor,
    /// A remark.
    pub note: String,
}

/// An erasure as it is stored. It names nobody: the chain keeps it for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredErasure {
    /// The brand, or all.
    pub brand: BrandId,
    /// Who erased.
    pub actor: Actor,
    /// Where the request came from.
    pub source: String,
    /// A remark.
    pub note: String,
    /// Events whose payload was erased.
    pub events: u64,
    /// The marks of the contact as the erasure leaves them (R11): that of the
    /// erasure itself, of each brand that has survivors or a mark of its own,
    /// and of all brands. What made them is erased with the rest, so they are
    /// told whole.
    pub remains: Vec<Remains>,
}

/// A mark of erasure, under its keyed fingerprint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remains {
    /// The keyed fingerprint that the mark stands under.
    pub fingerprint: Fingerprint,
    /// The mark.
    pub mark: ErasedMark,
}

impl Remains {
    /// The mark's bytes, as they are stored.
    #[must_use]
    pub fn encode_mark(&self) -> Vec<u8> {
        encode_erased(&self.mark)
    }

    /// Reads a fingerprint and a mark's bytes; `None` if they are none.
    #[must_use]
    pub fn decode(fingerprint: &[u8], mark: &[u8]) -> Option<Self> {
        Some(Self {
            fingerprint: Fingerprint::from_be_bytes(fingerprint.try_into().ok()?),
            mark: decode_erased(mark).ok()?,
        })
    }
}

/// A redaction as it is stored: the bodies that took the place of others, by
/// revision and digest, so that the chain vouches for them too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredRedaction {
    /// The events, with the SHA-256 of their new salt and payload.
    pub events: Vec<(u64, [u8; 32])>,
}

impl StoredRedaction {
    /// The payload's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (revisions, digests) = (
            self.events.iter().map(|(revision, _)| *revision).collect(),
            self.events.iter().flat_map(|(_, digest)| *digest).collect(),
        );
        RedactionPayload { revisions, digests }.encode_to_vec()
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// The bytes are not the payload of a redaction.
    pub fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let damaged = || StoreError::refused("the payload of a redaction is damaged");
        let payload = RedactionPayload::decode(bytes).map_err(|_| damaged())?;
        let (digests, rest) = payload.digests.as_chunks::<32>();
        if digests.len() != payload.revisions.len() || !rest.is_empty() {
            return Err(damaged());
        }
        Ok(Self { events: payload.revisions.into_iter().zip(digests.iter().copied()).collect() })
    }
}

impl StoredPolicy {
    /// The payload's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        PolicyPayload {
            text: self.text.clone(),
            names: name_list(&self.names),
            previous: self.previous,
            actor_role: self.actor.role as i32,
            actor_id: self.actor.id.clone(),
            note: self.note.clone(),
        }
        .encode_to_vec()
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// The bytes are not a policy payload, or its names contradict each other.
    pub fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        PolicyPayload::decode(bytes)
            .ok()
            .and_then(PolicyPayload::read)
            .ok_or_else(|| StoreError::refused("the payload of a policy event is damaged"))
    }
}

impl StoredErasure {
    /// The payload's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let remains = self.remains.iter().map(|each| RemainsPayload {
            fingerprint: each.fingerprint.to_be_bytes().to_vec(),
            mark: each.encode_mark(),
        });
        ErasurePayload {
            brand: self.brand.0,
            actor_role: self.actor.role as i32,
            actor_id: self.actor.id.clone(),
            source: self.source.clone(),
            note: self.note.clone(),
            events: self.events,
            remains: remains.collect(),
        }
        .encode_to_vec()
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// The bytes are not the payload of an erasure.
    pub fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        ErasurePayload::decode(bytes)
            .ok()
            .and_then(ErasurePayload::read)
            .ok_or_else(|| StoreError::refused("the payload of an erasure is damaged"))
    }
}

fn name_list(names: &Names) -> Vec<NameEntry> {
    names
        .all()
        .into_iter()
        .map(|(class, number, name)| NameEntry {
            class: class as i32,
            number,
            name: name.to_owned(),
        })
        .collect()
}

#[derive(Clone, PartialEq, Message)]
struct PolicyPayload {
    #[prost(string, tag = "1")]
    text: String,
    #[prost(message, repeated, tag = "2")]
    names: Vec<NameEntry>,
    #[prost(uint64, tag = "3")]
    previous: u64,
    #[prost(int32, tag = "4")]
    actor_role: i32,
    #[prost(string, tag = "5")]
    actor_id: String,
    #[prost(string, tag = "6")]
    note: String,
}

#[derive(Clone, PartialEq, Message)]
struct NameEntry {
    #[prost(int32, tag = "1")]
    class: i32,
    #[prost(uint32, tag = "2")]
    number: u32,
    #[prost(string, tag = "3")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct ErasurePayload {
    #[prost(uint32, tag = "1")]
    brand: u32,
    #[prost(int32, tag = "2")]
    actor_role: i32,
    #[prost(string, tag = "3")]
    actor_id: String,
    #[prost(string, tag = "4")]
    source: String,
    #[prost(string, tag = "5")]
    note: String,
    #[prost(uint64, tag = "6")]
    events: u64,
    #[prost(message, repeated, tag = "7")]
    remains: Vec<RemainsPayload>,
}

#[derive(Clone, PartialEq, Message)]
struct RemainsPayload {
    #[prost(bytes = "vec", tag = "2")]
    fingerprint: Vec<u8>,
    /// The mark in the layout of its row.
    #[prost(bytes = "vec", tag = "5")]
    mark: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct RedactionPayload {
    #[prost(uint64, repeated, tag = "1")]
    revisions: Vec<u64>,
    /// 32 bytes a revision.
    #[prost(bytes = "vec", tag = "2")]
    digests: Vec<u8>,
}

impl PolicyPayload {
    fn read(self) -> Option<StoredPolicy> {
        let mut names = Names::default();
        for entry in self.names {
            let class = NameClass::from_tag(entry.class)?;
            if !names.restore(class, entry.number, &entry.name) {
                return None;
            }
        }
        Some(StoredPolicy {
            text: self.text,
            names,
            previous: self.previous,
            actor: Actor { role: ActorRole::from_tag(self.actor_role)?, id: self.actor_id },
            note: self.note,
        })
    }
}

impl ErasurePayload {
    fn read(self) -> Option<StoredErasure> {
        Some(StoredErasure {
            brand: BrandId(self.brand),
            actor: Actor { role: ActorRole::from_tag(self.actor_role)?, id: self.actor_id },
            source: self.source,
            note: self.note,
            events: self.events,
            remains: self.remains.into_iter().map(RemainsPayload::read).collect::<Option<_>>()?,
        })
    }
}

impl RemainsPayload {
    fn read(self) -> Option<Remains> {
        Remains::decode(&self.fingerprint, &self.mark)
    }
}
