//! Why a spelling is not an address.

use std::fmt;

/// Why a spelling was not read as an address, and what to do about it.
///
/// Holds no part of the address, so it may go to logs and rejects files as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddressError {
    /// There is nothing but spaces.
    Empty,
    /// The bytes are not UTF-8.
    NotUtf8,
    /// A phone number holds something other than digits, a leading `+` and punctuation.
    PhoneCharacter,
    /// A phone number carries decimals, as spreadsheets add them.
    PhoneDecimals,
    /// No way of reading the digits gives a number that exists.
    PhoneUnknown,
    /// The region code is not one that libphonenumber knows.
    RegionUnknown,
    /// An e-mail address has no `@`, or several.
    EmailAt,
    /// The part before the `@` is empty or holds a character that needs quoting, or none at all.
    EmailLocal,
    /// The part after the `@` is not a domain name with a dot.
    EmailDomain,
    /// An e-mail address is shorter than 6 or longer than 254 bytes.
    EmailLength,
    /// A contact ID is not a plain decimal number below 2^64.
    ContactId,
    /// An external ID is longer than 128 bytes.
    ExternalIdLength,
    /// An external ID holds a control character.
    ExternalIdControl,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the address is empty",
            Self::NotUtf8 => "the address is not UTF-8; convert the file or name its encoding",
            Self::PhoneCharacter => {
                "a phone number may hold digits, spaces, dots, dashes, parentheses and one leading +; \
                 remove letters, extensions and second numbers"
            }
            Self::PhoneDecimals => {
                "the phone number ends in decimals, so a spreadsheet has treated it as a quantity; \
                 export the column as text"
            }
            Self::PhoneUnknown => {
                "no reading of these digits is a phone number; write it as + and country code, \
                 or name the region of national numbers"
            }
            Self::RegionUnknown => {
                "unknown region; write a two-letter ISO 3166 code such as TR, or GB for the United Kingdom"
            }
            Self::EmailAt => "an e-mail address has exactly one @; put one address in each cell",
            Self::EmailLocal => {
                "the part before the @ is empty or holds a space, an invisible or control character, \
                 or one of ( ) < > [ ] : ; , \\ \"; correct it"
            }
            Self::EmailDomain => {
                "the part after the @ is not a domain name such as example.com; correct it"
            }
            Self::EmailLength => "an e-mail address has 6 to 254 bytes; correct it",
            Self::ContactId => {
                "a contact ID is a decimal number from 0 to 18446744073709551615 without sign, \
                 spaces, decimals or leading zeros; use external_id for anything else"
            }
            Self::ExternalIdLength => "an external ID has 1 to 128 bytes; shorten it",
            Self::ExternalIdControl => "an external ID holds no control characters; remove them",
        })
    }
}

impl std::error::Error for AddressError {}
