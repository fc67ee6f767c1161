//! What an import counts and tells.

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

/// Counts of one import, and its rejects.
pub struct Report {
    rows: u64,
    rejected_rows: u64,
    items: u64,
    counts: Counts,
    by_reason: BTreeMap<String, u64>,
    revision: Option<Revision>,
    rejects: Option<csv::Writer<Output>>,
    /// The last row that was rejected: one row can make several items.
    last_reject: Option<(u64, String)>,
    begun: Instant,
}

impl Report {
    /// Begins a report; rejects go to a file, if one is named.
    pub fn create(rejects: Option<&Path>) -> Result<Self, Failure> {
        let mut rejects = match rejects {
            Some(path) => Some(csv::Writer::from_writer(Output::create(path)?)),
            None => None,
        };
        if let Some(writer) = &mut rejects {
            writer.write_record(["line", "field", "reason"]).map_err(io::Error::from)?;
        }
        Ok(Self {
            rows: 0,
            rejected_rows: 0,
            items: 0,
            counts: Counts::default(),
            by_reason: BTreeMap::new(),
            revision: None,
            rejects,
            last_reject: None,
            begun: Instant::now(),
        })
    }

    /// Takes in a chunk that had nothing to send.
    pub fn read(&mut self, chunk: Chunk) -> io::Result<()> {
        self.rows += chunk.rows;
        chunk.rejects.into_iter().try_for_each(|reject| self.reject(reject))
    }

    /// Takes in a chunk that the server acknowledged.
    pub fn acknowledged(&mut self, acknowledged: Acknowledged<Chunk>) -> io::Result<()> {
        let Acknowledged { tag: mut chunk, counts, rejections, revision } = acknowledged;
        self.items += chunk.lines.len() as u64;
        self.counts.add(&counts);
        self.revision = revision;
        for item in rejections {
            let position = usize::try_from(item.index).unwrap_or(usize::MAX);
            let line = chunk.lines.get(position).copied().unwrap_or_default();
            let rejection = item.rejection.unwrap_or_default();
            let problem = Problem {
                code: rejection.code(),
                field: rejection.field,
                reason: rejection.message,
            };
            chunk.rejects.push(Reject { line, problem });
        }
        chunk.rejects.sort_by_key(|reject| reject.line);
        self.read(chunk)
    }

    fn reject(&mut self, Reject { line, problem }: Reject) -> io::Result<()> {
        let Problem { field, code, reason } = problem;
        let code = output::enum_name(code.as_str_name(), "REJECT_CODE_");
        let key = format!("{code} {field}");
        if self.last_reject.as_ref().is_none_or(|(last, _)| *last != line) {
            self.rejected_rows += 1;
        } else if self.last_reject.as_ref().is_some_and(|(_, last)| *last == key) {
            // The same row for another channel, and the same reason again.
            return Ok(());
        }
        *self.by_reason.entry(key.clone()).or_default() += 1;
        self.last_reject = Some((line, key));
        match &mut self.rejects {
            Some(writer) => writer.write_record([&line.to_string(), &field, &reason])?,
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

    /// Completes the rejects file and prints the counts.
    pub fn finish(&mut self, json: bool) -> Result<(), Failure> {
        if let Some(writer) = self.rejects.take() {
            let output = writer.into_inner().map_err(|error| Failure::failed(error.to_string()))?;
            output.finish()?;
        }
        let seconds = self.begun.elapsed().as_secs_f64();
        let Counts { applied, superseded, duplicate, key_reused, rejected } = self.counts;
        if json {
            output::json(&json!({
                "rows": self.rows,
                "rejected_rows": self.rejected_rows,
                "rejected_by_reason": self.by_reason,
                "changes": self.items,
                "applied": applied,
                "superseded": superseded,
                "duplicate": duplicate,
                "key_reused": key_reused,
                "rejected": rejected,
                "revision": output::revision_json(self.revision.as_ref()),
                "seconds": seconds,
            }))?;
            return Ok(());
        }
        let mut lines = vec![
            ("rows read".to_owned(), self.rows),
            ("rows rejected".to_owned(), self.rejected_rows),
        ];
        lines.extend(self.by_reason.iter().map(|(key, count)| (format!("  {key}"), *count)));
        lines.push(("changes acknowledged".to_owned(), self.items));
        let outcomes = [
            ("applied", applied),
            ("superseded", superseded),
            ("duplicate", duplicate),
            ("key reused", key_reused),
            ("rejected", rejected),
        ];
        lines.extend(outcomes.map(|(name, count)| (format!("  {name}"), count)));
        for (name, count) in lines {
            output::line(format!("{name:<36}{:>14}", output::count(count)))?;
        }
        let revision = output::revision(self.revision.as_ref());
        output::line(format!("durable and visible at {revision}, in {seconds:.1} s"))?;
        Ok(())
    }
}
