//! The encoding of a file that does not say it.
//!
//! UTF-8 is read as it is, so that a filter can write rows back byte for byte.
//! A line that is not UTF-8 is in an older encoding, which is guessed from the
//! beginning of the file. UTF-16 announces itself and is decoded as a whole.

use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{CoderResult, Decoder, Encoding, UTF_16BE, UTF_16LE};

pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// UTF-16, if these first bytes announce it.
pub(super) fn utf_16(head: &[u8]) -> Option<&'static Encoding> {
    [UTF_16LE, UTF_16BE].into_iter().find(|encoding| {
        Encoding::for_bom(head).is_some_and(|(announced, _)| announced == *encoding)
    })
}

/// The encoding of lines that are not UTF-8, and whether `head` has any.
/// A `region` such as TR says which encodings are likelier.
pub(super) fn legacy(head: &[u8], region: &str) -> (&'static Encoding, bool) {
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    let mut found = false;
    // Files pasted together from two encodings occur, so the lines that are
    // UTF-8 have no say.
    for line in head.split_inclusive(|byte| *byte == b'\n') {
        // Without a length the line is only cut within a character.
        if std::str::from_utf8(line).is_err_and(|error| error.error_len().is_some()) {
            found |= detector.feed(line, false);
        }
    }
    detector.feed(b"", true);
    let is_region = region.len() == 2 && region.bytes().all(|byte| byte.is_ascii_alphabetic());
    // Among the top-level domains, those of countries are their regions.
    let domain = if is_region { region.to_ascii_lowercase() } else { "tr".to_owned() };
    (detector.guess(Some(domain.as_bytes()), Utf8Detection::Deny), found)
}

/// A file again from its beginning, of which some bytes were read.
pub(super) type Again<R> = Chain<Cursor<Vec<u8>>, R>;

/// A file as UTF-8, or as bytes that are mostly that.
pub(super) enum Source<R> {
    AsItIs(R),
    Utf16(Box<BufReader<Decoding<Again<R>>>>),
}

impl<R: BufRead> Source<R> {
    /// Decodes UTF-16; its first bytes are those of `head`.
    pub fn utf_16(encoding: &'static Encoding, head: Vec<u8>, input: R) -> Self {
        let decoder = encoding.new_decoder_with_bom_removal();
        let decoding = Decoding { decoder, input: Cursor::new(head).chain(input), ended: false };
        Self::Utf16(Box::new(BufReader::new(decoding)))
    }
}

impl<R: BufRead> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::AsItIs(input) => input.read(buffer),
            Self::Utf16(input) => input.read(buffer),
        }
    }
}

impl<R: BufRead> BufRead for Source<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self {
            Self::AsItIs(input) => input.fill_buf(),
            Self::Utf16(input) => input.fill_buf(),
        }
    }

    fn consume(&mut self, amount: usize) {
        match self {
            Self::AsItIs(input) => input.consume(amount),
            Self::Utf16(input) => input.consume(amount),
        }
    }
}

/// Turns another encoding into UTF-8 while it is read.
pub(super) struct Decoding<R> {
    decoder: Decoder,
    input: R,
    ended: bool,
}

impl<R: BufRead> Read for Decoding<R> {
    /// Needs room for one character, which a `BufReader` gives.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.ended {
            let input = self.input.fill_buf()?;
            let last = input.is_empty();
            // What is malformed becomes U+FFFD, which stands in no address.
            let (result, consumed, written, _) = self.decoder.decode_to_utf8(input, buffer, last);
            self.input.consume(consumed);
            self.ended = last && result == CoderResult::InputEmpty;
            if written > 0 {
                return Ok(written);
            }
        }
        Ok(0)
    }
}
