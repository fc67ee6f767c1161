//! What an import counts and tells, however it ends.

use std::{collections::BTreeMap, io, path::Path, time::Instant};

use serde_json::json;

use super::{
    super::{Failure, files::Output, output},
    read::{Chunk, Reject},
};
use crate::{
    client::{Acknowledged, Counts},
    formats::Problem,
    proto::v1::Revision,
};

/// Rejects that are told on standard error where no file is asked for.
const TOLD_REJECTS: u64 = 10;

/// How to tell.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// As JSON.
    pub json: bool,
    /// Nothing is recorded.
    pub dry_run: bool,
    /// The line that the import begins with.
    pub from_line: u64,
}

/// Counts of one import, and its rejects. Dropped before it was told, by an
/// interrupt for one, it tells how far the import came.
pub struct Report {
    style: Style,
    rows: u64,
    rejected_rows: u64,
    items: u64,
    counts: Counts,
    by_reason: BTreeMap<String, u64>,
    revision: Option<Revision>,
    /// The last line of which, and of all before, the outcome is known.
    done_to_line: u64,
    rejects: Option<csv::Writer<Output>>,
    begun: Instant,
    told: bool,
}

impl Report {
    /// Begins a report; rejects go to a file, if one is named.
    pub fn create(rejects: Option<&Path>, style: Style) -> Result<Self, Failure> {
        let mut rejects = match rejects {
            Some(path) => Some(csv::Writer::from_writer(Output::create(path)?)),
            None => None,
        };
        if let Some(writer) = &mut rejects {
            writer.write_record(["line", "field", "reason", "row"]).map_err(io::Error::from)?;
        }
        Ok(Self {
            style,
            rows: 0,
            rejected_rows: 0,
            items: 0,
            counts: Counts::default(),
            by_reason: BTreeMap::new(),
            revision: None,
            done_to_line: style.from_line.saturating_sub(1),
            rejects,
            begun: Instant::now(),
            told: false,
        })
    }

    /// Takes in a chunk that the server acknowledged.
    pub fn acknowledged(&mut self, acknowledged: Acknowledged<Chunk>) -> io::Result<()> {
        let Acknowledged { tag: mut chunk, counts, rejections, revision } = acknowledged;
        self.rows += chunk.rows.len() as u64;
        self.items += chunk.items.len() as u64;
        self.counts.add(&counts);
        self.revision = revision;
        for item in rejections {
            let position = usize::try_from(item.index).unwrap_or(usize::MAX);
            let row = chunk.items.get(position).copied().unwrap_or_default();
            let rejection = item.rejection.unwrap_or_default();
            let problem = Problem {
                code: rejection.code(),
                field: rejection.field,
                reason: rejection.message,
            };
            chunk.rejects.push(Reject { row, problem });
        }
        chunk.rejects.sort_by_key(|reject| reject.row);
        // One row for several channels may be rejected for the same several times.
        chunk.rejects.dedup_by_key(|reject| (reject.row, kind(&reject.problem)));
        let mut last = None;
        for Reject { row, problem } in chunk.rejects {
            self.rejected_rows += u64::from(last.replace(row) != Some(row));
            if let Some((line, text)) = chunk.rows.get(row) {
                self.reject(*line, text, &problem)?;
            }
        }
        if let Some((line, _)) = chunk.rows.last() {
            self.done_to_line = *line;
        }
        Ok(())
    }

    fn reject(&mut self, line: u64, row: &str, problem: &Problem) -> io::Result<()> {
        *self.by_reason.entry(kind(problem)).or_default() += 1;
        let Problem { field, reason, .. } = problem;
        match &mut self.rejects {
            Some(writer) => writer.write_record([&line.to_string(), field, reason, row])?,
            None if self.rejected_rows <= TOLD_REJECTS => {
                eprintln!("line {line}: {field}: {reason}");
            }
            None if self.rejected_rows == TOLD_REJECTS + 1 => {
                eprintln!("… more rows are rejected; --rejects FILE reports all");
            }
            None => {}
        }
        Ok(())
    }

