//! `iys check`: says what the registry would refuse. It asks no server.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
};

use jiff::tz::Offset;
use serde_json::json;

use super::super::{Failure, REJECTED, args::Type, files, output};
use crate::{
    clock::Clock,
    formats::parse_time,
    iys::{
        check::Checker,
        code::Code,
        recipient::masked,
        registry::Registry,
        upload::{Form, Place, UploadReader, UploadRow},
        words::RecipientType,
        years,
    },
};

/// Checks that need to know what the registry holds.
const NEED_THE_REGISTRY: [Code; 5] = [Code::H174, Code::H175, Code::H178, Code::H462, Code::H463];

/// Arguments of `iys check`.
#[derive(clap::Args)]
pub struct Args {
    /// The file, as the registry's upload table or its JSON; - for standard input
    file: PathBuf,
    /// A daily file of the registry, to compare with what it holds; repeatable
    #[arg(long, value_name = "DAILY.csv")]
    registry: Vec<PathBuf>,
    /// The type of recipients that name none, as in the upload table
    #[arg(long = "type", value_enum, default_value = "individual")]
    recipient_type: Type,
    /// Check as of this time, such as that of the upload; without an offset it
    /// is Turkey time
    #[arg(long, value_name = "TIME", value_parser = turkey_time)]
    at: Option<i64>,
    /// Print JSON, one object a line: the findings, then the summary
    #[arg(long)]
    json: bool,
}

fn turkey_time(text: &str) -> Result<i64, String> {
    parse_time(text, Offset::constant(3))
        .map(|time| time.unix_ms)
        .ok_or_else(|| "neither RFC 3339, YYYY-MM-DD HH:MM:SS nor YYYY-MM-DD".to_owned())
}

/// Checks the file and prints a line for each finding.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let registry = read_registry(&args.registry)?;
    let unreadable = registry.as_ref().map_or(0, Registry::unreadable);
    let (input, progress) = files::open(&args.file)?;
    let mut reader = UploadReader::new(input)?;
    let default_type = match args.recipient_type {
        Type::Individual => RecipientType::Individual,
        Type::Merchant => RecipientType::Merchant,
    };
    let now = args.at.unwrap_or_else(|| Clock::System.now());
    let mut checker = Checker::new(registry, reader.form(), default_type, now);
    let mut report = Report { json: args.json, ..Report::default() };
    while let Some((place, row)) = reader.next_row()? {
        let codes = checker.check(place, row.as_ref())?;
        report.add(place, row.as_ref(), &codes)?;
    }
    progress.finish_and_clear();
    let skipped = if args.registry.is_empty() { NEED_THE_REGISTRY.as_slice() } else { &[] };
    report.finish(reader.form(), skipped, unreadable, checker.undated())?;
    Ok(if report.refused == 0 { ExitCode::SUCCESS } else { ExitCode::from(REJECTED) })
}

fn read_registry(paths: &[impl AsRef<Path>]) -> Result<Option<Registry>, Failure> {
    if paths.is_empty() {
        return Ok(None);
    }
    let mut registry = Registry::default();
    for path in paths.iter().map(AsRef::as_ref) {
        let (input, progress) = files::open(path)?;
        registry
            .read(input)
            .map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
        progress.finish_and_clear();
    }
    Ok(Some(registry))
}

/// What was found.
#[derive(Default)]
struct Report {
    json: bool,
    rows: u64,
    refused: u64,
    by_code: BTreeMap<Code, u64>,
}

impl Report {
    fn add(
        &mut self,
        place: Place,
        row: Option<&UploadRow>,
        codes: &[Code],
    ) -> Result<(), Failure> {
        self.rows += 1;
        self.refused += u64::from(!codes.is_empty());
        let recipient = row.map(|row| masked(&row.recipient)).unwrap_or_default();
        for code in codes {
            *self.by_code.entry(*code).or_default() += 1;
            let (line, name, field) = (place.line, code.name(), code.field());
            let meaning = code.meaning();
            output::line(if self.json {
                json!({ "line": line, "code": name, "field": field, "recipient": recipient,
                    "meaning": meaning })
                .to_string()
            } else {
                format!("line {line:<8}  {name:<4}  {field:<13}  {recipient:<16}  {meaning}")
            })?;
        }
        Ok(())
    }

    fn finish(
        &self,
        form: Form,
        skipped: &[Code],
        unreadable: u64,
        undated: u64,
    ) -> Result<(), Failure> {
        let skipped: Vec<&str> = skipped.iter().map(|code| code.name()).collect();
        if self.json {
            let by_code: BTreeMap<_, _> =
                self.by_code.iter().map(|(code, count)| (code.name(), count)).collect();
            output::line(
                json!({
                    "rows": self.rows,
                    "refused_rows": self.refused,
                    "by_code": by_code,
                    "not_checked": skipped,
                    "unreadable_registry_rows": unreadable,
                    "rows_without_known_holidays": undated,
                })
                .to_string(),
            )?;
            return Ok(());
        }
        let form = match form {
            Form::Table => "upload table",
            Form::Json => "JSON",
        };
        output::line(format!(
            "{:<28}{:>14}",
            format!("rows read ({form})"),
            output::count(self.rows)
        ))?;
        output::line(format!("{:<28}{:>14}", "rows it would refuse", output::count(self.refused)))?;
        for (code, count) in &self.by_code {
            let name = format!("  {} {}", code.name(), code.field());
            output::line(format!("{name:<28}{:>14}", output::count(*count)))?;
        }
        if !skipped.is_empty() {
            output::line(format!(
                "not checked: {} (say what the registry holds with --registry DAILY.csv)",
                skipped.join(", ")
            ))?;
        }
        if unreadable > 0 {
            eprintln!(
                "{unreadable} rows of --registry cannot be read, so what they say was not heeded"
            );
        }
        if undated > 0 {
            let (first, last) = years().into_inner();
            eprintln!(
                "{undated} rows were not checked for H467: the holidays are known for {first} to {last}"
            );
        }
        Ok(())
    }
}
