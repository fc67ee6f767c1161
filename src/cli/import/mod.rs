//! `import`: loads consents, withdrawals and suppressions from a file.

mod read;
mod report;

use std::{path::PathBuf, process::ExitCode};

use self::{
    read::{Chunk, read_in_background},
    report::Report,
};
use super::{
    Failure, REJECTED,
    args::{self, AddressArgs, Type},
    files::{self, Input},
};
use crate::{
    client::{Client, ImportStream},
    formats::{Defaults, Format, ItemReader, IysMapping, Meaning, Opened, Status},
    proto::v1::{ContactKind, GetPolicyRequest, RecipientType, StatedTime},
};

/// Chunks without an acknowledgement: the server commits one while the next
/// ones travel.
const IN_FLIGHT: usize = 4;

/// Arguments of `import`.
#[derive(clap::Args)]
pub struct Args {
    /// The file; - for standard input
    file: PathBuf,
    /// Its format
    #[arg(long, value_enum, default_value = "auto")]
    format: FormatArg,
    /// The brand that the rows are for; sendgate rows may name their own
    #[arg(long, env = "SENDGATE_BRAND", default_value = "")]
    brand: String,
    #[command(flatten)]
    reading: AddressArgs,
    /// plain: what each address means: granted, withdrawn or a suppression
    /// reason such as hard-bounce
    #[arg(long, value_parser = status)]
    status: Option<Status>,
    /// The channel of grants that name none, and of plain rows
    #[arg(long, default_value = "")]
    channel: String,
    /// The purpose of grants that name none, and of plain rows
    #[arg(long, default_value = "")]
    purpose: String,
    /// The recipient type of grants that name none, and of plain rows
    #[arg(long = "type", value_enum)]
    recipient_type: Option<Type>,
    /// The time of grants that name none
    #[arg(long, value_name = "TIME", value_parser = args::time)]
    consented_at: Option<StatedTime>,
    /// The end of suppressions that name none
    #[arg(long, value_name = "TIME", value_parser = args::time)]
    expires_at: Option<StatedTime>,
    /// Where to report rows that were not imported: line, field and reason
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    /// Print the counts as JSON
    #[arg(long)]
    json: bool,
}

/// A format by name.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FormatArg {
    /// Recognise it from the header
    Auto,
    /// The daily file of İYS, the Turkish registry
    IysDaily,
    /// The fields of a consent event as CSV or NDJSON
    Sendgate,
    /// One address a line; --status says what it means
    Plain,
}

fn status(text: &str) -> Result<Status, String> {
    Status::parse(text).ok_or_else(|| {
        "neither granted, withdrawn nor a suppression reason such as hard-bounce".to_owned()
    })
}

/// Imports the file. Repeating an import is safe.
pub async fn run(client: &Client, args: Args) -> Result<ExitCode, Failure> {
    if let Some(rejects) = &args.rejects {
        files::refuse_overwriting("--rejects", rejects, &[&args.file])?;
    }
    let (input, progress) = files::open(&args.file)?;
    let opened = Opened::read(input)?;
    let format = args.recognise(&opened)?;
    eprintln!("{}: format {}", args.file.display(), format.name());
    let meaning = args.meaning(client, format).await?;
    let reader = ItemReader::new(opened, meaning, args.defaults())?;
    let mut report = Report::create(args.rejects.as_deref())?;
    let outcome = transfer(client, reader, &mut report).await;
    progress.finish_and_clear();
    report.finish(args.json)?;
    outcome?;
    Ok(if report.is_complete() { ExitCode::SUCCESS } else { ExitCode::from(REJECTED) })
}

/// Reads and sends until all is acknowledged. After an error in the file, the
/// chunks before it are still waited for, so that the report is right.
async fn transfer(
    client: &Client,
    reader: ItemReader<Input>,
    report: &mut Report,
) -> Result<(), Failure> {
    let mut chunks = read_in_background(reader);
    let mut stream = ImportStream::<Chunk>::new(client.clone(), IN_FLIGHT);
    let mut outcome = Ok(());
    loop {
        tokio::select! {
            chunk = chunks.recv(), if stream.has_room() => match chunk {
                Some(Ok((chunk, items))) if items.is_empty() => report.read(chunk)?,
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

impl Args {
    /// The format, as said or recognised.
    fn recognise(&self, opened: &Opened<Input>) -> Result<Format, Failure> {
        let recognised = Format::recognise(opened);
        match self.format {
            FormatArg::IysDaily => Ok(Format::IysDaily),
            FormatArg::Plain => Ok(Format::Plain),
            FormatArg::Sendgate if recognised == Some(Format::SendgateJson) => {
                Ok(Format::SendgateJson)
            }
            FormatArg::Sendgate => Ok(Format::SendgateCsv),
            // --status means bare addresses, but not in a file that says more.
            FormatArg::Auto if self.status.is_some() && recognised.is_none() => Ok(Format::Plain),
            FormatArg::Auto => recognised.ok_or_else(|| {
                Failure::usage(
                    "the format cannot be recognised from the first line, so nothing was \
                     imported; name it with --format",
                )
            }),
        }
    }

    async fn meaning(&self, client: &Client, format: Format) -> Result<Meaning, Failure> {
        if self.status.is_some() && format != Format::Plain {
            return Err(Failure::usage("--status is for files of bare addresses (--format plain)"));
        }
        let needs_brand = matches!(format, Format::IysDaily | Format::Plain);
        if needs_brand && self.brand.is_empty() {
            return Err(Failure::usage("the rows name no brand; say it with --brand"));
        }
        match format {
            Format::IysDaily => {
                let policy =
                    client.admin_service().get_policy(GetPolicyRequest {}).await?.into_inner();
                Ok(Meaning::IysDaily(IysMapping::from_policy(&policy.toml, &self.brand)?))
            }
            Format::SendgateCsv => Ok(Meaning::SendgateCsv),
            Format::SendgateJson => Ok(Meaning::SendgateJson),
            Format::Plain => {
                let Some(status) = self.status else {
                    return Err(Failure::usage("say what the addresses mean with --status"));
                };
                status.check(&self.defaults()).map_err(|problem| {
                    Failure::usage(format!("every row would be rejected: {}", problem.reason))
                })?;
                Ok(Meaning::Plain(status))
            }
        }
    }

    fn defaults(&self) -> Defaults {
        Defaults {
            brand: self.brand.clone(),
            kind: ContactKind::from(self.reading.kind),
            region: self.reading.region.clone(),
            recipient_type: self.recipient_type.map(RecipientType::from).unwrap_or_default(),
            channel: self.channel.clone(),
            purpose: self.purpose.clone(),
            consented_at: self.consented_at,
            expires_at_ms: self.expires_at.map(|end| end.unix_ms),
        }
    }
}
