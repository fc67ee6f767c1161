//! Finds the JSON objects of a file: one a line, in an array, or in several
//! arrays, one after the other.
//!
//! The registry's rows are flat, which is what makes a broken one cheap to
//! leave behind: an object that begins within another, or a line that ends
//! within a text, is where the next row is looked for.

use std::io::{self, BufRead};

/// Longest row in bytes; longer means a text that is never closed.
const MAX_ROW_BYTES: usize = 1 << 20;

/// One object, or what stands where one should be.
#[derive(Debug, PartialEq, Eq)]
pub struct Object<'a> {
    /// The line that it begins on, from 1.
    pub line: u64,
    /// The number of its array, from 1; 0 outside of arrays.
    pub array: u64,
    /// Its bytes; they need not be JSON.
    pub bytes: &'a [u8],
}

/// Reads objects one by one, in memory of one row.
pub struct Objects<R> {
    input: R,
    line: u64,
    arrays: u64,
    in_array: bool,
    bytes: Vec<u8>,
}

impl<R: BufRead> Objects<R> {
    /// Begins to read.
    pub fn new(input: R) -> Self {
        Self { input, line: 1, arrays: 0, in_array: false, bytes: Vec::new() }
    }

    /// The next object.
    ///
    /// # Errors
    /// Reading failed, or a row is longer than 1 MiB.
    pub fn next_object(&mut self) -> io::Result<Option<Object<'_>>> {
        self.bytes.clear();
        let found = loop {
            match self.peek()? {
                None => return Ok(None),
                Some(b'[') => (self.arrays, self.in_array) = (self.arrays + 1, true),
                Some(b']') => self.in_array = false,
                Some(b',') => {}
                Some(byte) if byte.is_ascii_whitespace() => {}
                Some(_) => break self.line,
            }
            self.skip();
        };
        let array = if self.in_array { self.arrays } else { 0 };
        if self.peek()? == Some(b'{') {
            self.read_object()?
        } else {
            self.read_other()?
        }
        Ok(Some(Object { line: found, array, bytes: &self.bytes }))
    }

    fn read_object(&mut self) -> io::Result<()> {
        let (mut in_text, mut escaped) = (false, false);
        while let Some(byte) = self.peek()? {
            let begins_another = byte == b'{' && !in_text && !self.bytes.is_empty();
            let breaks_a_text = byte == b'\n' && in_text;
            if begins_another || breaks_a_text {
                return Ok(());
            }
            self.keep(byte)?;
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = in_text,
                b'"' => in_text = !in_text,
                b'}' if !in_text => return Ok(()),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whatever it is, up to where an object may begin or an array end.
    fn read_other(&mut self) -> io::Result<()> {
        while let Some(byte) = self.peek()? {
            if b"\n{[],".contains(&byte) {
                break;
            }
            self.keep(byte)?;
        }
        Ok(())
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        Ok(self.input.fill_buf()?.first().copied())
    }

    fn skip(&mut self) {
        // The byte was seen by `peek`, so the buffer holds it.
        if self.input.fill_buf().is_ok_and(|buffer| buffer.first() == Some(&b'\n')) {
            self.line += 1;
        }
        self.input.consume(1);
    }

    fn keep(&mut self, byte: u8) -> io::Result<()> {
        if self.bytes.len() == MAX_ROW_BYTES {
            let message = format!("the row at line {} is longer than 1 MiB", self.line);
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        self.bytes.push(byte);
        self.skip();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(u64, u64, String)> {
        let mut objects = Objects::new(text.as_bytes());
        let mut found = Vec::new();
        while let Some(object) = objects.next_object().unwrap() {
            let text = String::from_utf8(object.bytes.to_vec()).unwrap();
            found.push((object.line, object.array, text));
        }
        found
    }

    fn row(line: u64, array: u64, text: &str) -> (u64, u64, String) {
        (line, array, text.to_owned())
    }

    #[test]
    fn lines_arrays_and_arrays_after_each_other_are_told_apart() {
        assert_eq!(
            found("\n{\"a\":1}\r\n{\"a\":2}"),
            [row(2, 0, "{\"a\":1}"), row(3, 0, "{\"a\":2}")]
        );
        let arrays = "[{\"a\":1},\n {\"a\":\n2}]\n[{\"a\":3}]\n{}";
        let expected = [
            row(1, 1, "{\"a\":1}"),
            row(2, 1, "{\"a\":\n2}"),
            row(4, 2, "{\"a\":3}"),
            row(5, 0, "{}"),
        ];
        assert_eq!(found(arrays), expected);
        assert_eq!(found(""), []);
        assert_eq!(found(" [] \n"), []);
    }

    #[test]
    fn braces_and_quotes_within_texts_are_text() {
        let text = r#"{"a":"}{[\"],\\"}"#;
        assert_eq!(found(&format!("{text}\n{text}")), [row(1, 0, text), row(2, 0, text)]);
    }

    #[test]
    fn a_broken_row_does_not_take_the_next_one_with_it() {
        let good = "{\"a\":1}";
        let broken = ["{\"a\":1", "{\"a\":\"1}", "garbage", "1", "{\"a\":\"\\"];
        for broken in broken {
            let rows = found(&format!("{broken}\n{good}\n"));
            assert_eq!(rows.len(), 2, "{broken}: {rows:?}");
            assert_eq!(rows[1], row(2, 0, good), "{broken}");
            let rows = found(&format!("[{broken}\n,{good}]"));
            assert_eq!(rows.last(), Some(&row(2, 1, good)), "{broken}");
        }
        assert_eq!(found("[1,2]"), [row(1, 1, "1"), row(1, 1, "2")]);
    }

    #[test]
    fn a_row_without_end_does_not_fill_the_memory() {
        let endless = format!("{{\"a\":\"{}", "x".repeat(MAX_ROW_BYTES));
        let error = Objects::new(endless.as_bytes()).next_object().unwrap_err();
        assert!(error.to_string().contains("line 1"), "{error}");
    }
}
