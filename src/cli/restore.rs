//! `restore`: a backup becomes a store, which serves once somebody has decided
//! on what it lost.

use std::{path::PathBuf, process::ExitCode};

use serde_json::json;

use super::{
    Failure,
    args::{AskerArgs, RevisionArg},
    output,
};
use crate::{
    backup,
    client::Client,
    clock::Clock,
    proto::v1::{
        AcceptRestoreRequest, GetStatisticsRequest, Revision, accept_restore_request::Loss,
    },
};

/// Arguments of `restore`.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    /// The folder of the backup
    #[arg(long, value_name = "DIR", required = true)]
    from: Option<PathBuf>,
    /// The folder of the new store; it must not exist yet
    #[arg(long, value_name = "DIR", required = true)]
    data: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// What else is asked for.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What a restored store waits for.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Let a restored store serve: say what became of the events after its
    /// backup
    Accept(AcceptArgs),
}

/// Arguments of `restore accept`.
#[derive(clap::Args)]
#[group(id = "loss", required = true, multiple = false, args = ["replayed_to", "accept_lost_since"])]
pub struct AcceptArgs {
    /// Everything up to this revision of the former epoch was replayed, and
    /// nothing came after it
    #[arg(long, value_name = "REV")]
    replayed_to: Option<RevisionArg>,
    /// What came after this revision of the former epoch is lost; withdrawals
    /// among it are not honoured until they are made again
    #[arg(long, value_name = "REV")]
    accept_lost_since: Option<RevisionArg>,
    #[command(flatten)]
    asker: AskerArgs,
}

/// Makes a store of a backup.
pub fn run(args: Args) -> Result<ExitCode, Failure> {
    let (Some(from), Some(data)) = (args.from, args.data) else {
        return Err(Failure::usage("say what from with --from, and where to with --data"));
    };
    let restored = backup::restore(&from, &data, Clock::System)?;
    let manifest = &restored.manifest;
    let epoch = format!("{:032x}", restored.epoch);
    if args.json {
        output::json(&json!({
            "folder": data,
            "epoch": epoch,
            "former_epoch": manifest.epoch,
            "revision": manifest.revision,
            "chain_head": manifest.chain_head,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    output::line(format!("restored  {}", data.display()))?;
    output::line(format!("backup    revision {} of epoch {}", manifest.revision, manifest.epoch))?;
    output::line(format!("epoch     {epoch}"))?;
    eprintln!(
        "the store filters nothing yet: serve it, replay what came after revision {}, then \
         `sendgate restore accept`",
        manifest.revision
    );
    Ok(ExitCode::SUCCESS)
}

/// Says what became of the loss.
pub async fn accept(client: &Client, args: AcceptArgs) -> Result<ExitCode, Failure> {
    let loss = match (args.replayed_to, args.accept_lost_since) {
        (Some(revision), None) => Loss::ReplayedTo(of_backup(client, revision).await?),
        (None, Some(revision)) => Loss::LostSince(of_backup(client, revision).await?),
        _ => return Err(Failure::usage("say one of --replayed-to and --accept-lost-since")),
    };
    let request = AcceptRestoreRequest { loss: Some(loss), actor: Some(args.asker.actor()) };
    let accepted = client.admin_service().accept_restore(request).await?.into_inner();
    output::line(format!("serving, from {}", output::revision(accepted.revision.as_ref())))?;
    Ok(ExitCode::SUCCESS)
}

/// The revision; a number alone is meant of the epoch that the backup is of.
async fn of_backup(client: &Client, revision: RevisionArg) -> Result<Revision, Failure> {
    let statistics = client.admin_service().get_statistics(GetStatisticsRequest::default()).await?;
    let backup = statistics.into_inner().restored.and_then(|restored| restored.backup);
    let backup = backup.ok_or_else(|| Failure::failed("this server's store was not restored"))?;
    Ok(revision.or_in_epoch(backup.epoch))
}
