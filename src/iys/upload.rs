//! Rows to be uploaded to the registry, as they stand in a file: nothing is
//! trimmed or corrected, because the registry does not either.

use std::io::{self, BufRead};

use serde_json::{Map, Value};

use super::{objects::Objects, words::Status};
use crate::formats::{Opened, Rows, Shape, column_name};

/// The form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The registry's upload table: `MESAJ,5459419845,1,HS_WEB,2025-06-20 14:00:00`.
    Table,
    /// The registry's JSON: rows one a line, in an array, or in several.
    Json,
}

/// One row; fields that are missing are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UploadRow {
    /// ARAMA, MESAJ or EPOSTA.
    pub iys_type: String,
    /// The number or e-mail address.
    pub recipient: String,
    /// BIREYSEL or TACIR; the table has no such column.
    pub recipient_type: String,
    /// ONAY or RET (in the table, 1 or 0); none if it is something else.
    pub status: Option<Status>,
    /// Where the person said so.
    pub source: String,
    /// When.
    pub consent_date: String,
}

/// A row's place in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line that it begins on, from 1.
    pub line: u64,
    /// Which batch it is in: the number of its array, or 0 for the rows that
    /// are in none, which are taken for one batch.
    pub batch: u64,
}

/// Reads the rows of a file one by one, in constant memory.
pub struct UploadReader {
    rows: Source,
}

type Input = Box<dyn BufRead>;

enum Source {
    Table { rows: Box<Rows<Input>>, columns: [usize; 5], width: usize },
    Json(Objects<Input>),
}

/// The table's columns, in the order of `table_row`.
const COLUMNS: [&str; 5] = ["IZIN TURU", "ALICI", "ONAY(1)-RET(0)", "IZIN KAYNAGI", "IZIN TARIHI"];

impl UploadReader {
    /// Begins to read, and tells the form by the first line.
    ///
    /// # Errors
    /// Reading failed, or the file has neither form.
    pub fn new(input: impl BufRead + 'static) -> io::Result<Self> {
        let opened = Opened::<Input>::read(Box::new(input), "TR")?;
        if matches!(opened.first_line().trim_ascii_start().first(), Some(b'{' | b'[')) {
            return Ok(Self { rows: Source::Json(Objects::new(Box::new(opened.into_input()))) });
        }
        let shape = Shape::Records(opened.delimiter().unwrap_or(b','));
        let mut rows = opened.rows(shape);
        let header: Vec<String> = match rows.next_row()? {
            Some(row) => row.fields.iter().map(column_name).collect(),
            None => Vec::new(),
        };
        let place = |name: &str| header.iter().position(|had| *had == column_name(name));
        let missing: Vec<&str> = COLUMNS.into_iter().filter(|name| place(name).is_none()).collect();
        if !missing.is_empty() {
            return Err(neither_form(&missing));
        }
        let columns = COLUMNS.map(|name| place(name).unwrap_or_default());
        rows.fill_up_to(header.len());
        Ok(Self { rows: Source::Table { rows: Box::new(rows), columns, width: header.len() } })
    }

    /// The form of the file.
    #[must_use]
    pub fn form(&self) -> Form {
        match self.rows {
            Source::Table { .. } => Form::Table,
            Source::Json(_) => Form::Json,
        }
    }

    /// The next row and its place; no row where it cannot be read.
    ///
    /// # Errors
    /// Reading failed, or a row is longer than 1 MiB.
    pub fn next_row(&mut self) -> io::Result<Option<(Place, Option<UploadRow>)>> {
        match &mut self.rows {
            Source::Table { rows, columns, width } => {
                let Some(row) = rows.next_row()? else { return Ok(None) };
                let shifted = row.fields.iter().skip(*width).any(|field| !field.is_empty());
                let readable = row.fault.is_none() && !shifted;
                let field = |column: usize| row.fields.get(column).unwrap_or_default();
                let fields = readable.then(|| table_row(columns.map(field)));
                Ok(Some((Place { line: row.line, batch: 0 }, fields)))
            }
            Source::Json(objects) => {
                let Some(object) = objects.next_object()? else { return Ok(None) };
                let place = Place { line: object.line, batch: object.array };
                Ok(Some((place, json_row(object.bytes))))
            }
        }
    }
}

