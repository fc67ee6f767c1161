//! Reading addresses: one function per contact kind turns any accepted spelling into the
//! canonical address (R1).
//!
//! Filtering, recording and importing all read through these functions, so a spelling can never
//! be one contact when a consent is recorded and another when a message is filtered.
//! No error and no mask holds an address: both may be logged.

mod decimal;
mod email;
#[cfg(target_arch = "x86_64")]
mod email_wide;
mod error;
mod id;
mod mask;
mod numbering;
mod phone;
mod spelling;
mod turkish;
#[cfg(target_arch = "x86_64")]
mod turkish_wide;
#[cfg(target_arch = "x86_64")]
mod window;

pub use email::{read_email, read_email_in};
pub use error::AddressError;
pub use id::{read_contact_id, read_external_id};
pub use mask::{mask_email, mask_id, mask_phone};
pub use numbering::{Region, all_in_e164_range, in_e164_range, plausible, plausible_throughout};
pub use phone::{Accept, PhoneColumn, read_phone};

/// Characters that take no room on screen: soft hyphen, zero-width and direction marks, byte
/// order mark. They come along when an address is copied from a page or a phone book.
const fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{AD}' | '\u{61C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}'
    )
}
