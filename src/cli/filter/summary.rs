//! What a filter run counts and tells.

use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

use serde_json::{Map, Value, json};

use super::{super::output, read::Batch};
use crate::{
    client::Verdicts,
    formats::reason_name,
    proto::v1::{Reason, Revision},
};

/// Reasons are single bytes.
const REASONS: usize = 256;

/// Counts and times of one run.
pub struct Summary {
    by_reason: [u64; REASONS],
    recipients: u64,
    permitted: u64,
    blank_lines: u64,
    first_revision: Option<Revision>,
    last_revision: Option<Revision>,
    as_of_ms: i64,
    begun: Instant,
    /// Since when batches are unanswered, and how long they were before.
    waiting_since: Option<Instant>,
    waited: Duration,
}

impl Summary {
    /// Starts the clock.
    pub fn begin() -> Self {
        Self {
            by_reason: [0; REASONS],
            recipients: 0,
            permitted: 0,
            blank_lines: 0,
            first_revision: None,
            last_revision: None,
            as_of_ms: 0,
            begun: Instant::now(),
            waiting_since: None,
            waited: Duration::ZERO,
        }
    }

    /// A batch is sent while `unanswered` others wait.
    pub fn sent(&mut self, unanswered: usize) {
        if unanswered == 0 {
            self.waiting_since = Some(Instant::now());
        }
    }

    /// A batch is answered, and `unanswered` others still wait.
    pub fn answered(&mut self, batch: &Batch, verdicts: &Verdicts, unanswered: usize) {
        if unanswered == 0
            && let Some(since) = self.waiting_since.take()
        {
            self.waited += since.elapsed();
        }
        let scope = verdicts.scope(0);
        for index in 0..verdicts.recipients() {
            // Reasons are small numbers, so they index the counts.
            if let Some(count) = self.by_reason.get_mut(scope.reason(index) as usize) {
                *count += 1;
            }
        }
        self.recipients += verdicts.recipients() as u64;
        self.permitted += scope.permitted_count() as u64;
        self.blank_lines += batch.blank_lines;
        self.as_of_ms = verdicts.as_of_ms;
        self.last_revision.clone_from(&verdicts.revision);
        if self.first_revision.is_none() {
            self.first_revision.clone_from(&verdicts.revision);
        }
    }

    /// Prints the counts on standard output or, where the rows go there, on
    /// standard error.
    pub fn print(&self, json: bool, on_stderr: bool) -> io::Result<()> {
        let text = if json { format!("{:#}", self.json()) } else { self.text() };
        if on_stderr { writeln!(io::stderr(), "{text}") } else { output::line(text) }
    }

    /// Reasons that occurred, the most frequent first.
    fn reasons(&self) -> Vec<(&'static str, u64)> {
        let mut reasons: Vec<_> = (0_i32..)
            .zip(self.by_reason)
            .filter(|(reason, count)| *count > 0 && *reason != Reason::Permitted as i32)
            .filter_map(|(reason, count)| Some((Reason::try_from(reason).ok()?, count)))
            .map(|(reason, count)| (reason_name(reason), count))
            .collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        reasons
    }

    fn text(&self) -> String {
        let row = |name: &str, number: u64| format!("{name:<22}{:>15}\n", output::count(number));
        let mut text = row("recipients", self.recipients);
        text += &row("permitted", self.permitted);
        text += &row("suppressed", self.recipients - self.permitted);
        for (reason, count) in self.reasons() {
            text += &row(&format!("  {reason}"), count);
        }
        if self.blank_lines > 0 {
            text += &row("blank lines, skipped", self.blank_lines);
        }
        let overall = self.begun.elapsed();
        text += &row("recipients/s, stream", per_second(self.recipients, self.waited));
        text += &row("recipients/s, overall", per_second(self.recipients, overall));
        let revision = output::revision(self.last_revision.as_ref());
        text += &match self.last_revision {
            Some(_) => format!("decided at {revision}, as of {}", output::time(self.as_of_ms)),
            None => "the list is empty: nothing was decided".to_owned(),
        };
        text
    }

    fn json(&self) -> Value {
        let reasons: Map<String, Value> = self
            .reasons()
            .into_iter()
            .map(|(name, count)| (name.to_owned(), count.into()))
            .collect();
        json!({
            "recipients": self.recipients,
            "permitted": self.permitted,
            "suppressed": self.recipients - self.permitted,
            "suppressed_by_reason": reasons,
            "blank_lines": self.blank_lines,
            "first_revision": output::revision_json(self.first_revision.as_ref()),
            "last_revision": output::revision_json(self.last_revision.as_ref()),
            "as_of": self.last_revision.as_ref().map(|_| output::time(self.as_of_ms)),
            "recipients_per_second": {
                "stream": per_second(self.recipients, self.waited),
                "overall": per_second(self.recipients, self.begun.elapsed()),
            },
        })
    }
}

/// A rate, rounded down. Zero where no time has passed: there is none to tell.
fn per_second(number: u64, time: Duration) -> u64 {
    let nanoseconds = time.as_nanos();
    let rate = (u128::from(number) * 1_000_000_000).checked_div(nanoseconds).unwrap_or_default();
    u64::try_from(rate).unwrap_or(u64::MAX)
}
