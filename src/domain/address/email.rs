//! E-mail addresses: from any accepted spelling to the canonical one (R1).

use std::ops::{Range, RangeInclusive};

use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};
use unicode_normalization::UnicodeNormalization;

use super::{AddressError, is_invisible};
#[cfg(target_arch = "x86_64")]
use super::{email_wide, window::window};

/// The shortest and the longest canonical address, in bytes (R1).
const SIZES: RangeInclusive<usize> = 6..=254;
/// The longest spelling that is looked at, in bytes, so that a huge cell costs nothing. Nobody's
/// address is longer: normalising shortens a text to a quarter at most, if nothing in it is invisible.
const MAX_SPELLING: usize = 1024;
/// The longest label of a domain name, in bytes.
const MAX_LABEL: usize = 63;

/// Reads one spelling of an e-mail address into `buffer`, whose old content is lost, and
/// returns the canonical address: NFC, trimmed, lower case, the domain in ASCII.
///
/// Dots and `+label` stay: whether they name the same mailbox is the provider's affair.
/// Reading a canonical address again gives the same address.
/// On an error the content of `buffer` means nothing.
///
/// # Errors
/// Says why the spelling is refused; the error holds none of it.
pub fn read_email<'b>(text: &[u8], buffer: &'b mut String) -> Result<&'b str, AddressError> {
    buffer.clear();
    let text = std::str::from_utf8(text).map_err(|_| AddressError::NotUtf8)?.trim();
    if text.is_empty() {
        return Err(AddressError::Empty);
    }
    if text.len() > MAX_SPELLING {
        return Err(AddressError::EmailLength);
    }
    if is_plain(text.as_bytes()) {
        buffer.push_str(text);
        buffer.make_ascii_lowercase();
    } else {
        read_any(text, buffer)?;
    }
    Ok(buffer)
}

/// Reads the address in one line of a column, as [`read_email`] would, and returns its bytes. Where
/// they are canonical already, `buffer` is left alone.
///
/// # Errors
/// As [`read_email`].
pub fn read_email_in<'b>(
    column: &'b [u8],
    line: Range<usize>,
    buffer: &'b mut String,
) -> Result<&'b [u8], AddressError> {
    let text = column.get(line.clone()).unwrap_or_default();
    if is_canonical(column, line) {
        return Ok(text);
    }
    read_email(text, buffer).map(str::as_bytes)
}

/// Is a line a canonical address for sure?
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn is_canonical(column: &[u8], line: Range<usize>) -> bool {
    if !email_wide::is_possible() {
        return false;
    }
    let mut room = [0; email_wide::WIDE];
    let bytes = window(column, line.start, &mut room);
    // SAFETY: the CPU has what the function is compiled for, as was just asked.
    unsafe { email_wide::is_canonical(bytes, line.len()) }
}

/// Elsewhere the other short cut will do.
#[cfg(not(target_arch = "x86_64"))]
fn is_canonical(_: &[u8], _: Range<usize>) -> bool {
    false
}

/// Reads by the full rules of Unicode and IDNA, which allocates. Few addresses come here.
fn read_any(text: &str, buffer: &mut String) -> Result<(), AddressError> {
    let (local, domain) = text.split_once('@').ok_or(AddressError::EmailAt)?;
    if domain.contains('@') {
        return Err(AddressError::EmailAt);
    }
    // Lower case can undo a composition (İ becomes i with a dot above), hence NFC again.
    let lower = local.nfc().collect::<String>().to_lowercase();
    buffer.extend(lower.nfc());
    if buffer.is_empty() || !buffer.chars().all(is_local) {
        return Err(AddressError::EmailLocal);
    }
    // The mapping of IDNA includes case and NFC; it must see the domain as it was written.
    let domain = Uts46::new()
        .to_ascii(
            domain.as_bytes(),
            AsciiDenyList::STD3,
            Hyphens::CheckFirstLast,
            DnsLength::Verify,
        )
        .map_err(|_| AddressError::EmailDomain)?;
    if !domain.contains('.') {
        return Err(AddressError::EmailDomain);
    }
    buffer.push('@');
    buffer.push_str(&domain);
    if SIZES.contains(&buffer.len()) { Ok(()) } else { Err(AddressError::EmailLength) }
}

