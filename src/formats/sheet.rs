//! Excel sheets (`.xlsx`), as CSV: a line a row, so that line numbers are those
//! of the sheet, and what was empty stays a blank line.

use std::{
    error::Error,
    fmt,
    io::{self, Cursor, Read, Write},
    panic,
};

use calamine::{DataRef, ExcelDateTime, Reader, SheetType, SheetVisible, Xlsx, XlsxError};

use super::encoding::BYTE_ORDER_MARK;

/// Bytes of a file, which is held in memory: a million rows have some 30 MB.
const MAX_FILE_BYTES: u64 = 64 << 20;
/// Bytes that a file may unpack to, of which a part is held in memory. The
/// format packs a thousandfold at most, which a hostile file makes use of.
const MAX_UNPACKED_BYTES: u64 = 512 << 20;
/// Excel's own limits.
const MAX_ROWS: u32 = 1 << 20;
const MAX_COLUMNS: u32 = 1 << 14;
/// Cells, the empty ones before others included.
const MAX_CELLS: u64 = 20_000_000;
/// Largest number that is taken for an identifier: Excel keeps 15 digits, and
/// the others of a longer one are made up.
const LARGEST_EXACT: f64 = 1e15;
/// Cells are short, and a writer is made for each row.
const ROW_BYTES: usize = 1 << 10;

/// How a file of this kind begins: it is a zip archive.
const MAGIC: &[u8] = b"PK\x03\x04";
/// How an entry of the archive's directory begins.
const DIRECTORY_ENTRY: &[u8] = b"PK\x01\x02";

/// Why a sheet cannot be read.
#[derive(Debug)]
pub enum SheetError {
    /// Reading the file or writing the rows failed.
    Io(io::Error),
    /// Not a workbook, or a broken one.
    Broken(String),
    /// More than is taken, of what is said here.
    TooLarge(String),
    /// There is no such sheet.
    NoSheet {
        /// The one asked for, if one was.
        name: Option<String>,
        /// Those that there are.
        sheets: String,
    },
}

impl fmt::Display for SheetError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(formatter),
            Self::Broken(what) => write!(formatter, "the sheet cannot be read: {what}"),
            Self::TooLarge(what) => write!(formatter, "{what}; save the sheet as CSV"),
            Self::NoSheet { name: Some(name), sheets } => {
                write!(formatter, "there is no sheet {name}; the file has {sheets}")
            }
            Self::NoSheet { name: None, .. } => formatter.write_str("the file has no sheet"),
        }
    }
}

impl Error for SheetError {}

impl From<io::Error> for SheetError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<XlsxError> for SheetError {
    fn from(error: XlsxError) -> Self {
        Self::Broken(error.to_string())
    }
}

/// Whether a file that begins so is a workbook.
#[must_use]
pub fn is_workbook(head: &[u8]) -> bool {
    head.starts_with(MAGIC)
}

/// Writes a sheet of a workbook as CSV with a BOM, which Excel asks for when
/// the rows come back to it; returns the sheet's name.
///
/// # Errors
/// [`SheetError`]; what was written then is not the whole sheet.
pub fn sheet_to_csv(
    file: impl Read,
    name: Option<&str>,
    output: &mut (impl Write + Send),
) -> Result<String, SheetError> {
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(SheetError::TooLarge(format!("the file has over {MAX_FILE_BYTES} bytes")));
    }
    if unpacked_bytes(&bytes) > MAX_UNPACKED_BYTES {
        let what = format!("the file unpacks to over {MAX_UNPACKED_BYTES} bytes");
        return Err(SheetError::TooLarge(what));
    }
    // The library checks less than it should: a file made to break it must not
    // end us.
    let converted = panic::catch_unwind(panic::AssertUnwindSafe(|| convert(bytes, name, output)));
    converted.unwrap_or_else(|_| Err(SheetError::Broken("it is damaged".to_owned())))
}

/// What the entries of the archive say they unpack to; the library below does
/// not unpack an entry beyond that. Everything that looks like an entry is
/// counted, for there may be more directories than one.
fn unpacked_bytes(archive: &[u8]) -> u64 {
    let size = |at: usize| {
        let entry = archive.get(at..at + 28)?;
        let method = u16::from_le_bytes(entry.get(10..12)?.try_into().ok()?);
        let size = u32::from_le_bytes(entry.get(24..28)?.try_into().ok()?);
        // Stored or deflated: no other is unpacked. Elsewhere the four bytes
        // stand by chance.
        matches!(method, 0 | 8).then_some(u64::from(size))
    };
    memchr::memmem::find_iter(archive, DIRECTORY_ENTRY).filter_map(size).sum()
}

