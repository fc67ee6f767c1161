//! `history`: all events of a contact, for people, and as JSON or CSV to take
//! along (R11).

use std::{io, process::ExitCode};

use serde_json::json;

use super::{
    Failure,
    args::{AddressArgs, AskerArgs},
    ledger_row::LedgerRow,
    output,
};
use crate::{
    client::{Client, ClientError},
    proto::v1::{HistoryRequest, Revision},
};

/// Arguments of `history`.
#[derive(clap::Args)]
pub struct Args {
    /// The contact, in any accepted spelling
    #[arg(allow_hyphen_values = true)]
    address: String,
    /// The brand, with what was said for all brands; '*' for every brand
    #[arg(long, env = "SENDGATE_BRAND", default_value = "*")]
    brand: String,
    #[command(flatten)]
    reading: AddressArgs,
    #[command(flatten)]
    asker: AskerArgs,
    /// Print JSON with every field
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print CSV with every field
    #[arg(long)]
    csv: bool,
}

/// Asks page by page and prints.
pub async fn run(client: &Client, args: Args) -> Result<ExitCode, Failure> {
    let (rows, revision) = read(client, &args).await?;
    if args.json {
        output::json(&json!({
            "revision": output::revision_json(revision.as_ref()),
            "records": rows,
        }))?;
    } else if args.csv {
        let mut writer = csv::Writer::from_writer(io::stdout());
        for row in rows {
            writer.serialize(row).map_err(|error| Failure::failed(error.to_string()))?;
        }
        writer.flush()?;
    } else if rows.is_empty() {
        output::line("no events")?;
    } else {
        rows.iter().try_for_each(|row| output::line(row.lines(false)))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// All events, up to the revision of the last page.
async fn read(client: &Client, args: &Args) -> Result<(Vec<LedgerRow>, Option<Revision>), Failure> {
    let (mut rows, mut after_revision) = (Vec::new(), 0);
    loop {
        let request = HistoryRequest {
            brand: args.brand.clone(),
            contact: Some(args.reading.contact(args.address.clone())),
            after_revision,
            limit: 0,
            asked_by: Some(args.asker.actor()),
        };
        let page = client.consent_service().history(request).await?.into_inner();
        let last = page.records.last().map(|record| record.revision);
        rows.extend(page.records.into_iter().map(LedgerRow::new));
        match (page.more, last) {
            (false, _) => return Ok((rows, page.revision)),
            (true, Some(last)) if last > after_revision => after_revision = last,
            (true, _) => {
                let what = "a page that does not lead on".to_owned();
                return Err(ClientError::Contract(what).into());
            }
        }
    }
}
