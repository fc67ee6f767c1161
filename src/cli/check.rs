//! `check`: asks about one recipient.

use std::process::ExitCode;

use serde_json::json;

use super::{
    Failure, SUPPRESSED,
    args::{AddressArgs, ScopeArgs},
    output,
};
use crate::{client::Client, formats::reason_name, proto::v1::CheckRequest};

/// Arguments of `check`.
#[derive(clap::Args)]
pub struct Args {
    /// The recipient, in any accepted spelling
    #[arg(allow_hyphen_values = true)]
    address: String,
    #[command(flatten)]
    scope: ScopeArgs,
    #[command(flatten)]
    reading: AddressArgs,
    /// Also show the record that decided; needs a token with the role admin too
    #[arg(long)]
    record: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Asks and prints the verdict.
pub async fn run(client: &Client, args: Args) -> Result<ExitCode, Failure> {
    let request = CheckRequest {
        brand: args.scope.brand.clone(),
        scope: Some(args.scope.scope()),
        contact: Some(args.reading.contact(args.address)),
        include_record: args.record,
        minimum_revision: None,
    };
    let response = client.filter_service().check(request).await?.into_inner();
    let reason = reason_name(response.reason());
    let revision = response.revision.as_ref();
    if args.json {
        output::json(&json!({
            "permitted": response.permitted,
            "reason": reason,
            "revision": output::revision_json(revision),
            "as_of": output::time(response.as_of_ms),
            "policy_version": response.policy_version,
            "record": response.record.as_ref().map(output::record_json),
        }))?;
    } else {
        let verdict = if response.permitted { "permitted" } else { "suppressed" };
        output::line(format!("{verdict} ({reason})"))?;
        output::line(format!(
            "as of {}, {}, policy {}",
            output::time(response.as_of_ms),
            output::revision(revision),
            response.policy_version
        ))?;
        match &response.record {
            Some(record) => output::json(&output::record_json(record))?,
            None if args.record => output::line("no record decided")?,
            None => {}
        }
    }
    Ok(if response.permitted { ExitCode::SUCCESS } else { ExitCode::from(SUPPRESSED) })
}
