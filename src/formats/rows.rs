//! Rows of a text file, as the bytes that stand there and as decoded fields.
//!
//! Quoting, delimiters and line ends are `csv-core`'s work. It is used rather
//! than `csv` because a filter must write rows back byte for byte, and a
//! rejects file must name the right line also after blank lines and CRLF.

use std::io::{self, BufRead, Chain, Cursor, Read as _};

use csv::StringRecord;
use csv_core::ReadRecordResult;
use encoding_rs::WINDOWS_1254;

/// Longest row in bytes. Longer means, in practice, a quote that is never
/// closed, and must not fill the memory.
const MAX_ROW_BYTES: usize = 1 << 20;
/// Longest first line that is looked at to recognise the shape, in bytes.
const MAX_FIRST_LINE_BYTES: u64 = 64 << 10;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Delimiters that are recognised, the likeliest first.
const DELIMITERS: [u8; 4] = *b",;\t|";

/// How a file is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One value a line, nothing quoted.
    Lines,
    /// Fields between delimiters, perhaps quoted; a quoted one may span lines.
    Delimited(u8),
    /// The same, but one row a line: a quote that stays open spoils its own
    /// line, and not the opt-outs on the lines after it.
    Records(u8),
}

/// One row.
#[derive(Debug)]
pub struct Row<'a> {
    /// The line that it begins on, from 1.
    pub line: u64,
    /// The bytes as they stand in the file, with their line end.
    pub raw: &'a [u8],
    /// The fields as text: UTF-8 or, where it is not that, Windows-1254.
    pub fields: &'a StringRecord,
    /// Whether a quote is opened and not closed; then there are no fields.
    pub unclosed_quote: bool,
}

/// The beginning of a file, read to recognise what it is.
pub struct Opened<R> {
    first_line: Vec<u8>,
    has_byte_order_mark: bool,
    input: Chain<Cursor<Vec<u8>>, R>,
}

impl<R: BufRead> Opened<R> {
    /// Reads up to the first line that is not blank.
    ///
    /// # Errors
    /// Reading failed, or the file is UTF-16.
    pub fn read(mut input: R) -> io::Result<Self> {
        let mut head = Vec::new();
        let mut first_line = Vec::new();
        let mut has_byte_order_mark = false;
        while is_blank(&first_line) {
            first_line.clear();
            let mut limited = input.by_ref().take(MAX_FIRST_LINE_BYTES);
            if limited.read_until(b'\n', &mut first_line)? == 0 {
                break;
            }
            if head.is_empty() {
                if first_line.starts_with(b"\xff\xfe") || first_line.starts_with(b"\xfe\xff") {
                    return Err(invalid("the file is UTF-16; save it as UTF-8".to_owned()));
                }
                has_byte_order_mark = first_line.starts_with(BYTE_ORDER_MARK);
                if has_byte_order_mark {
                    first_line.drain(..BYTE_ORDER_MARK.len());
                }
            }
            head.extend_from_slice(&first_line);
        }
        Ok(Self { first_line, has_byte_order_mark, input: Cursor::new(head).chain(input) })
    }

    /// The first line that is not blank, with its line end, without a BOM.
    pub fn first_line(&self) -> &[u8] {
        &self.first_line
    }

    /// The bytes of the byte order mark that the file begins with, if any.
    pub fn byte_order_mark(&self) -> &'static [u8] {
        if self.has_byte_order_mark { BYTE_ORDER_MARK } else { &[] }
    }

    /// The delimiter that stands most often in the first line, outside quotes.
    pub fn delimiter(&self) -> Option<u8> {
        let mut quoted = false;
        let mut counts = DELIMITERS.map(|delimiter| (delimiter, 0_usize));
        for byte in &self.first_line {
            quoted ^= *byte == b'"';
            for (delimiter, count) in &mut counts {
                *count += usize::from(!quoted && byte == delimiter);
            }
        }
        // The last of equal maxima wins, so the likeliest comes last.
        let most = counts.into_iter().rev().max_by_key(|(_, count)| *count);
        most.filter(|(_, count)| *count > 0).map(|(delimiter, _)| delimiter)
    }

    /// The whole input as bytes, for formats that are not made of rows.
    pub fn into_input(self) -> impl BufRead {
        self.input
    }

    /// The rows, from the first line on.
    pub fn rows(self, shape: Shape) -> Rows<R> {
        let mut builder = csv_core::ReaderBuilder::new();
        let parser = match shape {
            Shape::Delimited(delimiter) | Shape::Records(delimiter) => {
                builder.delimiter(delimiter).build()
            }
            // NUL stands in no address, so a line stays one field.
            Shape::Lines => builder.delimiter(0).quoting(false).build(),
        };
        Rows {
            input: self.input,
            parser,
            one_line_each: matches!(shape, Shape::Records(_)),
            unclosed_quote: false,
            raw: Vec::new(),
            text: vec![0; 1024],
            ends: vec![0; 64],
            fields: StringRecord::new(),
            minimum_fields: 0,
            line: 1,
            blank_lines: 0,
        }
    }
}

/// Reads rows one by one in constant memory.
pub struct Rows<R> {
    input: Chain<Cursor<Vec<u8>>, R>,
    parser: csv_core::Reader,
    one_line_each: bool,
    unclosed_quote: bool,
    raw: Vec<u8>,
    /// Unquoted fields of the current row, and where each ends.
    text: Vec<u8>,
    ends: Vec<usize>,
    fields: StringRecord,
    minimum_fields: usize,
    /// The line that the next row begins on, if no blank line comes before it.
    line: u64,
    blank_lines: u64,
}

