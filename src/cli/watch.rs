//! `watch`: prints events as they are committed, one JSON object a line.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use super::{
    Failure,
    args::{AskerArgs, RevisionArg},
    ledger_row::LedgerRow,
};
use crate::{
    client::{Client, ClientError},
    proto::v1::{LedgerRecord, Revision, WatchRequest, WatchResponse},
};

/// Pause before the feed is asked for again. It doubles while nothing comes.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Arguments of `watch`.
#[derive(clap::Args)]
pub struct Args {
    /// Only events after this revision; from the first on if it is left out
    #[arg(long, value_name = "REV")]
    after: Option<RevisionArg>,
    /// End when the present is reached. Without it, a feed that is interrupted
    /// goes on by itself
    #[arg(long)]
    until_now: bool,
    /// Only events of this brand and of all brands; '*' for every brand
    #[arg(long, env = "SENDGATE_BRAND", default_value = "*")]
    brand: String,
    #[command(flatten)]
    asker: AskerArgs,
}

/// Where to go on; told when the command ends, however it does.
struct Resume(Option<Revision>);

impl Drop for Resume {
    fn drop(&mut self) {
        if let Some(Revision { epoch, revision }) = &self.0 {
            eprintln!("sendgate: go on with --after {epoch}:{revision}");
        }
    }
}

/// Watches and prints.
pub async fn run(client: &Client, args: Args) -> Result<ExitCode, Failure> {
    let after = match args.after {
        Some(after) => Some(after.in_epoch_of(client).await?),
        None => None,
    };
    let mut resume = Resume(after);
    let mut pause = PAUSE;
    loop {
        let before = resume.0.clone();
        let request = WatchRequest {
            brand: args.brand.clone(),
            after: before.clone(),
            until_now: args.until_now,
            asked_by: Some(args.asker.actor()),
        };
        let error = match follow(client, request, &mut resume).await? {
            Ok(()) if args.until_now => return Ok(ExitCode::SUCCESS),
            Ok(()) => {
                let what = "a change feed that ends without a reason".to_owned();
                return Err(ClientError::Contract(what).into());
            }
            Err(error) => error,
        };
        // What the server understood and refused, such as a revision that is
        // not its own, stays refused.
        if args.until_now || !error.may_succeed_later() {
            return Err(error.into());
        }
        pause = if resume.0 == before { LONGEST_PAUSE.min(pause * 2) } else { PAUSE };
        eprintln!("sendgate: the feed was interrupted and goes on in {pause:?}: {error}");
        tokio::time::sleep(pause).await;
    }
}

/// Prints a feed until it ends, and notes how far it came; the error of the
/// feed, if that is what ended it.
async fn follow(
    client: &Client,
    request: WatchRequest,
    resume: &mut Resume,
) -> Result<Result<(), ClientError>, Failure> {
    let mut feed = match client.consent_service().watch(request).await {
        Ok(feed) => feed.into_inner(),
        Err(status) => return Ok(Err(status.into())),
    };
    loop {
        match feed.message().await {
            Ok(Some(WatchResponse { records, through: Some(through) })) => {
                print(records)?;
                // Only once it is written: whoever goes on from here misses nothing.
                resume.0 = Some(through);
            }
            Ok(Some(_)) => {
                let what = "a part of a change feed that does not say how far it comes";
                return Ok(Err(ClientError::Contract(what.to_owned())));
            }
            Ok(None) => return Ok(Ok(())),
            Err(status) => return Ok(Err(status.into())),
        }
    }
}

fn print(records: Vec<LedgerRecord>) -> Result<(), Failure> {
    let mut lines = Vec::new();
    for record in records {
        let row = serde_json::to_string(&LedgerRow::new(record)).map_err(io::Error::from)?;
        writeln!(lines, "{row}")?;
    }
    let mut out = io::stdout().lock();
    out.write_all(&lines)?;
    Ok(out.flush()?)
}
