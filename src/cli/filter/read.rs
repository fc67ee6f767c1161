//! From the rows of a list to batches.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::mpsc;

use super::super::{
    Failure,
    files::{self, Input},
};
use crate::{
    client::Recipients,
    formats::{Opened, Rows, Shape},
};

/// Recipients of one batch: enough that a message costs little, few enough
/// that eight of them in flight are a few megabytes.
const BATCH_ROWS: usize = 16_384;
/// Bytes of addresses in one batch; the longest row still fits below the
/// server's 4 MiB a message.
const BATCH_BYTES: usize = 2 << 20;
/// Batches read ahead of the stream.
const READ_AHEAD: usize = 2;

/// How the rows of a list look, for those who write them back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The byte order mark and header, as they stand in the file.
    pub byte_order_mark: &'static [u8],
    /// The header row with its line end; empty if the list has none.
    pub header: Vec<u8>,
    /// The number of columns.
    pub columns: usize,
    /// What stands between fields; `None` if each line is one address.
    pub delimiter: Option<u8>,
}

/// A list whose header is read.
pub struct List {
    rows: Rows<Input>,
    layout: Layout,
    column: usize,
}

/// Rows that wait for their verdicts.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Where each row ends, and how many fields it has less than the header.
    rows: Vec<(usize, usize)>,
    /// The addresses as they travel, one a line.
    addresses: Bytes,
    /// Blank lines before and between the rows, which are nobody.
    pub blank_lines: u64,
}

impl Batch {
    /// The rows as they stand in the file, each with its count of missing fields.
    pub fn rows(&self) -> impl Iterator<Item = (&[u8], usize)> {
        let starts = std::iter::once(0).chain(self.rows.iter().map(|(end, _)| *end));
        starts.zip(&self.rows).map(|(start, (end, missing))| {
            (self.bytes.get(start..*end).unwrap_or_default(), *missing)
        })
    }

    /// The addresses as they travel, one a row.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        std::str::from_utf8(&self.addresses).unwrap_or_default().split_terminator('\n')
    }
}

/// A batch and what of it goes to the server.
type Prepared = Result<(Batch, Recipients), io::Error>;

impl List {
    /// A list with an address a line. Lines that hold a delimiter are refused,
    /// unless they are `opaque`.
    pub fn of_lines(opened: Opened<Input>, opaque: bool) -> Result<Self, Failure> {
        if opened.delimiter().is_some() && !opaque {
            let line = String::from_utf8_lossy(opened.first_line()).trim().to_owned();
            return Err(Failure::usage(format!(
                "this looks like CSV; name the column with --column: {line}"
            )));
        }
        let byte_order_mark = opened.byte_order_mark();
        let rows = opened.rows(Shape::Lines);
        let layout = Layout { byte_order_mark, header: Vec::new(), columns: 1, delimiter: None };
        Ok(Self { rows, layout, column: 0 })
    }

    /// A list whose addresses stand in a column, which is named or, counted
    /// from 1, numbered.
    pub fn of_rows(opened: Opened<Input>, column: &str, has_header: bool) -> Result<Self, Failure> {
        let byte_order_mark = opened.byte_order_mark();
        let delimiter = opened.delimiter().unwrap_or(b',');
        let columns = opened.first_fields().len();
        let mut rows = opened.rows(Shape::Delimited(delimiter));
        if !has_header {
            let column = position(column, columns).ok_or_else(|| {
                Failure::usage(format!("--column {column}: the first row has {columns} columns"))
            })?;
            let delimiter = Some(delimiter);
            let layout = Layout { byte_order_mark, header: Vec::new(), columns, delimiter };
            return Ok(Self { rows, layout, column });
        }
        let Some(header) = rows.next_row()? else {
            return Err(Failure::usage("the list is empty: it has no header"));
        };
        let names: Vec<&str> = header.fields.iter().collect();
        let is_named = |field: &str| field.trim().to_lowercase() == column.trim().to_lowercase();
        if names.iter().copied().filter(|name| is_named(name)).count() > 1 {
            return Err(Failure::usage(format!(
                "the header has the column {column} more than once; rename one or give a position"
            )));
        }
        let named = names.iter().copied().position(is_named);
        let Some(column) = named.or_else(|| position(column, names.len())) else {
            return Err(Failure::usage(format!(
                "no column {column}; the header has {}",
                names.join(", ")
            )));
        };
        let layout = Layout {
            byte_order_mark,
            header: header.raw.to_vec(),
            columns: names.len(),
            delimiter: Some(delimiter),
        };
        Ok(Self { rows, layout, column })
    }

    /// How the rows look.
    pub fn layout(&self) -> Layout {
        self.layout.clone()
    }

    /// Reads the rest on a thread of its own: reading and unquoting then
    /// overlap with the stream. The thread ends with the receiver.
    pub fn read_in_background(mut self) -> mpsc::Receiver<Prepared> {
        files::read_in_background(READ_AHEAD, move |sender| {
            while let Some(batch) = self.next_batch().transpose() {
                let failed = batch.is_err();
                if sender.blocking_send(batch).is_err() || failed {
                    break;
                }
            }
        })
    }

