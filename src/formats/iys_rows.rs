//! The rows of the registry's daily file as they stand there, for those who
//! compare rather than import them.

use std::io::{self, BufRead};

use csv::StringRecord;

use super::{DailyRow, Opened, Rows, Shape, iys_daily, read_header};

/// Reads the rows of a daily file one by one, in constant memory.
pub struct DailyRows<R> {
    rows: Rows<R>,
    header: StringRecord,
}

impl<R: BufRead> DailyRows<R> {
    /// Begins to read; the header is consumed and checked.
    ///
    /// # Errors
    /// Reading failed, or the header lacks a column.
    pub fn new(opened: Opened<R>) -> io::Result<Self> {
        let shape = Shape::Records(opened.delimiter().unwrap_or(b','));
        let mut rows = opened.rows(shape);
        // What tells rows apart and puts them in order is needed as well here.
        let required =
            [iys_daily::REQUIRED.as_slice(), &["creationdate", "transactionid"]].concat();
        let header = read_header(&mut rows, &required)?;
        rows.fill_up_to(header.len());
        Ok(Self { rows, header })
    }

    /// The next row and its line; no row where its columns cannot be told apart.
    ///
    /// # Errors
    /// Reading failed, or a row is longer than 1 MiB.
    pub fn next_row(&mut self) -> io::Result<Option<(u64, Option<DailyRow<'_>>)>> {
        let Some(row) = self.rows.next_row()? else { return Ok(None) };
        let shifted = row.fields.iter().skip(self.header.len()).any(|field| !field.is_empty());
        let readable = !row.unclosed_quote && !shifted;
        let fields = readable.then(|| row.fields.deserialize(Some(&self.header)).ok()).flatten();
        Ok(Some((row.line, fields)))
    }
}
