//! Rows of a text file, as the bytes that stand there and as decoded fields.
//!
//! Quoting, delimiters and line ends are `csv-core`'s work. It is used rather
//! than `csv` because a filter must write rows back byte for byte, and a
//! rejects file must name the right line also after blank lines and CRLF.

use std::{
    borrow::Cow,
    io::{self, BufRead, Cursor, Read as _},
    ops::Range,
};

use csv::StringRecord;
use csv_core::ReadRecordResult;
use encoding_rs::Encoding;

use super::{
    elements::JsonShape,
    encoding::{self, Again, BYTE_ORDER_MARK, Source},
};

/// Longest row in bytes. Longer means, in practice, a quote that is never
/// closed, and must not fill the memory.
pub(super) const MAX_ROW_BYTES: usize = 1 << 20;
/// How much of a file is looked at to recognise what it is, in bytes.
const HEAD_BYTES: u64 = 64 << 10;

/// Delimiters that are recognised, the likeliest first.
const DELIMITERS: [u8; 4] = *b",;\t|";

const OPEN_QUOTE: &str = "a quote is opened and not closed; a cell of an import stays on one line";
const BARE_RETURN: &str = "a carriage return without a newline stands in the row: save the file with \
                           the line ends of Unix or Windows";

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
    /// The fields as text: UTF-8 or, where a row is not that, the encoding
    /// that the file was guessed to have.
    pub fields: &'a StringRecord,
    /// Why the row cannot be read; then there are no fields.
    pub fault: Option<&'static str>,
    /// What it is decoded from, if it is not UTF-8.
    pub(super) legacy: &'static Encoding,
}

impl Row<'_> {
    /// The whole row as text, without its line end.
    #[must_use]
    pub fn text(&self) -> String {
        let end = self.raw.iter().rev().take_while(|byte| is_line_end(**byte)).count();
        let row = self.raw.get(..self.raw.len() - end).unwrap_or_default();
        text_of(row, self.legacy).into_owned()
    }
}

/// The beginning of a file, read to recognise what it is.
pub struct Opened<R> {
    head: Vec<u8>,
    first_line: Range<usize>,
    has_byte_order_mark: bool,
    /// What lines that are not UTF-8 are decoded from.
    legacy: &'static Encoding,
    encoding: Option<&'static str>,
    /// What stands between fields, if that is known.
    delimiter: Option<u8>,
    source: Source<R>,
}

impl<R: BufRead> Opened<R> {
    /// Reads the beginning. A `region` such as TR, or none, tells which
    /// encodings are likelier where the file is not UTF-8.
    ///
    /// # Errors
    /// Reading failed.
    pub fn read(mut input: R, region: &str) -> io::Result<Self> {
        let mut head = Vec::new();
        input.by_ref().take(HEAD_BYTES).read_to_end(&mut head)?;
        let utf_16 = encoding::utf_16(&head);
        let source = match utf_16 {
            None => Source::AsItIs(input),
            Some(encoding) => {
                let mut source = Source::utf_16(encoding, std::mem::take(&mut head), input);
                source.by_ref().take(HEAD_BYTES).read_to_end(&mut head)?;
                source
            }
        };
        let marked = head.starts_with(BYTE_ORDER_MARK);
        if marked {
            head.drain(..BYTE_ORDER_MARK.len());
        }
        let (legacy, found) = encoding::legacy(&head, region);
        let found = found.then_some(legacy);
        Ok(Self {
            first_line: first_line(&head),
            // Excel wants one, so rows of a UTF-16 file are written back with it.
            has_byte_order_mark: marked || utf_16.is_some(),
            encoding: utf_16.or(found).map(Encoding::name),
            delimiter: None,
            legacy,
            head,
            source,
        })
    }

    /// The first bytes, as UTF-8 or mostly that, without a BOM.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// The first line that is not blank, with its line end, without a BOM.
    pub fn first_line(&self) -> &[u8] {
        self.head.get(self.first_line.clone()).unwrap_or_default()
    }

    /// The fields of the first line.
    pub fn first_fields(&self) -> Vec<String> {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .delimiter(self.delimiter().unwrap_or(b','))
            .from_reader(self.first_line());
        // Reading from memory cannot fail.
        let fields = reader.byte_records().next().and_then(Result::ok).unwrap_or_default();
        fields.iter().map(|field| text_of(field, self.legacy).into_owned()).collect()
    }

