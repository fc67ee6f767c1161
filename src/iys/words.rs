//! The registry's own words, spelled as it spells them: upper case, no spaces.

use crate::proto::v1;

/// What sort of message a consent is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IysType {
    /// ARAMA, calls.
    Call,
    /// MESAJ, text messages.
    Message,
    /// EPOSTA, e-mail.
    Email,
}

impl IysType {
    /// Every type.
    pub const ALL: [Self; 3] = [Self::Call, Self::Message, Self::Email];

    /// The registry's word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Call => "ARAMA",
            Self::Message => "MESAJ",
            Self::Email => "EPOSTA",
        }
    }

    /// Reads the registry's word, exactly as it writes it.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|each| each.name() == word)
    }
}

/// Whether the person consented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// ONAY, consented.
    Approved,
    /// RET, refused.
    Refused,
}

impl Status {
    /// The registry's word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Approved => "ONAY",
            Self::Refused => "RET",
        }
    }

    /// Reads the registry's word, exactly as it writes it.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Approved, Self::Refused].into_iter().find(|each| each.name() == word)
    }
}

/// Whether the recipient is a private person or a business.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecipientType {
    /// BIREYSEL, a private person.
    Individual,
    /// TACIR, a business.
    Merchant,
}

impl RecipientType {
    /// The registry's word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Individual => "BIREYSEL",
            Self::Merchant => "TACIR",
        }
    }

    /// Reads the registry's word, exactly as it writes it.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Individual, Self::Merchant].into_iter().find(|each| each.name() == word)
    }

    /// The type that an event names; none where it names none.
    #[must_use]
    pub fn of_event(event: &v1::ConsentEvent) -> Option<Self> {
        match event.recipient_type() {
            v1::RecipientType::Individual => Some(Self::Individual),
            v1::RecipientType::Merchant => Some(Self::Merchant),
            v1::RecipientType::Unspecified => None,
        }
    }
}

/// A consent from before the law of 1 May 2015.
pub const SOURCE_2015: &str = "HS_2015";
/// The one time that [`SOURCE_2015`] may have.
pub const DATE_2015: &str = "2015-05-01 00:00:00";
/// The decision of a court or authority, which can only refuse.
pub const SOURCE_DECISION: &str = "HS_KARAR";

/// The sources that a sender may set.
pub const SOURCES: [&str; 13] = [
    SOURCE_2015,
    SOURCE_DECISION,
    "HS_FIZIKSEL_ORTAM",
    "HS_ISLAK_IMZA",
    "HS_ETKINLIK",
    "HS_ATM",
    "HS_EORTAM",
    "HS_WEB",
    "HS_MOBIL",
    "HS_MESAJ",
    "HS_EPOSTA",
    "HS_CAGRI_MERKEZI",
    "HS_SOSYAL_MEDYA",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_spelling_is_the_word() {
        for word in ["ONAY", "RET"] {
            assert_eq!(Status::parse(word).unwrap().name(), word);
        }
        for word in ["onay", " ONAY", "ONAY ", "", "1"] {
            assert_eq!(Status::parse(word), None, "{word:?}");
        }
        assert_eq!(IysType::parse("mesaj"), None);
        assert_eq!(RecipientType::parse("TACİR"), None, "the registry writes a plain I");
    }
}
