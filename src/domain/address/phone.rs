//! Phone numbers: from any accepted spelling to the E.164 number (R1).

use std::ops::Range;

use super::numbering::{Plan, Scratch};
use super::spelling::{Room, clean};
use super::{AddressError, Region, turkish};
#[cfg(target_arch = "x86_64")]
use super::{
    turkish_wide::{self, Wide},
    window::window,
};

/// How sure a number must be before it counts (R1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accept {
    /// Only a number that libphonenumber calls valid: for recipients and for GRANTED.
    Valid,
    /// The first valid number, else the first of a possible length: for WITHDRAWN and
    /// suppressions, because an opt-out from a range newer than our tables must count.
    Possible,
}

/// Reads one spelling of a phone number and returns its E.164 digits as an integer.
///
/// `region` is the region of national spellings; without one they are not read.
///
/// # Errors
/// Says why the spelling is refused; the error holds none of it.
pub fn read_phone(
    text: &[u8],
    region: Option<Region>,
    accept: Accept,
) -> Result<u64, AddressError> {
    match read_turkish(text, region) {
        Some(number) => Ok(number),
        None => read_any(text, region, accept),
    }
}

/// Reads recipients' numbers that stand in a column, one after the other.
#[derive(Clone, Copy)]
pub struct PhoneColumn {
    region: Option<Region>,
    #[cfg(target_arch = "x86_64")]
    wide: Option<Wide>,
}

impl PhoneColumn {
    /// `region` is the region of national spellings.
    #[must_use]
    pub fn of(region: Option<Region>) -> Self {
        Self {
            region,
            #[cfg(target_arch = "x86_64")]
            wide: region.and_then(|region| Wide::of(region.plan())),
        }
    }

    /// One for each form that the short cut has on this CPU, and one without it.
    #[cfg(test)]
    fn each(region: Option<Region>) -> Vec<Self> {
        let best = Self::of(region);
        #[cfg(target_arch = "x86_64")]
        let each = {
            let forms = region.into_iter().flat_map(|region| Wide::forms(region.plan())).map(Some);
            forms.chain([None]).map(|wide| Self { wide, ..best }).collect()
        };
        #[cfg(not(target_arch = "x86_64"))]
        let each = vec![best];
        each
    }

    /// Reads the number in a line of `column`, as [`read_phone`] would.
    ///
    /// # Errors
    /// As [`read_phone`].
    #[inline(always)]
    pub fn read(self, column: &[u8], line: Range<usize>) -> Result<u64, AddressError> {
        #[cfg(target_arch = "x86_64")]
        if let Some(wide) = self.wide {
            let mut room = [0; turkish_wide::WIDE];
            let bytes = window(column, line.start, &mut room);
            if let Some(number) = wide.read(bytes, line.len()) {
                return Ok(number);
            }
        }
        read_phone(column.get(line).unwrap_or_default(), self.region, Accept::Valid)
    }
}

/// The short cut for spellings without punctuation, which most are, and with it.
fn read_turkish(spelling: &[u8], region: Option<Region>) -> Option<u64> {
    region.and_then(|region| turkish::read(spelling, region.plan()))
}

/// Reads by the full rules. It stands apart to keep the short cut short.
#[inline(never)]
fn read_any(text: &[u8], region: Option<Region>, accept: Accept) -> Result<u64, AddressError> {
    let mut room = Room::default();
    let spelling = clean(text, &mut room)?;
    if let Some(number) = read_turkish(spelling, region) {
        return Ok(number);
    }
    let found = first_candidate(spelling, region, Plan::valid);
    match accept {
        Accept::Valid => found,
        Accept::Possible => found.or_else(|| first_candidate(spelling, region, Plan::possible)),
    }
    .ok_or(AddressError::PhoneUnknown)
}

/// The first reading that passes `test`, in the order of R1: `+…`, which is nothing else;
/// the national form; `00…`; bare country code.
fn first_candidate(
    spelling: &[u8],
    region: Option<Region>,
    test: impl Fn(&Plan, &[u8]) -> Option<u64> + Copy,
) -> Option<u64> {
    if let Some(digits) = spelling.strip_prefix(b"+") {
        return read_international(digits, test);
    }
    region
        .and_then(|region| read_national(region.plan(), spelling, test))
        .or_else(|| read_international(spelling.strip_prefix(b"00")?, test))
        .or_else(|| read_international(spelling, test))
}

/// Reads country code and number. A valid number is taken as it is written, so that every
/// canonical address reads as itself. Otherwise a national prefix after the country code is
/// a typing error and is dropped: `+90 0532…` is `+90 532…`.
fn read_international(digits: &[u8], test: impl Fn(&Plan, &[u8]) -> Option<u64>) -> Option<u64> {
    let (plan, national) = Plan::of_international(digits)?;
    plan.valid(national).or_else(|| read_national(plan, national, test))
}

