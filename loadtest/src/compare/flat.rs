//! What anybody would write first: one bit for each possible number, and where
//! reasons are asked for, one byte.

use hashbrown::HashMap;

/// A bit for every number between the smallest and the largest. It neither
/// prefetches nor sorts.
pub struct FlatBitset {
    first: u64,
    words: Vec<u64>,
}

impl FlatBitset {
    /// The set of these numbers.
    pub fn of(members: impl Iterator<Item = u64> + Clone) -> Self {
        let first = members.clone().min().unwrap_or_default();
        let last = members.clone().max().unwrap_or_default();
        let mut words = vec![0; usize::try_from((last - first) / 64 + 1).unwrap_or_default()];
        for id in members {
            if let Some(word) = words.get_mut(((id - first) / 64) as usize) {
                *word |= 1 << ((id - first) % 64);
            }
        }
        Self { first, words }
    }

    /// Whether a number is in the set.
    #[inline]
    pub fn contains(&self, id: u64) -> bool {
        let at = id.wrapping_sub(self.first);
        self.words.get((at / 64) as usize).is_some_and(|word| word >> (at % 64) & 1 != 0)
    }
}

/// A bitset for each 65,536 numbers of which one is in the set: the same for
/// sets that are strewn over too many numbers.
pub struct PagedBitset(HashMap<u64, Box<[u64; 1024]>>);

impl PagedBitset {
    /// The set of these numbers.
    pub fn of(members: impl Iterator<Item = u64>) -> Self {
        let mut pages: HashMap<u64, Box<[u64; 1024]>> = HashMap::new();
        for id in members {
            let page = pages.entry(id >> 16).or_insert_with(|| Box::new([0; 1024]));
            if let Some(word) = page.get_mut(usize::from(id as u16 >> 6)) {
                *word |= 1 << (id % 64);
            }
        }
        Self(pages)
    }

    /// Tells whether numbers are in the set. It looks for a page only where it
    /// is another one than before.
    pub fn search(&self) -> impl FnMut(u64) -> bool {
        let (mut index, mut page) = (u64::MAX, None);
        move |id| {
            if id >> 16 != index {
                index = id >> 16;
                page = self.0.get(&index);
            }
            let word = page.and_then(|words| words.get(usize::from(id as u16 >> 6)));
            word.is_some_and(|word| word >> (id % 64) & 1 != 0)
        }
    }
}

/// A byte for every number between the smallest and the largest: its reason.
/// No memory is spared, so nothing that must look twice can be faster.
pub struct FlatReasons {
    first: u64,
    reasons: Vec<u8>,
    unknown: u8,
}

impl FlatReasons {
    /// The reasons of these numbers; all others have the reason `unknown`.
    pub fn of(members: impl Iterator<Item = (u64, u8)> + Clone, unknown: u8) -> Self {
        let first = members.clone().map(|(id, _)| id).min().unwrap_or_default();
        let last = members.clone().map(|(id, _)| id).max().unwrap_or_default();
        let mut reasons = vec![unknown; usize::try_from(last - first + 1).unwrap_or_default()];
        for (id, reason) in members {
            if let Some(slot) = reasons.get_mut((id - first) as usize) {
                *slot = reason;
            }
        }
        Self { first, reasons, unknown }
    }

    /// The reason of a number.
    #[inline]
    pub fn reason(&self, id: u64) -> u8 {
        let at = id.wrapping_sub(self.first);
        self.reasons.get(at as usize).copied().unwrap_or(self.unknown)
    }
}
