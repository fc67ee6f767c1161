//! From answered batches to files.

use std::{
    collections::HashMap,
    io::{self, Write},
};

use super::{
    super::{Failure, files::Output, output},
    Args,
    read::{Batch, Layout},
};
use crate::{client::Verdicts, formats::reason_name};

/// The columns that suppressed rows get. The second is empty where nothing was
/// recorded.
const ADDED_COLUMNS: [&str; 2] = ["suppressed_reason", "suppressed_since"];

/// The permitted and the suppressed rows, each if asked for.
pub struct Outputs {
    permitted: Option<Output>,
    suppressed: Option<Output>,
    layout: Layout,
}

impl Outputs {
    /// Creates the files and writes their headers.
    pub fn create(args: &Args, layout: Layout) -> Result<Self, Failure> {
        let create = |path: &Option<_>| path.as_deref().map(Output::create).transpose();
        let mut outputs = Self {
            permitted: create(&args.permitted)?,
            suppressed: create(&args.suppressed)?,
            layout,
        };
        outputs.write_headers()?;
        Ok(outputs)
    }

    fn write_headers(&mut self) -> io::Result<()> {
        let Layout { byte_order_mark, header, .. } = &self.layout;
        if let Some(permitted) = &mut self.permitted {
            permitted.write_all(byte_order_mark)?;
            permitted.write_all(header)?;
        }
        if let Some(suppressed) = &mut self.suppressed {
            suppressed.write_all(byte_order_mark)?;
            if let Some(delimiter) = self.layout.delimiter.filter(|_| !header.is_empty()) {
                append(suppressed, header, delimiter, 0, ADDED_COLUMNS)?;
            }
        }
        Ok(())
    }

    /// Writes the rows of a batch: permitted ones byte for byte, suppressed ones
    /// with the time since when their reason holds.
    pub fn write(
        &mut self,
        batch: &Batch,
        verdicts: &Verdicts,
        since: &HashMap<usize, i64>,
    ) -> io::Result<()> {
        let scope = verdicts.scope(0);
        for (index, (row, missing)) in batch.rows().enumerate() {
            if scope.is_permitted(index) {
                if let Some(permitted) = &mut self.permitted {
                    permitted.write_all(row)?;
                }
            } else if let Some(suppressed) = &mut self.suppressed {
                let since = since.get(&index).map(|since| output::time(*since));
                let added =
                    [reason_name(scope.reason(index)), since.as_deref().unwrap_or_default()];
                match self.layout.delimiter {
                    Some(delimiter) => append(suppressed, row, delimiter, missing, added)?,
                    None => append(suppressed, &quoted(row), b',', 0, added)?,
                }
            }
        }
        Ok(())
    }

    /// Gives the files their names.
    pub fn finish(self) -> io::Result<()> {
        [self.permitted, self.suppressed].into_iter().flatten().try_for_each(Output::finish)
    }
}

/// Writes a row with columns added before its line end. A row that is short of
/// fields is filled up first, so that they stand below their header.
fn append(
    output: &mut Output,
    row: &[u8],
    delimiter: u8,
    missing: usize,
    added: [&str; 2],
) -> io::Result<()> {
    let (fields, line_end) = split_line_end(row);
    output.write_all(fields)?;
    for _ in 0..missing {
        output.write_all(&[delimiter])?;
    }
    for column in added {
        output.write_all(&[delimiter])?;
        output.write_all(column.as_bytes())?;
    }
    output.write_all(line_end)
}

fn split_line_end(row: &[u8]) -> (&[u8], &[u8]) {
    let length = row.len() - row.iter().rev().take_while(|byte| b"\r\n".contains(byte)).count();
    row.split_at(length)
}

/// A line of a list without columns, as the first field of a CSV row.
fn quoted(row: &[u8]) -> Vec<u8> {
    let (line, line_end) = split_line_end(row);
    if !line.iter().any(|byte| b",\"".contains(byte)) {
        return row.to_vec();
    }
    let mut field = vec![b'"'];
    for byte in line {
        field.push(*byte);
        if *byte == b'"' {
            field.push(b'"');
        }
    }
    field.push(b'"');
    field.extend_from_slice(line_end);
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_added_before_the_line_end_and_below_their_header() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("suppressed.csv");
        let mut output = Output::create(&path).unwrap();
        append(&mut output, b"a;b\r\n", b';', 0, ADDED_COLUMNS).unwrap();
        append(&mut output, b"\"x\ny\"\r\n", b';', 1, ["NO_CONSENT", ""]).unwrap();
        append(&mut output, b"1;2", b';', 0, ["EXPIRED", ""]).unwrap();
        output.finish().unwrap();
        let expected = "a;b;suppressed_reason;suppressed_since\r\n\
                        \"x\ny\";;NO_CONSENT;\r\n\
                        1;2;EXPIRED;";
        assert_eq!(std::fs::read_to_string(path).unwrap(), expected);
    }

    #[test]
    fn a_line_that_would_not_be_one_field_is_quoted() {
        assert_eq!(quoted(b"0532\r\n"), b"0532\r\n");
        assert_eq!(quoted(b"a,\"b\n"), b"\"a,\"\"b\"\n");
    }
}
