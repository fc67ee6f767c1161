//! The rows of the registry's daily file as they stand there, for those who
//! compare rather than import them.

use std::io::{self, BufRead};

use csv::StringRecord;

use super::{
    Opened, Rows, Shape,
    cells::{Cells, read_header},
    iys_daily,
};

/// One row, its fields trimmed; columns that are missing are empty.
#[derive(Clone, Debug, Default)]
pub struct DailyRow<'a> {
    /// When the registry made the record.
    pub creation_date: &'a str,
    /// The record's number.
    pub transaction_id: &'a str,
    /// A phone number or an e-mail address.
    pub recipient: &'a str,
    /// BIREYSEL or TACIR.
    pub recipient_type: &'a str,
    /// ARAMA, MESAJ or EPOSTA.
    pub iys_type: &'a str,
    /// ONAY or RET.
    pub status: &'a str,
    /// When the person consented or refused.
    pub consent_date: &'a str,
    /// Where.
    pub source: &'a str,
}

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
    pub fn new(input: R) -> io::Result<Self> {
        let opened = Opened::read(input, "TR")?;
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
        let readable = row.fault.is_none() && !shifted;
        let cells = Cells { header: &self.header, fields: row.fields };
        let fields = readable.then(|| DailyRow {
            creation_date: cells.get("creationdate"),
            transaction_id: cells.get("transactionid"),
            recipient: cells.get("recipient"),
            recipient_type: cells.get("recipienttype"),
            iys_type: cells.get("type"),
            status: cells.get("status"),
            consent_date: cells.get("consentdate"),
            source: cells.get("source"),
        });
        Ok(Some((row.line, fields)))
    }
}
