//! `reach`: counts contacts without a list.

use std::process::ExitCode;

use serde_json::json;

use super::{
    Failure,
    args::{self, Kind},
    output, planes,
};
use crate::{
    client::Client,
    proto::v1::{
        ContactKind, GetStatisticsRequest, ReachQuery, ReachRequest, Scope, ScopeStatistics,
    },
};

/// Arguments of `reach`.
///
/// Counts the contacts who are permitted in all scopes of --permitted and
/// suppressed in all of --suppressed. Without either, a table of all scopes of
/// the brand in which somebody is known.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The brand
    #[arg(long, env = "SENDGATE_BRAND")]
    brand: String,
    /// The kind of the contacts; those of different kinds are different contacts
    #[arg(long, value_enum, default_value = "phone")]
    kind: Kind,
    /// A scope that permits them, such as email/newsletter; may be repeated
    #[arg(long, value_name = "CHANNEL/PURPOSE[/TYPE]", value_parser = args::scope)]
    permitted: Vec<Scope>,
    /// A scope that suppresses them; may be repeated
    #[arg(long, value_name = "CHANNEL/PURPOSE[/TYPE]", value_parser = args::scope)]
    suppressed: Vec<Scope>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Asks and prints the count, or the table.
pub async fn run(client: &Client, args: Args) -> Result<ExitCode, Failure> {
    if args.permitted.is_empty() && args.suppressed.is_empty() {
        table(client, &args).await
    } else {
        count(client, args).await
    }
}

async fn count(client: &Client, args: Args) -> Result<ExitCode, Failure> {
    let request = ReachRequest {
        brand: args.brand,
        contact_kind: ContactKind::from(args.kind).into(),
        queries: vec![ReachQuery { permitted: args.permitted, suppressed: args.suppressed }],
        minimum_revision: None,
    };
    let response = client.filter_service().reach(request).await?.into_inner();
    let [count] = response.counts.as_slice() else {
        let what = format!("{} counts for one question", response.counts.len());
        return Err(Failure::failed(what));
    };
    let revision = response.revision.as_ref();
    if args.json {
        output::json(&json!({
            "contacts": (!count.unbounded).then_some(count.contacts),
            "unbounded": count.unbounded,
            "revision": output::revision_json(revision),
            "as_of": output::time(response.as_of_ms),
            "policy_version": response.policy_version,
        }))?;
    } else {
        output::line(if count.unbounded {
            "unbounded: everybody unknown counts too".to_owned()
        } else {
            format!("{} contacts", output::count(count.contacts))
        })?;
        output::line(format!(
            "as of {}, {}, policy {}",
            output::time(response.as_of_ms),
            output::revision(revision),
            response.policy_version
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn table(client: &Client, args: &Args) -> Result<ExitCode, Failure> {
    let request = GetStatisticsRequest::default();
    let statistics = client.admin_service().get_statistics(request).await?.into_inner();
    let kind = ContactKind::from(args.kind);
    let is_asked = |it: &&ScopeStatistics| it.brand == args.brand && it.contact_kind() == kind;
    let scopes: Vec<&ScopeStatistics> = statistics.scopes.iter().filter(is_asked).collect();
    if args.json {
        output::json(&scopes.into_iter().map(planes::scope_json).collect())?;
    } else {
        for scope in &scopes {
            output::line(planes::scope_row(scope))?;
        }
        if scopes.is_empty() {
            let (brand, kind) = (&args.brand, planes::kind(kind));
            output::line(format!("no contact of kind {kind} is known to brand \"{brand}\""))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
