//! The punctuation of phone numbers, which R1 drops.

use super::decimal::all_digits;
use super::{AddressError, is_invisible};

/// The longest clean spelling, in bytes: a 15-digit number behind `+` or `00`, a national prefix
/// and a carrier code. With more digits there are two numbers in the cell, or none.
const MAX_CLEAN: usize = 24;

/// What a character is, as bits: a `+` or digit, a dot, or one that no spelling has. None of
/// them: a space, dash or parenthesis.
const KEPT: u8 = 1;
const DOT: u8 = 2;
const STRANGE: u8 = 4;

/// The bits of every byte.
static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let (mut byte, mut places) = (0, classes.as_mut_slice());
    while let [place, rest @ ..] = places {
        *place = class_of(byte);
        (byte, places) = (u8::wrapping_add(byte, 1), rest);
    }
    classes
};

const fn class_of(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' | b'+' => KEPT,
        b'.' => DOT,
        b' ' | b'\t' | b'-' | b'(' | b')' => 0,
        _ => STRANGE,
    }
}

/// Where a spelling is put together without its punctuation.
pub(super) type Room = [u8; MAX_CLEAN];

/// Returns the spelling clean: 1 to 24 digits, perhaps behind one `+`.
pub(super) fn clean<'a>(text: &'a [u8], room: &'a mut Room) -> Result<&'a [u8], AddressError> {
    if is_clean(text) {
        return Ok(text);
    }
    let (size, classes) = if text.is_ascii() {
        squeeze(text.iter().copied(), room)
    } else {
        let text = std::str::from_utf8(text).map_err(|_| AddressError::NotUtf8)?;
        let narrow = text.chars().filter(|character| !is_wide_punctuation(*character));
        squeeze(narrow.map(|character| u8::try_from(character).unwrap_or(u8::MAX)), room)
    };
    if classes & STRANGE != 0 {
        return Err(AddressError::PhoneCharacter);
    }
    if classes & DOT != 0 && has_decimals(text) {
        return Err(AddressError::PhoneDecimals);
    }
    match room.get(..size) {
        Some([]) => Err(AddressError::Empty),
        Some(kept) if is_clean(kept) => Ok(kept),
        Some(_) => Err(AddressError::PhoneCharacter),
        None => Err(AddressError::PhoneUnknown),
    }
}

fn is_clean(text: &[u8]) -> bool {
    let sign = usize::from(text.first() == Some(&b'+'));
    text.len() <= MAX_CLEAN
        && text.get(sign..).is_some_and(|digits| !digits.is_empty() && all_digits(digits))
}

/// Puts together the characters that are kept. Returns how many they are, even if they found no
/// room, and the classes of all characters. It does the same for each character, because a
/// branch on what a cell holds cannot be predicted and costs more than the work.
fn squeeze(text: impl Iterator<Item = u8>, room: &mut Room) -> (usize, u8) {
    let (mut size, mut classes) = (0, 0);
    for byte in text {
        if let Some(place) = room.get_mut(size) {
            *place = byte;
        }
        let class = CLASSES.get(usize::from(byte)).copied().unwrap_or(STRANGE);
        size += usize::from(class & KEPT);
        classes |= class;
    }
    (size, classes)
}

/// A number that went through a spreadsheet ends in `.0`, or in `.00` behind its only dot.
/// Dropping that dot would make it the number of somebody else (R1).
fn has_decimals(text: &[u8]) -> bool {
    let mut parts = text.trim_ascii_end().rsplit(|byte| *byte == b'.');
    match (parts.next(), parts.count()) {
        (Some(b"0"), _) => true,
        (Some(tail), 1) => !tail.is_empty() && tail.iter().all(|byte| *byte == b'0'),
        _ => false,
    }
}

/// What word processors and phone books put in the place of ASCII spaces and dashes, and marks
/// that nobody sees. A line break is no space: it separates two numbers. Neither is a slash,
/// which often does.
fn is_wide_punctuation(character: char) -> bool {
    match character {
        '\0'..='\u{9F}' | '\u{2028}' | '\u{2029}' => false,
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{FE58}' | '\u{FE63}' | '\u{FF0D}' => true,
        _ => character.is_whitespace() || is_invisible(character),
    }
}
