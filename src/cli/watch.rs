//! `watch`: prints events as they are committed, one JSON object a line.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use super::{
    Failure,
    args::{AskerArgs, RevisionArg},
    ledger_row::LedgerRow,
};
use crate::{
    client::{Client, ClientError},
    proto::v1::{Revision, WatchRequest, WatchResponse},
};

/// Arguments of `watch`.
#[derive(clap::Args)]
pub struct Args {
    /// Only events after this revision; from the first on if it is left out
    #[arg(long, value_name = "REV")]
    after: Option<RevisionArg>,
    /// End when the present is reached
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
    let mut resume = Resume(after.clone());
    let request = WatchRequest {
        brand: args.brand,
        after,
        until_now: args.until_now,
        asked_by: Some(args.asker.actor()),
    };
    let mut stream = client.consent_service().watch(request).await?.into_inner();
    while let Some(WatchResponse { records, through }) = stream.message().await? {
        let mut lines = Vec::new();
        for record in records {
            let row = serde_json::to_string(&LedgerRow::new(record)).map_err(io::Error::from)?;
            writeln!(lines, "{row}")?;
        }
        let mut out = io::stdout().lock();
        out.write_all(&lines)?;
        out.flush()?;
        // Told only once it is written: whoever resumes misses nothing.
        resume.0 = through;
    }
    if args.until_now {
        Ok(ExitCode::SUCCESS)
    } else {
        let what = "a change feed that ends without a reason".to_owned();
        Err(ClientError::Contract(what).into())
    }
}
