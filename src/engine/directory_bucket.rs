//! One cache line of the directory: four entries that one thread writes and many read.
//!
//! **Why a reader can never be given a wrong ordinal.** An entry is written once in the life of
//! its memory: it is born vacant, and `fill` turns it into its one and only key and ordinal. No
//! code path changes or clears a filled entry; removing and growing build new buckets instead and
//! leave these to whoever still holds them. `fill` stores the lower part of the key first and the
//! word with the ordinal last, with Release; a reader loads that word first, with Acquire. So
//! either it sees the entry as vacant, and says "absent", or it sees both words as they will
//! stay for ever. There is nothing to tear, and no reuse that could make an old word look current.

use std::sync::atomic::{AtomicU64, Ordering};

/// Entries in one bucket.
pub(super) const ENTRIES: usize = 4;

/// The 96 bits of a fingerprint that an entry keeps. The place of an entry follows from these bits
/// and from the segment, which is chosen by bits not kept: 106 bits of 128 tell entries apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) low: u64,
    pub(super) high: u32,
}

/// `low` of the key, and its `high` above the ordinal plus one. Zero in the lower half of the
/// second word means vacant.
#[derive(Default)]
struct Entry {
    low: AtomicU64,
    high_and_ordinal: AtomicU64,
}

/// One cache line of entries; the filled ones come first.
#[derive(Default)]
#[repr(align(64))]
pub(super) struct Bucket([Entry; ENTRIES]);

impl Bucket {
    /// The ordinal of `key`, if it is here; and whether that settles the matter, which it does not
    /// if the bucket is full of other keys: then one must look in the next.
    ///
    /// Which entry matches is as good as random, so all four are compared without a branch.
    #[inline(always)]
    pub(super) fn find(&self, key: Key) -> (Option<u32>, bool) {
        let mut found = 0;
        let mut vacant = false;
        for entry in &self.0 {
            let word = entry.high_and_ordinal.load(Ordering::Acquire);
            let low = entry.low.load(Ordering::Relaxed);
            let hit = ((word >> 32) as u32 == key.high) & (low == key.low);
            found |= if hit { word as u32 } else { 0 };
            vacant |= word as u32 == 0;
        }
        (found.checked_sub(1), (found != 0) | vacant)
    }

    /// Fills the first vacant entry; false if there is none. Only the writer may call it. The
    /// ordinal must be below `u32::MAX`.
    pub(super) fn fill(&self, key: Key, ordinal: u32) -> bool {
        let vacant =
            self.0.iter().find(|entry| entry.high_and_ordinal.load(Ordering::Relaxed) as u32 == 0);
        let Some(entry) = vacant else { return false };
        entry.low.store(key.low, Ordering::Relaxed);
        let word = u64::from(key.high) << 32 | u64::from(ordinal.wrapping_add(1));
        entry.high_and_ordinal.store(word, Ordering::Release);
        true
    }

    /// The filled entries.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Key, u32)> + Clone {
        self.0.iter().filter_map(|entry| {
            let word = entry.high_and_ordinal.load(Ordering::Acquire);
            let key = Key { low: entry.low.load(Ordering::Relaxed), high: (word >> 32) as u32 };
            (word as u32).checked_sub(1).map(|ordinal| (key, ordinal))
        })
    }
}
