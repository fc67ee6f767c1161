//! ASCII digits, eight at a time: a phone number is one or two machine words, and taking it as
//! such is several times faster than byte by byte.

/// Are these all ASCII digits?
pub(super) fn all_digits(text: &[u8]) -> bool {
    match words_of(text) {
        Some((first, last)) => are_digits(first) && are_digits(last),
        None => text.iter().all(u8::is_ascii_digit),
    }
}

/// The value of ASCII digits, at most 16 of them.
// Where the number of digits is known, inlining leaves of it what that number needs.
#[inline(always)]
pub(super) fn number_of(digits: &[u8]) -> Option<u64> {
    match (words_of(digits), digits.len()) {
        (Some((first, last)), size) => {
            // The words overlap in 16 - size digits; shifting drops them from the first.
            let leading = digit_values(first).unbounded_shl(8 * (16 - size as u32));
            Some(value_of(leading) * 100_000_000 + value_of(digit_values(last)))
        }
        (None, 0..8) => {
            Some(digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit & 0xF)))
        }
        (None, _) => None,
    }
}

/// The first and the last eight bytes of a text of 8 to 16.
#[inline(always)]
fn words_of(text: &[u8]) -> Option<(u64, u64)> {
    if text.len() > 16 {
        return None;
    }
    Some((u64::from_le_bytes(*text.first_chunk()?), u64::from_le_bytes(*text.last_chunk()?)))
}

const fn each_byte(value: u8) -> u64 {
    u64::from_le_bytes([value; 8])
}

const fn digit_values(word: u64) -> u64 {
    word & each_byte(0x0F)
}

/// A byte is a digit if its high half is 3, and still is when 6 is added to it.
const fn are_digits(word: u64) -> bool {
    let high_halves = each_byte(0xF0);
    word & high_halves == each_byte(0x30)
        && word.wrapping_add(each_byte(0x06)) & high_halves == each_byte(0x30)
}

/// The value of eight digits, one in each byte, the first of them in the lowest byte: pairs
/// become numbers below 100, pairs of these numbers below 10,000, and the last pair is the value.
const fn value_of(digits: u64) -> u64 {
    let pairs = (digits.wrapping_mul(10 * 256 + 1) >> 8) & 0x00FF_00FF_00FF_00FF;
    let fours = (pairs.wrapping_mul(100 * 65_536 + 1) >> 16) & 0x0000_FFFF_0000_FFFF;
    fours.wrapping_mul(10_000 * (1 << 32) + 1) >> 32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn digits_have_their_value(digits in "[0-9]{1,16}") {
            prop_assert!(all_digits(digits.as_bytes()));
            prop_assert_eq!(number_of(digits.as_bytes()), digits.parse().ok());
        }

        #[test]
        fn nothing_else_is_a_digit(digits in "[0-9]{0,24}", other: u8, place: prop::sample::Index) {
            let mut text = digits.into_bytes();
            text.insert(place.index(text.len() + 1), other);
            prop_assert_eq!(all_digits(&text), other.is_ascii_digit());
        }
    }

    #[test]
    fn longer_numbers_are_refused() {
        assert_eq!(number_of(&[b'1'; 17]), None);
        assert_eq!(number_of(b""), Some(0));
    }
}
