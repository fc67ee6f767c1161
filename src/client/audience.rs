//! Audiences: recipients as a bitmap, and the check of answers about them.

use std::sync::Arc;

use bytes::Bytes;
use roaring::RoaringTreemap;

use crate::proto::v1::Reason;

/// Phones or contact IDs as a bitmap, ready to be sent. The server takes up to
/// 2,097,152 members and 4 MiB in one; split larger ones.
#[derive(Clone, Debug)]
pub struct Audience {
    pub(super) bytes: Bytes,
    pub(super) members: Arc<RoaringTreemap>,
    pub(super) count: u32,
}

impl Audience {
    /// An audience of these members; `None` if there are more than can be
    /// counted in a batch.
    #[must_use]
    pub fn new(members: RoaringTreemap) -> Option<Self> {
        let count = u32::try_from(members.len()).ok()?;
        let mut bytes = Vec::with_capacity(members.serialized_size());
        // Writing to memory does not fail.
        members.serialize_into(&mut bytes).ok()?;
        Some(Self { bytes: bytes.into(), members: Arc::new(members), count })
    }

    /// The members.
    #[must_use]
    pub fn members(&self) -> &RoaringTreemap {
        &self.members
    }

    /// The bytes that it takes in a message.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// Reads the permitted members, which must be all that there is.
pub(super) fn read(bytes: &[u8]) -> Result<RoaringTreemap, &'static str> {
    let mut rest = bytes;
    let members = RoaringTreemap::deserialize_from(&mut rest);
    match members {
        Ok(members) if rest.is_empty() => Ok(members),
        _ => Err("the permitted members are no 64-bit Roaring bitmap"),
    }
}

/// What is wrong with the answer about an audience, if anything.
pub(super) fn fault(
    audience: &RoaringTreemap,
    permitted: &RoaringTreemap,
    stated: usize,
    reasons: &[u8],
) -> Option<String> {
    if permitted.len() != stated as u64 {
        return Some(format!("{} members permitted, permitted_count {stated}", permitted.len()));
    }
    // Somebody who was not asked about must not be written to.
    if !permitted.is_subset(audience) {
        return Some("members are permitted that were not asked about".to_owned());
    }
    let mut next = permitted.iter().peekable();
    let disagrees = |(member, reason): (u64, &u8)| {
        let is_permitted = next.next_if_eq(&member).is_some();
        is_permitted != (i32::from(*reason) == Reason::Permitted as i32)
            || i32::from(*reason) == Reason::Unspecified as i32
    };
    let position = audience.iter().zip(reasons).position(disagrees)?;
    Some(format!("permission and reason of member {position} disagree"))
}
