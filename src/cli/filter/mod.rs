//! `filter`: splits a recipient list into permitted and suppressed rows.
//!
//! A thread reads rows into batches, the stream keeps several of them in
//! flight, and answered rows are written in order: the memory used does not
//! depend on the length of the list.

mod read;
mod since;
mod summary;
mod write;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use self::{
    read::{Batch, List},
    since::Since,
    summary::Summary,
    write::Outputs,
};
use super::{
    Failure,
    args::{AddressArgs, Kind, ScopeArgs},
    files::{self, Table},
};
use crate::{
    client::{Client, FilterStream},
    formats::Opened,
    proto::v1::{AnswerForm, ContactKind, FilterOptions},
};

/// Batches without an answer. Two hide the round trip; more let the server
/// work on while outputs are written.
const IN_FLIGHT: usize = 8;

/// Arguments of `filter`.
///
/// Permitted rows are written unchanged and in order; suppressed rows get two
/// columns, `suppressed_reason` and `suppressed_since`. Outputs get their
/// names only when the whole list is answered.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The list: one address a line or, with --column, CSV or an Excel sheet
    /// (.xlsx), whose rows are written as CSV; - for standard input
    file: PathBuf,
    #[command(flatten)]
    scope: ScopeArgs,
    #[command(flatten)]
    reading: AddressArgs,
    /// The column that holds the addresses, by its name in the header or its
    /// position from 1
    #[arg(long)]
    column: Option<String>,
    /// The first row is a recipient and not a header
    #[arg(long, requires = "column")]
    no_header: bool,
    /// The sheet of an .xlsx file; the first one if not said
    #[arg(long, value_name = "NAME")]
    sheet: Option<String>,
    /// Where permitted rows go; - for standard output
    #[arg(long, value_name = "FILE")]
    permitted: Option<PathBuf>,
    /// Where suppressed rows go; - for standard output
    #[arg(long, value_name = "FILE")]
    suppressed: Option<PathBuf>,
    /// Leave suppressed_since empty, which spares the server reading its ledger
    #[arg(long)]
    no_since: bool,
    /// Permit each contact once
    #[arg(long)]
    deduplicate: bool,
    /// Print the counts as JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    fn options(&self) -> FilterOptions {
        FilterOptions {
            brand: self.scope.brand.clone(),
            scopes: vec![self.scope.scope()],
            contact_kind: ContactKind::from(self.reading.kind).into(),
            default_region: self.reading.region(),
            answer_form: AnswerForm::Reasons.into(),
            deduplicate: self.deduplicate,
            minimum_revision: None,
        }
    }

    /// Whether rows go to standard output, so that counts must not.
    fn rows_on_stdout(&self) -> bool {
        [&self.permitted, &self.suppressed]
            .into_iter()
            .flatten()
            .any(|path| files::is_standard(path))
    }
}

/// Filters the list.
pub async fn run(client: &Client, args: Args) -> Result<ExitCode, Failure> {
    let file = args.file.as_path();
    if let Some(permitted) = &args.permitted {
        files::refuse_overwriting("--permitted", permitted, &[file])?;
    }
    if let Some(suppressed) = &args.suppressed {
        let others: Vec<&Path> = [file].into_iter().chain(args.permitted.as_deref()).collect();
        files::refuse_overwriting("--suppressed", suppressed, &others)?;
        if files::is_standard(suppressed) && args.permitted.as_ref() == Some(suppressed) {
            return Err(Failure::usage("--permitted and --suppressed both name standard output"));
        }
    }
    let Table { input, progress, delimiter } =
        files::open_table(&args.file, args.sheet.as_deref())?;
    let opened = Opened::read(input, &args.reading.region)?.delimited_by(delimiter);
    if let Some(encoding) = opened.encoding() {
        // Rows in any other encoding are written back byte for byte.
        let back = if opened.is_utf_16() { ", written back as UTF-8" } else { "" };
        eprintln!("{}: encoding {encoding}{back}", args.file.display());
    }
    let list = match &args.column {
        None => List::of_lines(opened, matches!(args.reading.kind, Kind::ExternalId))?,
        Some(column) => List::of_rows(opened, column, !args.no_header)?,
    };
    let mut outputs = Outputs::create(&args, list.layout())?;
    let stream = FilterStream::open(client, args.options(), IN_FLIGHT).await?;
    let since = Since::new(client, &args);
    let summary = answer(list, stream, since, &mut outputs).await.inspect_err(|_| {
        eprintln!("the list was not answered to its end, so no output file was written");
    })?;
    outputs.finish()?;
    progress.finish_and_clear();
    summary.print(args.json, args.rows_on_stdout())?;
    Ok(ExitCode::SUCCESS)
}

/// Streams the list and writes its rows as they are answered, in order.
async fn answer(
    list: List,
    mut stream: FilterStream<Batch>,
    mut since: Since,
    outputs: &mut Outputs,
) -> Result<Summary, Failure> {
    let mut summary = Summary::begin();
    let mut batches = list.read_in_background();
    let mut answered = false;
    while !answered || !since.is_empty() {
        tokio::select! {
            batch = batches.recv(), if stream.has_room() => match batch {
                Some(batch) => {
                    let (batch, recipients) = batch?;
                    summary.sent(stream.unanswered());
                    stream.send(batch, recipients)?;
                }
                None => stream.close(),
            },
            answer = stream.next(), if !answered && since.has_room() => match answer? {
                Some((batch, verdicts)) => {
                    summary.answered(&batch, &verdicts, stream.unanswered());
                    since.ask(batch, verdicts);
                }
                None => answered = true,
            },
            asked = since.next(), if !since.is_empty() => {
                let (batch, verdicts, since) = asked?;
                outputs.write(&batch, &verdicts, &since)?;
            }
        }
    }
    Ok(summary)
}
