//! `iys`: what İYS, the Turkish registry of commercial consents, needs and says.

pub mod check;
mod export;
mod feed;
mod reconcile;

use std::process::ExitCode;

use super::Failure;
use crate::client::Client;

/// Subcommands of `iys`.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Say what the registry would refuse of a file to be uploaded
    Check(check::Args),
    #[command(flatten)]
    Ask(Question),
}

/// The subcommands that talk to a server.
#[derive(clap::Subcommand)]
pub enum Question {
    /// Write what the registry has not yet seen, in its upload JSON
    Export(export::Args),
    /// Compare the registry's daily file with the ledger
    Reconcile(reconcile::Args),
}

/// Asks the server.
pub async fn run(client: &Client, question: Question) -> Result<ExitCode, Failure> {
    match question {
        Question::Export(args) => export::run(client, args).await,
        Question::Reconcile(args) => reconcile::run(client, args).await,
    }
}