    /// Whether the file holds JSON objects.
    pub fn is_json(&self) -> bool {
        JsonShape::of(&self.head).is_some()
    }

    /// The encoding, if it is not UTF-8 throughout.
    pub fn encoding(&self) -> Option<&'static str> {
        self.encoding
    }

    /// Whether the file is UTF-16, of which rows come as UTF-8.
    pub fn is_utf_16(&self) -> bool {
        matches!(self.source, Source::Utf16(_))
    }

    /// The bytes of the byte order mark that rows written back begin with.
    pub fn byte_order_mark(&self) -> &'static [u8] {
        if self.has_byte_order_mark { BYTE_ORDER_MARK } else { &[] }
    }

    /// Says what stands between fields, where it is known.
    #[must_use]
    pub fn delimited_by(self, delimiter: Option<u8>) -> Self {
        Self { delimiter, ..self }
    }

    /// The delimiter as said, or the one that stands most often in the first
    /// line, outside quotes.
    pub fn delimiter(&self) -> Option<u8> {
        if self.delimiter.is_some() {
            return self.delimiter;
        }
        let mut quoted = false;
        let mut counts = DELIMITERS.map(|delimiter| (delimiter, 0_usize));
        for byte in self.first_line() {
            quoted ^= *byte == b'"';
            for (delimiter, count) in &mut counts {
                *count += usize::from(!quoted && byte == delimiter);
            }
        }
        // The last of equal maxima wins, so the likeliest comes last.
        let most = counts.into_iter().rev().max_by_key(|(_, count)| *count);
        most.filter(|(_, count)| *count > 0).map(|(delimiter, _)| delimiter)
    }

    /// All of the file, for formats that are not made of rows.
    pub fn into_input(self) -> impl BufRead {
        self.into_text()
    }

    /// All of the file, from its beginning, as UTF-8 or mostly that.
    pub(super) fn into_text(self) -> Text<R> {
        Cursor::new(self.head).chain(self.source)
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
            legacy: self.legacy,
            input: self.into_text(),
            parser,
            one_line_each: matches!(shape, Shape::Records(_)),
            fault: None,
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

/// All of a file, from its beginning, as UTF-8 or mostly that.
pub(super) type Text<R> = Again<Source<R>>;

/// Reads rows one by one in constant memory.
pub struct Rows<R> {
    input: Text<R>,
    legacy: &'static Encoding,
    parser: csv_core::Reader,
    one_line_each: bool,
    fault: Option<&'static str>,
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
        decode(text, ends, self.legacy, &mut self.fields);
        while self.fields.len() < self.minimum_fields {
            self.fields.push_field("");
        }
        let fault = self.fault;
        let legacy = self.legacy;
        Ok(Some(Row { line, raw, fields: &self.fields, fault, legacy }))
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
        self.fault = None;
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
                ReadRecordResult::Record if is_blank(&rest) => {
                    return Ok(Some((text_length, field_count)));
                }
                ReadRecordResult::Record => {
                    // What follows would be lost, and may be opt-outs.
                    self.fault = Some(BARE_RETURN);
                    return Ok(Some((0, 0)));
                }
                ReadRecordResult::InputEmpty | ReadRecordResult::End => {
                    self.fault = Some(OPEN_QUOTE);
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
fn decode(text: &[u8], ends: &[usize], legacy: &'static Encoding, fields: &mut StringRecord) {
    fields.clear();
    let starts = std::iter::once(&0).chain(ends);
    let ranges = starts.zip(ends).map(|(start, end)| *start..*end);
    if let Ok(text) = std::str::from_utf8(text) {
        ranges.for_each(|range| fields.push_field(text.get(range).unwrap_or_default()));
    } else {
        for range in ranges {
            let (field, _) =
                legacy.decode_without_bom_handling(text.get(range).unwrap_or_default());
            fields.push_field(&field);
        }
    }
}

/// Where the first line that is not blank stands in the beginning of a file.
fn first_line(head: &[u8]) -> Range<usize> {
    let mut start = 0;
    for line in head.split_inclusive(|byte| *byte == b'\n') {
        if !is_blank(line) {
            return start..start + line.len();
        }
        start += line.len();
    }
    0..0
}

/// UTF-8 or, where it is not that, what it is in the other encoding.
fn text_of<'a>(bytes: &'a [u8], legacy: &'static Encoding) -> Cow<'a, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => legacy.decode_without_bom_handling(bytes).0,
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
