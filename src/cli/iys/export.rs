//! `iys export`: writes what the registry has not yet seen.

use std::{
    fmt::Write as _,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    super::{
        Failure,
        files::{self, Output},
        output,
    },
    feed,
};
use crate::{
    client::Client,
    clock::Clock,
    formats::IysMapping,
    iys::{
        BATCH_ROWS,
        limit::Standing,
        outgoing::{Counts, OutgoingRow, Window},
        recipient::masked,
        words::SOURCES,
        years,
    },
    proto::v1::{GetPolicyRequest, Revision},
};

/// Rows that a warning names.
const NAMED_ROWS: usize = 10;
/// Business days left from which on a row is near its limit.
const NEAR_DAYS: u32 = 1;

/// Arguments of `iys export`.
#[derive(clap::Args)]
pub struct Args {
    /// What the files' names begin with: PREFIX-0001.json and so on, each a
    /// batch of up to 1,000 rows; - for standard output, one batch a line
    prefix: PathBuf,
    /// The brand that the consents are for
    #[arg(long, env = "SENDGATE_BRAND")]
    brand: String,
    /// Where it is kept how far the last export came; without it, everything
    /// is exported
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Export everything, whatever the state file says
    #[arg(long)]
    from_start: bool,
    /// The source of rows whose own is none of the registry's
    #[arg(long, value_name = "HS_…", value_parser = SOURCES)]
    source: Option<String>,
    /// Send refusals that name no recipient type for merchants as well
    #[arg(long)]
    both_types: bool,
    /// Print the counts as JSON
    #[arg(long)]
    json: bool,
}

/// How far an export came.
#[derive(Deserialize, Serialize)]
struct State {
    epoch: String,
    revision: u64,
}

/// Writes the batches, and after them, if all is well, the state.
pub async fn run(client: &Client, args: Args) -> Result<ExitCode, Failure> {
    let to_stdout = files::is_standard(&args.prefix);
    if to_stdout && args.json {
        return Err(Failure::usage("--json and - would both write to standard output"));
    }
    let after = if args.from_start { None } else { args.read_state()? };
    let policy = client.admin_service().get_policy(GetPolicyRequest {}).await?.into_inner();
    let mapping = IysMapping::from_policy(&policy.toml, &args.brand)?;
    let mut window = Window::new(&args.brand, &mapping);
    let through =
        feed::read(client, &args.brand, after, "iys export", |record| window.take(record)).await?;
    let (rows, counts) = window
        .rows(args.source.as_deref(), args.both_types)
        .map_err(|rows| without_source(&rows))?;
    let files = if to_stdout {
        write_lines(&rows)?;
        Vec::new()
    } else {
        write_files(&args.prefix, &rows)?
    };
    if let (Some(path), Some(through)) = (&args.state, &through) {
        write_state(path, through)?;
    }
    warn_of_limits(&rows, Clock::System.now());
    args.report(&rows, counts, &files, through.as_ref())?;
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn read_state(&self) -> Result<Option<Revision>, Failure> {
        let Some(path) = self.state.as_deref().filter(|path| path.exists()) else {
            return Ok(None);
        };
        let mut text = String::new();
        files::open(path)?.0.read_to_string(&mut text)?;
        let State { epoch, revision } = serde_json::from_str(&text).map_err(|error| {
            Failure::failed(format!(
                "{} does not say how far the last export came ({error}); put the right file \
                 there, or export everything with --from-start",
                path.display()
            ))
        })?;
        Ok(Some(Revision { epoch, revision }))
    }

    fn report(
        &self,
        rows: &[OutgoingRow],
        counts: Counts,
        files: &[PathBuf],
        through: Option<&Revision>,
    ) -> Result<(), Failure> {
        let approved = rows.iter().filter(|row| row.status == "ONAY").count();
        let refused = rows.len() - approved;
        let Counts { events, from_registry, not_for_registry, individual_only } = counts;
        if self.json {
            output::json(&json!({
                "rows": rows.len(),
                "onay": approved,
                "ret": refused,
                "files": files,
                "events": events,
                "from_registry": from_registry,
                "not_for_registry": not_for_registry,
                "ret_for_individuals_only": individual_only,
                "revision": output::revision_json(through),
            }))?;
            return Ok(());
        }
        eprintln!(
            "{} rows ({approved} ONAY, {refused} RET) in {} batches, from {} events up to {}; of \
             these, {} came from the registry and {} are not for it",
            output::count(rows.len() as u64),
            rows.len().div_ceil(BATCH_ROWS),
            output::count(events),
            output::revision(through),
            output::count(from_registry),
            output::count(not_for_registry),
        );
        if individual_only > 0 {
            eprintln!(
                "{individual_only} refusals name no recipient type and go as BIREYSEL only; \
                 --both-types sends them as TACIR as well"
            );
        }
        Ok(())
    }
}

fn without_source(rows: &[OutgoingRow]) -> Failure {
    let mut message = format!(
        "{} rows have a source that the registry does not know, so nothing was written; say with \
         --source HS_… what they are to have:",
        rows.len()
    );
    for row in rows.iter().take(NAMED_ROWS) {
        let (revision, recipient) = (row.revision, masked(&row.recipient));
        // Writing to a string does not fail.
        let _ = write!(message, "\n  revision {revision}  {recipient}  {:?}", row.source);
    }
    if rows.len() > NAMED_ROWS {
        message.push_str("\n  …");
    }
    Failure::usage(message)
}

