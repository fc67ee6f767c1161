//! `backup`: a copy of a running server's ledger, and whether one would do.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use indicatif::BinaryBytes;
use serde_json::json;
use tonic::Streaming;

use super::{Failure, args::AskerArgs, output};
use crate::{
    backup::{self, BackupError, FileEntry, Incoming, Manifest},
    client::{Client, ClientError},
    proto::v1::{BackupRequest, BackupResponse, BackupSummary, backup_response::Part},
};

/// Arguments of `backup`.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    /// The folder of the backup; it must not exist yet
    #[arg(long, value_name = "DIR", required = true)]
    out: Option<PathBuf>,
    #[command(flatten)]
    asker: AskerArgs,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// What else is asked for.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What else there is to do with a backup.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Read every byte of a backup, open the ledger in it, and recompute
    /// everything from its events
    Verify(VerifyArgs),
}

/// Arguments of `backup verify`.
#[derive(clap::Args)]
pub struct VerifyArgs {
    /// The folder of the backup
    #[arg(value_name = "DIR")]
    backup: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Takes a backup. The folder is there only once all of it is on the disk.
pub async fn run(client: &Client, args: Args) -> Result<ExitCode, Failure> {
    let out = args.out.ok_or_else(|| Failure::usage("say where to with --out"))?;
    let incoming = Incoming::create(&out)?;
    let request = BackupRequest { actor: Some(args.asker.actor()) };
    let parts = client.admin_service().backup(request).await?.into_inner();
    let manifest = receive(parts, incoming).await?;
    print(&out, &manifest, args.json)?;
    Ok(ExitCode::SUCCESS)
}

async fn receive(
    mut parts: Streaming<BackupResponse>,
    mut incoming: Incoming,
) -> Result<Manifest, Failure> {
    let progress = output::progress(None);
    let mut summary = None;
    while let Some(response) = parts.message().await? {
        match response.part {
            Some(_) if summary.is_some() => return Err(contract("went on behind its end")),
            // A disk that waits holds up nobody else in this program.
            Some(Part::File(file)) => tokio::task::block_in_place(|| incoming.begin(&file.name))?,
            Some(Part::Data(data)) => {
                tokio::task::block_in_place(|| incoming.write(&data))?;
                progress.inc(data.len() as u64);
            }
            Some(Part::Summary(end)) => summary = Some(end),
            None => return Err(contract("has a part that this version does not know")),
        }
    }
    progress.finish_and_clear();
    let summary = summary.ok_or_else(|| contract("ended before its summary"))?;
    let manifest = manifest(summary).ok_or_else(|| contract("has no revision"))?;
    tokio::task::block_in_place(|| incoming.finish(&manifest))?;
    Ok(manifest)
}

fn contract(what: &str) -> Failure {
    ClientError::Contract(format!("the backup {what}")).into()
}

fn manifest(summary: BackupSummary) -> Option<Manifest> {
    let revision = summary.revision?;
    let files = summary.files.into_iter().map(|file| FileEntry {
        name: file.name,
        bytes: file.bytes,
        sha256: file.sha256.iter().map(|byte| format!("{byte:02x}")).collect(),
    });
    Some(Manifest::new(
        summary.server_version,
        output::time(summary.created_time_ms),
        (revision.epoch, revision.revision, summary.chain_head),
        files.collect(),
    ))
}

/// Says what is in a backup, and whether it would do.
pub fn verify(args: &VerifyArgs) -> Result<ExitCode, Failure> {
    let (manifest, report) = backup::check(&args.backup)?;
    if report.differences.is_empty() {
        print(&args.backup, &manifest, args.json)?;
        if !args.json {
            output::line("verified")?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    for difference in &report.differences {
        output::line(format!("DIFFERS   {difference}"))?;
    }
    Err(Failure::failed("the ledger in the backup differs from its own events: use another one"))
}

fn print(folder: &Path, manifest: &Manifest, as_json: bool) -> Result<(), Failure> {
    let Manifest { epoch, revision, chain_head, files, .. } = manifest;
    if as_json {
        output::json(&json!({
            "folder": folder,
            "epoch": epoch,
            "revision": revision,
            "chain_head": chain_head,
            "created": manifest.created,
            "files": files.len(),
            "bytes": manifest.bytes(),
        }))?;
        return Ok(());
    }
    output::line(format!("backup    {}", folder.display()))?;
    output::line(format!("created   {}", manifest.created))?;
    output::line(format!("state     revision {revision} of epoch {epoch}"))?;
    output::line(format!("head      {chain_head}"))?;
    output::line(format!("files     {}, {}", files.len(), BinaryBytes(manifest.bytes())))?;
    Ok(())
}
