//! The configuration file: TOML, a key a line.

use std::{fs::File, io::Read, path::Path};

use toml::de::{DeTable, DeValue};

use super::key::Kind;
use crate::caps;

/// What a line says of a key.
pub(super) struct Line {
    pub number: usize,
    pub key: String,
    pub value: Result<(Kind, String), &'static str>,
}

/// Reads a file of at most [`caps::CONFIG_FILE_BYTES`].
pub(super) fn contents(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| {
        // One more than allowed tells that there are more.
        file.take(caps::CONFIG_FILE_BYTES + 1).read_to_string(&mut text)
    });
    match read {
        Err(error) => Err(format!("the configuration file cannot be read: {error}")),
        Ok(bytes) if bytes as u64 > caps::CONFIG_FILE_BYTES => Err(format!(
            "the configuration file has more than {} bytes: is it another file?",
            caps::CONFIG_FILE_BYTES
        )),
        Ok(_) => Ok(text),
    }
}

/// The lines of a file, in order, and those that are no TOML, with what is wrong
/// in them.
pub(super) fn lines(text: &str) -> (Vec<Line>, Vec<(usize, String)>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let number = |offset| text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1;
    let errors: Vec<(usize, String)> = errors
        .iter()
        .map(|error| {
            (error.span().map_or(1, |span| number(span.start)), error.message().to_owned())
        })
        .collect();
    let mut lines: Vec<Line> = table
        .into_inner()
        .into_iter()
        .map(|(key, value)| Line {
            number: number(key.span().start),
            key: key.into_inner().into_owned(),
            value: scalar(value.get_ref()),
        })
        // What the parser guesses of a broken line is nothing to complain about.
        .filter(|line| errors.iter().all(|(broken, _)| *broken != line.number))
        .collect();
    lines.sort_by_key(|line| line.number);
    (lines, errors)
}

/// A value as the text that a flag would have; of others, what they are.
fn scalar(value: &DeValue<'_>) -> Result<(Kind, String), &'static str> {
    match value {
        DeValue::String(text) => Ok((Kind::Text, text.clone().into_owned())),
        DeValue::Boolean(value) => Ok((Kind::Bool, value.to_string())),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map(|number| (Kind::Number, number.to_string()))
            .map_err(|_| "a number beyond all bounds"),
        DeValue::Float(_) => Err("a fraction"),
        DeValue::Datetime(_) => Err("a time"),
        DeValue::Array(_) => Err("a list"),
        DeValue::Table(_) => Err("a table"),
    }
}
