//! `export`: the known contacts of a scope.
//!
//! Whoever finds a list of permitted contacts may send to it. So nothing is
//! shown of an export before the server has ended it without an error: a file
//! has no name until then, and what goes to a stream waits in a nameless file.

use std::{
    fs::File,
    io::{self, BufWriter, Seek, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde_json::json;
use tokio_stream::{Stream, StreamExt};
use tonic::Status;

use super::{
    Failure,
    args::{Kind, ScopeArgs},
    files::Output,
    output,
};
use crate::{
    client::Client,
    formats::reason_name,
    proto::v1::{
        ContactKind, ExportRequest, ExportResponse, ExportSelection, ExportedContact, Reason,
    },
};

/// Arguments of `export`.
///
/// In an opt_out or exempt scope everybody unknown is permitted too; they are
/// in no export.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Which contacts
    #[arg(value_enum)]
    selection: Selection,
    #[command(flatten)]
    scope: ScopeArgs,
    /// The kind of the contacts
    #[arg(long, value_enum)]
    kind: Kind,
    /// How rows are written
    #[arg(long, value_enum, default_value = "csv")]
    format: Format,
    /// Where they go; - for standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
}

/// Which contacts are exported.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Selection {
    /// Those who may be written to
    Permitted,
    /// Those who may not, with the reason
    Suppressed,
}

impl Selection {
    fn takes(self, reason: Reason) -> bool {
        (self == Self::Permitted) == (reason == Reason::Permitted)
    }
}

/// How rows are written.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    /// With a header: address, reason, since, revision
    Csv,
    /// One JSON object a line
    Ndjson,
}

/// Exports, and says how many.
pub async fn run(client: &Client, args: Args) -> Result<ExitCode, Failure> {
    let selection = match args.selection {
        Selection::Permitted => ExportSelection::Permitted,
        Selection::Suppressed => ExportSelection::Suppressed,
    };
    let request = ExportRequest {
        brand: args.scope.brand.clone(),
        scope: Some(args.scope.scope()),
        contact_kind: ContactKind::from(args.kind).into(),
        selection: selection.into(),
        asked_by: None,
    };
    let parts = client.consent_service().export(request).await?.into_inner();
    let (contacts, last) = export(parts, &args).await?;
    let revision = output::revision(last.revision.as_ref());
    let (as_of, policy) = (output::time(last.as_of_ms), &last.policy_version);
    eprintln!("{} contacts at {revision}, as of {as_of}, policy {policy}", output::count(contacts));
    Ok(ExitCode::SUCCESS)
}

/// Takes the parts in until the server ends the export, and only then shows
/// them; returns the count, and the last part without its contacts.
async fn export(
    mut parts: impl Stream<Item = Result<ExportResponse, Status>> + Unpin,
    args: &Args,
) -> Result<(u64, ExportResponse), Failure> {
    let mut rows = Rows::begin(args.format, BufWriter::new(tempfile::tempfile()?))?;
    let mut last: Option<ExportResponse> = None;
    let mut count = 0;
    while let Some(part) = parts.next().await {
        let mut part = part?;
        for contact in std::mem::take(&mut part.contacts) {
            if !args.selection.takes(contact.reason()) {
                return Err(Failure::failed("the server sent a contact that was not asked for"));
            }
            count += 1;
            rows.write(&contact)?;
        }
        if last.as_ref().is_some_and(|last| last.revision != part.revision) {
            return Err(Failure::failed("the parts of the export are of different revisions"));
        }
        last = Some(part);
    }
    show(rows.end()?, &args.output)?;
    Ok((count, last.unwrap_or_default()))
}

/// Gives what is whole its name, or streams it out.
fn show(waiting: BufWriter<File>, path: &Path) -> Result<(), Failure> {
    let mut rows = waiting.into_inner().map_err(|error| Failure::failed(error.to_string()))?;
    rows.rewind()?;
    let mut output = Output::create(path)?;
    io::copy(&mut rows, &mut output)?;
    Ok(output.finish()?)
}

/// Rows being written.
enum Rows {
    Csv(Box<csv::Writer<BufWriter<File>>>),
    Ndjson(BufWriter<File>),
}

impl Rows {
    fn begin(format: Format, file: BufWriter<File>) -> io::Result<Self> {
        Ok(match format {
            Format::Csv => {
                let mut writer = csv::Writer::from_writer(file);
                writer.write_record(["address", "reason", "since", "revision"])?;
                Self::Csv(Box::new(writer))
            }
            Format::Ndjson => Self::Ndjson(file),
        })
    }

