//! The set that anybody would write first: one bit for each possible number.

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