fn convert(
    bytes: Vec<u8>,
    name: Option<&str>,
    output: &mut impl Write,
) -> Result<String, SheetError> {
    let mut workbook: Xlsx<_> = Xlsx::new(Cursor::new(bytes))?;
    let name = sheet_name(&workbook, name)?;
    let mut cells = workbook.worksheet_cells_reader(&name)?;
    let mut rows = RowWriter { output, fields: Vec::new(), row: 0, cells: 0 };
    rows.output.write_all(BYTE_ORDER_MARK)?;
    while let Some(cell) = cells.next_cell()? {
        let (row, column) = cell.get_position();
        rows.put(row, column, &text(cell.get_value()))?;
    }
    rows.end_row()?;
    Ok(name)
}

/// The sheet asked for, or the first that is one and shown.
fn sheet_name<R: Read + io::Seek>(
    workbook: &Xlsx<R>,
    name: Option<&str>,
) -> Result<String, SheetError> {
    let sheets =
        || workbook.sheets_metadata().iter().filter(|sheet| sheet.typ == SheetType::WorkSheet);
    let found = match name {
        Some(name) => sheets().find(|sheet| sheet.name == name),
        None => sheets().find(|sheet| sheet.visible == SheetVisible::Visible),
    };
    found.map(|sheet| sheet.name.clone()).ok_or_else(|| SheetError::NoSheet {
        name: name.map(str::to_owned),
        sheets: sheets().map(|sheet| sheet.name.as_str()).collect::<Vec<_>>().join(", "),
    })
}

/// Puts cells, which come row by row, in their places.
struct RowWriter<'a, W: Write> {
    output: &'a mut W,
    fields: Vec<String>,
    row: u32,
    cells: u64,
}

impl<W: Write> RowWriter<'_, W> {
    fn put(&mut self, row: u32, column: u32, text: &str) -> Result<(), SheetError> {
        if row >= MAX_ROWS || column >= MAX_COLUMNS {
            return Err(SheetError::Broken("a cell lies beyond the limits of Excel".to_owned()));
        }
        while self.row < row {
            self.end_row()?;
        }
        let column = column as usize;
        if row < self.row || column < self.fields.len() {
            return Err(SheetError::Broken("its cells are not in order".to_owned()));
        }
        if !text.is_empty() {
            self.cells += (column + 1 - self.fields.len()) as u64;
            if self.cells > MAX_CELLS {
                return Err(SheetError::TooLarge(format!("the sheet has over {MAX_CELLS} cells")));
            }
            self.fields.resize(column, String::new());
            self.fields.push(text.to_owned());
        }
        Ok(())
    }

    fn end_row(&mut self) -> Result<(), SheetError> {
        if self.fields.is_empty() {
            self.output.write_all(b"\n")?;
        } else {
            let mut builder = csv::WriterBuilder::new();
            let mut writer = builder.buffer_capacity(ROW_BYTES).from_writer(&mut *self.output);
            writer.write_record(&self.fields).map_err(io::Error::from)?;
            writer.flush()?;
        }
        self.fields.clear();
        self.row += 1;
        Ok(())
    }
}

fn text(cell: &DataRef<'_>) -> String {
    match cell {
        DataRef::Int(number) => number.to_string(),
        DataRef::Float(number) => number_text(*number),
        DataRef::String(text) => one_line(text),
        DataRef::SharedString(text) => one_line(text),
        DataRef::Bool(value) => value.to_string(),
        DataRef::DateTime(time) => time_text(time),
        DataRef::DateTimeIso(text) | DataRef::DurationIso(text) => one_line(text),
        DataRef::Error(error) => error.to_string(),
        DataRef::Empty => String::new(),
    }
}

/// A number with its digits and without `.0`: it may be a phone. One that lost
/// digits is written so that it is no address of anybody.
fn number_text(number: f64) -> String {
    if number.abs() >= LARGEST_EXACT { format!("{number:e}") } else { number.to_string() }
}