impl<R: BufRead> Rows<R> {
    /// Fills short rows up with empty fields from now on.
    pub fn fill_up_to(&mut self, minimum_fields: usize) {
        self.minimum_fields = minimum_fields;
    }

    /// How many blank lines were skipped.
    pub fn blank_lines(&self) -> u64 {
        self.blank_lines
    }

    /// The next row that is not blank.
    ///
    /// # Errors
    /// Reading failed, or a row is longer than 1 MiB.
    pub fn next_row(&mut self) -> io::Result<Option<Row<'_>>> {
        let found = if self.one_line_each { self.scan_line()? } else { self.scan()? };
        let Some((text_length, field_count)) = found else { return Ok(None) };
        // The parser skips blank lines inside the call that finds the row.
        let blank = self.raw.iter().take_while(|byte| is_line_end(**byte)).count();
        let (skipped, raw) = self.raw.split_at(blank);
        let skipped_lines = newlines(skipped);
        let line = self.line + skipped_lines;
        self.blank_lines += skipped_lines;
        self.line = line + newlines(raw);
        let text = self.text.get(..text_length).unwrap_or_default();
        let ends = self.ends.get(..field_count).unwrap_or_default();
        decode(text, ends, &mut self.fields);
        while self.fields.len() < self.minimum_fields {
            self.fields.push_field("");
        }
        let unclosed_quote = self.unclosed_quote;
        Ok(Some(Row { line, raw, fields: &self.fields, unclosed_quote }))
    }

    /// Reads one line as [`scan`](Self::scan) reads a row.
    fn scan_line(&mut self) -> io::Result<Option<(usize, usize)>> {
        loop {
            self.raw.clear();
            let mut limited = self.input.by_ref().take(MAX_ROW_BYTES as u64 + 1);
            if limited.read_until(b'\n', &mut self.raw)? == 0 {
                return Ok(None);
            }
            if self.raw.len() > MAX_ROW_BYTES {
                return Err(invalid(format!("line {} is longer than 1 MiB", self.line)));
            }
            if !is_blank(&self.raw) {
                break;
            }
            self.blank_lines += 1;
            self.line += 1;
        }
        self.parser.reset();
        let (mut text_length, mut field_count) = (0, 0);
        // The last line may lack its end, which the parser waits for.
        let mut rest = [self.raw.as_slice(), b"\n"].concat();
        self.unclosed_quote = false;
        loop {
            let (result, consumed, written, ended) = self.parser.read_record(
                &rest,
                self.text.get_mut(text_length..).unwrap_or_default(),
                self.ends.get_mut(field_count..).unwrap_or_default(),
            );
            rest.drain(..consumed);
            text_length += written;
            field_count += ended;
            match result {
                ReadRecordResult::OutputFull => self.text.resize(self.text.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::Record => return Ok(Some((text_length, field_count))),
                ReadRecordResult::InputEmpty | ReadRecordResult::End => {
                    self.unclosed_quote = true;
                    return Ok(Some((0, 0)));
                }
            }
        }
    }

    /// Reads one row into `raw`, `text` and `ends`; returns how much of the
    /// latter two it fills.
    fn scan(&mut self) -> io::Result<Option<(usize, usize)>> {
        self.raw.clear();
        let (mut text_length, mut field_count) = (0, 0);
        loop {
            let input = self.input.fill_buf()?;
            let (result, consumed, written, ended) = self.parser.read_record(
                input,
                self.text.get_mut(text_length..).unwrap_or_default(),
                self.ends.get_mut(field_count..).unwrap_or_default(),
            );
            self.raw.extend_from_slice(input.get(..consumed).unwrap_or_default());
            self.input.consume(consumed);
            text_length += written;
            field_count += ended;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => self.text.resize(self.text.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::Record => break,
                ReadRecordResult::End => {
                    self.blank_lines += newlines(&self.raw);
                    return Ok(None);
                }
            }
            if self.raw.len() > MAX_ROW_BYTES {
                return Err(invalid(format!(
                    "the row at line {} is longer than 1 MiB; is a quote never closed?",
                    self.line
                )));
            }
        }
        // The parser ends a row at the first byte of CRLF; the second belongs
        // to the same row.
        if self.raw.last() == Some(&b'\r') && self.input.fill_buf()?.first() == Some(&b'\n') {
            self.input.consume(1);
            self.raw.push(b'\n');
        }
        Ok(Some((text_length, field_count)))
    }
}

/// Decodes the fields of one row. Each row is taken by itself: files pasted
/// together from two encodings occur, and a look at the whole file would need
/// the whole file.
fn decode(text: &[u8], ends: &[usize], fields: &mut StringRecord) {
    fields.clear();
    let starts = std::iter::once(&0).chain(ends);
    let ranges = starts.zip(ends).map(|(start, end)| *start..*end);
    if let Ok(text) = std::str::from_utf8(text) {
        ranges.for_each(|range| fields.push_field(text.get(range).unwrap_or_default()));
    } else {
        for range in ranges {
            let (field, _) =
                WINDOWS_1254.decode_without_bom_handling(text.get(range).unwrap_or_default());
            fields.push_field(&field);
        }
    }
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

fn is_blank(line: &[u8]) -> bool {
    line.iter().copied().all(is_line_end)
}

fn newlines(bytes: &[u8]) -> u64 {
    bytes.iter().map(|byte| u64::from(*byte == b'\n')).sum()
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}
