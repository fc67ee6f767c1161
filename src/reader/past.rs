//! Verdicts as of the past (R10): the events up to a revision, joined anew.

use super::{Content, Ledger, MAX_EVENTS, ReadError, Subject, known::Found};
use crate::{
    domain::{
        decide::{Decision, decide},
        erased::ErasedMark,
        event::ChangeKind,
        scope::{BrandId, ScopeRules},
        secret::Fingerprint,
        state::{Status, SuppressionEntry},
        time::Now,
    },
    store::{ContactKey, EventKind, StoreError, StoredErasure},
};

/// A moment of the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsOf {
    /// The last revision that was known.
    pub revision: u64,
    /// The time that is decided for, in ms.
    pub time: i64,
    /// Whether events count that were recorded later and had happened by then.
    pub with_hindsight: bool,
}

/// An erasure of the subject, as far as the ledger still tells.
struct Erasure {
    mark: ErasedMark,
    /// The suppressions that outlived it.
    survivors: Vec<SuppressionEntry>,
}

impl Ledger<'_> {
    /// Decides on a subject as of the past. None if what was known then has
    /// been erased since: that is not reconstructed.
    ///
    /// # Errors
    /// The ledger cannot be read, or holds too many events of the contact.
    pub fn decide_as_of(
        &self,
        subject: &Subject,
        rules: &ScopeRules,
        as_of: AsOf,
    ) -> Result<Option<Decision>, ReadError> {
        let brands = [rules.scope.brand, BrandId::ALL];
        let marks = self.marks_of(&subject.address, rules.scope.brand);
        let mut found = Found::default();
        let mut erasures = [None, None];
        for (slot, mark) in erasures.iter_mut().zip(marks) {
            *slot = self.erasure(mark)?;
        }
        if erasures.iter().flatten().any(|erasure| erasure.mark.revision > as_of.revision) {
            return Ok(None);
        }
        let mut last_grant = None;
        for (brand, state) in brands.into_iter().zip(&mut found.states) {
            for record in self.records(&self.revisions(subject, brand, as_of)?) {
                let record = record?;
                let Some(Content::Change(stored)) = record.content else { return Ok(None) };
                let time = stored.effective_time;
                if record.revision > as_of.revision && time > as_of.time {
                    continue;
                }
                state.enter(&stored.change.kind, time, stored.content(), record.revision);
                if matches!(&stored.change.kind, ChangeKind::Consent(consent)
                    if consent.status == Status::Granted)
                {
                    last_grant = last_grant.max(Some(time));
                }
            }
        }
        for (at, erasure) in erasures.into_iter().enumerate() {
            let Some(Erasure { mut mark, survivors, .. }) = erasure else { continue };
            // A later grant brings the survivors back (R11); those of all
            // brands may have come back by a grant in another brand.
            let elsewhere = brands.get(at) == Some(&BrandId::ALL) && mark.survivors.is_empty();
            let are_back = elsewhere || last_grant > Some(mark.erased_at);
            if let Some(state) = found.states.get_mut(at).filter(|_| are_back) {
                state.restore(survivors);
            }
            mark.lifted_at = mark.lifted_at.filter(|lifted| *lifted <= as_of.time);
            if let Some(slot) = found.erased.get_mut(at) {
                *slot = Some(mark);
            }
        }
        Ok(Some(decide(found.known(), rules, Now::at(as_of.time))))
    }

    /// The revisions of the subject's events in one brand that may count.
    fn revisions(
        &self,
        subject: &Subject,
        brand: BrandId,
        as_of: AsOf,
    ) -> Result<Vec<u64>, ReadError> {
        let Some(contact) = subject.contact else { return Ok(Vec::new()) };
        let last = if as_of.with_hindsight { u64::MAX } else { as_of.revision };
        let key = ContactKey::new(self.snapshot.secret(), brand, contact);
        let mut revisions = Vec::new();
        for revision in self.snapshot.history(&key, 0)? {
            let revision = revision?;
            if revision > last {
                break;
            }
            if revisions.len() == MAX_EVENTS {
                return Err(ReadError::TooManyEvents);
            }
            revisions.push(revision);
        }
        Ok(revisions)
    }

    fn erasure(&self, fingerprint: Fingerprint) -> Result<Option<Erasure>, ReadError> {
        let mark = self.snapshot.erased(&[fingerprint])?.into_iter().next().flatten();
        let Some(mark) = mark else { return Ok(None) };
        let row = self.snapshot.event(mark.revision)?;
        let body = row.filter(|row| row.kind == EventKind::Erasure).and_then(|row| row.body);
        let Some((_, payload)) = body else {
            let what = format!("the erasure of revision {} is missing", mark.revision);
            return Err(StoreError::Refused(what).into());
        };
        let mut remains = StoredErasure::decode(&payload)?.remains.into_iter();
        let ours = remains.find(|each| each.fingerprint == fingerprint);
        let survivors = ours.map(|each| each.survivors).unwrap_or_default();
        Ok(Some(Erasure { mark, survivors }))
    }
}

#[cfg(test)]
#[path = "past_tests.rs"]
mod tests;
