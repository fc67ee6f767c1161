//! What a checkpoint says of the pages on disk, so that a missing, extra or
//! changed page is noticed (A9). In an `opt_out` plane an absent page permits.

use prost::Message;
use xxhash_rust::xxh3::xxh3_128;

use super::{
    ChainHash, StoreError,
    keys::{PageKey, parse_plane, plane_bytes},
};
use crate::domain::{contact::ContactKind, plane::PlaneId, secret::Fingerprint};

/// Which planes there are, and whom each holds, in the checkpoints that this
/// version writes. In layout 0, which names no number, all reasons stood in planes
/// of scopes; in 1 those that a brand's scopes share stand in planes of the brand.
pub const PLANE_LAYOUT: u32 = 1;

/// Ordinals in one block of a directory.
pub const DIRECTORY_BLOCK: u64 = 4_096;

/// Stands in a directory's block for an address that was erased; its row holds
/// an empty text.
pub const ERASED_FINGERPRINT: Fingerprint = 0;

/// The pages of one plane at a checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlaneSum {
    /// How many there are.
    pub pages: u64,
    /// The wrapping sum of their hashes; independent of order.
    pub sum: u128,
}

impl PlaneSum {
    /// Counts a page in.
    pub fn add(&mut self, hash: u128) {
        self.pages = self.pages.wrapping_add(1);
        self.sum = self.sum.wrapping_add(hash);
    }

    /// Counts a page out.
    pub fn remove(&mut self, hash: u128) {
        self.pages = self.pages.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(hash);
    }
}

/// The blocks of one directory at a checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirectorySum {
    /// Ordinals covered: all below this one.
    pub ordinals: u64,
    /// Count and sum of the blocks.
    pub blocks: PlaneSum,
}

/// A checkpoint: what the pages on disk are worth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// The revision that the pages stand for.
    pub revision: u64,
    /// The chain up to it.
    pub chain: ChainHash,
    /// The time up to which ends of consents are in the pages, in ms.
    pub consents_until: i64,
    /// The earliest clock that any page was decided by, in ms: ends of
    /// suppressions up to it are in the pages.
    pub suppressions_until: i64,
    /// The latest such clock, in ms. A checkpoint is written in slices, and the
    /// clock moves on meanwhile, or is set back.
    pub clock_until: i64,
    /// The revision of the policy that the pages were derived under.
    pub policy_revision: u64,
    /// The layout of the planes: [`PLANE_LAYOUT`] or an earlier one.
    pub layout: u32,
    /// The planes that have pages.
    pub planes: Vec<(PlaneId, PlaneSum)>,
    /// The directories.
    pub directories: Vec<(ContactKind, DirectorySum)>,
}

/// The hash of a page under its key: of the whole row, so that a page put
/// under another key is noticed too.
#[must_use]
pub fn page_hash(plane: &PlaneId, page: u64, bytes: &[u8]) -> u128 {
    row_hash(&PageKey::Plane(*plane, page).encode(), bytes)
}

pub(super) fn row_hash(key: &[u8], bytes: &[u8]) -> u128 {
    xxh3_128(&[key, bytes].concat())
}

#[derive(Clone, PartialEq, Message)]
struct CheckpointRow {
    #[prost(uint64, tag = "1")]
    revision: u64,
    #[prost(bytes = "vec", tag = "2")]
    chain: Vec<u8>,
    #[prost(int64, tag = "3")]
    consents_until: i64,
    #[prost(int64, tag = "4")]
    suppressions_until: i64,
    #[prost(uint64, tag = "5")]
    policy_revision: u64,
    #[prost(message, repeated, tag = "6")]
    planes: Vec<SumRow>,
    #[prost(message, repeated, tag = "7")]
    directories: Vec<SumRow>,
    /// 0 in rows of before it existed, when no page was ahead of the others.
    #[prost(int64, tag = "8")]
    clock_until: i64,
    #[prost(uint32, tag = "9")]
    layout: u32,
}

#[derive(Clone, PartialEq, Message)]
struct SumRow {
    /// The plane's name as in its keys, or the directory's kind.
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
    #[prost(uint64, tag = "2")]
    pages: u64,
    #[prost(bytes = "vec", tag = "3")]
    sum: Vec<u8>,
    #[prost(uint64, tag = "4")]
    ordinals: u64,
}

impl SumRow {
    fn new(name: Vec<u8>, sum: PlaneSum, ordinals: u64) -> Self {
        Self { name, pages: sum.pages, sum: sum.sum.to_le_bytes().to_vec(), ordinals }
    }

    fn sum(&self) -> Option<PlaneSum> {
        let sum = u128::from_le_bytes(self.sum.as_slice().try_into().ok()?);
        Some(PlaneSum { pages: self.pages, sum })
    }
}

impl Checkpoint {
    pub(super) fn encode(&self) -> Vec<u8> {
        CheckpointRow {
            revision: self.revision,
            chain: self.chain.to_vec(),
            consents_until: self.consents_until,
            suppressions_until: self.suppressions_until,
            policy_revision: self.policy_revision,
            clock_until: self.clock_until,
            layout: self.layout,
            planes: self
                .planes
                .iter()
                .map(|(plane, sum)| SumRow::new(plane_bytes(plane), *sum, 0))
                .collect(),
            directories: self
                .directories
                .iter()
                .map(|(kind, sum)| SumRow::new(vec![*kind as u8], sum.blocks, sum.ordinals))
                .collect(),
        }
        .encode_to_vec()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let checkpoint = CheckpointRow::decode(bytes)
            .ok()
            .and_then(Self::read)
            .ok_or_else(|| StoreError::refused("the checkpoint's row is damaged"))?;
        if checkpoint.layout > PLANE_LAYOUT {
            return Err(StoreError::Refused(format!(
                "its planes have layout {}, and this version reads layouts up to {PLANE_LAYOUT}: \
                 use the version that wrote it, or a later one",
                checkpoint.layout
            )));
        }
        Ok(checkpoint)
    }

    fn read(row: CheckpointRow) -> Option<Self> {
        let planes = row
            .planes
            .iter()
            .map(|each| Some((parse_plane(&each.name)?, each.sum()?)))
            .collect::<Option<_>>()?;
        let directories = row
            .directories
            .iter()
            .map(|each| {
                let kind = ContactKind::from_tag(*each.name.first()?)?;
                Some((kind, DirectorySum { ordinals: each.ordinals, blocks: each.sum()? }))
            })
            .collect::<Option<_>>()?;
        Some(Self {
            revision: row.revision,
            chain: row.chain.try_into().ok()?,
            consents_until: row.consents_until,
            suppressions_until: row.suppressions_until,
            clock_until: row.clock_until.max(row.suppressions_until),
            policy_revision: row.policy_revision,
            layout: row.layout,
            planes,
            directories,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_of_planes_of_a_later_version_is_refused_and_an_earlier_one_read() {
        for layout in 0..=PLANE_LAYOUT {
            let checkpoint = Checkpoint { layout, ..Checkpoint::default() };
            assert_eq!(Checkpoint::decode(&checkpoint.encode()).unwrap(), checkpoint);
        }
        let later = Checkpoint { layout: PLANE_LAYOUT + 1, ..Checkpoint::default() };
        let refused = Checkpoint::decode(&later.encode()).unwrap_err().to_string();
        assert!(refused.contains("its planes have layout 2"), "{refused}");
    }
}
