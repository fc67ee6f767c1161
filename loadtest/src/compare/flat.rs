//! What anybody would write first: one bit for each possible number, and where
//! reasons are asked for, one byte.

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
