//! What outlives an erasure (R11), and how later events change it.

use super::{
    contact::Address,
    event::{Actor, Change, ChangeKind, Lift, Suppression},
    reason::Reason,
    scope::BrandId,
    secret::Fingerprint,
    state::{ContactState, Span, Status, SuppressionEntry},
    time::{Precision, StatedTime},
};

/// The mark of an erased contact. It stands under a keyed fingerprint, in a
/// family of its own, and in no plane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErasedMark {
    /// The recorded time of the latest erasure.
    pub erased_at: i64,
    /// The revision of the latest erasure.
    pub revision: u64,
    /// Whether this brand erased nothing that still stands: the mark then only
    /// keeps what an erasure in all brands left of this one, and does not block.
    pub kept_only: bool,
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
        !self.kept_only && self.lifted_at.is_none_or(|lifted| self.erased_at >= lifted)
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
        self.outlive(survivors, still_known);
        self.erased_at = at;
        self.revision = revision;
        self.kept_only = false;
    }

    /// Keeps, in the mark of one brand, what an erasure in all brands left there.
    pub fn keep(&mut self, at: i64, revision: u64, survivors: Vec<SuppressionEntry>) {
        self.outlive(survivors, false);
        if !self.is_active() {
            self.kept_only = true;
            self.erased_at = at;
            self.revision = revision;
        }
    }

    fn outlive(&mut self, survivors: Vec<SuppressionEntry>, still_known: bool) {
        let mut state = ContactState::default();
        state.restore(std::mem::take(&mut self.survivors));
        state.restore(survivors);
        self.survivors = state.survivors();
        self.reappeared = still_known;
        self.reappeared_in.clear();
    }

    /// Notes what was recorded after the erasure, in the mark's own brand, and
    /// returns the entries that it brings back.
    pub fn heard(&mut self, change: &Change, effective: i64) -> Vec<SuppressionEntry> {
        self.reappeared = true;
        if lifts_mark(change) {
            self.lifted_at = self.lifted_at.max(Some(effective));
        }
        self.brought_back(change)
    }

    /// Notes, in the mark of one brand, what was recorded for all brands. A lift
    /// names one entry (R7), so that of all brands leaves this one's mark alone.
    pub fn heard_for_all(&mut self, change: &Change) -> Vec<SuppressionEntry> {
        self.reappeared = true;
        self.brought_back(change)
    }

    /// Notes, in a mark of all brands, what was recorded in one brand, where
    /// the contact has this fingerprint.
    pub fn heard_in(&mut self, brand: Fingerprint, change: &Change) -> Vec<SuppressionEntry> {
        if !self.reappeared && !self.reappeared_in.contains(&brand) {
            self.reappeared_in.push(brand);
        }
        if lifts_mark(change) { Vec::new() } else { self.brought_back(change) }
    }

    /// A later grant brings the surviving blocks back with it; and so does a
    /// lift, or to lift ERASED would lift all of them unseen. Grants from before
    /// the erasure are refused, and none comes here.
    fn brought_back(&mut self, change: &Change) -> Vec<SuppressionEntry> {
        let granted = matches!(&change.kind, ChangeKind::Consent(consent)
            if consent.status == Status::Granted);
        if granted || lifts_mark(change) { std::mem::take(&mut self.survivors) } else { Vec::new() }
    }
}

fn lifts_mark(change: &Change) -> bool {
    matches!(&change.kind, ChangeKind::Lift(lift) if lift.reason == Reason::Erased)
}

/// What brings a surviving entry back: the events that it stands for, without
/// what was erased of them, each with its stored time.
#[must_use]
pub fn events_of(brand: BrandId, address: &Address, entry: SuppressionEntry) -> Vec<(Change, i64)> {
    let SuppressionEntry { channel, reason, lifted, spans } = entry;
    let note = String::new;
    let lift =
        lifted.map(|(time, _)| (ChangeKind::Lift(Lift { channel, reason, note: note() }), time));
    let spans = spans.into_iter().map(|span| {
        let Span { since, expires_at, .. } = span;
        (ChangeKind::Suppression(Suppression { channel, reason, expires_at, note: note() }), since)
    });
    let change = |(kind, time)| {
        let change = Change {
            brand,
            address: address.clone(),
            stated: Some(StatedTime { unix_ms: time, precision: Precision::Millisecond }),
            source: String::new(),
            actor: Actor::default(),
            event_key: String::new(),
            rectification: 0,
            kind,
        };
        (change, time)
    };
    lift.into_iter().chain(spans).map(change).collect()
}