/// May a character stand before the `@`? Spaces, characters that need quoting and invisible
/// ones come from a cell with more in it than an address. Refusing them is safe for everybody:
/// a consent that cannot be recorded permits nothing.
fn is_local(character: char) -> bool {
    match u8::try_from(character) {
        Ok(byte) if byte.is_ascii() => class(byte) & LOCAL != 0,
        _ => !character.is_control() && !character.is_whitespace() && !is_invisible(character),
    }
}

/// What an ASCII character of an address may be, as bits: part of a local part; part of a
/// domain name; and there, neither a letter nor a digit; a dot.
const LOCAL: u8 = 1;
const DOMAIN: u8 = 2;
const SEPARATOR: u8 = 4;
const DOT: u8 = 8;

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
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => LOCAL | DOMAIN,
        b'-' => LOCAL | DOMAIN | SEPARATOR,
        b'.' => LOCAL | DOMAIN | SEPARATOR | DOT,
        // These need quoting, and a cell in which they stand is not just an address.
        b'(' | b')' | b'<' | b'>' | b'[' | b']' | b':' | b';' | b',' | b'\\' | b'"' | b'@' => 0,
        b'!'..=b'~' => LOCAL,
        _ => 0,
    }
}

fn class(byte: u8) -> u8 {
    CLASSES.get(usize::from(byte)).copied().unwrap_or(0)
}

/// Is this an address that the full rules would leave as it is, except for case? False also
/// where they might, but it takes more than one look at each byte to see it.
fn is_plain(address: &[u8]) -> bool {
    let at = address.iter().position(|byte| class(*byte) & LOCAL == 0).unwrap_or(0);
    match address.split_at_checked(at) {
        Some(([_, ..], [b'@', domain @ ..])) => {
            SIZES.contains(&address.len()) && is_plain_domain(domain)
        }
        _ => false,
    }
}

