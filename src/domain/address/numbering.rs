//! The world's numbering plans, as tables made from libphonenumber's metadata by
//! `scripts/phone-tables.py`.
//!
//! The valid national numbers of a calling code are a language over the ten digits. Here they
//! are one automaton: one table step per digit says whether a number is valid, without
//! allocation, locks or regular expressions (A6), for Turkey and for every other country alike.

use std::fmt;
use std::str::FromStr;

use super::AddressError;
use super::decimal::number_of;

include!("numbering.in");

/// The longest E.164 number, in digits.
const MAX_DIGITS: u32 = 15;
/// The shortest number that R1 accepts, in digits.
const MIN_DIGITS: u32 = 7;
/// State `s` of 1 ..= this accepts exactly `s - 1` further digits, whichever they are; state 0
/// accepts nothing.
const LAST_COUNTING_STATE: u16 = 15;

/// Ten to the power of the index, for national numbers of up to 14 digits.
const POWERS_OF_TEN: [u64; MAX_DIGITS as usize] = [
    1,
    10,
    100,
    1_000,
    10_000,
    100_000,
    1_000_000,
    10_000_000,
    100_000_000,
    1_000_000_000,
    10_000_000_000,
    100_000_000_000,
    1_000_000_000_000,
    10_000_000_000_000,
    100_000_000_000_000,
];

/// How one region (or one calling code without a region, such as +800) writes its numbers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// ISO 3166 alpha-2 code; blank for a calling code without a region.
    region: [u8; 2],
    /// The country calling code.
    code: u16,
    /// Bit n is set if a national number of n digits is possible.
    lengths: u32,
    /// The state that accepts the valid national numbers of the whole calling code.
    valid: u16,
    /// The state that accepts what looks like a number of this region; 0 where no rule asks.
    general: u16,
    /// How the national prefix is taken off: the first rule that matches applies.
    rules: &'static [Rule],
}

/// One way in which a national number begins with digits that are not part of it.
#[derive(Debug, PartialEq, Eq)]
struct Rule {
    /// The digits allowed at each place, one bit per digit.
    prefix: &'static [u16],
    /// Must the number end where the prefix ends?
    whole: bool,
    /// Digits put in front of what remains.
    insert: &'static [u8],
    /// The places of the prefix that belong to the number after all, from and to.
    keep: (u8, u8),
}

/// Room for a rewritten national number; longer ones are left as they are, and are invalid.
pub(super) type Scratch = [u8; 24];

/// A region whose national spellings can be read: an ISO 3166 alpha-2 code that libphonenumber
/// knows. Parse it from text (in any case); it displays as the code.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Region(&'static Plan);

impl Region {
    pub(super) const fn plan(self) -> &'static Plan {
        self.0
    }
}

impl FromStr for Region {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let code = text.to_ascii_uppercase();
        PLANS
            .iter()
            .find(|plan| plan.region == code.as_bytes() && plan.region != *b"  ")
            .map(Self)
            .ok_or(AddressError::RegionUnknown)
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = self.0.region;
        write!(f, "{}{}", char::from(first), char::from(second))
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Region({self})")
    }
}

impl Plan {
    /// The plan and the national digits of an international number given without `+`.
    pub(super) fn of_international(digits: &[u8]) -> Option<(&'static Self, &[u8])> {
        let [a, b, c] = digits.first_chunk::<3>()?.map(|digit| usize::from(digit & 0xF));
        let plan = Self::by_first_digits(a * 100 + b * 10 + c)?;
        Some((plan, digits.get(plan.code_digits() as usize..)?))
    }

