//! The marks of erased contacts, as a filter looks for them (R11).

use std::collections::HashSet;

use crate::domain::secret::Fingerprint;

/// The erased contacts that nothing is known of since. They are in no plane, so
/// where unknown is permitted a filter must look here.
#[derive(Debug, Default)]
pub struct Erased {
    marks: HashSet<Fingerprint>,
    /// Contacts erased in all brands and known again in one, by their
    /// fingerprint in that brand.
    returned: HashSet<Fingerprint>,
}

impl Erased {
    /// The marks that block, and the exceptions to those of all brands.
    pub fn new(
        marks: impl IntoIterator<Item = Fingerprint>,
        returned: impl IntoIterator<Item = Fingerprint>,
    ) -> Self {
        Self { marks: marks.into_iter().collect(), returned: returned.into_iter().collect() }
    }

    /// Whether nobody is erased.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// How many marks block.
    #[must_use]
    pub fn len(&self) -> usize {
        self.marks.len()
    }

    /// Whether a contact is erased, by its fingerprints in the brand that asks
    /// and in all brands.
    #[must_use]
    pub fn refuses(&self, [brand, all_brands]: &[Fingerprint; 2]) -> bool {
        self.marks.contains(brand)
            || (self.marks.contains(all_brands) && !self.returned.contains(brand))
    }
}
