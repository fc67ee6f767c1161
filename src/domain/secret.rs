//! The store's secret, and the keyed forms that keep addresses out of keys.
//!
//! RocksDB keeps key ranges in clear in its MANIFEST, and files outlive the
//! rows in them. So no key holds an address that could be read back without
//! the secret: contact IDs are permuted, texts are fingerprinted.

use std::fmt;

use xxhash_rust::xxh3::{xxh3_64_with_secret, xxh3_128_with_secret};

use super::{contact::ContactKind, scope::BrandId};

/// A keyed 128-bit fingerprint of an address.
pub type Fingerprint = u128;

const ROUNDS: usize = 4;
/// Bytes of the secret that a round uses: the least that xxh3 takes.
const ROUND_SECRET: usize = 136;
/// Bytes from one round's part of the secret to the next.
const ROUND_STEP: usize = 16;

/// A store's random secret, made once, never changed. It prints as nothing.
#[derive(Clone)]
pub struct Secret(Box<[u8; Secret::BYTES]>);

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret")
    }
}

impl Secret {
    /// Bytes of a secret: xxh3 asks for 136 at least; 192 is its native size.
    pub const BYTES: usize = 192;

    /// The secret of these bytes; `None` if there are not 192 of them.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(|bytes| Self(Box::new(bytes)))
    }

    /// The bytes of the secret.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// The fingerprint of an address's text. The directory uses it to tell
    /// addresses apart.
    #[must_use]
    pub fn fingerprint(&self, text: &[u8]) -> Fingerprint {
        xxh3_128_with_secret(text, self.0.as_slice())
    }

    /// The fingerprint under which an erasure's mark outlives the address (R11):
    /// of a brand and an address, which is the digits for phones and integers.
    #[must_use]
    pub fn erased_fingerprint(
        &self,
        brand: BrandId,
        kind: ContactKind,
        address: &[u8],
    ) -> Fingerprint {
        let scoped = [&brand.0.to_be_bytes()[..], &[kind as u8], address].concat();
        self.fingerprint(&scoped)
    }

    /// A permutation of the contact IDs: reversible only with the secret, and
    /// without collisions, so that a sealed ID is as exact as the ID.
    ///
    /// A Feistel network: each round mixes one half into the other, which can
    /// be undone whatever the mixing function. Each round has its own part of
    /// the secret.
    #[must_use]
    pub fn seal(&self, id: u64) -> u64 {
        let halves = ((id >> 32) as u32, id as u32);
        let (left, right) =
            (0..ROUNDS).fold(halves, |(left, right), round| (right, left ^ self.mix(round, right)));
        (u64::from(left) << 32) | u64::from(right)
    }

    /// The contact ID that was sealed.
    #[must_use]
    pub fn unseal(&self, sealed: u64) -> u64 {
        let halves = ((sealed >> 32) as u32, sealed as u32);
        let (left, right) = (0..ROUNDS)
            .rev()
            .fold(halves, |(left, right), round| (right ^ self.mix(round, left), left));
        (u64::from(left) << 32) | u64::from(right)
    }

    fn mix(&self, round: usize, half: u32) -> u32 {
        let from = round * ROUND_STEP;
        let secret = self.0.get(from..from + ROUND_SECRET).unwrap_or(self.0.as_slice());
        xxh3_64_with_secret(&half.to_le_bytes(), secret) as u32
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::*;

    fn secret(seed: u64) -> Secret {
        let mut random = StdRng::seed_from_u64(seed);
        Secret::from_bytes(&random.random::<[u8; Secret::BYTES]>()).unwrap()
    }

    #[test]
    fn sealed_ids_differ_depend_on_the_secret_and_come_back() {
        let (one, other) = (secret(3), secret(90));
        let sealed: std::collections::HashSet<u64> = (0..10_000).map(|id| one.seal(id)).collect();
        assert_eq!(sealed.len(), 10_000);
        for id in [0, 1, 905_321_234_567, u64::MAX] {
            assert_eq!(one.unseal(one.seal(id)), id);
        }
        assert_ne!(one.seal(905_321_234_567), other.seal(905_321_234_567));
        assert_ne!(one.seal(905_321_234_567), 905_321_234_567);
    }
}
