//! Verdicts as of the past (R10): the events up to a revision, joined anew.

use super::{Content, Ledger, MAX_EVENTS, ReadError, Subject, known::Found};
use crate::{
    domain::{
        decide::{Decision, decide},
        erased::ErasedMark,
        scope::{BrandId, ScopeRules},
        secret::Fingerprint,
        time::Now,
    },
    store::ContactKey,
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
        let mut found = Found { erased: self.erasures(&marks)?, ..Found::default() };
        if found.erased.iter().flatten().any(|mark| mark.revision > as_of.revision) {
            return Ok(None);
        }
        for (brand, state) in brands.into_iter().zip(&mut found.states) {
            for record in self.records(&self.revisions(subject, brand, as_of)?) {
                let record = record?;
                let Some(Content::Change(stored)) = record.content else { return Ok(None) };
                if Some(stored.contact) != subject.contact {
                    // The wrong address of a rectification, which links both.
                    continue;
                }
                let time = stored.effective_time;
                if record.revision > as_of.revision && time > as_of.time {
                    continue;
                }
                state.enter(&stored.change.kind, time, stored.content(), record.revision);
            }
        }
        for mark in found.erased.iter_mut().flatten() {
            mark.lifted_at = mark.lifted_at.filter(|lifted| *lifted <= as_of.time);
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

    /// What erasures left of the subject in the brand and in all brands. The
    /// blocks that outlived them came back, if they did, as events of their own.
    fn erasures(&self, marks: &[Fingerprint; 2]) -> Result<[Option<ErasedMark>; 2], ReadError> {
        let mut rows = self.snapshot.erased(marks)?.into_iter();
        Ok([rows.next().flatten(), rows.next().flatten()])
    }
}

#[cfg(test)]
#[path = "past_tests.rs"]
mod tests;
