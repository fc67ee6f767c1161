//! Files that users bring: consent and suppression imports, one file per
//! format, and the rows of recipient lists.
//!
//! An import never re-permits somebody silently: a grant without a time, a
//! purpose or a recipient type, its own or given on the command line, is
//! rejected. A withdrawal is never refused for its time or type, and what the
//! command line says never narrows the withdrawal of a row.

mod event;
mod iys_daily;
mod iys_rows;
mod mapping;
mod plain;
mod rows;
mod sendgate;
mod time;

use std::io::{self, BufRead};

pub use self::{
    event::{Defaults, Status, parse_sha256, reason_name},
    iys_daily::{DailyRow, REGISTRY, REGISTRY_PREFIX},
    iys_rows::DailyRows,
    mapping::{IysMapping, MappingError},
    rows::{Opened, Row, Rows, Shape},
    time::parse_time,
};
use crate::proto::v1::{ImportItem, RejectCode};

/// A format of an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The daily file of İYS, the Turkish registry.
    IysDaily,
    /// The fields of a consent event as CSV.
    SendgateCsv,
    /// The fields of a consent event, one JSON object a line.
    SendgateJson,
    /// One address a line; what it means is said on the command line.
    Plain,
}

impl Format {
    /// Recognises a format from the first line of a file. A list of bare
    /// addresses says nothing of itself, so `Plain` is never recognised.
    #[must_use]
    pub fn recognise<R: BufRead>(opened: &Opened<R>) -> Option<Self> {
        let line = opened.first_line().trim_ascii();
        if line.starts_with(b"{") {
            return Some(Self::SendgateJson);
        }
        let text = String::from_utf8_lossy(line).to_ascii_lowercase();
        let delimiter = char::from(opened.delimiter()?);
        let names: Vec<&str> =
            text.split(delimiter).map(|name| name.trim().trim_matches('"')).collect();
        let has_all = |needed: &[&str]| needed.iter().all(|name| names.contains(name));
        if has_all(&iys_daily::REQUIRED) {
            Some(Self::IysDaily)
        } else if has_all(&sendgate::REQUIRED) {
            Some(Self::SendgateCsv)
        } else {
            None
        }
    }

    /// The format's name for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::IysDaily => "iys-daily",
            Self::SendgateCsv => "sendgate (CSV)",
            Self::SendgateJson => "sendgate (NDJSON)",
            Self::Plain => "plain",
        }
    }
}

/// What is needed to turn the rows of a format into changes.
#[derive(Debug)]
pub enum Meaning {
    /// Rows of the İYS daily file, with the channels that the policy maps.
    IysDaily(IysMapping),
    /// Rows of the CSV form of `sendgate`.
    SendgateCsv,
    /// Rows of the NDJSON form of `sendgate`.
    SendgateJson,
    /// Bare addresses that all mean the same.
    Plain(Status),
}

/// Why a row cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The field concerned, by its name in the file.
    pub field: String,
    /// What kind of rejection, in the words of the server's own.
    pub code: RejectCode,
    /// What is wrong, for a person.
    pub reason: String,
}

impl Problem {
    fn new(field: &str, reason: impl Into<String>) -> Self {
        Self { field: field.to_owned(), code: RejectCode::InvalidArgument, reason: reason.into() }
    }
}

/// One row of an import: the changes that it stands for, or why there are none.
pub type Changes = Result<Vec<ImportItem>, Problem>;

/// Reads the changes of an import row by row, in constant memory.
pub struct ItemReader<R> {
    rows: Rows<R>,
    header: csv::StringRecord,
    meaning: Meaning,
    defaults: Defaults,
}

impl<R: BufRead> ItemReader<R> {
    /// Begins to read; a header is consumed and checked.
    ///
    /// # Errors
    /// Reading failed, or the header lacks a column or names an unknown one.
    pub fn new(opened: Opened<R>, meaning: Meaning, defaults: Defaults) -> io::Result<Self> {
        let shape = match meaning {
            Meaning::IysDaily(_) | Meaning::SendgateCsv => {
                Shape::Records(opened.delimiter().unwrap_or(b','))
            }
            Meaning::SendgateJson | Meaning::Plain(_) => Shape::Lines,
        };
        let mut rows = opened.rows(shape);
        let header = match (&meaning, shape) {
            (_, Shape::Lines) => csv::StringRecord::new(),
            (Meaning::IysDaily(_), _) => read_header(&mut rows, &iys_daily::REQUIRED)?,
            _ => {
                let header = read_header(&mut rows, &sendgate::REQUIRED)?;
                sendgate::refuse_unknown_columns(&header)?;
                header
            }
        };
        rows.fill_up_to(header.len());
        Ok(Self { rows, header, meaning, defaults })
    }

    /// The next row's line number and changes.
    ///
    /// # Errors
    /// Reading failed, or a row is longer than 1 MiB.
    pub fn next_changes(&mut self) -> io::Result<Option<(u64, Changes)>> {
        let Some(row) = self.rows.next_row()? else { return Ok(None) };
        let text = row.fields.get(0).unwrap_or_default();
        let surplus = row.fields.iter().skip(self.header.len().max(1));
        let changes = match &self.meaning {
            _ if row.unclosed_quote => Err(Problem::new(
                "row",
                "a quote is opened and not closed; a cell of an import stays on one line",
            )),
            // A delimiter too many shifts all that follows into other columns.
            _ if surplus.into_iter().any(|field| !field.is_empty()) => {
                Err(Problem::new("row", "more fields than the header has"))
            }
            Meaning::IysDaily(mapping) => {
                iys_daily::changes(row.fields, &self.header, mapping, &self.defaults)
            }
            Meaning::SendgateCsv => sendgate::csv_changes(row.fields, &self.header, &self.defaults),
            Meaning::SendgateJson => sendgate::json_changes(text, &self.defaults),
            Meaning::Plain(status) => plain::changes(text, *status, &self.defaults),
        };
        Ok(Some((row.line, changes)))
    }
}

/// The names of the columns: trimmed, in lower case.
fn read_header<R: BufRead>(rows: &mut Rows<R>, required: &[&str]) -> io::Result<csv::StringRecord> {
    let header: csv::StringRecord = match rows.next_row()? {
        Some(row) => row.fields.iter().map(|name| name.trim().to_ascii_lowercase()).collect(),
        None => csv::StringRecord::new(),
    };
    let missing: Vec<&str> =
        required.iter().copied().filter(|name| header.iter().all(|had| had != *name)).collect();
    if missing.is_empty() {
        Ok(header)
    } else {
        let message = format!("the header lacks the columns {}", missing.join(", "));
        Err(io::Error::new(io::ErrorKind::InvalidData, message))
    }
}

#[cfg(test)]
mod tests;
