//! From the rows of a file to the changes that they stand for.

use std::io::{self, BufRead};

use csv::StringRecord;

use super::{
    Changes, Defaults, Meaning, Opened, Problem, Rows, Shape,
    cells::{Cells, column_name, read_header},
    elements::{Elements, JsonShape},
    feed, ftc_dnc, hubspot, iys_daily, iys_json, iys_upload, mailchimp, mailgun, plain,
    rows::Text,
    sendgate, sendgrid, ses, twilio,
};

/// How rows of a meaning stand in their file.
enum Form {
    /// CSV whose header has these columns.
    Header(&'static [&'static str]),
    /// CSV with these columns, which it may name in a header.
    Columns(&'static [&'static str]),
    /// JSON objects.
    Json,
    /// One address a line.
    Lines,
}

impl Meaning {
    fn form(&self) -> Form {
        match self {
            Self::IysDaily(_) => Form::Header(&iys_daily::REQUIRED),
            Self::IysUpload(_) => Form::Header(&iys_upload::REQUIRED),
            Self::SendgateCsv => Form::Header(&sendgate::REQUIRED),
            Self::Sendgrid => Form::Header(&sendgrid::REQUIRED),
            Self::Mailgun(_) => Form::Header(&mailgun::REQUIRED),
            Self::Mailchimp => Form::Header(&mailchimp::REQUIRED),
            Self::HubspotOptout => Form::Header(&hubspot::REQUIRED),
            Self::SesCsv => Form::Columns(&ses::COLUMNS),
            Self::FtcDnc => Form::Columns(&ftc_dnc::COLUMNS),
            Self::IysJson(_)
            | Self::SendgateJson
            | Self::SesJson
            | Self::TwilioConsent
            | Self::Feed(_) => Form::Json,
            Self::Plain(_) => Form::Lines,
        }
    }

    fn changes(&self, cells: Cells<'_>, defaults: &Defaults) -> Changes {
        let text = cells.fields.get(0).unwrap_or_default();
        match self {
            Self::IysDaily(mapping) => iys_daily::changes(cells, mapping, defaults),
            Self::IysJson(mapping) => iys_json::changes(text, mapping, defaults),
            Self::IysUpload(mapping) => iys_upload::changes(cells, mapping, defaults),
            Self::SendgateCsv => sendgate::csv_changes(cells.fields, cells.header, defaults),
            Self::SendgateJson => sendgate::json_changes(text, defaults),
            Self::SesCsv => ses::csv_changes(cells, defaults),
            Self::SesJson => ses::json_changes(text, defaults),
            Self::Sendgrid => sendgrid::changes(cells, defaults),
            Self::Mailgun(purposes) => mailgun::changes(cells, purposes, defaults),
            Self::Mailchimp => mailchimp::changes(cells, defaults),
            Self::HubspotOptout => hubspot::changes(cells, defaults),
            Self::TwilioConsent => twilio::changes(text, defaults),
            Self::FtcDnc => ftc_dnc::changes(cells, defaults),
            Self::Feed(policies) => feed::changes(text, policies),
            Self::Plain(status) => plain::changes(text, *status, defaults),
        }
    }
}

/// One row of an import.
#[derive(Debug)]
pub struct ItemRow {
    /// The line that it begins on, from 1.
    pub line: u64,
    /// The row itself, as text without its line end.
    pub text: String,
    /// The changes that it stands for, or why there are none.
    pub changes: Changes,
}

/// Reads the changes of an import row by row, in constant memory.
pub struct ItemReader<R> {
    source: Source<R>,
    header: StringRecord,
    meaning: Meaning,
    defaults: Defaults,
}

enum Source<R> {
    Rows(Box<Rows<R>>),
    Objects(Elements<Text<R>>),
}

impl<R: BufRead> ItemReader<R> {
    /// Begins to read; a header is consumed and checked.
    ///
    /// # Errors
    /// Reading failed, or the header lacks a column or names an unknown one.
    pub fn new(opened: Opened<R>, meaning: Meaning, defaults: Defaults) -> io::Result<Self> {
        let records = Shape::Records(opened.delimiter().unwrap_or(b','));
        let json = JsonShape::of(opened.head()).unwrap_or(JsonShape::Lines);
        let (source, header) = match meaning.form() {
            Form::Json if json != JsonShape::Lines => {
                (Source::Objects(Elements::new(opened.into_text(), json)?), StringRecord::new())
            }
            Form::Json | Form::Lines => {
                (Source::Rows(Box::new(opened.rows(Shape::Lines))), StringRecord::new())
            }
            Form::Header(required) => {
                let mut rows = opened.rows(records);
                let header = read_header(&mut rows, required)?;
                if matches!(meaning, Meaning::SendgateCsv) {
                    sendgate::refuse_unknown_columns(&header)?;
                }
                rows.fill_up_to(header.len());
                (Source::Rows(Box::new(rows)), header)
            }
            Form::Columns(columns) => {
                let first = opened.first_fields();
                let named = first.iter().map(|name| column_name(name)).eq(columns.iter().copied());
                let mut rows = opened.rows(records);
                let header = if named {
                    read_header(&mut rows, columns)?
                } else {
                    columns.iter().copied().collect()
                };
                rows.fill_up_to(header.len());
                (Source::Rows(Box::new(rows)), header)
            }
        };
        Ok(Self { source, header, meaning, defaults })
    }

    /// The next row.
    ///
    /// # Errors
    /// Reading failed, a row is longer than 1 MiB, or a JSON array is broken.
    pub fn next_row(&mut self) -> io::Result<Option<ItemRow>> {
        let row = match &mut self.source {
            Source::Rows(rows) => rows.next_row()?,
            Source::Objects(objects) => objects.next_row()?,
        };
        let Some(row) = row else { return Ok(None) };
        let surplus = row.fields.iter().skip(self.header.len().max(1));
        let changes = if let Some(fault) = row.fault {
            Err(Problem::new("row", fault))
        } else if surplus.into_iter().any(|field| !field.is_empty()) {
            // A delimiter too many shifts all that follows into other columns.
            Err(Problem::new("row", "more fields than the header has"))
        } else {
            let cells = Cells { header: &self.header, fields: row.fields };
            self.meaning.changes(cells, &self.defaults)
        };
        Ok(Some(ItemRow { line: row.line, text: row.text(), changes }))
    }
}
