//! `iys reconcile`: whether the registry's day and the ledger agree.

use std::{path::PathBuf, process::ExitCode};

use serde_json::{Value, json};

use super::{
    super::{Failure, REJECTED, files, output},
    feed,
};
use crate::{
    client::Client,
    formats::{DailyRows, IysMapping},
    iys::{
        canonical::{CanonicalRow, sha384},
        recipient::masked,
        reconcile::{Day, Difference, LedgerSide, differences},
    },
    proto::v1::{GetPolicyRequest, Revision},
};

/// Arguments of `iys reconcile`.
#[derive(clap::Args)]
pub struct Args {
    /// The registry's daily file, or those of several days
    #[arg(required = true, value_name = "DAILY.csv")]
    files: Vec<PathBuf>,
    /// The brand that the files are of
    #[arg(long, env = "SENDGATE_BRAND")]
    brand: String,
    /// The files are all that the registry ever sent: whatever else of it is in
    /// the ledger is a difference
    #[arg(long)]
    whole: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Compares and prints the differences.
pub async fn run(client: &Client, args: Args) -> Result<ExitCode, Failure> {
    let (day, unreadable) = read_files(&args.files)?;
    let policy = client.admin_service().get_policy(GetPolicyRequest {}).await?.into_inner();
    let mapping = IysMapping::from_policy(&policy.toml, &args.brand)?;
    let mut ledger = LedgerSide::new(&args.brand, &mapping, &day, args.whole);
    let through =
        feed::read(client, &args.brand, None, "iys reconcile", |record| ledger.take(record))
            .await?;
    let ledger = ledger.into_rows();
    let found = differences(day.rows(), &ledger);
    print(&args, &day, &unreadable, &ledger, &found, through.as_ref())?;
    let equal = found.is_empty() && unreadable.is_empty();
    Ok(if equal { ExitCode::SUCCESS } else { ExitCode::from(REJECTED) })
}

/// The rows of the files, and the places of those that cannot be read.
fn read_files(paths: &[PathBuf]) -> Result<(Day, Vec<String>), Failure> {
    let mut day = Day::default();
    let mut unreadable = Vec::new();
    for path in paths {
        let named =
            |error: &dyn std::fmt::Display| Failure::failed(format!("{}: {error}", path.display()));
        let (input, progress) = files::open(path)?;
        let mut rows = DailyRows::new(input).map_err(|error| named(&error))?;
        while let Some((line, row)) = rows.next_row().map_err(|error| named(&error))? {
            match row {
                Some(row) => day.take(&row)?,
                None => unreadable.push(format!("{} line {line}", path.display())),
            }
        }
        progress.finish_and_clear();
    }
    day.sort();
    Ok((day, unreadable))
}

fn print(
    args: &Args,
    day: &Day,
    unreadable: &[String],
    ledger: &[CanonicalRow],
    found: &[Difference],
    through: Option<&Revision>,
) -> Result<(), Failure> {
    let (file_digest, ledger_digest) = (sha384(day.rows())?, sha384(ledger)?);
    if args.json {
        output::json(&json!({
            "equal": found.is_empty() && unreadable.is_empty(),
            "file": { "rows": day.rows().len(), "sha384": file_digest, "repeated": day.repeated() },
            "ledger": { "rows": ledger.len(), "sha384": ledger_digest },
            "unreadable": unreadable,
            "differences": found.iter().map(difference_json).collect::<Vec<_>>(),
            "revision": output::revision_json(through),
        }))?;
        return Ok(());
    }
    for (name, rows, digest) in
        [("file", day.rows().len(), file_digest), ("ledger", ledger.len(), ledger_digest)]
    {
        output::line(format!("{name:<7}{:>12} rows  sha384 {digest}", output::count(rows as u64)))?;
    }
    unreadable.iter().try_for_each(|place| output::line(format!("cannot be read  {place}")))?;
    found.iter().try_for_each(|difference| output::line(difference_line(difference)))?;
    if found.is_empty() && unreadable.is_empty() {
        output::line(format!("equal, at {}", output::revision(through)))?;
    } else {
        let count = output::count((found.len() + unreadable.len()) as u64);
        output::line(format!("{count} differences, at {}", output::revision(through)))?;
    }
    Ok(())
}

/// The fields in which two rows differ: name, the file's, the ledger's.
fn fields<'a>(
    file: &'a CanonicalRow,
    ledger: &'a CanonicalRow,
) -> impl Iterator<Item = (&'static str, String, String)> + 'a {
    let differing = file.kept().into_iter().zip(ledger.kept()).filter(|(one, other)| one != other);
    differing.map(|((name, one), (_, other))| {
        let shown = |text: &str| if name == "recipient" { masked(text) } else { text.to_owned() };
        (name, shown(one), shown(other))
    })
}

fn difference_line(difference: &Difference) -> String {
    let row_line = |what: &str, row: &CanonicalRow| {
        format!(
            "{what}  {}  {}  {} {} {}  {}  {}",
            row.transaction_id,
            masked(&row.recipient),
            row.recipient_type,
            row.iys_type,
            row.status,
            row.consent_date,
            row.source
        )
    };
    match difference {
        Difference::NotInLedger(row) => row_line("not in the ledger", row),
        Difference::NotInFile(row) => row_line("not in the file  ", row),
        Difference::Fields { file, ledger } => {
            let changed: Vec<String> = fields(file, ledger)
                .map(|(name, one, other)| format!("{name} {one:?}, in the ledger {other:?}"))
                .collect();
            let (key, recipient) = (&file.transaction_id, masked(&file.recipient));
            format!("differs            {key}  {recipient}  {}", changed.join("; "))
        }
    }
}

fn difference_json(difference: &Difference) -> Value {
    let row_json = |what: &str, row: &CanonicalRow, fields: Option<Value>| {
        json!({
            "difference": what,
            "transaction_id": row.transaction_id,
            "recipient": masked(&row.recipient),
            "recipient_type": row.recipient_type,
            "type": row.iys_type,
            "status": row.status,
            "consent_date": row.consent_date,
            "source": row.source,
            "fields": fields,
        })
    };
    match difference {
        Difference::NotInLedger(row) => row_json("not_in_ledger", row, None),
        Difference::NotInFile(row) => row_json("not_in_file", row, None),
        Difference::Fields { file, ledger } => {
            let changed = fields(file, ledger)
                .map(|(name, one, other)| json!({ "field": name, "file": one, "ledger": other }));
            row_json("fields", file, Some(changed.collect()))
        }
    }
}
