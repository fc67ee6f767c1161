//! What the server has been asked and has answered since its start: a few relaxed additions a
//! batch, none a recipient (A6).

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Instant,
};

use crate::{
    domain::reason::Reason, engine::filter::Verdicts, metrics::Histogram, proto::v1::BatchErrorCode,
};

/// One more than the greatest code of a refused batch: the size of a table.
const CODES: usize = BatchErrorCode::ScopeGone as usize + 1;

/// Counts of all filter streams together, and of imports.
#[derive(Debug)]
pub struct Tally {
    recipients: AtomicU64,
    batches: AtomicU64,
    imports: AtomicU64,
    /// By the reason's number; those who were refused without one at zero.
    verdicts: [AtomicU64; Reason::TABLE],
    /// By the code.
    refused: [AtomicU64; CODES],
    durations: Histogram,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            recipients: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            imports: AtomicU64::new(0),
            verdicts: Default::default(),
            refused: Default::default(),
            durations: Histogram::of_durations(),
        }
    }
}

impl Tally {
    /// Counts a batch that is answered, one verdict a recipient and scope.
    /// Without `reasons` nothing is known of the refused but that they are.
    pub(super) fn answered(&self, verdicts: &[Verdicts], reasons: bool, begun: Instant) {
        let recipients = verdicts.first().map_or(0, |scope| scope.recipients);
        self.recipients.fetch_add(recipients as u64, Relaxed);
        self.batches.fetch_add(1, Relaxed);
        for scope in verdicts {
            if reasons {
                let counted = self.verdicts.iter().zip(scope.counts);
                counted.filter(|(_, count)| *count > 0).for_each(|(sum, count)| {
                    sum.fetch_add(count, Relaxed);
                });
            } else {
                let [refused, permitted, ..] = &self.verdicts;
                permitted.fetch_add(scope.permitted, Relaxed);
                refused.fetch_add(scope.recipients as u64 - scope.permitted, Relaxed);
            }
        }
        self.durations.observe_since(begun);
    }

    /// Counts a batch that is refused.
    pub(super) fn refused(&self, code: BatchErrorCode) {
        if let Some(count) = self.refused.get(code as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Counts an import that begins.
    pub(super) fn import(&self) {
        self.imports.fetch_add(1, Relaxed);
    }

    /// Imports begun.
    #[must_use]
    pub fn imports(&self) -> u64 {
        self.imports.load(Relaxed)
    }

    /// Recipients answered.
    #[must_use]
    pub fn recipients(&self) -> u64 {
        self.recipients.load(Relaxed)
    }

    /// Batches answered.
    #[must_use]
    pub fn batches(&self) -> u64 {
        self.batches.load(Relaxed)
    }

    /// Verdicts by reason; `None` stands for the refused of streams that did
    /// not ask for reasons.
    pub fn verdicts(&self) -> impl Iterator<Item = (Option<Reason>, u64)> {
        let reasons = std::iter::once(None).chain(Reason::ALL.into_iter().map(Some));
        reasons.filter_map(|reason| {
            let count = self.verdicts.get(reason.map_or(0, |reason| reason as usize))?;
            Some((reason, count.load(Relaxed)))
        })
    }

    /// Refused batches by code.
    pub fn refused_batches(&self) -> impl Iterator<Item = (BatchErrorCode, u64)> {
        self.refused.iter().zip(0..).skip(1).filter_map(|(count, code)| {
            Some((BatchErrorCode::try_from(code).ok()?, count.load(Relaxed)))
        })
    }

    /// How long answered batches took, from their being read to their answer
    /// being ready.
    #[must_use]
    pub fn durations(&self) -> &Histogram {
        &self.durations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(permitted: u64, opted_out: u64) -> Verdicts {
        let mut counts = [0; Reason::TABLE];
        counts[Reason::Permitted as usize] = permitted;
        counts[Reason::OptedOut as usize] = opted_out;
        Verdicts {
            recipients: usize::try_from(permitted + opted_out).unwrap(),
            permitted,
            bits: Vec::new(),
            reasons: Vec::new(),
            counts,
        }
    }

    fn nonzero(tally: &Tally) -> Vec<(Option<Reason>, u64)> {
        tally.verdicts().filter(|(_, count)| *count > 0).collect()
    }

    #[test]
    fn verdicts_count_once_a_scope_and_recipients_once() {
        let tally = Tally::default();
        tally.answered(&[verdicts(3, 1), verdicts(0, 4)], true, Instant::now());
        assert_eq!((tally.recipients(), tally.batches()), (4, 1));
        let expected = [(Some(Reason::Permitted), 3), (Some(Reason::OptedOut), 5)];
        assert_eq!(nonzero(&tally), expected);
        assert_eq!(tally.durations().read().count(), 1);
    }

    #[test]
    fn without_reasons_the_refused_have_none() {
        let tally = Tally::default();
        tally.answered(&[verdicts(3, 1)], false, Instant::now());
        assert_eq!(nonzero(&tally), [(None, 1), (Some(Reason::Permitted), 3)]);
    }

    #[test]
    fn every_code_of_a_refusal_has_its_place() {
        let tally = Tally::default();
        let codes = (1..).map_while(|code| BatchErrorCode::try_from(code).ok());
        let codes: Vec<_> = codes.inspect(|code| tally.refused(*code)).collect();
        assert!(codes.len() >= 10);
        let counted: Vec<_> = tally.refused_batches().collect();
        assert_eq!(counted, codes.iter().map(|code| (*code, 1)).collect::<Vec<_>>());
    }
}