    fn next_batch(&mut self) -> io::Result<Option<(Batch, Recipients)>> {
        let blank_before = self.rows.blank_lines();
        let mut batch = Batch::default();
        let mut text = BytesMut::new();
        while batch.rows.len() < BATCH_ROWS && text.len() < BATCH_BYTES {
            let Some(row) = self.rows.next_row()? else { break };
            let whole_line = self.layout.delimiter.is_none() && row.fields.len() != 1;
            let cell = row.fields.get(self.column).filter(|_| !whole_line).unwrap_or_default();
            text.put_slice(travelling(cell).as_bytes());
            text.put_u8(b'\n');
            batch.bytes.extend_from_slice(row.raw);
            let missing = self.layout.columns.saturating_sub(row.fields.len());
            batch.rows.push((batch.bytes.len(), missing));
        }
        batch.blank_lines = self.rows.blank_lines() - blank_before;
        if batch.rows.is_empty() && batch.blank_lines == 0 {
            return Ok(None);
        }
        // At most BATCH_ROWS, so it fits.
        let count = u32::try_from(batch.rows.len()).unwrap_or(u32::MAX);
        batch.addresses = text.freeze();
        let recipients = Recipients::Lines { text: batch.addresses.clone(), count };
        Ok(Some((batch, recipients)))
    }
}

/// The index of a column that is given by its position.
fn position(column: &str, columns: usize) -> Option<usize> {
    let position: usize = column.trim().parse().ok()?;
    position.checked_sub(1).filter(|index| *index < columns)
}

/// The address as it can travel in a line. One with a line end or NUL in it
/// cannot, and is no address: its slot stays empty, which nobody is permitted by.
fn travelling(cell: &str) -> &str {
    if cell.contains(['\n', '\r', '\0']) { "" } else { cell }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::cli::files;

    fn opened(text: &[u8]) -> Opened<Input> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text).unwrap();
        Opened::read(files::open(file.path()).unwrap().0, "TR").unwrap()
    }

    fn open(text: &[u8], column: Option<&str>, opaque: bool) -> Result<List, Failure> {
        match column {
            Some(column) => List::of_rows(opened(text), column, true),
            None => List::of_lines(opened(text), opaque),
        }
    }

    /// The text that travels and the rows that stay, batch by batch.
    fn batches(mut list: List) -> Vec<(String, Vec<Vec<u8>>)> {
        let next = std::iter::from_fn(|| list.next_batch().unwrap());
        next.map(|(batch, recipients)| {
            let Recipients::Lines { text, count } = recipients else { panic!("no lines") };
            let rows: Vec<Vec<u8>> = batch.rows().map(|(row, _)| row.to_vec()).collect();
            assert_eq!(rows.len(), count as usize);
            assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), rows.len());
            (String::from_utf8(text.to_vec()).unwrap(), rows)
        })
        .collect()
    }

    #[test]
    fn only_the_cell_travels_and_the_row_stays_as_it_is() {
        let text = "\u{feff}name;Phone\r\n\"a;b\";\"0 532\"\r\nshort\r\nx;0533";
        let list = open(text.as_bytes(), Some("phone"), false).unwrap();
        assert_eq!(list.layout().header, b"name;Phone\r\n");
        assert_eq!(list.layout().byte_order_mark.len(), 3);
        let [(lines, rows)] = batches(list).try_into().unwrap();
        assert_eq!(lines, "0 532\n\n0533\n");
        let expected = [&b"\"a;b\";\"0 532\"\r\n"[..], b"short\r\n", b"x;0533"];
        assert_eq!(rows, expected);
    }

    #[test]
    fn what_cannot_travel_in_a_line_leaves_its_slot_empty() {
        let text = "phone,x\n\"05\n32\",1\n\"05\r32\",2\n05\x0032,3\n0532,4\n";
        let list = open(text.as_bytes(), Some("phone"), false).unwrap();
        assert_eq!(batches(list)[0].0, "\n\n\n0532\n");
    }

    #[test]
    fn lines_are_whole_addresses() {
        let list = open(b"0532\r\n\n\"0533\n\xfe@b.co\n", None, false).unwrap();
        assert_eq!(batches(list)[0].0, "0532\n\"0533\nş@b.co\n");
        assert!(matches!(open(b"a,b\n", None, false), Err(Failure::Usage(_))));
        let opaque = open(b"a,b\nc\x00d\n", None, true).unwrap();
        assert_eq!(batches(opaque)[0].0, "a,b\n\n");
    }

    #[test]
    fn a_long_list_is_several_batches() {
        let text = "0532\n".repeat(BATCH_ROWS * 2 + 1);
        let sizes: Vec<usize> = batches(open(text.as_bytes(), None, false).unwrap())
            .into_iter()
            .map(|(_, rows)| rows.len())
            .collect();
        assert_eq!(sizes, [BATCH_ROWS, BATCH_ROWS, 1]);
    }

    #[test]
    fn a_column_is_found_by_its_position_where_no_name_fits() {
        let list = open(b"2,b\n0532,0533\n", Some("2"), false).unwrap();
        assert_eq!(batches(list)[0].0, "0532\n", "a name comes first");
        let list = open(b"a,b\n0532,0533\n", Some("2"), false).unwrap();
        assert_eq!(batches(list)[0].0, "0533\n");
        let list = List::of_rows(opened(b"x;0532\ny;0533\n"), "2", false).unwrap();
        assert_eq!((list.layout().columns, list.layout().header.len()), (2, 0));
        assert_eq!(batches(list)[0].0, "0532\n0533\n", "the first row is a recipient");
        for column in ["0", "3", "phone"] {
            assert!(List::of_rows(opened(b"x;0532\n"), column, false).is_err(), "{column}");
        }
    }

    #[test]
    fn a_column_that_occurs_twice_is_not_guessed() {
        let refused = open(b"Phone,name,phone\n1,2,3\n", Some("phone"), false).err().unwrap();
        assert!(refused.to_string().contains("more than once"), "{refused}");
    }

    #[test]
    fn an_unknown_column_is_refused_by_name() {
        let refused = open(b"name,phone\n", Some("fone"), false).err().unwrap();
        assert!(refused.to_string().contains("name, phone"));
        assert!(open(b"", Some("phone"), false).is_err());
    }
}