/// Is this a domain name of letters and digits with single dots and dashes between them? Two
/// dashes may begin an encoded label (`xn--`), and what that encodes must be checked.
fn is_plain_domain(domain: &[u8]) -> bool {
    let (mut all, mut some, mut adjacent, mut previous) = (DOMAIN, 0, 0, SEPARATOR);
    for byte in domain {
        let class = class(*byte);
        all &= class;
        some |= class;
        adjacent |= class & previous & SEPARATOR;
        previous = class;
    }
    let separated = adjacent | (previous & SEPARATOR) == 0;
    all == DOMAIN && some & DOT != 0 && separated && domain.len() <= MAX_LABEL
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<String, AddressError> {
        let mut buffer = "left over".to_owned();
        read_email(text.as_bytes(), &mut buffer).map(str::to_owned)
    }

    #[test]
    fn spellings_become_canonical() {
        let long = format!("{}@example.com", "a".repeat(242));
        let long_label = format!("a@{}.com", "b".repeat(63));
        for (spelling, canonical) in [
            ("ornek@mail.com", "ornek@mail.com"),
            (" \tOrnek.Kisi+Liste@Mail.COM\u{a0}\r", "ornek.kisi+liste@mail.com"),
            ("o'brien_{x}@a-b.co.uk", "o'brien_{x}@a-b.co.uk"),
            ("a@b.co", "a@b.co"),
            (&long, &long),
            (&long_label, &long_label),
            // Lower case of Unicode without locale: I is i, and İ keeps its dot as a mark.
            ("ILGIN@x.com", "ilgin@x.com"),
            ("İzmir@x.com", "i\u{307}zmir@x.com"),
            ("I\u{307}zmir@x.com", "i\u{307}zmir@x.com"),
            ("U\u{308}ru\u{308}n@x.com", "ürün@x.com"),
            ("a@ÇiÇEK.com.tr", "a@xn--iek-1lab.com.tr"),
            ("a@ÇİÇEK.com.tr", "a@xn--iek-1lab773a.com.tr"),
            ("a@çi\u{307}çek.com.tr", "a@xn--iek-1lab773a.com.tr"),
            ("a@Bu\u{308}cher。Example", "a@xn--bcher-kva.example"),
            ("a@XN--BCHER-KVA.example", "a@xn--bcher-kva.example"),
            ("a@r3---sn.example", "a@r3---sn.example"),
        ] {
            assert_eq!(read(spelling).as_deref(), Ok(canonical), "{spelling:?}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let too_long = format!("{}@example.com", "a".repeat(243));
        let too_long_label = format!("a@{}.com", "b".repeat(64));
        let huge = "a".repeat(MAX_SPELLING + 1);
        for (spelling, error) in [
            ("", AddressError::Empty),
            (" \t ", AddressError::Empty),
            ("ornek", AddressError::EmailAt),
            ("a@x.com;b@y.com", AddressError::EmailAt),
            ("a@x.com b@y.com", AddressError::EmailAt),
            ("a@@x.com", AddressError::EmailAt),
            ("@x.com", AddressError::EmailLocal),
            ("or nek@x.com", AddressError::EmailLocal),
            ("or\nnek@x.com", AddressError::EmailLocal),
            ("or\u{200b}nek@x.com", AddressError::EmailLocal),
            ("or\u{85}nek@x.com", AddressError::EmailLocal),
            ("\"or nek\"@x.com", AddressError::EmailLocal),
            ("mailto:ornek@x.com", AddressError::EmailLocal),
            ("ornek@localhost", AddressError::EmailDomain),
            ("ornek@", AddressError::EmailDomain),
            ("ornek@x.com.", AddressError::EmailDomain),
            ("ornek@x..com", AddressError::EmailDomain),
            ("ornek@-x.com", AddressError::EmailDomain),
            ("ornek@x .com", AddressError::EmailDomain),
            ("<ornek@x.com>", AddressError::EmailLocal),
            ("ornek@x.com>", AddressError::EmailDomain),
            ("ornek@x.com, y", AddressError::EmailDomain),
            ("ornek@x_y.com", AddressError::EmailDomain),
            ("ornek@xn--a.com", AddressError::EmailDomain),
            (&too_long_label, AddressError::EmailDomain),
            ("a@b.c", AddressError::EmailLength),
            (&too_long, AddressError::EmailLength),
            (&huge, AddressError::EmailLength),
        ] {
            assert_eq!(read(spelling), Err(error), "{spelling:?}");
        }
        assert_eq!(read_email(b"a\xFFb@x.com", &mut String::new()), Err(AddressError::NotUtf8));
    }

    /// Every character that case or NFC changes, in both parts and in company that composes.
    #[test]
    fn reading_a_canonical_address_changes_nothing() {
        let changes = |c: &char| c.to_lowercase().ne([*c]) || [*c].into_iter().nfc().ne([*c]);
        let mut read_well = 0;
        for c in (char::MIN..=char::MAX).filter(changes) {
            for spelling in [
                format!("{c}a@x.com"),
                format!("Σ{c}@x.com"),
                format!("{c}\u{307}\u{345}@x.com"),
                format!("a@{c}x.com"),
            ] {
                if let Ok(canonical) = read(&spelling) {
                    assert_eq!(read(&canonical).as_ref(), Ok(&canonical), "{spelling:?}");
                    read_well += 1;
                }
            }
        }
        assert!(read_well > 5_000, "{read_well}");
    }

    proptest! {
        #[test]
        fn any_text_reads_once_and_for_all(local in "\\PC{1,12}", domain in "\\PC{1,12}\\.\\PC{1,6}") {
            if let Ok(canonical) = read(&format!("{local}@{domain}")) {
                let again = read(&canonical);
                prop_assert_eq!(again, Ok(canonical));
            }
        }

        /// Nearly right addresses over a small alphabet, to meet every rule of the short cut.
        #[test]
        fn the_short_cut_agrees_with_the_full_rules(text in "[a-cXN.\\-+_\",]{0,5}@[a-cXN.\\-_@]{0,70}\\.[a-cx.\\-]{0,4}(n--a)?") {
            if is_plain(text.as_bytes()) {
                let mut full = String::new();
                prop_assert_eq!(read_any(&text, &mut full), Ok(()));
                prop_assert_eq!(full, text.to_ascii_lowercase());
            }
        }

        /// A line among others reads as it does alone, whatever stands around it.
        #[test]
        fn the_wide_short_cut_agrees_with_the_full_rules(text in "[a-c9X.\\-+_\" ]{0,25}@[a-cX0.\\-_@]{0,40}\\.[a-cx.\\-]{0,4}(n--a|\u{fc})?", after in "(\n[a@.]{0,80})?") {
            let expected = read(&text);
            let column = format!("a@{text}{after}");
            let mut buffer = String::new();
            let found = read_email_in(column.as_bytes(), 2..2 + text.len(), &mut buffer);
            prop_assert_eq!(found, expected.as_deref().map(str::as_bytes).map_err(|error| *error));
            let alone = read_email_in(text.as_bytes(), 0..text.len(), &mut buffer).map(<[u8]>::to_vec);
            prop_assert_eq!(alone, expected.map(String::into_bytes));
        }
    }
}
