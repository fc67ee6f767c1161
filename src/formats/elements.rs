//! The objects of a JSON file that is not one object a line: an array, perhaps
//! as a member of an object around it, or objects that span lines.
//!
//! `serde_json` finds where each object ends. It reads no byte beyond, so the
//! objects are taken one by one and the file never stands in memory.

use std::io::{self, BufRead, Read};

use csv::StringRecord;
use serde::{Deserialize as _, de::IgnoredAny};

use super::rows::{MAX_ROW_BYTES, Row};

/// How the objects of a JSON file stand in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonShape {
    /// One object a line.
    Lines,
    /// An array; the number is of the bytes before its bracket.
    Array(usize),
    /// Objects one after the other, over several lines.
    Objects,
}

impl JsonShape {
    /// Tells the shape from the beginning of a file; `None` if it is no JSON.
    #[must_use]
    pub fn of(head: &[u8]) -> Option<Self> {
        let text = head.trim_ascii_start();
        let before = head.len() - text.len();
        if text.starts_with(b"[") {
            return Some(Self::Array(before));
        }
        if !text.starts_with(b"{") {
            return None;
        }
        if let Some(length) = wrapped_array(text) {
            return Some(Self::Array(before + length));
        }
        let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        Some(if line.trim_ascii_end().ends_with(b"}") { Self::Lines } else { Self::Objects })
    }

    /// The first object of the file, if the beginning holds all of it.
    #[must_use]
    pub fn first_object(self, head: &[u8]) -> Option<serde_json::Value> {
        let skipped = match self {
            Self::Array(before) => before + 1,
            Self::Lines | Self::Objects => 0,
        };
        let mut values = serde_json::Deserializer::from_slice(head.get(skipped..)?).into_iter();
        values.next()?.ok()
    }
}

/// The bytes before the bracket, where `text` begins like `{"Items": [`.
fn wrapped_array(text: &[u8]) -> Option<usize> {
    let name = text.strip_prefix(b"{")?.trim_ascii_start();
    let mut names = serde_json::Deserializer::from_slice(name).into_iter::<String>();
    names.next()?.ok()?;
    let after = name.get(names.byte_offset()..)?.trim_ascii_start();
    let value = after.strip_prefix(b":")?.trim_ascii_start();
    value.starts_with(b"[").then(|| text.len() - value.len())
}

/// Takes the objects of a file one by one.
pub(super) struct Elements<R> {
    input: R,
    shape: JsonShape,
    /// The line that the next byte stands on.
    line: u64,
    count: u64,
    raw: Vec<u8>,
    fields: StringRecord,
    ended: bool,
}

impl<R: BufRead> Elements<R> {
    /// Skips what stands before the first object.
    ///
    /// # Errors
    /// Reading failed.
    pub fn new(mut input: R, shape: JsonShape) -> io::Result<Self> {
        let mut before = Vec::new();
        if let JsonShape::Array(length) = shape {
            // With the bracket itself.
            input.by_ref().take(length as u64 + 1).read_to_end(&mut before)?;
        }
        let line = 1 + newlines(&before);
        let (raw, fields) = (Vec::new(), StringRecord::new());
        Ok(Self { input, shape, line, count: 0, raw, fields, ended: false })
    }

    /// The next object, as a row with one field.
    ///
    /// # Errors
    /// Reading failed, an object is broken or longer than 1 MiB, or the file
    /// ends before its array does. What follows then cannot be told apart, so
    /// the error names the place to mend.
    pub fn next_row(&mut self) -> io::Result<Option<Row<'_>>> {
        if self.ended || !self.find_object()? {
            return Ok(None);
        }
        self.count += 1;
        self.raw.clear();
        let line = self.line;
        let limited = self.input.by_ref().take(MAX_ROW_BYTES as u64);
        let mut object =
            serde_json::Deserializer::from_reader(Tee { input: limited, copy: &mut self.raw });
        let found = IgnoredAny::deserialize(&mut object);
        let read = self.raw.len();
        if let Err(error) = found {
            self.ended = true;
            if error.is_io() {
                return Err(error.into());
            }
            let what = if read >= MAX_ROW_BYTES { "longer than 1 MiB" } else { "broken JSON" };
            return Err(self.broken(line, &format!("{what}; nothing after it was read")));
        }
        self.line += newlines(&self.raw);
        self.fields.clear();
        self.fields.push_field(&String::from_utf8_lossy(&self.raw));
        let (raw, fields, legacy) = (&self.raw, &self.fields, encoding_rs::UTF_8);
        Ok(Some(Row { line, raw, fields, fault: None, legacy }))
    }

    /// Goes to the brace that opens the next object; whether there is one.
    fn find_object(&mut self) -> io::Result<bool> {
        loop {
            let Some(byte) = self.input.fill_buf()?.first().copied() else {
                self.ended = true;
                return match self.shape {
                    JsonShape::Array(_) => {
                        Err(self.broken(self.line, "the file ends before its array does"))
                    }
                    JsonShape::Lines | JsonShape::Objects => Ok(false),
                };
            };
            let in_array = matches!(self.shape, JsonShape::Array(_));
            match byte {
                b'{' => return Ok(true),
                b'\n' => self.line += 1,
                b',' if in_array && self.count > 0 => {}
                b']' if in_array => {
                    self.ended = true;
                    self.refuse_more()?;
                    return Ok(false);
                }
                byte if byte.is_ascii_whitespace() => {}
                _ => {
                    self.ended = true;
                    return Err(self.broken(self.line, "an object is expected here"));
                }
            }
            self.input.consume(1);
        }
    }

    /// What stands behind the array may be a count or a token, but no more
    /// objects: a second page must not be dropped without a word.
    fn refuse_more(&mut self) -> io::Result<()> {
        loop {
            let rest = self.input.fill_buf()?;
            let length = rest.len();
            if length == 0 {
                return Ok(());
            }
            if let Some(at) = rest.iter().position(|byte| matches!(byte, b'{' | b'[')) {
                let line = self.line + newlines(rest.get(..at).unwrap_or_default());
                return Err(self.broken(line, "more follows the array, and was not read"));
            }
            self.line += newlines(rest);
            self.input.consume(length);
        }
    }

    fn broken(&self, line: u64, what: &str) -> io::Error {
        let message = format!("line {line}, object {}: {what}", self.count.max(1));
        io::Error::new(io::ErrorKind::InvalidData, message)
    }
}

/// Keeps a copy of what is read.
struct Tee<'a, R> {
    input: R,
    copy: &'a mut Vec<u8>,
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.copy.extend_from_slice(buffer.get(..read).unwrap_or_default());
        Ok(read)
    }
}

fn newlines(bytes: &[u8]) -> u64 {
    bytes.iter().map(|byte| u64::from(*byte == b'\n')).sum()
}
