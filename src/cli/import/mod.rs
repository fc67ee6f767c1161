//! `import`: loads consents, withdrawals and suppressions from a file.

mod args;
mod read;
mod report;

use std::process::ExitCode;

pub use self::args::Args;
use self::{
    read::{Chunk, read_in_background},
    report::{Report, Style},
};
use super::{
    Failure, REJECTED,
    files::{self, Input, Table},
};
use crate::{
    client::{Client, ImportStream},
    formats::{ItemReader, Opened},
};

/// Chunks without an acknowledgement: the server commits one while the next
/// ones travel.
const IN_FLIGHT: usize = 4;

/// Imports the file. Repeating an import is safe.
pub async fn run(client: &Client, args: Args) -> Result<ExitCode, Failure> {
    if let Some(rejects) = &args.rejects {
        files::refuse_overwriting("--rejects", rejects, &[&args.file])?;
    }
    let Table { input, progress, delimiter } =
        files::open_table(&args.file, args.sheet.as_deref())?;
    let opened = Opened::read(input, &args.reading.region)?.delimited_by(delimiter);
    let format = args.recognise(&opened)?;
    let encoding = opened.encoding().map(|name| format!(", encoding {name}")).unwrap_or_default();
    eprintln!("{}: format {}{encoding}", args.file.display(), format.name());
    let meaning = args.meaning(client, format).await?;
    let reader = ItemReader::new(opened, meaning, args.defaults())?;
    let style = Style { json: args.json, dry_run: args.dry_run, from_line: args.from_line };
    let mut report = Report::create(args.rejects.as_deref(), style)?;
    let outcome = transfer(client, reader, &args, &mut report).await;
    progress.finish_and_clear();
    report.finish(outcome.is_ok())?;
    outcome?;
    Ok(if report.is_complete() { ExitCode::SUCCESS } else { ExitCode::from(REJECTED) })
}

/// Reads and sends until all is acknowledged. After an error in the file, the
/// chunks before it are still waited for, so that the report is right.
async fn transfer(
    client: &Client,
    reader: ItemReader<Input>,
    args: &Args,
    report: &mut Report,
) -> Result<(), Failure> {
    let mut chunks = read_in_background(reader, args.from_line);
    let mut stream = ImportStream::<Chunk>::new(client.clone(), IN_FLIGHT).dry_run(args.dry_run);
    let mut outcome = Ok(());
    loop {
        tokio::select! {
            chunk = chunks.recv(), if stream.has_room() => match chunk {
                // One without items too: the report follows the file's order.
                Some(Ok((chunk, items))) => stream.send(chunk, items),
                Some(Err(error)) => {
                    outcome = Err(error.into());
                    stream.close();
                }
                None => stream.close(),
            },
            acknowledged = stream.next(), if stream.is_waiting() => {
                if let Some(acknowledged) = acknowledged? {
                    report.acknowledged(acknowledged)?;
                }
            }
            else => break,
        }
    }
    // Nothing waits any more; this lets the server end the stream.
    stream.next().await?;
    outcome
}
