//! A short cut for the seven Turkish spellings of R1, which most lists consist of. It never
//! decides anything else than the full rules would: it only answers sooner.

use super::decimal::all_digits;
use super::numbering::Plan;

/// What may stand before the ten national digits, by its size in bytes. One comparison with
/// the entry of that size has no branch that depends on which spelling a cell holds.
const HEADS: [[u64; 2]; 5] = [
    [word(b""), word(b"")],
    [word(b"0"), word(b"0")],
    [word(b"90"), word(b"90")],
    [word(b"+90"), word(b"900")],
    [word(b"0090"), word(b"+900")],
];

/// The number that a spelling means where national numbers are Turkish; None if the
/// full rules must decide.
///
/// Ten national digits of a block in which all numbers are valid cannot be meant otherwise:
/// no Turkish number begins with the digits of [`HEADS`] and is as long as these spellings.
pub(super) fn read(spelling: &[u8], plan: &Plan) -> Option<u64> {
    if !plan.is_turkey() {
        return None;
    }
    let national = spelling.last_chunk::<10>()?;
    let size = spelling.len() - national.len();
    let [one, other] = HEADS.get(size)?;
    // The first bytes of the spelling as one word, without those that are national digits.
    let head = u64::from_le_bytes(*spelling.first_chunk()?) & ((1 << (8 * size)) - 1);
    let known = (head == *one) | (head == *other);
    if known && all_digits(national) { plan.valid_block(national) } else { None }
}

/// Digits of a national number.
#[cfg(target_arch = "x86_64")]
pub(super) const NATIONAL: usize = 10;

/// The one head of each size, in digits, as a word: with a plus sign before it or without. It is
/// no word where there is none.
#[cfg(target_arch = "x86_64")]
pub(super) fn heads(signed: bool) -> &'static [u64; 5] {
    const NONE: u64 = u64::MAX;
    static UNSIGNED: [u64; 5] = [word(b""), word(b"0"), word(b"90"), word(b"900"), word(b"0090")];
    static SIGNED: [u64; 5] = [NONE, NONE, word(b"90"), word(b"900"), NONE];
    if signed { &SIGNED } else { &UNSIGNED }
}

/// A short text as a little-endian word.
const fn word(text: &[u8]) -> u64 {
    match *text {
        [] => 0,
        [a] => u64::from_le_bytes([a, 0, 0, 0, 0, 0, 0, 0]),
        [a, b] => u64::from_le_bytes([a, b, 0, 0, 0, 0, 0, 0]),
        [a, b, c] => u64::from_le_bytes([a, b, c, 0, 0, 0, 0, 0]),
        [a, b, c, d, ..] => u64::from_le_bytes([a, b, c, d, 0, 0, 0, 0]),
    }
}