    fn write(&mut self, contact: &ExportedContact) -> io::Result<()> {
        let reason = reason_name(contact.reason());
        let since = contact.since_ms.map(output::time);
        let ExportedContact { address, revision, .. } = contact;
        match self {
            Self::Csv(writer) => {
                let since = since.unwrap_or_default();
                writer.write_record([address, reason, &since, &revision.to_string()])?;
                Ok(())
            }
            Self::Ndjson(file) => {
                let row = json!({
                    "address": address, "reason": reason, "since": since, "revision": revision,
                });
                writeln!(file, "{row}")
            }
        }
    }

    fn end(self) -> io::Result<BufWriter<File>> {
        match self {
            Self::Csv(writer) => writer
                .into_inner()
                .map_err(|error| io::Error::new(error.error().kind(), error.error().to_string())),
            Self::Ndjson(file) => Ok(file),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::args::Type, *};
    use crate::proto::v1::Revision;

    fn part(revision: u64, contacts: &[(&str, Reason)]) -> Result<ExportResponse, Status> {
        let contact = |(address, reason): &(&str, Reason)| ExportedContact {
            address: (*address).to_owned(),
            reason: (*reason).into(),
            since_ms: (*reason == Reason::HardBounce).then_some(1_740_737_127_250),
            revision: 7,
        };
        Ok(ExportResponse {
            contacts: contacts.iter().map(contact).collect(),
            revision: Some(Revision { epoch: "e".to_owned(), revision }),
            ..Default::default()
        })
    }

    /// Exports these parts; returns the file, if there is one.
    async fn exported(
        selection: Selection,
        format: Format,
        parts: Vec<Result<ExportResponse, Status>>,
    ) -> Result<String, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("export");
        let scope = ScopeArgs {
            brand: "main".to_owned(),
            channel: "email".to_owned(),
            purpose: "marketing".to_owned(),
            recipient_type: Type::Individual,
        };
        let kind = Kind::Email;
        let args = Args { selection, scope, kind, format, output: path.clone() };
        let outcome = export(tokio_stream::iter(parts), &args).await;
        let files = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(files, usize::from(outcome.is_ok()), "a file only where all went well");
        outcome.map(|_| std::fs::read_to_string(path).unwrap())
    }

    #[tokio::test]
    async fn a_whole_export_is_written_as_asked() {
        let parts = || {
            vec![
                part(9, &[("a@b.co", Reason::HardBounce)]),
                part(9, &[("\"c,d\"@b.co", Reason::OptedOut)]),
            ]
        };
        let csv = exported(Selection::Suppressed, Format::Csv, parts()).await.unwrap();
        let expected = "address,reason,since,revision\n\
                        a@b.co,HARD_BOUNCE,2025-02-28T10:05:27.25Z,7\n\
                        \"\"\"c,d\"\"@b.co\",OPTED_OUT,,7\n";
        assert_eq!(csv, expected);
        let json = exported(Selection::Suppressed, Format::Ndjson, parts()).await.unwrap();
        let rows: Vec<serde_json::Value> =
            json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(rows[0]["since"], "2025-02-28T10:05:27.25Z");
        assert_eq!(
            (&rows[1]["address"], &rows[1]["since"]),
            (&"\"c,d\"@b.co".into(), &json!(null))
        );
        let nobody = exported(Selection::Permitted, Format::Csv, Vec::new()).await.unwrap();
        assert_eq!(nobody, "address,reason,since,revision\n");
    }

    #[tokio::test]
    async fn an_export_that_is_cut_or_cannot_be_right_leaves_no_file() {
        let permitted = || part(9, &[("a@b.co", Reason::Permitted)]);
        let wrong = [
            vec![permitted(), Err(Status::unavailable("gone"))],
            vec![permitted(), part(9, &[("c@b.co", Reason::OptedOut)])],
            vec![permitted(), part(9, &[("c@b.co", Reason::Unspecified)])],
            vec![permitted(), part(10, &[("c@b.co", Reason::Permitted)])],
        ];
        for parts in wrong {
            assert!(exported(Selection::Permitted, Format::Csv, parts).await.is_err());
        }
        let unasked = vec![permitted()];
        assert!(exported(Selection::Suppressed, Format::Csv, unasked).await.is_err());
    }
}
