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
    /// The revision of the erasure that was recorded last.
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

    /// Joins what another mark of the same contact and brand says, in any order
    /// and with any repeats (A5): nothing that forbids is lost. What `known` says
    /// already need not survive beside it. False if nothing of it is new.
    pub fn join(&mut self, said: Self, known: &ContactState) -> bool {
        let before = (self.kept_only, self.erased_at, self.lifted_at);
        self.lifted_at = self.lifted_at.max(said.lifted_at);
        if self.kept_only == said.kept_only {
            self.erased_at = self.erased_at.max(said.erased_at);
            self.revision = said.revision;
        } else if self.kept_only {
            (self.kept_only, self.erased_at) = (false, said.erased_at);
            self.revision = said.revision;
        }
        let mut survivors = ContactState::default();
        survivors.restore(std::mem::take(&mut self.survivors));
        let mut told = known.clone();
        told.restore(survivors.suppressions().to_vec());
        let mut all = told.clone();
        all.restore(said.survivors.clone());
        let brings_more = all != told;
        if brings_more {
            survivors.restore(said.survivors);
        }
        self.survivors = survivors.suppressions().to_vec();
        brings_more || before != (self.kept_only, self.erased_at, self.lifted_at)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::scope::ChannelId;

    fn block(reason: Reason, since: i64) -> SuppressionEntry {
        let mut state = ContactState::default();
        state.suppress(ChannelId::ANY, reason, Span { since, expires_at: None, revision: 1 });
        state.suppressions()[0].clone()
    }

    fn erased(at: i64, survivors: Vec<SuppressionEntry>) -> ErasedMark {
        ErasedMark { erased_at: at, revision: at as u64, survivors, ..ErasedMark::default() }
    }

    fn kept(at: i64, survivors: Vec<SuppressionEntry>) -> ErasedMark {
        ErasedMark { kept_only: true, ..erased(at, survivors) }
    }

    fn joined(marks: &[&ErasedMark]) -> ErasedMark {
        let mut joined = marks[0].clone();
        let nothing = ContactState::default();
        marks[1..].iter().for_each(|mark| {
            joined.join((*mark).clone(), &nothing);
        });
        joined.revision = 0;
        joined.survivors.sort_by_key(|entry| (entry.reason, entry.channel));
        joined
    }

    #[test]
    fn marks_join_in_any_order_and_nothing_that_forbids_is_lost() {
        let (bounce, legal) = (block(Reason::HardBounce, 3), block(Reason::LegalBlock, 4));
        let older = erased(10, vec![bounce.clone()]);
        let newer = ErasedMark { lifted_at: Some(15), ..erased(20, vec![legal.clone()]) };
        let kept = ErasedMark { lifted_at: Some(12), ..kept(30, vec![bounce.clone()]) };
        let all = joined(&[&older, &newer, &kept]);
        for order in [
            [&older, &kept, &newer],
            [&newer, &older, &kept],
            [&newer, &kept, &older],
            [&kept, &older, &newer],
            [&kept, &newer, &older],
        ] {
            assert_eq!(joined(&order), all);
        }
        assert_eq!((all.erased_at, all.lifted_at, all.kept_only), (20, Some(15), false));
        assert_eq!(all.survivors, [legal, bounce]);
        assert!(all.is_active());
    }

    #[test]
    fn a_mark_says_nothing_new_where_its_blocks_are_known() {
        let legal = block(Reason::LegalBlock, 4);
        let said = erased(10, vec![legal.clone()]);
        let mut state = ContactState::default();
        let mut mark = erased(10, Vec::new());
        assert!(mark.clone().join(said.clone(), &state), "it was not known");
        state.suppress(ChannelId::ANY, Reason::LegalBlock, legal.spans[0]);
        assert!(!mark.join(said.clone(), &state), "a consent brought it back");
        assert_eq!(mark, erased(10, Vec::new()));
        state.lift(ChannelId::ANY, Reason::LegalBlock, 9, 1);
        assert!(!mark.join(said.clone(), &state), "and it was lifted");
        assert!(mark.join(erased(11, Vec::new()), &state), "a later erasure");
        assert!(!mark.join(said, &state));
        assert_eq!(mark.erased_at, 11);
        assert!(kept(5, Vec::new()).join(erased(3, Vec::new()), &state), "it did not block before");
    }
}
