//! The caller's own identifiers: `contact_id` and `external_id` (R1).

use super::AddressError;

/// The longest external ID, in bytes.
const MAX_EXTERNAL_ID: usize = 128;

/// Reads a contact ID: a decimal number from 0 to 2^64 - 1.
///
/// Digits only, and no leading zero: a caller whose identifiers carry signs, spaces or zeros
/// in front tells them apart by these, and should use external IDs.
///
/// # Errors
/// [`AddressError::Empty`] or [`AddressError::ContactId`].
pub fn read_contact_id(text: &[u8]) -> Result<u64, AddressError> {
    match text {
        [] => Err(AddressError::Empty),
        [b'0'] => Ok(0),
        [b'1'..=b'9', ..] => {
            let digits = std::str::from_utf8(text).map_err(|_| AddressError::ContactId)?;
            // A later sign, space or dot is no digit to the parser; the first byte is one.
            digits.parse().map_err(|_| AddressError::ContactId)
        }
        _ => Err(AddressError::ContactId),
    }
}

/// Reads an external ID: 1 to 128 bytes of UTF-8 without control characters, taken exactly as
/// they are, spaces and case included.
///
/// # Errors
/// [`AddressError::Empty`], [`AddressError::ExternalIdLength`], [`AddressError::NotUtf8`] or
/// [`AddressError::ExternalIdControl`].
pub fn read_external_id(text: &[u8]) -> Result<&str, AddressError> {
    if text.is_empty() {
        return Err(AddressError::Empty);
    }
    if text.len() > MAX_EXTERNAL_ID {
        return Err(AddressError::ExternalIdLength);
    }
    let id = std::str::from_utf8(text).map_err(|_| AddressError::NotUtf8)?;
    if id.chars().any(char::is_control) {
        return Err(AddressError::ExternalIdControl);
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contact_id_is_a_plain_decimal_number() {
        for (text, id) in [("0", 0), ("7", 7), ("18446744073709551615", u64::MAX)] {
            assert_eq!(read_contact_id(text.as_bytes()), Ok(id));
        }
        for text in [
            "+7",
            "-7",
            "007",
            "00",
            " 7",
            "7 ",
            "7.0",
            "7e3",
            "7_0",
            "18446744073709551616",
            "٧",
            "a",
        ] {
            assert_eq!(read_contact_id(text.as_bytes()), Err(AddressError::ContactId), "{text:?}");
        }
        assert_eq!(read_contact_id(b""), Err(AddressError::Empty));
        assert_eq!(read_contact_id(b"7\xFF"), Err(AddressError::ContactId));
    }

    #[test]
    fn an_external_id_is_taken_exactly() {
        let longest = "ş".repeat(64);
        for text in ["a", " Customer 42 ", "e\u{301}", &longest] {
            assert_eq!(read_external_id(text.as_bytes()), Ok(text));
        }
        let too_long = format!("{longest}a");
        assert_eq!(read_external_id(too_long.as_bytes()), Err(AddressError::ExternalIdLength));
        assert_eq!(read_external_id(b""), Err(AddressError::Empty));
        assert_eq!(read_external_id(b"a\xFF"), Err(AddressError::NotUtf8));
        for text in ["a\0", "a\tb", "a\u{85}", "\u{7f}"] {
            assert_eq!(read_external_id(text.as_bytes()), Err(AddressError::ExternalIdControl));
        }
    }
}