/// The time as text columns have it. A clock time is on no day, so its number
/// is all there is.
fn time_text(time: &ExcelDateTime) -> String {
    if time.is_duration() || time.as_f64() < 1.0 {
        return time.as_f64().to_string();
    }
    match time.to_ymd_hms_milli() {
        (year, month, day, 0, 0, 0, 0) => format!("{year:04}-{month:02}-{day:02}"),
        (year, month, day, hour, minute, second, _) => {
            format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
        }
    }
}

/// A line break within a cell becomes a space, as a row is a line.
fn one_line(text: &str) -> String {
    text.replace("\r\n", " ").replace(['\r', '\n'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> Vec<u8> {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sheets");
        std::fs::read(folder.join("list.xlsx")).unwrap()
    }

    fn csv_of(file: &[u8], name: Option<&str>) -> Result<(String, String), SheetError> {
        let mut output = Vec::new();
        let name = sheet_to_csv(file, name, &mut output)?;
        Ok((name, String::from_utf8(output).unwrap()))
    }

    #[test]
    fn rows_keep_their_lines_and_numbers_their_digits() {
        let (name, csv) = csv_of(&list(), None).unwrap();
        assert_eq!(name, "Liste", "the first sheet is hidden");
        let expected = "\u{feff}Ad,Telefon,Not,Tarih\n\
                        Ayşe Öz,905321234567,\"a, \"\"b\"\"\",2025-01-07 18:00:00\n\
                        \n\
                        Bo,0532 123 45 68,iki satır\n\
                        \n\
                        ,905321234569\n\
                        Cem,1.2345678901234568e18,0.5\n";
        assert_eq!(csv, expected);
        let (_, bounces) = csv_of(&list(), Some("Bounces")).unwrap();
        assert!(bounces.contains("\nBounce,alice@example.com,1736277945\n"), "{bounces}");
    }

    #[test]
    fn an_unknown_sheet_is_refused_by_name_and_a_broken_file_as_such() {
        let error = |file: &[u8], name| csv_of(file, name).unwrap_err().to_string();
        let unknown = error(&list(), Some("Liste2"));
        assert!(unknown.contains("Liste2") && unknown.contains("Bounces"), "{unknown}");
        let list = list();
        for length in (0..list.len()).step_by(97) {
            assert!(csv_of(&list[..length], None).is_err(), "cut at {length}");
        }
        for at in (0..list.len()).step_by(13) {
            let mut flipped = list.clone();
            flipped[at] ^= 0x10;
            // Whatever comes of it, it must not end us.
            drop(csv_of(&flipped, None));
        }
    }

    #[test]
    fn a_file_that_unpacks_to_too_much_is_refused_before_it_is() {
        let mut bomb = list();
        let at = memchr::memmem::find(&bomb, DIRECTORY_ENTRY).unwrap();
        assert!(unpacked_bytes(&bomb) < 10_000);
        let size = u32::try_from(MAX_UNPACKED_BYTES).unwrap();
        bomb[at + 24..at + 28].copy_from_slice(&size.to_le_bytes());
        let error = csv_of(&bomb, None).unwrap_err();
        assert!(matches!(error, SheetError::TooLarge(_)), "{error}");
        let long = io::repeat(b'P').take(MAX_FILE_BYTES + 1);
        let error = sheet_to_csv(long, None, &mut Vec::new()).unwrap_err();
        assert!(matches!(error, SheetError::TooLarge(_)), "{error}");
    }

    #[test]
    fn a_cell_beyond_excel_or_out_of_order_is_refused() {
        let mut output = Vec::new();
        let mut rows = RowWriter { output: &mut output, fields: Vec::new(), row: 0, cells: 0 };
        rows.put(1, 1, "x").unwrap();
        assert!(rows.put(1, 1, "again").is_err());
        assert!(rows.put(0, 5, "back").is_err());
        assert!(rows.put(MAX_ROWS, 0, "below").is_err());
        assert!(rows.put(1, MAX_COLUMNS, "aside").is_err());
        rows.cells = MAX_CELLS - 1;
        rows.put(1, 2, "the last").unwrap();
        assert!(matches!(rows.put(1, 3, "one more"), Err(SheetError::TooLarge(_))));
    }
}
