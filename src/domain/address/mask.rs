//! Masked addresses, for logs and messages: enough to recognise one's own, never the whole.

/// A phone number with its middle hidden: `90532***4567`. At least three digits are hidden.
#[must_use]
pub fn mask_phone(number: u64) -> String {
    let digits = number.to_string();
    let hidden_and_last = digits.len().min(7);
    keep_ends(&digits, (digits.len() - hidden_and_last).min(5), hidden_and_last.saturating_sub(3))
}

/// An e-mail address with only the first characters of its two parts: `o***@m***.com`.
#[must_use]
pub fn mask_email(address: &str) -> String {
    let (local, domain) = address.split_once('@').unwrap_or((address, ""));
    let name = domain.rsplit_once('.').map_or("", |(_, name)| name);
    format!("{}@{}.{name}", keep_start(local), keep_start(domain))
}

/// A contact ID or external ID with its middle hidden: `cu*******42`. A short one is hidden whole.
#[must_use]
pub fn mask_id(id: &str) -> String {
    if id.chars().count() < 8 { "***".to_owned() } else { keep_ends(id, 2, 2) }
}

fn keep_start(text: &str) -> String {
    text.chars().take(1).chain("***".chars()).collect()
}

fn keep_ends(text: &str, first: usize, last: usize) -> String {
    let hidden_end = text.chars().count().saturating_sub(last);
    let keep =
        |(place, character)| if place < first || place >= hidden_end { character } else { '*' };
    text.chars().enumerate().map(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_hidden() {
        assert_eq!(mask_phone(905_321_234_567), "90532***4567");
        assert_eq!(mask_phone(1_234_567), "***4567");
        assert_eq!(mask_phone(12_345_678), "1***5678");
        assert_eq!(mask_phone(999_999_999_999_999), "99999******9999");
        assert_eq!(mask_phone(0), "*");
        assert_eq!(mask_email("ornek@mail.com.tr"), "o***@m***.tr");
        assert_eq!(mask_email("ü@xn--iek-1lab62c.com"), "ü***@x***.com");
        assert_eq!(mask_email("no address"), "n***@***.");
        assert_eq!(mask_id("customer-42"), "cu*******42");
        assert_eq!(mask_id("müşteri1"), "mü****i1");
        assert_eq!(mask_id("1234567"), "***");
    }
}
