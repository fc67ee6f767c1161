//! Randomness that never changes.
//!
//! A seed must make up the same data in ten years, so the generator is written
//! out here rather than taken from a crate whose distributions may change with
//! a version. It is fast and even enough for trials, and no secret.

/// A stream of random numbers (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A stream of its own for item `index` of a kind of things: people can be
    /// made up in any order.
    #[must_use]
    pub fn of(seed: u64, kind: u64, index: u64) -> Self {
        Self(mix(mix(mix(seed) ^ kind) ^ index))
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `bound`, or 0 if there is none.
    pub fn below(&mut self, bound: u64) -> u64 {
        let product = u128::from(self.next_u64()) * u128::from(bound);
        u64::try_from(product >> 64).unwrap_or_default()
    }

    /// True in `per_mille` of a thousand cases.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// One of several texts.
    pub fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        let index = self.below(choices.len() as u64);
        usize::try_from(index)
            .ok()
            .and_then(|index| choices.get(index))
            .copied()
            .unwrap_or_default()
    }
}

/// Spreads every bit of the input over the whole output, reversibly.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A random order of `0..size`: distinct numbers without remembering any.
///
/// A few reversible rounds shuffle the next power of two; what falls outside is
/// shuffled again, which ends because the rounds are a permutation.
#[derive(Clone, Debug)]
pub struct Permutation {
    size: u64,
    half_bits: u32,
    seed: u64,
}

impl Permutation {
    /// A random order of `0..size`.
    #[must_use]
    pub fn new(size: u64, seed: u64) -> Self {
        let bits = u64::BITS - size.saturating_sub(1).leading_zeros();
        Self { size, half_bits: bits.div_ceil(2).max(1), seed }
    }

    /// What stands at `position`; `None` beyond the end.
    #[must_use]
    pub fn get(&self, position: u64) -> Option<u64> {
        if position >= self.size {
            return None;
        }
        let mut value = self.shuffle(position);
        while value >= self.size {
            value = self.shuffle(value);
        }
        Some(value)
    }

    /// Four rounds of a Feistel network over two halves.
    fn shuffle(&self, value: u64) -> u64 {
        let mask = (1 << self.half_bits) - 1;
        let (mut left, mut right) = (value >> self.half_bits, value & mask);
        for round in 0..4 {
            (left, right) = (right, left ^ (mix(right ^ mix(self.seed ^ round)) & mask));
        }
        left << self.half_bits | right
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_permutation_holds_every_number_once() {
        for size in [1, 2, 3, 7, 100, 1000, 4097] {
            let permutation = Permutation::new(size, 9);
            let seen: BTreeSet<u64> = (0..size).filter_map(|at| permutation.get(at)).collect();
            assert_eq!(seen.len() as u64, size);
            assert_eq!(seen.last(), Some(&(size - 1)));
            assert_eq!(permutation.get(size), None);
        }
    }

    #[test]
    fn a_seed_makes_the_same_numbers_for_ever() {
        let mut random = Random::of(1, 2, 3);
        let first = [random.next_u64(), random.below(1000), random.below(1000)];
        assert_eq!(first, GOLDEN);
    }

    /// Taken from the first version; data that people keep depends on it.
    const GOLDEN: [u64; 3] = [12_560_079_469_515_091_432, 522, 227];
}
