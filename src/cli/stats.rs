//! `stats`: shows what the server holds and does.

use std::process::ExitCode;

use indicatif::BinaryBytes;
use serde_json::{Map, Value, json};

use super::{Failure, output, planes};
use crate::{
    client::Client,
    proto::v1::{
        DurationHistogram, GetStatisticsRequest, GetStatisticsResponse, PlaneStatistics,
        RestoredFrom,
    },
};

/// Arguments of `stats`.
#[derive(clap::Args)]
pub struct Args {
    /// Show every plane rather than a line a scope; JSON has both
    #[arg(long)]
    planes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Asks and prints.
pub async fn run(client: &Client, args: &Args) -> Result<ExitCode, Failure> {
    let request = GetStatisticsRequest::default();
    let statistics = client.admin_service().get_statistics(request).await?.into_inner();
    if args.json {
        output::json(&statistics_json(&statistics))?;
    } else {
        print(&statistics, args.planes)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn print(statistics: &GetStatisticsResponse, every_plane: bool) -> Result<(), Failure> {
    let revision = output::revision(statistics.revision.as_ref());
    let rows = [
        ("server", statistics.server_version.clone()),
        ("state", format!("{revision}, as of {}", output::time(statistics.as_of_ms))),
        ("policy", statistics.policy_version.clone()),
        ("started", output::time(statistics.started_time_ms)),
        ("checkpoint", checkpoint(statistics)),
        ("chain head", statistics.chain_head.clone()),
        ("e-mails", output::count(statistics.emails)),
        ("external IDs", output::count(statistics.external_ids)),
        ("directory", BinaryBytes(statistics.directory_bytes).to_string()),
        ("planes", BinaryBytes(statistics.planes_bytes).to_string()),
        ("process", BinaryBytes(statistics.resident_bytes).to_string()),
        (
            "filtered",
            format!(
                "{} recipients in {} batches, {} refused; {}",
                output::count(statistics.recipients_filtered),
                output::count(statistics.batches),
                output::count(statistics.refused_batches),
                mean(statistics.batch_durations.as_ref(), "a batch"),
            ),
        ),
        ("open streams", output::count(statistics.open_streams)),
        (
            "recorded",
            format!(
                "{} changes; {}; {}",
                output::count(statistics.recorded_changes),
                mean(statistics.commit_durations.as_ref(), "a commit"),
                mean(statistics.sync_durations.as_ref(), "a sync"),
            ),
        ),
        (
            "queued writes",
            format!(
                "{} of {}; {} refused",
                output::count(statistics.queued_writes),
                output::count(statistics.queue_capacity),
                output::count(statistics.refused_writes),
            ),
        ),
        (
            "scrub",
            format!(
                "{} passes, {} pages checked, {} rebuilt",
                output::count(statistics.scrub_passes),
                output::count(statistics.scrubbed_pages),
                output::count(statistics.rebuilt_pages)
            ),
        ),
    ];
    for (name, value) in rows {
        output::line(format!("{name:<14}{value}"))?;
    }
    for verdict in &statistics.verdicts {
        let name = output::plane_name(verdict.reason());
        output::line(format!("{:<14}{name}: {}", "verdicts", output::count(verdict.count)))?;
    }
    if let Some(restored) = &statistics.restored {
        let what = match (restored.replayed_to, restored.lost_since) {
            (Some(revision), _) => format!("replayed to revision {revision}"),
            (_, Some(revision)) => format!("lost since revision {revision}"),
            (None, None) => "NOTHING IS FILTERED: nobody has decided on the loss".to_owned(),
        };
        let backup = output::revision(restored.backup.as_ref());
        let time = output::time(restored.restored_time_ms);
        output::line(format!("{:<14}from {backup}, at {time}; {what}", "restored"))?;
    }
    if !every_plane {
        for scope in &statistics.scopes {
            output::line(planes::scope_row(scope))?;
        }
        return Ok(());
    }
    for plane in &statistics.planes {
        output::line(format!(
            "{:<14}{} {} {}, {}: {} contacts, {} pages, {}",
            "plane",
            plane.brand,
            planes::area(plane),
            planes::kind(plane.contact_kind()),
            output::plane_name(plane.reason()),
            output::count(plane.contacts),
            output::count(plane.pages),
            BinaryBytes(plane.memory_bytes),
        ))?;
    }
    Ok(())
}

fn checkpoint(statistics: &GetStatisticsResponse) -> String {
    match statistics.checkpoint_time_ms {
        0 => "none yet".to_owned(),
        time => {
            format!("revision {}, at {}", statistics.checkpoint_revision, output::time(time))
        }
    }
}

/// The mean of some durations, for a person.
fn mean(durations: Option<&DurationHistogram>, what: &str) -> String {
    let of = |it: &DurationHistogram| it.sum_us.checked_div(it.count);
    match durations.and_then(of) {
        Some(us) => format!("{us} µs {what}"),
        None => format!("never {what}"),
    }
}

fn durations_json(durations: &DurationHistogram) -> Value {
    json!({
        "bounds_us": durations.bounds_us,
        "counts": durations.counts,
        "count": durations.count,
        "sum_us": durations.sum_us,
    })
}

fn statistics_json(statistics: &GetStatisticsResponse) -> Value {
    let plane = |plane: &PlaneStatistics| {
        json!({
            "brand": plane.brand,
            "scope": planes::area(plane),
            "contact_kind": planes::kind(plane.contact_kind()),
            "plane": output::plane_name(plane.reason()),
            "contacts": plane.contacts,
            "pages": plane.pages,
            "memory_bytes": plane.memory_bytes,
        })
    };
    json!({
        "server_version": statistics.server_version,
        "revision": output::revision_json(statistics.revision.as_ref()),
        "as_of": output::time(statistics.as_of_ms),
        "policy_version": statistics.policy_version,
        "checkpoint_revision": statistics.checkpoint_revision,
        "chain_head": statistics.chain_head,
        "emails": statistics.emails,
        "external_ids": statistics.external_ids,
        "directory_bytes": statistics.directory_bytes,
        "recipients_filtered": statistics.recipients_filtered,
        "open_streams": statistics.open_streams,
        "queued_writes": statistics.queued_writes,
        "scrub_passes": statistics.scrub_passes,
        "scrubbed_pages": statistics.scrubbed_pages,
        "rebuilt_pages": statistics.rebuilt_pages,
        "verdicts": statistics
            .verdicts
            .iter()
            .map(|it| (output::plane_name(it.reason()).to_owned(), it.count.into()))
            .collect::<Map<String, Value>>(),
        "batches": statistics.batches,
        "refused_batches": statistics.refused_batches,
        "batch_durations": statistics.batch_durations.as_ref().map(durations_json),
        "commit_durations": statistics.commit_durations.as_ref().map(durations_json),
        "sync_durations": statistics.sync_durations.as_ref().map(durations_json),
        "recorded_changes": statistics.recorded_changes,
        "refused_writes": statistics.refused_writes,
        "queue_capacity": statistics.queue_capacity,
        "erased_contacts": statistics.erased_contacts,
        "redacted_payloads": statistics.redacted_payloads,
        "resident_bytes": statistics.resident_bytes,
        "planes_bytes": statistics.planes_bytes,
        "started": output::time(statistics.started_time_ms),
        "checkpoint_time": (statistics.checkpoint_time_ms != 0)
            .then(|| output::time(statistics.checkpoint_time_ms)),
        "restored": statistics.restored.as_ref().map(restored_json),
        "scopes": statistics.scopes.iter().map(planes::scope_json).collect::<Vec<_>>(),
        "planes": statistics.planes.iter().map(plane).collect::<Vec<_>>(),
    })
}

fn restored_json(restored: &RestoredFrom) -> Value {
    json!({
        "backup": output::revision_json(restored.backup.as_ref()),
        "restored_time": output::time(restored.restored_time_ms),
        "replayed_to": restored.replayed_to,
        "lost_since": restored.lost_since,
        "filters": restored.replayed_to.is_some() || restored.lost_since.is_some(),
    })
}
