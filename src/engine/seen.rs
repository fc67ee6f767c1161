//! Deduplication: whom a stream has permitted already, scope by scope (R9).

use hashbrown::HashSet;
use roaring::RoaringTreemap;
use xxhash_rust::xxh3::Xxh3DefaultBuilder;

use super::{column::ColumnId, recipients::Recipients};
use crate::domain::{contact::ContactKind, secret::Fingerprint};

/// Addresses that one stream remembers in order to permit each once, all its
/// scopes together; some 20 to 40 bytes each in a hash table (A7).
pub const MAX_SEEN_TEXTS: usize = 4 << 20;
/// Phones that one stream remembers, all its scopes together, in compressed
/// bitmaps (A7).
pub const MAX_SEEN_PHONES: u64 = 64 << 20;
/// Contact IDs that one stream remembers, all its scopes together. They may be
/// scattered over all of u64, and then cost a bitmap some 200 bytes each (A7).
pub const MAX_SEEN_CONTACT_IDS: u64 = 2 << 20;

/// The contacts that a stream has permitted, by the position of the scope.
#[derive(Default)]
pub(super) struct Seen(Vec<SeenIn>);

/// The contacts that were permitted in one scope.
#[derive(Default)]
pub(super) struct SeenIn {
    ids: RoaringTreemap,
    /// Fingerprints are uniform already; a fast hasher spreads them enough.
    texts: HashSet<Fingerprint, Xxh3DefaultBuilder>,
    /// One bit a recipient of the batch at hand: remembered since that batch.
    latest: Vec<u64>,
}

impl Seen {
    /// Begins a batch in so many scopes.
    pub(super) fn begin(&mut self, scopes: usize) {
        if self.0.len() < scopes {
            self.0.resize_with(scopes, SeenIn::default);
        }
        self.0.iter_mut().for_each(|seen| seen.latest.clear());
    }

    /// Forgets whom the batch at hand added: these are its recipients.
    pub(super) fn forget(&mut self, recipients: &Recipients, kind: ContactKind) {
        for seen in &mut self.0 {
            let latest = std::mem::take(&mut seen.latest);
            places(&latest).for_each(|place| seen.remove(recipients, kind, place));
        }
    }

    pub(super) fn shrink(&mut self, kept: usize) {
        for seen in &mut self.0 {
            seen.latest.clear();
            seen.latest.shrink_to(kept / 64);
        }
    }

    /// What was permitted in the scope at this position.
    pub(super) fn scope_mut(&mut self, at: usize) -> Option<&mut SeenIn> {
        self.0.get_mut(at)
    }

    /// Whether more is remembered than a stream may.
    pub(super) fn is_over(&self, kind: ContactKind) -> bool {
        let ids = if kind == ContactKind::Phone { MAX_SEEN_PHONES } else { MAX_SEEN_CONTACT_IDS };
        self.0.iter().map(|seen| seen.texts.len()).sum::<usize>() > MAX_SEEN_TEXTS
            || self.0.iter().map(|seen| seen.ids.len()).sum::<u64>() > ids
    }
}

impl SeenIn {
    /// Notes that of the batch at hand these were new.
    pub(super) fn added(&mut self, words: &[u64]) {
        self.latest.clear();
        self.latest.extend_from_slice(words);
    }

    fn remove(&mut self, recipients: &Recipients, kind: ContactKind, place: usize) {
        if kind.is_direct() {
            recipients.ids().get(place).map(|id| self.ids.remove(id.id()));
        } else {
            recipients.fingerprints.get(place).map(|text| self.texts.remove(text));
        }
    }

    /// Remembers the recipient at `place`; whether it is new.
    pub(super) fn insert(
        &mut self,
        recipients: &Recipients,
        kind: ContactKind,
        place: usize,
    ) -> bool {
        if kind.is_direct() {
            recipients.ids().get(place).is_some_and(|id| self.ids.insert(id.id()))
        } else {
            // By fingerprint also where an ordinal is known: an address may
            // become registered between two batches.
            recipients.fingerprints.get(place).is_some_and(|text| self.texts.insert(*text))
        }
    }
}

/// The places of the bits that are set.
fn places(words: &[u64]) -> impl Iterator<Item = usize> {
    words.iter().enumerate().flat_map(|(at, word)| {
        let mut left = *word;
        std::iter::from_fn(move || {
            let place = (left != 0).then(|| at * 64 + left.trailing_zeros() as usize)?;
            left &= left - 1;
            Some(place)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cap_is_on_all_scopes_together_and_exact() {
        for (kind, cap) in
            [(ContactKind::Phone, MAX_SEEN_PHONES), (ContactKind::ContactId, MAX_SEEN_CONTACT_IDS)]
        {
            let mut seen = Seen::default();
            seen.begin(2);
            let mut fill = |at: usize, from: u64, to: u64| {
                let added = seen.scope_mut(at).unwrap().ids.insert_range(from..to);
                (added, seen.is_over(kind))
            };
            // The same contacts in two scopes are remembered twice.
            assert_eq!(fill(0, 0, cap / 2), (cap / 2, false));
            assert_eq!(fill(1, 0, cap / 2), (cap / 2, false));
            assert_eq!(fill(1, 0, cap / 2), (0, false), "nobody new");
            assert_eq!(fill(0, cap, cap + 1), (1, true));
        }
    }
}