    fn by_first_digits(first_three: usize) -> Option<&'static Self> {
        PLANS.get(usize::from(*PLAN_BY_FIRST_DIGITS.get(first_three)?))
    }

    /// The plan of an international number of at least three digits, and how many of its digits
    /// are national.
    fn of_number(number: u64) -> Option<(&'static Self, u32)> {
        let digits = number.checked_ilog10()? + 1;
        let first_three = number / 10u64.pow(digits.checked_sub(3)?);
        let plan = Self::by_first_digits(usize::try_from(first_three).ok()?)?;
        Some((plan, digits.checked_sub(plan.code_digits())?))
    }

    /// Whether national numbers of so many digits are possible.
    fn has_length(&self, digits: u32) -> bool {
        self.lengths.checked_shr(digits).is_some_and(|lengths| lengths & 1 == 1)
    }

    /// Whether the last digits of a number, so many, are a valid national number. Asked only of
    /// those whose length is not possible.
    #[cold]
    fn accepts_last(&self, number: u64, digits: u32) -> bool {
        let (mut all, mut rest) = ([0; MAX_DIGITS as usize], number);
        for digit in all.iter_mut().rev() {
            *digit = (rest % 10) as u8;
            rest /= 10;
        }
        let national = all.len().checked_sub(digits as usize).and_then(|at| all.get(at..));
        national.is_some_and(|national| accepts(self.valid, national))
    }

    /// The E.164 number of these national digits, if libphonenumber calls it valid.
    pub(super) fn valid(&self, national: &[u8]) -> Option<u64> {
        if accepts(self.valid, national) { self.number(national) } else { None }
    }

    /// The E.164 number of ten national digits, if all numbers that share the first three are
    /// valid. It asks less than [`Plan::valid`], and asks it without a branch.
    #[inline(always)]
    pub(super) fn valid_block(&self, national: &[u8; 10]) -> Option<u64> {
        let [first, second, third, further @ ..] = national;
        let state = step(step(step(self.valid, *first), *second), *third);
        let all_further = further.len() + 1;
        if usize::from(state) == all_further { self.number(national) } else { None }
    }

    /// Is this the numbering plan of Turkey?
    pub(super) fn is_turkey(&self) -> bool {
        self.code == 90
    }

    /// The E.164 number of these national digits, if its length is possible.
    pub(super) fn possible(&self, national: &[u8]) -> Option<u64> {
        self.number(national).filter(|number| plausible(*number))
    }

    /// Takes off the national prefix as libphonenumber does: a number that looks right as it
    /// stands keeps it when it would no longer look right without, and so does one that would
    /// be left with an impossible length.
    pub(super) fn without_prefix<'a>(
        &self,
        national: &'a [u8],
        scratch: &'a mut Scratch,
    ) -> &'a [u8] {
        let Some(stripped) = self.rules.iter().find_map(|rule| rule.take_off(national)) else {
            return national;
        };
        let Some(stripped) = stripped.written_to(scratch) else {
            return national;
        };
        let spoilt = accepts(self.general, national) && !accepts(self.general, stripped);
        let longest = self.lengths.ilog2() as usize;
        if spoilt || (stripped.len() <= longest && self.lengths >> stripped.len() & 1 == 0) {
            national
        } else {
            stripped
        }
    }

    const fn code_digits(&self) -> u32 {
        match self.code {
            0..10 => 1,
            10..100 => 2,
            _ => 3,
        }
    }

    #[inline(always)]
    fn number(&self, national: &[u8]) -> Option<u64> {
        let digits = u32::try_from(national.len()).ok()?;
        if !(MIN_DIGITS..=MAX_DIGITS).contains(&(digits + self.code_digits())) {
            return None;
        }
        let shift = POWERS_OF_TEN.get(national.len())?;
        Some(u64::from(self.code) * shift + number_of(national)?)
    }
}

/// A national number without its prefix, in the parts in which it stands.
struct Stripped<'a> {
    insert: &'static [u8],
    kept: &'a [u8],
    rest: &'a [u8],
}

impl Rule {
    fn take_off<'a>(&self, national: &'a [u8]) -> Option<Stripped<'a>> {
        let (prefix, rest) = national.split_at_checked(self.prefix.len())?;
        let matches = prefix
            .iter()
            .zip(self.prefix)
            .all(|(digit, allowed)| allowed >> (digit & 0xF) & 1 == 1);
        if !matches || (self.whole && !rest.is_empty()) {
            return None;
        }
        let (from, to) = self.keep;
        let kept = prefix.get(usize::from(from)..usize::from(to))?;
        Some(Stripped { insert: self.insert, kept, rest })
    }
}

