//! `explain`: why a contact is permitted or suppressed, now or in the past.

use std::process::ExitCode;

use serde_json::json;

use super::{
    Failure, SUPPRESSED,
    args::{AddressArgs, AskerArgs, RevisionArg, ScopeArgs},
    ledger_row::LedgerRow,
    output,
};
use crate::{
    client::Client,
    formats::reason_name,
    proto::v1::{ExplainRequest, ExplainResponse},
};

/// Arguments of `explain`.
#[derive(clap::Args)]
pub struct Args {
    /// The contact, in any accepted spelling
    #[arg(allow_hyphen_values = true)]
    address: String,
    #[command(flatten)]
    scope: ScopeArgs,
    #[command(flatten)]
    reading: AddressArgs,
    /// As of this time or revision: with what was recorded by then, and the
    /// policy of then
    #[arg(long, value_name = "TIME|REV", value_parser = as_of)]
    as_of: Option<AsOf>,
    /// Also heed what was recorded later and had happened by then
    #[arg(long, requires = "as_of")]
    with_hindsight: bool,
    #[command(flatten)]
    asker: AskerArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A moment of the past.
#[derive(Clone)]
enum AsOf {
    Time(i64),
    Revision(RevisionArg),
}

fn as_of(text: &str) -> Result<AsOf, String> {
    if let Ok(revision) = text.parse() {
        return Ok(AsOf::Revision(revision));
    }
    let time = super::args::time(text).map_err(|error| format!("no revision, and {error}"))?;
    Ok(AsOf::Time(time.unix_ms))
}

/// Stands for the reason where an erasure took it.
const UNSAID: &str = "ERASED_RECORD";

/// Asks and prints what happened and why.
pub async fn run(client: &Client, args: Args) -> Result<ExitCode, Failure> {
    let (as_of_ms, as_of_revision) = match args.as_of {
        None => (None, None),
        Some(AsOf::Time(time)) => (Some(time), None),
        Some(AsOf::Revision(revision)) => (None, Some(revision.in_epoch_of(client).await?)),
    };
    let request = ExplainRequest {
        brand: args.scope.brand.clone(),
        scope: Some(args.scope.scope()),
        contact: Some(args.reading.contact(args.address)),
        as_of_ms,
        as_of_revision,
        with_hindsight: args.with_hindsight,
        asked_by: Some(args.asker.actor()),
    };
    let mut service = client.consent_service();
    let response = service.explain(request).await?.into_inner();
    let permitted = response.permitted;
    if args.json {
        print_json(response)?;
    } else {
        print(response)?;
    }
    Ok(if permitted { ExitCode::SUCCESS } else { ExitCode::from(SUPPRESSED) })
}

fn print(response: ExplainResponse) -> Result<(), Failure> {
    let since = response
        .since_ms
        .map_or_else(String::new, |since| format!(" since {}", output::time(since)));
    output::line(if response.erased_record {
        format!("unknown ({UNSAID}): what was known then was erased since")
    } else {
        let verdict = if response.permitted { "permitted" } else { "suppressed" };
        format!("{verdict} ({}){since}", reason_name(response.reason()))
    })?;
    output::line(format!(
        "as of {}, {}, policy {} ({})",
        output::time(response.as_of_ms),
        output::revision(response.revision.as_ref()),
        response.policy_version,
        response.regime
    ))?;
    let decided = response.deciding.as_ref().map(|record| record.revision);
    match response.deciding {
        Some(record) => {
            let row = LedgerRow::new(record);
            output::line(format!("decided by #{}: {}", decided.unwrap_or(0), row.headline()))?;
            let details = row.details();
            if !details.is_empty() {
                output::line(format!("  {details}"))?;
            }
        }
        None => output::line("no record decided")?,
    }
    if response.records.is_empty() {
        output::line("no events")?;
    } else {
        output::line("events, * decided:")?;
    }
    for record in response.records {
        let decides = Some(record.revision) == decided;
        output::line(LedgerRow::new(record).lines(decides))?;
    }
    if response.truncated {
        output::line("  and more: see `sendgate history`")?;
    }
    Ok(())
}

fn print_json(response: ExplainResponse) -> Result<(), Failure> {
    let reason = if response.erased_record { UNSAID } else { reason_name(response.reason()) };
    let rows: Vec<LedgerRow> = response.records.into_iter().map(LedgerRow::new).collect();
    output::json(&json!({
        "permitted": response.permitted,
        "reason": reason,
        "since": response.since_ms.map(output::time),
        "as_of": output::time(response.as_of_ms),
        "revision": output::revision_json(response.revision.as_ref()),
        "policy_version": response.policy_version,
        "regime": response.regime,
        "deciding": response.deciding.map(LedgerRow::new),
        "records": rows,
        "truncated": response.truncated,
    }))?;
    Ok(())
}
