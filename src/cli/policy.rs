//! `policy`: shows or replaces the policy.

use std::{io::Read, path::PathBuf, process::ExitCode};

use serde_json::json;

use super::{Failure, files, output};
use crate::{
    client::Client,
    proto::v1::{ApplyPolicyRequest, ApplyPolicyResponse, GetPolicyRequest, ScopeChange},
};

/// Subcommands of `policy`.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Replace the policy
    Apply(ApplyArgs),
    /// Print the policy in force
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Arguments of `policy apply`.
#[derive(clap::Args)]
pub struct ApplyArgs {
    /// The policy, a TOML file; - for standard input
    file: PathBuf,
    /// How many suppressed verdicts of known contacts may become permitted
    #[arg(long, value_name = "N", default_value_t = 0)]
    permits_more: u64,
    /// Accept that unknown contacts become permitted in a scope that refused them
    #[arg(long)]
    permits_unknown: bool,
    /// Only show what would change
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs a subcommand of `policy`.
pub async fn run(client: &Client, command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Apply(args) => apply(client, args).await,
        Command::Show { json } => show(client, json).await,
    }
}

async fn show(client: &Client, json: bool) -> Result<ExitCode, Failure> {
    let response = client.admin_service().get_policy(GetPolicyRequest {}).await?.into_inner();
    let revision = response.revision.as_ref();
    if json {
        output::json(&json!({
            "policy_version": response.policy_version,
            "revision": output::revision_json(revision),
            "toml": response.toml,
        }))?;
    } else {
        eprintln!("policy {}, {}", response.policy_version, output::revision(revision));
        output::line(response.toml.trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn apply(client: &Client, args: ApplyArgs) -> Result<ExitCode, Failure> {
    let mut toml = String::new();
    files::open(&args.file)?.0.read_to_string(&mut toml)?;
    let request = ApplyPolicyRequest {
        toml,
        permits_more: args.permits_more,
        permits_unknown: args.permits_unknown,
        dry_run: args.dry_run,
        ..ApplyPolicyRequest::default()
    };
    let response = client.admin_service().apply_policy(request).await?.into_inner();
    if args.json {
        print_json(&response, args.dry_run)?;
    } else {
        let done = match (args.dry_run, response.refused.is_empty()) {
            (false, _) => "applied",
            (true, true) => "would apply",
            (true, false) => "would refuse",
        };
        output::line(format!(
            "{done} policy {}, {}",
            response.policy_version,
            output::revision(response.revision.as_ref())
        ))?;
        response.changes.iter().try_for_each(print_change)?;
        if response.changes.is_empty() {
            output::line("no verdict changes")?;
        }
        if !response.refused.is_empty() {
            output::line(&response.refused)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print_change(change: &ScopeChange) -> Result<(), Failure> {
    let unknown =
        if change.unknown_newly_permitted { ", unknown contacts become permitted" } else { "" };
    output::line(format!(
        "  {} {}: {} become permitted, {} become suppressed{unknown}",
        change.brand,
        output::scope(change.scope.as_ref()),
        output::count(change.newly_permitted),
        output::count(change.newly_suppressed),
    ))?;
    Ok(())
}

fn print_json(response: &ApplyPolicyResponse, dry_run: bool) -> Result<(), Failure> {
    let change = |change: &ScopeChange| {
        json!({
            "brand": change.brand,
            "scope": output::scope(change.scope.as_ref()),
            "newly_permitted": change.newly_permitted,
            "newly_suppressed": change.newly_suppressed,
            "unknown_newly_permitted": change.unknown_newly_permitted,
        })
    };
    output::json(&json!({
        "applied": !dry_run,
        "policy_version": response.policy_version,
        "revision": output::revision_json(response.revision.as_ref()),
        "changes": response.changes.iter().map(change).collect::<Vec<_>>(),
        "refused": Some(&response.refused).filter(|refused| !refused.is_empty()),
    }))?;
    Ok(())
}
