//! `restrict` and `object`: two rights of a person, set as suppressions (R11).

use std::process::ExitCode;

use super::{Failure, args, entry::EntryArgs};
use crate::{
    client::Client,
    proto::v1::{ActorRole, Reason, StatedTime},
};

/// Arguments of `restrict` and `object`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    entry: EntryArgs,
    /// Since when, or with --lift as of when; without it, now
    #[arg(long, value_name = "TIME", value_parser = args::time)]
    at: Option<StatedTime>,
    /// End it; staff may, and in the person's own name only a new consent does
    #[arg(long)]
    lift: bool,
}

/// Restricts processing, which staff do.
pub async fn restrict(client: &Client, args: Args) -> Result<ExitCode, Failure> {
    run(client, args, Reason::Restricted, ActorRole::Staff).await
}

/// Records an objection, which the person makes.
pub async fn object(client: &Client, args: Args) -> Result<ExitCode, Failure> {
    run(client, args, Reason::Objected, ActorRole::Customer).await
}

async fn run(
    client: &Client,
    args: Args,
    reason: Reason,
    setter: ActorRole,
) -> Result<ExitCode, Failure> {
    let Args { entry, at, lift } = args;
    if lift {
        entry.lift(client, reason, at, ActorRole::Staff).await
    } else {
        entry.suppress(client, reason, at, None, setter).await
    }
}
