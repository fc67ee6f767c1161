//! A sample for programs.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    rates::{self, Rates},
    spread::Spread,
};
use crate::{
    cli::output,
    formats::reason_name,
    proto::v1::{GetStatisticsResponse, Reason},
};

/// What a server said, and the rates up to then; those are null where the
/// server restarted meanwhile.
pub fn json(statistics: &GetStatisticsResponse, rates: Option<&Rates>) -> Value {
    json!({
        "server_version": statistics.server_version,
        "started": output::time(statistics.started_time_ms),
        "revision": output::revision_json(statistics.revision.as_ref()),
        "as_of": output::time(statistics.as_of_ms),
        "policy_version": statistics.policy_version,
        "interval_seconds": rates.map(|rates| rates.interval.as_secs_f64()),
        "per_second": rates.map(|rates| json!({
            "recipients": rates.recipients,
            "batches": rates.batches,
            "refused_batches": rates.refused_batches,
            "recorded_changes": rates.recorded_changes,
            "refused_writes": rates.refused_writes,
            "verdicts": by_name(&rates.verdicts),
        })),
        "since_start": {
            "recipients": statistics.recipients_filtered,
            "batches": statistics.batches,
            "refused_batches": statistics.refused_batches,
            "recorded_changes": statistics.recorded_changes,
            "refused_writes": statistics.refused_writes,
            "verdicts": by_name(&rates::verdicts(statistics)),
        },
        "latency_us": {
            "batch": rates.and_then(|rates| rates.batch.as_ref()).map(latency),
            "commit": rates.and_then(|rates| rates.commit.as_ref()).map(latency),
            "sync": rates.and_then(|rates| rates.sync.as_ref()).map(latency),
        },
        "memory_bytes": {
            "process": statistics.resident_bytes,
            "planes": statistics.planes_bytes,
            "directories": statistics.directory_bytes,
        },
        "queued_writes": statistics.queued_writes,
        "queue_capacity": statistics.queue_capacity,
        "open_streams": statistics.open_streams,
        "checkpoint_revision": statistics.checkpoint_revision,
        "checkpoint_time": Some(statistics.checkpoint_time_ms)
            .filter(|time| *time > 0)
            .map(output::time),
        "rebuilt_pages": statistics.rebuilt_pages,
    })
}

/// Percentiles; one beyond the last bound of the server's histogram is null.
fn latency(spread: &Spread) -> Value {
    json!({
        "count": spread.count,
        "p50": spread.percentile(0.5).micros(),
        "p90": spread.percentile(0.9).micros(),
        "p99": spread.percentile(0.99).micros(),
        "mean": spread.mean().micros(),
    })
}

fn by_name<T: Copy>(verdicts: &BTreeMap<Reason, T>) -> BTreeMap<&'static str, T> {
    verdicts.iter().map(|(reason, value)| (reason_name(*reason), *value)).collect()
}
