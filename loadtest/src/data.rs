//! The population, and batches whose verdicts are known beforehand.
//!
//! People are numbered. Those below the size of the population consent, all
//! others are strangers: truth needs no set in memory.

use sendgate::{
    cli::generate::{people::People, random::Random},
    proto::Fixed64Column,
};

/// Randomness of the batches; one stream for each.
const BATCH_STREAM: u64 = 101;

/// A batch and its right answer.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The numbers as they travel.
    pub phones: Fixed64Column,
    /// The bits that the answer must have.
    pub expected: Vec<u8>,
}

/// Makes batches of a population.
pub struct Batches {
    people: People,
    population: u64,
    size: u64,
    hits_per_million: u64,
    seed: u64,
}

impl Batches {
    /// Batches of `size` numbers, of which a share consents.
    pub fn new(population: u64, size: u64, hits_per_million: u64, seed: u64) -> Self {
        Self { people: People::new(seed), population, size, hits_per_million, seed }
    }

    /// Batch `number`; no two are alike.
    pub fn make(&self, number: u64, sorted: bool) -> Batch {
        let mut random = Random::of(self.seed, BATCH_STREAM, number);
        let mut recipients: Vec<(u64, bool)> = (0..self.size)
            .filter_map(|_| {
                let permitted = random.below(1_000_000) < self.hits_per_million;
                let person = random.below(self.population);
                let person = if permitted { person } else { self.population + person };
                Some((self.people.mobile(person)?, permitted))
            })
            .collect();
        if sorted {
            recipients.sort_unstable();
        }
        let mut expected = vec![0_u8; recipients.len().div_ceil(8)];
        for (byte, eight) in expected.iter_mut().zip(recipients.chunks(8)) {
            for (bit, (_, permitted)) in eight.iter().enumerate() {
                *byte |= u8::from(*permitted) << bit;
            }
        }
        Batch { phones: recipients.iter().map(|(phone, _)| *phone).collect(), expected }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_knows_who_consents() {
        let batches = Batches::new(1000, 4099, 250_000, 3);
        let people = People::new(3);
        let known: Vec<u64> = (0..1000).filter_map(|person| people.mobile(person)).collect();
        for sorted in [false, true] {
            let batch = batches.make(0, sorted);
            assert_eq!(batch.phones.len(), 4099);
            let bit = |i: usize| batch.expected[i / 8] >> (i % 8) & 1 == 1;
            assert!(batch.phones.iter().enumerate().all(|(i, it)| known.contains(&it) == bit(i)));
        }
        assert_ne!(batches.make(0, false).phones, batches.make(1, false).phones);
    }
}
