//! Recipients: the one spelling by which two rows are of the same person, and
//! the mask under which people read them.

use super::words::IysType;
use crate::domain::address::{
    Accept, Region, mask_email, mask_id, mask_phone, read_email, read_phone,
};

/// The longest cell that is masked as it stands, in characters.
const MASKED_CHARACTERS: usize = 64;

/// The recipient in the registry's spelling (`+905…`, or the e-mail address as
/// sendgate keeps it); none if it cannot be an address for messages of this
/// type. An address of a refusal may be one that is only possible (R1).
#[must_use]
pub fn canonical(iys_type: IysType, text: &str, accept: Accept) -> Option<String> {
    match iys_type {
        IysType::Email => {
            let mut buffer = String::new();
            read_email(text.as_bytes(), &mut buffer).ok().map(str::to_owned)
        }
        IysType::Call | IysType::Message => {
            let turkey: Option<Region> = "TR".parse().ok();
            let number = read_phone(text.as_bytes(), turkey, accept).ok()?;
            Some(format!("+{number}"))
        }
    }
}

/// The recipient with its middle hidden, whatever it is.
#[must_use]
pub fn masked(text: &str) -> String {
    if text.contains('@') {
        return mask_email(text.trim());
    }
    let punctuation = |letter: char| letter.is_whitespace() || "+-.()".contains(letter);
    let digits = text.replace(punctuation, "");
    match digits.parse() {
        Ok(number) => mask_phone(number),
        Err(_) => mask_id(&text.chars().take(MASKED_CHARACTERS).collect::<String>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_recipient_are_one() {
        let number = |text| canonical(IysType::Message, text, Accept::Valid);
        for text in ["+905321234567", "5321234567", "0 (532) 123 45 67"] {
            assert_eq!(number(text).as_deref(), Some("+905321234567"), "{text}");
        }
        assert_eq!(number("ornek@mail.com"), None);
        let email = canonical(IysType::Email, " Ornek@Mail.com", Accept::Valid);
        assert_eq!(email.as_deref(), Some("ornek@mail.com"));
    }

    #[test]
    fn no_mask_shows_the_whole() {
        assert_eq!(masked("+90 532 123 45 67"), "90532***4567");
        assert_eq!(masked("ornek@mail.com"), "o***@m***.com");
        assert_eq!(masked("not a number at all"), "no***************ll");
        assert_eq!(masked("").as_str(), "***");
        assert_eq!(masked(&"x".repeat(1_000)).len(), MASKED_CHARACTERS);
    }
}
