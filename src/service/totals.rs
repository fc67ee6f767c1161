//! What a filter stream has answered, for its summary and for the audit log.

use crate::{
    audit::{Answered, AnsweredScope},
    caps,
    domain::reason::Reason,
    engine::filter::Verdicts,
    proto::v1::{BatchAnswer, FilterSummary, ReasonCount, Revision, ScopeSummary},
};

/// What a stream has answered so far.
pub(super) struct Totals {
    /// Whether answers give reasons; otherwise only the permitted are counted.
    reasons: bool,
    batches: u64,
    refused: u64,
    scopes: Vec<ScopeTotals>,
    first: Option<Revision>,
    last: Option<Revision>,
    /// The versions of the policies that decided, each once in a row.
    policies: Vec<String>,
}

/// What a stream has answered in one scope.
struct ScopeTotals {
    name: String,
    recipients: u64,
    permitted: u64,
    counts: [u64; Reason::TABLE],
}

impl Totals {
    /// Nothing yet, in the scopes of these names.
    pub fn of(scopes: impl Iterator<Item = String>, reasons: bool) -> Self {
        let empty =
            |name| ScopeTotals { name, recipients: 0, permitted: 0, counts: [0; Reason::TABLE] };
        Self {
            reasons,
            batches: 0,
            refused: 0,
            scopes: scopes.map(empty).collect(),
            first: None,
            last: None,
            policies: Vec::new(),
        }
    }

    /// Counts a batch that was refused.
    pub fn refuse(&mut self) {
        self.refused += 1;
    }

    /// Counts verdicts, and the view that gave them.
    pub fn add(&mut self, verdicts: &[Verdicts], answer: &BatchAnswer) {
        self.batches += 1;
        for (total, verdicts) in self.scopes.iter_mut().zip(verdicts) {
            total.recipients += verdicts.recipients as u64;
            total.permitted += verdicts.permitted;
            total.counts.iter_mut().zip(verdicts.counts).for_each(|(sum, count)| *sum += count);
        }
        self.last.clone_from(&answer.revision);
        if self.first.is_none() {
            self.first.clone_from(&self.last);
        }
        if self.policies.last() != Some(&answer.policy_version) {
            self.policies.truncate(caps::AUDITED_POLICIES - 1);
            self.policies.push(answer.policy_version.clone());
        }
    }

    /// The last message of the stream.
    pub fn summary(&self) -> FilterSummary {
        let scope = |total: &ScopeTotals| ScopeSummary {
            recipients: total.recipients,
            permitted: total.permitted,
            reason_counts: if self.reasons { reason_counts(&total.counts) } else { Vec::new() },
        };
        FilterSummary {
            batches: self.batches,
            refused_batches: self.refused,
            scopes: self.scopes.iter().map(scope).collect(),
            first_revision: self.first.clone(),
            last_revision: self.last.clone(),
        }
    }

    /// The stream as the audit log tells it.
    pub fn answered(self) -> Answered {
        let reasons = self.reasons;
        let scope = |total: ScopeTotals| AnsweredScope {
            reasons: if reasons { named_counts(&total.counts).collect() } else { [].into() },
            scope: total.name,
            recipients: total.recipients,
            permitted: total.permitted,
        };
        let revision = |of: Option<&Revision>| of.map_or(0, |it| it.revision);
        Answered {
            batches: self.batches,
            refused_batches: self.refused,
            scopes: self.scopes.into_iter().map(scope).collect(),
            first_revision: revision(self.first.as_ref()),
            last_revision: revision(self.last.as_ref()),
            epoch: self.last.map(|it| it.epoch).unwrap_or_default(),
            policy_versions: self.policies,
        }
    }
}

/// Counts by reason as they travel.
pub(super) fn reason_counts(counts: &[u64; Reason::TABLE]) -> Vec<ReasonCount> {
    let wire = |(reason, count)| ReasonCount { reason: reason as i32, count };
    nonzero(counts).map(wire).collect()
}

fn named_counts(counts: &[u64; Reason::TABLE]) -> impl Iterator<Item = (&'static str, u64)> {
    nonzero(counts).map(|(reason, count)| (reason.name(), count))
}

fn nonzero(counts: &[u64; Reason::TABLE]) -> impl Iterator<Item = (Reason, u64)> {
    Reason::ALL.into_iter().filter_map(|reason| {
        let count = counts.get(reason as usize).copied().filter(|count| *count > 0)?;
        Some((reason, count))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left out stands between the first policies and the last one.
    #[test]
    fn a_stream_names_so_many_policies_of_those_that_decided() {
        for policies in
            [caps::AUDITED_POLICIES - 1, caps::AUDITED_POLICIES, caps::AUDITED_POLICIES + 1]
        {
            let mut totals = Totals::of(["scope".to_owned()].into_iter(), false);
            for at in 0..policies {
                let policy_version = format!("policy {at}");
                let answer = BatchAnswer { policy_version, ..BatchAnswer::default() };
                totals.add(&[Verdicts::default()], &answer);
                totals.add(&[Verdicts::default()], &answer);
            }
            let named = totals.answered().policy_versions;
            assert_eq!(named.len(), policies.min(caps::AUDITED_POLICIES));
            assert_eq!(named.first().unwrap(), "policy 0");
            assert_eq!(named.last().unwrap(), &format!("policy {}", policies - 1));
        }
    }
}
