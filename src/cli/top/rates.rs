//! What happened between two polls of a server's counters.

use std::{collections::BTreeMap, time::Duration};

use super::spread::Spread;
use crate::proto::v1::{DurationHistogram, GetStatisticsResponse, Reason};

/// What happened in an interval, per second.
#[derive(Clone, Debug, PartialEq)]
pub struct Rates {
    /// How long the interval was.
    pub interval: Duration,
    /// Recipients answered.
    pub recipients: f64,
    /// Batches answered with verdicts.
    pub batches: f64,
    /// Batches refused.
    pub refused_batches: f64,
    /// Consents, suppressions and lifts recorded.
    pub recorded_changes: f64,
    /// Writes refused.
    pub refused_writes: f64,
    /// Verdicts by reason; those of the server's start that were not given in
    /// this interval too.
    pub verdicts: BTreeMap<Reason, f64>,
    /// How long batches took, if there were any.
    pub batch: Option<Spread>,
    /// How long commits took.
    pub commit: Option<Spread>,
    /// How long their syncs took.
    pub sync: Option<Spread>,
}

impl Rates {
    /// The rates between two polls. None: they are of two starts of a server,
    /// whose counters begin anew, or no time lies between them.
    pub fn between(
        before: &GetStatisticsResponse,
        after: &GetStatisticsResponse,
        interval: Duration,
    ) -> Option<Self> {
        if before.started_time_ms != after.started_time_ms || interval.is_zero() {
            return None;
        }
        let rate = |before: u64, after: u64| -> Option<f64> {
            Some(after.checked_sub(before)? as f64 / interval.as_secs_f64())
        };
        let given_before = verdicts(before);
        let verdict = |(reason, count): (Reason, u64)| {
            let before = given_before.get(&reason).copied().unwrap_or_default();
            Some((reason, rate(before, count)?))
        };
        let spread = |before: &Option<DurationHistogram>, after: &Option<DurationHistogram>| {
            Spread::between(&before.clone().unwrap_or_default(), after.as_ref()?)
        };
        Some(Self {
            interval,
            recipients: rate(before.recipients_filtered, after.recipients_filtered)?,
            batches: rate(before.batches, after.batches)?,
            refused_batches: rate(before.refused_batches, after.refused_batches)?,
            recorded_changes: rate(before.recorded_changes, after.recorded_changes)?,
            refused_writes: rate(before.refused_writes, after.refused_writes)?,
            verdicts: verdicts(after).into_iter().map(verdict).collect::<Option<_>>()?,
            batch: spread(&before.batch_durations, &after.batch_durations),
            commit: spread(&before.commit_durations, &after.commit_durations),
            sync: spread(&before.sync_durations, &after.sync_durations),
        })
    }
}

/// Verdicts since the server's start. Reasons that are newer than this program
/// count as suppressed without one.
pub fn verdicts(statistics: &GetStatisticsResponse) -> BTreeMap<Reason, u64> {
    let mut verdicts = BTreeMap::new();
    for given in &statistics.verdicts {
        *verdicts.entry(given.reason()).or_default() += given.count;
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1::ReasonCount;

    fn given(reason: Reason, count: u64) -> ReasonCount {
        ReasonCount { reason: reason.into(), count }
    }

    /// Half an hour after a start.
    fn before() -> GetStatisticsResponse {
        GetStatisticsResponse {
            started_time_ms: 1_000,
            recipients_filtered: 1_000_000,
            batches: 100,
            refused_batches: 1,
            recorded_changes: 50,
            refused_writes: 7,
            verdicts: vec![given(Reason::Permitted, 600), given(Reason::NoConsent, 400)],
            ..GetStatisticsResponse::default()
        }
    }

    const TWO_SECONDS: Duration = Duration::from_secs(2);

    #[test]
    fn a_rate_is_a_difference_by_the_time_that_passed() {
        let after = GetStatisticsResponse {
            recipients_filtered: 3_000_000,
            batches: 105,
            recorded_changes: 51,
            verdicts: vec![
                given(Reason::Permitted, 700),
                given(Reason::NoConsent, 400),
                given(Reason::Erased, 4),
            ],
            ..before()
        };
        let rates = Rates::between(&before(), &after, TWO_SECONDS).unwrap();
        assert_eq!((rates.recipients, rates.batches), (1_000_000.0, 2.5));
        assert_eq!((rates.refused_batches, rates.refused_writes), (0.0, 0.0));
        assert_eq!(rates.recorded_changes, 0.5);
        let due = [(Reason::Permitted, 50.0), (Reason::Erased, 2.0), (Reason::NoConsent, 0.0)];
        assert_eq!(rates.verdicts, BTreeMap::from(due));
        assert_eq!((rates.batch, rates.commit, rates.sync), (None, None, None));
    }

    #[test]
    fn a_reason_of_a_newer_server_is_a_suppression() {
        let newer = ReasonCount { reason: 200, count: 8 };
        let statistics = GetStatisticsResponse {
            verdicts: vec![newer, given(Reason::Unspecified, 2)],
            ..before()
        };
        assert_eq!(verdicts(&statistics), BTreeMap::from([(Reason::Unspecified, 10)]));
    }

    #[test]
    fn there_are_no_rates_over_a_restart_or_over_no_time() {
        let later = GetStatisticsResponse { started_time_ms: 2_000, ..before() };
        assert_eq!(Rates::between(&before(), &later, TWO_SECONDS), None);
        assert_eq!(Rates::between(&before(), &before(), Duration::ZERO), None);
        // A server that does not say when it started: each counter tells.
        let fields: [fn(&mut GetStatisticsResponse); 6] = [
            |it| it.recipients_filtered = 1,
            |it| it.batches = 1,
            |it| it.refused_batches = 0,
            |it| it.recorded_changes = 1,
            |it| it.refused_writes = 1,
            |it| it.verdicts = vec![given(Reason::Permitted, 1)],
        ];
        for set_back in fields {
            let mut after = before();
            set_back(&mut after);
            assert_eq!(Rates::between(&before(), &after, TWO_SECONDS), None, "{after:?}");
        }
    }
}