fn table_row([iys_type, recipient, status, source, consent_date]: [&str; 5]) -> UploadRow {
    UploadRow {
        iys_type: iys_type.to_owned(),
        recipient: recipient.to_owned(),
        recipient_type: String::new(),
        status: match status {
            "1" => Some(Status::Approved),
            "0" => Some(Status::Refused),
            _ => None,
        },
        source: source.to_owned(),
        consent_date: consent_date.to_owned(),
    }
}

fn json_row(bytes: &[u8]) -> Option<UploadRow> {
    let object: Map<String, Value> = serde_json::from_slice(bytes).ok()?;
    let text = |name: &str| match object.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        // A number for a text is refused like any other wrong text.
        Some(other) => other.to_string(),
    };
    Some(UploadRow {
        iys_type: text("type"),
        recipient: text("recipient"),
        recipient_type: text("recipientType"),
        status: Status::parse(&text("status")),
        source: text("source"),
        consent_date: text("consentDate"),
    })
}

fn neither_form(missing: &[&str]) -> io::Error {
    let message = format!(
        "the file is neither the registry's JSON nor its upload table, which begins with the \
         line {} (missing: {})",
        COLUMNS.join(","),
        missing.join(", ")
    );
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    type Read = Vec<(u64, u64, Option<UploadRow>)>;

    fn read(text: &str) -> Read {
        let mut reader = UploadReader::new(Cursor::new(text.to_owned())).unwrap();
        let rows = std::iter::from_fn(|| reader.next_row().unwrap());
        rows.map(|(place, row)| (place.line, place.batch, row)).collect()
    }

    fn message(recipient: &str) -> UploadRow {
        UploadRow {
            iys_type: "MESAJ".to_owned(),
            recipient: recipient.to_owned(),
            recipient_type: String::new(),
            status: Some(Status::Approved),
            source: "HS_WEB".to_owned(),
            consent_date: "2025-06-20 14:00:00".to_owned(),
        }
    }

    #[test]
    fn the_table_is_read_by_its_names() {
        let row = message("5459419845");
        let plain = "IZIN TURU,ALICI,ONAY(1)-RET(0),IZIN KAYNAGI,IZIN TARIHI\n\
                     MESAJ,5459419845,1,HS_WEB,2025-06-20 14:00:00\n";
        assert_eq!(read(plain), [(2, 0, Some(row.clone()))]);
        let turkish = "\u{feff}Alıcı;İzin Türü;Onay(1)-Ret(0);İzin Kaynağı;İzin Tarihi\r\n\r\n\
                       5459419845;MESAJ;1;HS_WEB;2025-06-20 14:00:00\r\n";
        assert_eq!(read(turkish), [(3, 0, Some(row))]);
    }

    #[test]
    fn nothing_in_a_row_is_corrected() {
        let text = "IZIN TURU,ALICI,ONAY(1)-RET(0),IZIN KAYNAGI,IZIN TARIHI\n\
                    mesaj, 5459419845,ONAY,HS_WEB ,\n\
                    MESAJ,1,1,HS_WEB,a,b\n";
        let rows = read(text);
        let UploadRow { iys_type, recipient, status, source, consent_date, .. } =
            rows[0].2.clone().unwrap();
        assert_eq!([iys_type, recipient, source], ["mesaj", " 5459419845", "HS_WEB "]);
        assert_eq!((status, consent_date.as_str()), (None, ""));
        assert_eq!(rows[1], (3, 0, None), "a delimiter too many");
    }

    #[test]
    fn the_registry_s_json_is_read_in_lines_and_arrays() {
        let json = r#"{"consentDate":"2025-06-20 14:00:00","source":"HS_WEB",
            "recipient":"+905459419845","status":"ONAY","type":"MESAJ","retailerCode":7}"#;
        let row = Some(message("+905459419845"));
        assert_eq!(read(json), [(1, 0, row.clone())]);
        let read_array = read(&format!("[{json}]\n[{json},3]"));
        assert_eq!(read_array, [(1, 1, row.clone()), (3, 2, row), (4, 2, None)]);
        let numbers =
            read(r#"{"recipient":5459419845,"status":1,"type":null}"#).remove(0).2.unwrap();
        assert_eq!((numbers.recipient.as_str(), numbers.status), ("5459419845", None));
    }

    #[test]
    fn a_file_of_another_form_is_refused_by_what_it_lacks() {
        for text in ["", "a,b\n1,2\n", "IZIN TURU,ALICI\n"] {
            let error = UploadReader::new(Cursor::new(text)).err().unwrap().to_string();
            assert!(error.contains("IZIN TARIHI"), "{error}");
        }
    }
}
