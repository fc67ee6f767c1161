//! `suppress` and `lift`: reasons not to send that are no consent choice.

use std::process::ExitCode;

use super::{
    Failure, args,
    entry::{self, EntryArgs},
};
use crate::{
    client::Client,
    proto::v1::{ActorRole, Reason, StatedTime},
};

/// Arguments of `suppress`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    entry: EntryArgs,
    /// Why, such as hard-bounce, spam-complaint, manual-block or legal-block
    #[arg(long, value_parser = entry::reason)]
    reason: Reason,
    /// Since when; without it, since now
    #[arg(long, value_name = "TIME", value_parser = args::time)]
    since: Option<StatedTime>,
    /// When it ends by itself; a soft bounce needs it
    #[arg(long, value_name = "TIME", value_parser = args::time)]
    expires_at: Option<StatedTime>,
}

/// Sets the entry.
pub async fn run(client: &Client, args: Args) -> Result<ExitCode, Failure> {
    let Args { entry, reason, since, expires_at } = args;
    entry.suppress(client, reason, since, expires_at, ActorRole::Unspecified).await
}

/// Arguments of `lift`.
#[derive(clap::Args)]
pub struct LiftArgs {
    #[command(flatten)]
    entry: EntryArgs,
    /// The reason of the entry; who may lift it depends on it
    #[arg(long, value_parser = entry::reason)]
    reason: Reason,
    /// As of when; an entry since later stays. Without it, as of now
    #[arg(long, value_name = "TIME", value_parser = args::time)]
    time: Option<StatedTime>,
}

/// Lifts the entry.
pub async fn run_lift(client: &Client, args: LiftArgs) -> Result<ExitCode, Failure> {
    let LiftArgs { entry, reason, time } = args;
    entry.lift(client, reason, time, ActorRole::Unspecified).await
}