impl<'a> Stripped<'a> {
    /// The number as one run of digits: in place if nothing goes before the rest.
    fn written_to(self, scratch: &'a mut Scratch) -> Option<&'a [u8]> {
        if self.insert.is_empty() && self.kept.is_empty() {
            return Some(self.rest);
        }
        let mut size = 0;
        for (place, digit) in
            scratch.iter_mut().zip(self.insert.iter().chain(self.kept).chain(self.rest))
        {
            *place = *digit;
            size += 1;
        }
        let whole = size == self.insert.len() + self.kept.len() + self.rest.len();
        if whole { scratch.get(..size) } else { None }
    }
}

/// Does the automaton accept exactly these digits from `state` on?
fn accepts(mut state: u16, mut digits: &[u8]) -> bool {
    while let [digit, rest @ ..] = digits {
        if state <= LAST_COUNTING_STATE {
            return usize::from(state) == digits.len() + 1;
        }
        state = step(state, *digit);
        digits = rest;
    }
    state == 1 || state >= FIRST_ACCEPTING
}

fn step(state: u16, digit: u8) -> u16 {
    let row = STATES.get(usize::from(state));
    row.and_then(|row| row.get(usize::from(digit & 0xF))).copied().unwrap_or(0)
}

/// The smallest number of as many digits as E.164 has at least, and the largest of as many as it
/// has at most.
const E164_FIRST: u64 = 10u64.pow(MIN_DIGITS - 1);
const E164_LAST: u64 = 10u64.pow(MAX_DIGITS) - 1;

/// Does an integer have 7 to 15 digits, as every E.164 number here does (R1)?
#[must_use]
pub const fn in_e164_range(number: u64) -> bool {
    E164_FIRST <= number && number <= E164_LAST
}

/// Is every one of these numbers [`in_e164_range`]?
///
/// A number is outside if it is less than the first or the last is less than it, and then one of
/// the two differences wraps: its highest bit is set. That takes no comparison of each number, for
/// which the smallest x86-64 has no instruction on several at once.
#[must_use]
pub fn all_in_e164_range(numbers: impl Iterator<Item = u64>) -> bool {
    let differences = numbers.fold(0, |all, number| {
        all | number.wrapping_sub(E164_FIRST) | E164_LAST.wrapping_sub(number)
    });
    differences >> 63 == 0
}

/// Has an E.164 number, given as an integer, a known country calling code and a possible length?
///
/// Integer columns in `opt_out` and `exempt` scopes ask this, because there an unknown number
/// would be permitted (R1). It does not say that the number is valid; but what is valid has a
/// possible length, also where libphonenumber's list of lengths leaves it out: in Canada numbers
/// that begin with 310 have seven digits, in the rest of +1 none has.
#[must_use]
pub fn plausible(number: u64) -> bool {
    in_e164_range(number)
        && Plan::of_number(number).is_some_and(|(plan, national)| {
            plan.has_length(national) || plan.accepts_last(number, national)
        })
}

/// Whether all numbers from one to another are [`plausible`], or none; nothing if it takes a look
/// at each. Numbers of one length that begin with the same three digits are alike, but for the
/// few that are valid with a length that others of their country do not have.
#[must_use]
pub fn plausible_throughout(first: u64, last: u64) -> Option<bool> {
    if last < 10u64.pow(MIN_DIGITS - 1) || first >= 10u64.pow(MAX_DIGITS) {
        return Some(false);
    }
    let digits = first.checked_ilog10()?;
    let tail = 10u64.pow(digits.checked_sub(2)?);
    if last.ilog10() != digits || first / tail != last / tail {
        return None;
    }
    match Plan::of_number(first) {
        Some((plan, national)) => plan.has_length(national).then_some(true),
        None => Some(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each bound of the range, and of what the differences can tell, with its neighbours.
    #[test]
    fn one_number_out_of_range_is_seen_among_many() {
        let (first, last, half) = (1_000_000, 999_999_999_999_999, 1 << 63);
        for bound in [0, first, last, half, half + first, half + last, u64::MAX] {
            for number in [bound.wrapping_sub(1), bound, bound.wrapping_add(1)] {
                let mut numbers = [905_321_234_567; 100];
                numbers[57] = number;
                assert_eq!(
                    all_in_e164_range(numbers.into_iter()),
                    in_e164_range(number),
                    "{number}"
                );
            }
        }
        assert!(all_in_e164_range([].into_iter()));
    }

    #[test]
    fn regions_are_those_that_libphonenumber_knows() {
        for code in ["TR", "us", "Xk", "TA"] {
            assert_eq!(code.parse::<Region>().unwrap().to_string(), code.to_uppercase());
        }
        for code in ["", " ", "  ", "T", "TUR", "UK", "ZZ", "90", "001", "İT"] {
            assert_eq!(code.parse::<Region>(), Err(AddressError::RegionUnknown), "{code:?}");
        }
        assert_eq!(PLANS.iter().filter(|plan| plan.region != *b"  ").count(), 245);
    }

    #[test]
    fn a_plan_is_found_by_the_first_digits() {
        for plan in &PLANS {
            let digits = format!("{}00", plan.code);
            let (found, national) = Plan::of_international(digits.as_bytes()).unwrap();
            assert_eq!((found.code, found.valid), (plan.code, plan.valid));
            assert_eq!(national, b"00");
        }
        // +210 is not assigned, and no country code begins with 0.
        assert!(Plan::of_international(b"2100").is_none());
        assert!(Plan::of_international(b"0905").is_none());
        assert!(Plan::of_international(b"90").is_none());
    }

    #[test]
    fn integers_are_plausible_by_country_code_and_length() {
        for (number, in_range, known) in [
            (0, false, false),
            (999_999, false, false),
            (1_000_000, true, false),
            // Turkey: 7, 10, 12 or 13 national digits. No number begins with 599, but it may.
            (905_321_234_567, true, true),
            (905_991_234_567, true, true),
            (90_532_123_456, true, false),
            (9_053_212_345_678, true, false),
            // +210 is not assigned.
            (210_321_234_567, true, false),
            // Seven digits are a local number in the United States, not an international one.
            (15_550_123, true, false),
            (12_025_550_123, true, true),
            // But in Canada these are valid ones.
            (13_100_000, true, true),
            (13_110_000, true, false),
            (999_999_999_999_999, true, false),
            (1_000_000_000_000_000, false, false),
            (u64::MAX, false, false),
        ] {
            assert_eq!((in_e164_range(number), plausible(number)), (in_range, known), "{number}");
        }
    }

    #[test]
    fn a_range_is_plausible_throughout_if_it_says_so() {
        let mut told = 0;
        for power in 0..=15 {
            let ten = 10_u64.pow(power);
            let firsts = [ten.saturating_sub(40_000), ten, 905_321_234_567 % (90 * ten), 21 * ten];
            for first in firsts.into_iter().chain([13_050_000, 13_100_000, 15_550_000]) {
                let last = first + 65_535;
                let found = plausible_throughout(first, last);
                let numbers = (first..=last).step_by(101).chain([last]);
                for number in numbers.filter(|_| found.is_some()) {
                    assert_eq!(Some(plausible(number)), found, "{number}");
                }
                told += usize::from(found.is_some());
            }
        }
        assert!(told > 32, "{told}");
    }

    /// What the short cut through `valid_block` needs: it never says more than `valid`.
    #[test]
    fn a_block_is_valid_if_all_its_numbers_are() {
        let turkey = "TR".parse::<Region>().unwrap().plan();
        let mut blocks = 0;
        for block in 0..1000 {
            let numbers = ["0000000", "5555555", "9999999"].map(|tail| format!("{block:03}{tail}"));
            let found =
                numbers.each_ref().map(|n| turkey.valid_block(n.as_bytes().try_into().unwrap()));
            if found[0].is_some() {
                assert_eq!(found, numbers.each_ref().map(|n| turkey.valid(n.as_bytes())));
                blocks += 1;
            }
        }
        assert!(blocks > 100, "{blocks}");
    }
}