/// One batch a line.
fn write_lines(rows: &[OutgoingRow]) -> Result<(), Failure> {
    let mut out = Output::create(Path::new("-"))?;
    for batch in rows.chunks(BATCH_ROWS) {
        write_batch(&mut out, batch)?;
    }
    Ok(out.finish()?)
}

/// One batch a file. None is replaced: it may not have been uploaded yet.
fn write_files(prefix: &Path, rows: &[OutgoingRow]) -> Result<Vec<PathBuf>, Failure> {
    let name = |number: usize| {
        let mut name = prefix.as_os_str().to_owned();
        name.push(format!("-{number:04}.json"));
        PathBuf::from(name)
    };
    let batches = rows.chunks(BATCH_ROWS).zip(1..);
    let batches: Vec<(PathBuf, &[OutgoingRow])> =
        batches.map(|(batch, number)| (name(number), batch)).collect();
    if let Some((path, _)) = batches.iter().find(|(path, _)| path.exists()) {
        return Err(Failure::usage(format!(
            "{} exists, and may not have been uploaded yet; move it away or name another prefix",
            path.display()
        )));
    }
    for (path, batch) in &batches {
        let mut out = Output::create(path)?;
        write_batch(&mut out, batch)?;
        out.finish()?;
    }
    Ok(batches.into_iter().map(|(path, _)| path).collect())
}

fn write_batch(out: &mut Output, batch: &[OutgoingRow]) -> Result<(), Failure> {
    let text = serde_json::to_string(batch).map_err(|error| Failure::failed(error.to_string()))?;
    Ok(writeln!(out, "{text}")?)
}

/// Keeps how far this export came, once its rows are written.
fn write_state(path: &Path, through: &Revision) -> Result<(), Failure> {
    let state = State { epoch: through.epoch.clone(), revision: through.revision };
    let text = serde_json::to_string(&state).map_err(|error| Failure::failed(error.to_string()))?;
    let mut out = Output::create(path)?;
    writeln!(out, "{text}")?;
    Ok(out.finish()?)
}

/// Says on standard error which rows are late or nearly so.
fn warn_of_limits(rows: &[OutgoingRow], now: i64) {
    let standing = |row: &&OutgoingRow| Standing::of(&row.source, row.consent_time_ms, now);
    let warn = |what: &str, is: &dyn Fn(Standing) -> bool| {
        let found: Vec<&OutgoingRow> = rows.iter().filter(|row| is(standing(row))).collect();
        if found.is_empty() {
            return;
        }
        eprintln!("warning: {} rows {what}", output::count(found.len() as u64));
        for row in found.iter().take(NAMED_ROWS) {
            let (date, recipient) = (&row.consent_date, masked(&row.recipient));
            eprintln!("  {date}  {:<6}  {:<4}  {recipient}", row.iys_type, row.status);
        }
        if found.len() > NAMED_ROWS {
            eprintln!("  …");
        }
    };
    let (first, last) = years().into_inner();
    warn("are past their three business days; the registry will refuse them (H467)", &|standing| {
        standing == Standing::Past
    });
    warn(
        "must be uploaded within one business day",
        &|standing| matches!(standing, Standing::Left(days) if days <= NEAR_DAYS),
    );
    let unknown = format!("have a limit that is not known (holidays: {first} to {last})");
    warn(&unknown, &|standing| standing == Standing::Unknown);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: u64) -> Vec<OutgoingRow> {
        let row = |revision| OutgoingRow {
            consent_date: "2025-06-17 10:00:00".to_owned(),
            source: "HS_WEB".to_owned(),
            recipient: format!("+90532{revision:07}"),
            recipient_type: "BIREYSEL",
            status: "ONAY",
            iys_type: "MESAJ",
            revision,
            consent_time_ms: 0,
        };
        (1..=count).map(row).collect()
    }

    /// How many rows each file holds.
    fn batches(count: u64) -> Vec<usize> {
        let folder = tempfile::tempdir().unwrap();
        let files = write_files(&folder.path().join("june"), &rows(count)).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), files.len());
        let size = |(path, number): (&PathBuf, usize)| {
            assert!(path.ends_with(format!("june-{number:04}.json")), "{}", path.display());
            let text = std::fs::read_to_string(path).unwrap();
            serde_json::from_str::<Vec<serde_json::Value>>(&text).unwrap().len()
        };
        files.iter().zip(1..).map(size).collect()
    }

    #[test]
    fn rows_go_out_in_groups_of_a_thousand() {
        assert_eq!(batches(0), [0; 0]);
        assert_eq!(batches(1), [1]);
        assert_eq!(batches(1_000), [1_000]);
        assert_eq!(batches(1_001), [1_000, 1]);
        assert_eq!(batches(2_000), [1_000, 1_000]);
    }

    #[test]
    fn a_batch_that_may_not_be_uploaded_yet_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let prefix = folder.path().join("june");
        std::fs::write(folder.path().join("june-0002.json"), "kept").unwrap();
        let error = write_files(&prefix, &rows(1_001)).unwrap_err().to_string();
        assert!(error.contains("june-0002.json"), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing half-written");
    }

    #[test]
    fn rows_without_a_source_are_named_and_masked() {
        let message = without_source(&rows(12)).to_string();
        assert!(message.contains("12 rows") && message.contains("revision 10 "), "{message}");
        assert!(!message.contains("revision 11") && !message.contains("05320000001"), "{message}");
    }
}
