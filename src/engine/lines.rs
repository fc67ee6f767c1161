//! Splitting a column of lines: the newlines of 64 bytes at a time, as bits. Lines are short, so a
//! search for each newline by itself would cost more than what is then done with the line.

use std::ops::Range;

/// Bytes whose newlines are found together.
const BLOCK: usize = 64;

/// The number of lines: the newlines, plus one if the last byte is not one.
#[must_use]
pub fn count_lines(lines: &[u8]) -> usize {
    let newlines = memchr::memchr_iter(b'\n', lines).count();
    newlines + usize::from(lines.last().is_some_and(|last| *last != b'\n'))
}

/// Hands over where each line stands, without its newline and the carriage return before that.
#[inline(always)]
pub(super) fn for_each_line(lines: &[u8], mut each: impl FnMut(Range<usize>)) {
    let mut start = 0;
    let (blocks, rest) = lines.as_chunks::<BLOCK>();
    let mut last = [0; BLOCK];
    for (place, byte) in last.iter_mut().zip(rest) {
        *place = *byte;
    }
    for (at, block) in blocks.iter().chain([&last]).enumerate() {
        let mut newlines = newlines(block);
        while newlines != 0 {
            let end = at * BLOCK + newlines.trailing_zeros() as usize;
            let before = end.checked_sub(1).filter(|before| *before >= start);
            let has_return = before.and_then(|before| lines.get(before)) == Some(&b'\r');
            each(start..end - usize::from(has_return));
            start = end + 1;
            newlines &= newlines - 1;
        }
    }
    if start < lines.len() {
        // Without a newline after it a carriage return is part of the line.
        each(start..lines.len());
    }
}

/// One bit a byte: it is a newline.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn newlines(block: &[u8; BLOCK]) -> u64 {
    use core::arch::x86_64::_mm_set1_epi8;
    use core::arch::x86_64::{__m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8};
    let (parts, _) = block.as_chunks::<16>();
    parts.iter().rev().fold(0, |bits, part| {
        // SAFETY: SSE2 is part of every x86-64 CPU; the load needs no alignment, and its 16 bytes
        // are those of `part`.
        let found = unsafe {
            let bytes = _mm_loadu_si128(part.as_ptr().cast::<__m128i>());
            _mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\n' as i8)))
        };
        bits << 16 | u64::from(found as u16)
    })
}

/// One bit a byte: it is a newline.
#[cfg(not(target_arch = "x86_64"))]
fn newlines(block: &[u8; BLOCK]) -> u64 {
    block.iter().rev().fold(0, |bits, byte| bits << 1 | u64::from(*byte == b'\n'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(lines: &[u8]) -> Vec<&[u8]> {
        let mut found = Vec::new();
        for_each_line(lines, |line| found.push(lines.get(line).unwrap()));
        found
    }

    #[test]
    fn lines_are_split_and_counted_alike() {
        let cases: [(&[u8], &[&[u8]]); 9] = [
            (b"", &[]),
            (b"\n", &[b""]),
            (b"a", &[b"a"]),
            (b"a\n", &[b"a"]),
            (b"a\n\nb", &[b"a", b"", b"b"]),
            (b"a\r\nb\r\r\n", &[b"a", b"b\r"]),
            (b"\r\n\r\n", &[b"", b""]),
            (b"a\n\r", &[b"a", b"\r"]),
            // Without a newline after it a carriage return is part of the line.
            (b"a\r", &[b"a\r"]),
        ];
        for (bytes, expected) in cases {
            assert_eq!(split(bytes), expected);
            assert_eq!(count_lines(bytes), expected.len());
        }
    }

    proptest! {
        #[test]
        fn long_columns_are_split_as_if_byte_by_byte(lines in "(a{0,40}\r{0,2}\n?){0,12}") {
            let mut expected: Vec<&str> = lines.split('\n').collect();
            let rest = expected.pop().unwrap();
            let mut expected: Vec<&str> =
                expected.into_iter().map(|line| line.strip_suffix('\r').unwrap_or(line)).collect();
            expected.extend((!rest.is_empty()).then_some(rest));
            let found = split(lines.as_bytes());
            prop_assert_eq!(count_lines(lines.as_bytes()), found.len());
            prop_assert!(found.into_iter().eq(expected.into_iter().map(str::as_bytes)));
        }
    }
}
