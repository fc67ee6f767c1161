//! `policy`: shows or replaces the policy.

use std::{
    io::Read,
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde_json::json;

use super::{Failure, args::ActorArgs, files, output};
use crate::{
    client::Client,
    proto::v1::{
        ActorRole, AppliedPolicy, ApplyPolicyRequest, ApplyPolicyResponse, GetPolicyRequest,
        ListPoliciesRequest, ScopeChange,
    },
};

/// Subcommands of `policy`.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Say what a policy would change, and change nothing
    Check(CheckArgs),
    /// Replace the policy
    Apply(ApplyArgs),
    /// Print the policy in force
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the policies that were applied, the latest first
    History {
        /// Print JSON, with the texts
        #[arg(long)]
        json: bool,
    },
}

/// Arguments of `policy check`.
#[derive(clap::Args)]
pub struct CheckArgs {
    /// The policy, a TOML file; - for standard input
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
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
    /// Accept that scopes go in which people have said something
    #[arg(long)]
    drops_scopes: bool,
    /// A remark for those who read the history
    #[arg(long, default_value = "")]
    note: String,
    #[command(flatten)]
    by: ActorArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs a subcommand of `policy`.
pub async fn run(client: &Client, command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Check(args) => check(client, args).await,
        Command::Apply(args) => apply(client, args).await,
        Command::Show { json } => show(client, json).await,
        Command::History { json } => history(client, json).await,
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

async fn history(client: &Client, json: bool) -> Result<ExitCode, Failure> {
    let response = client.admin_service().list_policies(ListPoliciesRequest {}).await?;
    let policies = response.into_inner().policies;
    if json {
        let policy = |policy: &AppliedPolicy| {
            json!({
                "policy_version": policy.policy_version,
                "revision": output::revision_json(policy.revision.as_ref()),
                "recorded_time": output::time(policy.recorded_time_ms),
                "actor_id": policy.actor.as_ref().map(|actor| &actor.id),
                "note": policy.note,
                "toml": policy.toml,
            })
        };
        output::json(&policies.iter().map(policy).collect())?;
        return Ok(ExitCode::SUCCESS);
    }
    for policy in &policies {
        let revision = policy.revision.as_ref().map_or(0, |revision| revision.revision);
        let by = policy.actor.as_ref().map_or("", |actor| actor.id.as_str());
        let by = if by.is_empty() { String::new() } else { format!(" by {by}") };
        let note =
            if policy.note.is_empty() { String::new() } else { format!(": {}", policy.note) };
        output::line(format!(
            "{}  revision {revision}  {}{by}{note}",
            output::time(policy.recorded_time_ms),
            policy.policy_version
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn check(client: &Client, args: CheckArgs) -> Result<ExitCode, Failure> {
    let toml = read(&args.file)?;
    let request = ApplyPolicyRequest { toml, dry_run: true, ..ApplyPolicyRequest::default() };
    let response = client.admin_service().apply_policy(request).await?.into_inner();
    if args.json {
        print_json(&response, false)?;
    } else {
        output::line(format!("policy {} would change:", response.policy_version))?;
        print_changes(&response)?;
        response.dropped.iter().try_for_each(|dropped| {
            output::line(format!("  {dropped}: dropped, although people said something there"))
        })?;
        if !response.refused.is_empty() {
            output::line(format!("refused as it stands: {}", response.refused))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn apply(client: &Client, args: ApplyArgs) -> Result<ExitCode, Failure> {
    let request = ApplyPolicyRequest {
        toml: read(&args.file)?,
        permits_more: args.permits_more,
        permits_unknown: args.permits_unknown,
        drops_scopes: args.drops_scopes,
        dry_run: false,
        actor: args.by.actor(ActorRole::Staff),
        note: args.note,
    };
    let response = client.admin_service().apply_policy(request).await?.into_inner();
    if args.json {
        print_json(&response, true)?;
    } else {
        output::line(format!(
            "applied policy {}, {}",
            response.policy_version,
            output::revision(response.revision.as_ref())
        ))?;
        print_changes(&response)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn read(file: &Path) -> Result<String, Failure> {
    let mut toml = String::new();
    files::open(file)?.0.read_to_string(&mut toml)?;
    Ok(toml)
}

fn print_changes(response: &ApplyPolicyResponse) -> Result<(), Failure> {
    if response.changes.is_empty() {
        output::line("  no verdict")?;
    }
    response.changes.iter().try_for_each(print_change)
}

fn print_change(change: &ScopeChange) -> Result<(), Failure> {
    let unknown =
        if change.unknown_newly_permitted { ", unknown contacts become permitted" } else { "" };
    output::line(format!(
        "  {} {}: {} become permitted, {} become suppressed, {} planes change{unknown}",
        change.brand,
        output::scope(change.scope.as_ref()),
        output::count(change.newly_permitted),
        output::count(change.newly_suppressed),
        change.planes_changed,
    ))?;
    Ok(())
}

fn print_json(response: &ApplyPolicyResponse, applied: bool) -> Result<(), Failure> {
    let change = |change: &ScopeChange| {
        json!({
            "brand": change.brand,
            "scope": output::scope(change.scope.as_ref()),
            "newly_permitted": change.newly_permitted,
            "newly_suppressed": change.newly_suppressed,
            "unknown_newly_permitted": change.unknown_newly_permitted,
            "planes_changed": change.planes_changed,
        })
    };
    output::json(&json!({
        "applied": applied,
        "policy_version": response.policy_version,
        "revision": output::revision_json(response.revision.as_ref()),
        "changes": response.changes.iter().map(change).collect::<Vec<_>>(),
        "dropped": response.dropped,
        "refused": Some(&response.refused).filter(|refused| !refused.is_empty()),
    }))?;
    Ok(())
}
