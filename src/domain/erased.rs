//! What outlives an erasure (R11), and how later events change it.

use super::{
    event::{Change, ChangeKind},
    reason::Reason,
    secret::Fingerprint,
    state::{ContactState, Status, SuppressionEntry},
};

/// The mark of an erased contact. It stands under a keyed fingerprint, in a
/// family of its own, and in no plane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErasedMark {
    /// The recorded time of the latest erasure.
    pub erased_at: i64,
    /// The revision of the latest erasure.
    pub revision: u64,
    /// The latest lift of the mark, if there was one.
    pub lifted_at: Option<i64>,
    /// Whether the contact became known again after the erasure, in the mark's
    /// brand or, for a mark of all brands, in all of them. From then on its
    /// planes say what is decided, this mark included.
    pub reappeared: bool,
    /// For a mark of all brands: the contact's fingerprints in those single
    /// brands in which it became known again.
    pub reappeared_in: Vec<Fingerprint>,
    /// The entries that a grant cannot end; a later grant brings them back.
    pub survivors: Vec<SuppressionEntry>,
}

impl ErasedMark {
    /// Whether the mark blocks, grants left aside.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.lifted_at.is_none_or(|lifted| self.erased_at >= lifted)
    }

    /// Marks an erasure. What outlived earlier ones stays beside `survivors`;
    /// `still_known` if a record for all brands remains.
    pub fn erase(
        &mut self,
        at: i64,
        revision: u64,
        survivors: Vec<SuppressionEntry>,
        still_known: bool,
    ) {
        let mut state = ContactState::default();
        state.restore(std::mem::take(&mut self.survivors));
        state.restore(survivors);
        self.survivors = state.survivors();
        self.erased_at = at;
        self.revision = revision;
        self.reappeared = still_known;
        self.reappeared_in.clear();
    }

    /// Notes what was recorded after the erasure, in the mark's own brand or
    /// for all brands, and returns the entries that it brings back.
    pub fn heard(&mut self, change: &Change, effective: i64) -> Vec<SuppressionEntry> {
        self.reappeared = true;
        if let ChangeKind::Lift(lift) = &change.kind
            && lift.reason == Reason::Erased
        {
            self.lifted_at = self.lifted_at.max(Some(effective));
        }
        self.brought_back(change, effective)
    }

    /// Notes, in a mark of all brands, what was recorded in one brand, where
    /// the contact has this fingerprint.
    pub fn heard_in(
        &mut self,
        brand: Fingerprint,
        change: &Change,
        effective: i64,
    ) -> Vec<SuppressionEntry> {
        if !self.reappeared && !self.reappeared_in.contains(&brand) {
            self.reappeared_in.push(brand);
        }
        self.brought_back(change, effective)
    }

    /// A later grant brings the surviving blocks back with it.
    fn brought_back(&mut self, change: &Change, effective: i64) -> Vec<SuppressionEntry> {
        let granted = matches!(&change.kind, ChangeKind::Consent(consent)
            if consent.status == Status::Granted);
        if granted && effective > self.erased_at {
            std::mem::take(&mut self.survivors)
        } else {
            Vec::new()
        }
    }
}
