//! The audit log: who read or did what to whom, and how far the ledger had come.
//!
//! JSON lines in a file beside the ledger, one write a row, addresses masked.
//! The file is opened anew for each row: whoever rotates it renames it, and the
//! next row begins a new one.

mod denials;
mod row;

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use jiff::Timestamp;
use serde::Serialize;

use self::denials::Denials;
pub use self::row::{
    Act, Answered, AnsweredScope, Asker, Denial, FilterStream, Head, LeftOut, Read, Restore, Row,
    TokensInForce,
};
use crate::clock::Clock;

/// The file's name in the folder of the store.
pub const FILE: &str = "audit.jsonl";

/// Writes the audit log of one server.
#[derive(Debug)]
pub struct Audit {
    path: PathBuf,
    clock: Clock,
    /// Rows are written one after the other.
    turn: Mutex<()>,
    denials: Denials,
    failures: AtomicU64,
}

/// A row as it is written.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    #[serde(flatten)]
    row: &'a Row,
}

impl Audit {
    /// The log in this folder.
    #[must_use]
    pub fn new(folder: &Path, clock: Clock) -> Self {
        Self {
            path: folder.join(FILE),
            clock,
            turn: Mutex::new(()),
            denials: Denials::default(),
            failures: AtomicU64::new(0),
        }
    }

    /// Writes a row. It survives the end of this process, though not a power cut.
    ///
    /// # Errors
    /// The row is not in the log: what it speaks of must not happen.
    pub fn record(&self, row: &Row) -> io::Result<()> {
        self.counted(self.append(row)).map(drop)
    }

    /// Writes a row and syncs it.
    ///
    /// # Errors
    /// The row may not be in the log.
    pub fn record_durably(&self, row: &Row) -> io::Result<()> {
        self.counted(self.append(row).and_then(|file| file.sync_data()))
    }

    /// Writes a row about a denial, unless there have been very many lately:
    /// then it is counted, for [`left_out`](Self::left_out).
    ///
    /// # Errors
    /// The row is not in the log.
    pub fn denied(&self, denial: Denial) -> io::Result<()> {
        if self.denials.has_room(denial.reason, denial.token.is_some()) {
            self.record(&Row::Denied(denial))
        } else {
            Ok(())
        }
    }

    /// Begins a new count of denials, and says how many the last left out. To
    /// be called every minute and at the end.
    ///
    /// # Errors
    /// The row is not in the log.
    pub fn left_out(&self) -> io::Result<()> {
        match self.denials.begin_anew() {
            Some(left_out) => self.record(&Row::DenialsLeftOut(left_out)),
            None => Ok(()),
        }
    }

    /// Denials since the start, by reason.
    pub fn denials(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.denials.by_reason()
    }

    /// Rows since the start that could not be written.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    fn counted<T>(&self, written: io::Result<T>) -> io::Result<T> {
        if written.is_err() {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        written
    }

    fn append(&self, row: &Row) -> io::Result<File> {
        let now = self.clock.now();
        let time = Timestamp::from_millisecond(now)
            .map_or_else(|_| now.to_string(), |time| time.to_string());
        let row = serde_json::to_string(&Line { time, row })?;
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        // Who was asked about is nobody else's business on this machine.
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&self.path)?;
        let line = if ends_in_a_line(&file)? { format!("{row}\n") } else { format!("\n{row}\n") };
        file.write_all(line.as_bytes())?;
        Ok(file)
    }
}

/// Whether the last row is whole: a full disk cuts one short, and the next must
/// not be written behind it.
fn ends_in_a_line(file: &File) -> io::Result<bool> {
    let Some(last) = file.metadata()?.len().checked_sub(1) else { return Ok(true) };
    let mut byte = [0];
    file.read_exact_at(&mut byte, last)?;
    Ok(byte == *b"\n")
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::fs::PermissionsExt,
        sync::{Arc, atomic::AtomicI64},
    };

    use super::*;

    fn row(revision: u64) -> Row {
        Row::Head(Head { when: "running", epoch: "e".to_owned(), revision, chain: "c".to_owned() })
    }

    fn audit(folder: &Path) -> Audit {
        Audit::new(folder, Clock::Manual(Arc::new(AtomicI64::new(1_767_225_600_000))))
    }

    #[test]
    fn each_row_is_a_line_of_json_that_only_the_owner_reads() {
        let folder = tempfile::tempdir().unwrap();
        let audit = audit(folder.path());
        audit.record(&row(1)).unwrap();
        audit.record_durably(&row(2)).unwrap();
        let path = folder.path().join(FILE);
        let text = std::fs::read_to_string(&path).unwrap();
        let first = text.lines().next().unwrap();
        assert_eq!(
            first,
            r#"{"time":"2026-01-01T00:00:00Z","event":"head","when":"running","epoch":"e","revision":1,"chain":"c"}"#
        );
        assert_eq!(text.lines().count(), 2);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_row_that_was_cut_short_does_not_spoil_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        std::fs::write(&path, b"{\"time\":\"2026").unwrap();
        let audit = audit(folder.path());
        audit.record(&row(7)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(last["revision"], 7);
        assert_eq!(text.lines().count(), 2);
    }

    #[test]
    fn a_renamed_log_is_begun_anew_and_an_unwritable_one_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let audit = audit(folder.path());
        audit.record(&row(1)).unwrap();
        std::fs::rename(&path, folder.path().join("audit.1")).unwrap();
        audit.record(&row(2)).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        assert!(audit.record(&row(3)).is_err());
        assert_eq!(audit.failures(), 1);
    }
}