fn read_national(
    plan: &Plan,
    digits: &[u8],
    test: impl Fn(&Plan, &[u8]) -> Option<u64>,
) -> Option<u64> {
    let mut scratch: Scratch = [0; 24];
    test(plan, plan.without_prefix(digits, &mut scratch))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::address::plausible;

    const FIXTURE: &str = include_str!("../../../tests/fixtures/phones.tsv");

    fn region(code: &str) -> Option<Region> {
        (code != "-").then(|| code.parse().unwrap())
    }

    fn read(spelling: &str, code: &str) -> Result<u64, AddressError> {
        read_phone(spelling.as_bytes(), region(code), Accept::Valid)
    }

    /// Every region's example numbers in many spellings, some spoilt, against libphonenumber.
    #[test]
    fn agrees_with_libphonenumber() {
        let mut rows = 0;
        for row in FIXTURE.lines().filter(|line| !line.starts_with('#')) {
            let [spelling, code, valid, possible] = row.split('\t').collect::<Vec<_>>()[..] else {
                panic!("not four columns: {row}");
            };
            for (accept, expected) in [(Accept::Valid, valid), (Accept::Possible, possible)] {
                let found = read_phone(spelling.as_bytes(), region(code), accept).ok();
                assert_eq!(found, expected.parse().ok(), "{row} {accept:?}");
            }
            for column in PhoneColumn::each(region(code)) {
                let found = column.read(row.as_bytes(), 0..spelling.len()).ok();
                assert_eq!(found, valid.parse().ok(), "{row}");
            }
            rows += 1;
        }
        assert!(rows > 5_000, "{rows}");
    }

    #[test]
    fn the_turkish_spellings_are_one_contact() {
        for spelling in [
            "+905321234567",
            "905321234567",
            "05321234567",
            "5321234567",
            "0 (532) 123 45 67",
            "00905321234567",
            "+9005321234567",
            "+90 (532) 123-45-67",
            " 0532.123.45.67\t",
            "(+90) 532 123 45 67",
            "0090 0532 123 45 67",
            "0\u{a0}532\u{202f}123\u{2011}45\u{2013}67",
            "\u{202a}+90 532 123 45 67\u{202c}",
            "\u{feff}5321234567",
        ] {
            assert_eq!(read(spelling, "TR"), Ok(905_321_234_567), "{spelling:?}");
        }
    }

    /// The short cut may only answer as the full rules do.
    fn agree(spelling: &str) {
        let turkey = region("TR");
        if let Some(number) = read_turkish(spelling.as_bytes(), turkey) {
            let full = first_candidate(spelling.as_bytes(), turkey, Plan::valid);
            assert_eq!(full, Some(number), "{spelling}");
        }
    }

    #[test]
    fn the_short_cut_knows_no_other_heads() {
        for national in ["5321234567", "2121234567", "8111234567", "9001234567", "0532123456"] {
            for head in 0..10_000 {
                for digits in 1..=4 {
                    agree(&format!("{head:0digits$}{national}"));
                    agree(&format!("+{head:0digits$}{national}"));
                }
            }
        }
    }

    #[test]
    fn other_countries_keep_their_ways() {
        for (spelling, code, number) in [
            // Italian numbers keep their leading zero, with and without country code.
            ("+39 06 1234 5678", "-", 390_612_345_678),
            ("06 1234 5678", "IT", 390_612_345_678),
            // The zero of a British number is written in parentheses, and is not dialled.
            ("+44 (0)20 7946 0018", "TR", 442_079_460_018),
            ("020 7946 0018", "GB", 442_079_460_018),
            // Shared codes: Kazakhstan has Russia's, Jamaica the one of the United States.
            ("8 (701) 123-45-67", "KZ", 77_011_234_567),
            ("1 876 210 1234", "US", 18_762_101_234),
            ("0049 1512 3456789", "TR", 4_915_123_456_789),
            ("4791234567", "TR", 4_791_234_567),
            // The national form comes before the bare country code.
            ("390 1234567", "IT", 393_901_234_567),
            // Argentina writes 15 where the international form has a 9.
            ("011 15-2345-6789", "AR", 5_491_123_456_789),
        ] {
            assert_eq!(read(spelling, code), Ok(number), "{spelling:?}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        use AddressError::{Empty, PhoneCharacter, PhoneDecimals, PhoneUnknown};
        let endless = "5".repeat(100_000);
        for (spelling, error) in [
            ("", Empty),
            (" - ", Empty),
            ("+", PhoneCharacter),
            ("++905321234567", PhoneCharacter),
            ("90+5321234567", PhoneCharacter),
            ("5321234567x12", PhoneCharacter),
            ("0532 123 45 67 ext 2", PhoneCharacter),
            ("0532ABC4567", PhoneCharacter),
            ("0532/1234567", PhoneCharacter),
            ("5321234567,0", PhoneCharacter),
            ("9.05321E+11", PhoneCharacter),
            ("5321234567\n5331234567", PhoneCharacter),
            ("5321234567\u{2028}", PhoneCharacter),
            ("٠٥٣٢١٢٣٤٥٦٧", PhoneCharacter),
            ("0532é1234567", PhoneCharacter),
            ("905321234567.0", PhoneDecimals),
            ("905321234567.0 ", PhoneDecimals),
            ("0532.123.45.6.0", PhoneDecimals),
            ("5321234567.00", PhoneDecimals),
            ("5321234567 5331234567", PhoneUnknown),
            ("+0532 123 45 67", PhoneUnknown),
            ("+00905321234567", PhoneUnknown),
            ("+905991234567", PhoneUnknown),
            ("112", PhoneUnknown),
            (&endless, PhoneUnknown),
        ] {
            assert_eq!(read(spelling, "TR"), Err(error), "{spelling:.20?}");
        }
        assert_eq!(read("05321234567", "-"), Err(PhoneUnknown));
        assert_eq!(read_phone(b"532\xFF", None, Accept::Valid), Err(AddressError::NotUtf8));
        // Two zeros at the end of a grouped number are part of it.
        assert_eq!(read("0532.123.45.00", "TR"), Ok(905_321_234_500));
    }

    #[test]
    fn a_withdrawal_counts_for_a_number_that_is_only_possible() {
        let possible =
            |spelling: &str| read_phone(spelling.as_bytes(), region("TR"), Accept::Possible);
        assert_eq!(possible("0599 123 45 67"), Ok(905_991_234_567));
        assert_eq!(possible("+9005991234567"), Ok(905_991_234_567));
        // Valid for a later candidate wins over possible for an earlier one.
        assert_eq!(possible("4791234567"), Ok(4_791_234_567));
        assert_eq!(possible("112"), Err(AddressError::PhoneUnknown));
        assert_eq!(possible("5321234567.0"), Err(AddressError::PhoneDecimals));
    }

    proptest! {
        #[test]
        fn the_short_cut_agrees_with_the_full_rules(
            head in "(\\+|0|00)?(90)?0?",
            national in "([2-58][0-9]{2}|5[0-6][0-9]|900|[0-9]{3})[0-9]{6,8}",
        ) {
            agree(&(head + &national));
        }

        /// A line among others reads as it does alone, whatever stands around it.
        #[test]
        fn the_wide_short_cut_agrees_with_the_full_rules(
            head in "[ (]{0,2}(\\+|0|00|\\+\\+|0\\+)?[)-]?(90)?[ \t]?0?[ )]{0,2}",
            national in "([2-58][0-9]{2}|5[0-6][0-9]|900|[0-9]{3})([ )-]{0,2}[0-9]){6,8}",
            tail in "[ \t-]{0,3}|\\.0|\u{a0}|x|\\+",
            after in "(\n[0-9]{0,40})?",
            code in proptest::sample::select(vec!["TR", "AR", "-"]),
        ) {
            let line = head + &national + &tail;
            let column = format!("07{line}{after}");
            let found = read(&line, code);
            for phones in PhoneColumn::each(region(code)) {
                prop_assert_eq!(phones.read(column.as_bytes(), 2..2 + line.len()), found);
                prop_assert_eq!(phones.read(line.as_bytes(), 0..line.len()), found);
            }
        }

        #[test]
        fn punctuation_changes_nothing(spelling in "\\+?[0-9]{5,15}", marks in "[ \\-()\u{a0}\u{2013}]{1,3}", place: prop::sample::Index) {
            let mut marked = spelling.clone();
            marked.insert_str(place.index(spelling.len() + 1), &marks);
            for accept in [Accept::Valid, Accept::Possible] {
                prop_assert_eq!(
                    read_phone(marked.as_bytes(), region("TR"), accept),
                    read_phone(spelling.as_bytes(), region("TR"), accept)
                );
            }
        }

        #[test]
        fn a_canonical_number_reads_as_itself(digits in "[1-9][0-9]{4,15}") {
            if let Ok(number) = read(&digits, "TR") {
                prop_assert!(plausible(number), "{number}");
                prop_assert_eq!(read(&format!("+{number}"), "-"), Ok(number));
            }
            if let Ok(number) = read_phone(digits.as_bytes(), region("TR"), Accept::Possible) {
                prop_assert!(plausible(number));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(text: Vec<u8>) {
            let _ = read_phone(&text, region("AR"), Accept::Possible);
        }
    }
}