    /// Whether every row was imported.
    pub fn is_complete(&self) -> bool {
        self.rejected_rows == 0
    }

    /// Completes the rejects file and prints the counts, of the whole file or
    /// of what was done of it.
    pub fn finish(&mut self, whole: bool) -> Result<(), Failure> {
        self.told = true;
        if let Some(writer) = self.rejects.take() {
            let output = writer.into_inner().map_err(|error| Failure::failed(error.to_string()))?;
            output.finish()?;
        }
        if self.style.json {
            self.print_json(whole)?
        } else {
            self.print_text(whole)?
        }
        Ok(())
    }

    /// Whether the file was imported before, as a whole.
    fn is_nothing_new(&self) -> bool {
        self.counts.duplicate > 0 && self.counts.duplicate + self.counts.rejected == self.items
    }

    fn print_json(&self, whole: bool) -> io::Result<()> {
        let Counts { applied, superseded, duplicate, key_reused, rejected } = self.counts;
        output::json(&json!({
            "whole": whole,
            "dry_run": self.style.dry_run,
            "rows": self.rows,
            "rejected_rows": self.rejected_rows,
            "rejected_by_reason": self.by_reason,
            "changes": self.items,
            "applied": applied,
            "superseded": superseded,
            "duplicate": duplicate,
            "key_reused": key_reused,
            "rejected": rejected,
            "nothing_new": self.is_nothing_new(),
            "done_to_line": self.done_to_line,
            "revision": output::revision_json(self.revision.as_ref()),
            "seconds": self.begun.elapsed().as_secs_f64(),
        }))
    }

    fn print_text(&self, whole: bool) -> io::Result<()> {
        let Counts { applied, superseded, duplicate, key_reused, rejected } = self.counts;
        let names = if self.style.dry_run {
            ["changes tried", "would apply", "would be superseded", "would reuse their key"]
        } else {
            ["changes acknowledged", "applied", "superseded", "key reused"]
        };
        let [changes, applies, supersedes, reuses] = names;
        let mut lines = vec![
            ("rows read".to_owned(), self.rows),
            ("rows rejected".to_owned(), self.rejected_rows),
        ];
        lines.extend(self.by_reason.iter().map(|(key, count)| (format!("  {key}"), *count)));
        lines.push((changes.to_owned(), self.items));
        let mut outcomes = vec![
            (applies, applied),
            (supersedes, superseded),
            ("recorded before", duplicate),
            (reuses, key_reused),
            ("rejected", rejected),
        ];
        // It is rare, and a number in itself only where there is one.
        outcomes.retain(|(name, count)| *name != reuses || *count > 0);
        lines.extend(outcomes.into_iter().map(|(name, count)| (format!("  {name}"), count)));
        for (name, count) in lines {
            output::line(format!("{name:<36}{:>14}", output::count(count)))?;
        }
        if self.is_nothing_new() {
            let before = output::count(self.counts.duplicate);
            output::line(format!("nothing new: all {before} were recorded before"))?;
        }
        let revision = output::revision(self.revision.as_ref());
        let seconds = self.begun.elapsed().as_secs_f64();
        output::line(if self.style.dry_run {
            format!("nothing was recorded; tried against {revision}, in {seconds:.1} s")
        } else {
            format!("durable and visible at {revision}, in {seconds:.1} s")
        })?;
        if !whole {
            // Begins with that line, not behind it: of a JSON file it may hold
            // more rows, and repeating one is safe.
            let line = self.done_to_line;
            output::line(format!(
                "not the whole file: done up to line {line}; go on with --from-line {}",
                line.max(1)
            ))?;
        }
        Ok(())
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if !self.told {
            // There is nobody left to tell of an error.
            drop(self.finish(false));
        }
    }
}

fn kind(problem: &Problem) -> String {
    let code = output::enum_name(problem.code.as_str_name(), "REJECT_CODE_");
    format!("{code} {}", problem.field)
}
