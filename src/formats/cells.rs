//! The cells of a row by the names of their columns.

use std::io::{self, BufRead};

use csv::StringRecord;

use super::rows::Rows;

/// A row with its header.
#[derive(Clone, Copy)]
pub(super) struct Cells<'a> {
    pub header: &'a StringRecord,
    pub fields: &'a StringRecord,
}

impl<'a> Cells<'a> {
    /// The cell of the column, trimmed; empty if there is no such column.
    pub fn get(&self, name: &str) -> &'a str {
        self.find(|column| column == name)
    }

    /// As [`get`](Self::get), of the first column that fits.
    pub fn find(&self, fits: impl Fn(&str) -> bool) -> &'a str {
        let column = self.header.iter().position(fits);
        column.and_then(|column| self.fields.get(column)).unwrap_or_default().trim()
    }

    /// Whether there is such a column.
    pub fn has(&self, name: &str) -> bool {
        self.header.iter().any(|column| column == name)
    }
}

/// The name of a column as it is compared: in lower case, without the signs of
/// Turkish letters, which come and go with the program that wrote the file.
#[must_use]
pub fn column_name(text: &str) -> String {
    let plain = |letter: char| match letter {
        'I' | 'İ' | 'ı' => 'i',
        'Ş' | 'ş' => 's',
        'Ğ' | 'ğ' => 'g',
        'Ç' | 'ç' => 'c',
        'Ö' | 'ö' => 'o',
        'Ü' | 'ü' => 'u',
        other => other.to_ascii_lowercase(),
    };
    // "i̇" is what a lower-case "İ" becomes elsewhere: an i and a dot above.
    text.trim().chars().filter(|letter| *letter != '\u{307}').map(plain).collect()
}

/// Reads a header, which must have these columns, each once.
pub(super) fn read_header<R: BufRead>(
    rows: &mut Rows<R>,
    required: &[&str],
) -> io::Result<StringRecord> {
    let header: StringRecord = match rows.next_row()? {
        Some(row) => row.fields.iter().map(column_name).collect(),
        None => StringRecord::new(),
    };
    let count = |name: &str| header.iter().filter(|had| *had == name).count();
    let missing: Vec<&str> = required.iter().copied().filter(|name| count(name) == 0).collect();
    let twice = required.iter().find(|name| count(name) > 1);
    let message = match twice {
        _ if !missing.is_empty() => {
            format!("the header lacks the columns {}", missing.join(", "))
        }
        Some(name) => format!("the header has the column {name} twice"),
        None => return Ok(header),
    };
    Err(io::Error::new(io::ErrorKind::InvalidData, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turkish_spellings_of_a_column_are_one() {
        for spelling in
            ["IZIN TURU", "İZİN TÜRÜ", "izin türü", "İzin Türü", " izin turu ", "i̇zi̇n türü"]
        {
            assert_eq!(column_name(spelling), "izin turu", "{spelling}");
        }
        assert_eq!(column_name("Email Address"), "email address");
    }
}
