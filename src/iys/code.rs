//! What the registry says when it refuses a row (R12).

/// Why a row would be refused.
///
/// The registry has four codes for bad addresses. Which of them it gives to
/// which mistake is not published in one place; the split here (a text that is
/// no e-mail address, no number of the right form, no number that exists, or
/// of the wrong kind for its type) is our reading of it. Two faults have no
/// code of the registry that we know, and are named `ROW` and `DATE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// The row cannot be read at all.
    Row,
    /// The type is none of ARAMA, MESAJ, EPOSTA.
    H117,
    /// The recipient type is neither BIREYSEL nor TACIR.
    H116,
    /// The status is neither ONAY nor RET.
    H115,
    /// The source is none that a sender may set.
    H119,
    /// Not an e-mail address.
    H120,
    /// Not a number in the form that the file needs.
    H121,
    /// A number of the right form that does not exist.
    H160,
    /// A number where an e-mail address belongs, or the other way round.
    H166,
    /// The date is missing or not spelled as the registry spells it.
    Date,
    /// The source is HS_2015, and the date is not its one date.
    H155,
    /// The date is before 1 May 2015.
    H156,
    /// The date is in the future.
    H162,
    /// The date is more than three business days ago.
    H467,
    /// The source is HS_KARAR, and the status is not RET.
    H408,
    /// A merchant's record is to be changed, and there is no date.
    H462,
    /// A merchant's record is to be changed, and there is no source.
    H463,
    /// The registry's record has this status already.
    H174,
    /// The registry has no record, and the first one cannot be RET.
    H175,
    /// The date is not newer than that of the registry's record.
    H178,
    /// The batch has another row for this recipient and type.
    H194,
    /// The batch has more than 1,000 rows.
    H125,
}

impl Code {
    /// The code, as the registry writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.said().0
    }

    /// The field that is at fault.
    #[must_use]
    pub fn field(self) -> &'static str {
        self.said().1
    }

    /// What is wrong, for a person.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        self.said().2
    }

    fn said(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Row => ("ROW", "row", "the row cannot be read"),
            Self::H117 => ("H117", "type", "none of ARAMA, MESAJ, EPOSTA"),
            Self::H116 => ("H116", "recipientType", "neither BIREYSEL nor TACIR"),
            Self::H115 => ("H115", "status", "neither ONAY nor RET"),
            Self::H119 => ("H119", "source", "not a source that a sender may set"),
            Self::H120 => ("H120", "recipient", "not an e-mail address"),
            Self::H121 => ("H121", "recipient", "not a Turkish number in the form of this file"),
            Self::H160 => ("H160", "recipient", "no such phone number"),
            Self::H166 => ("H166", "recipient", "the wrong kind of address for this type"),
            Self::Date => ("DATE", "consentDate", "not a time like 2020-07-08 07:07:07"),
            Self::H155 => ("H155", "consentDate", "HS_2015 must be at 2015-05-01 00:00:00"),
            Self::H156 => ("H156", "consentDate", "before 2015-05-01"),
            Self::H162 => ("H162", "consentDate", "in the future"),
            Self::H467 => ("H467", "consentDate", "more than three business days ago"),
            Self::H408 => ("H408", "source", "HS_KARAR can only be RET"),
            Self::H462 => ("H462", "consentDate", "a merchant's record is changed without a date"),
            Self::H463 => ("H463", "source", "a merchant's record is changed without a source"),
            Self::H174 => ("H174", "status", "the registry has this status already"),
            Self::H175 => ("H175", "status", "the registry has no record, and the first is RET"),
            Self::H178 => ("H178", "consentDate", "not newer than the registry's record"),
            Self::H194 => ("H194", "recipient", "a second row for it in the batch"),
            Self::H125 => ("H125", "row", "beyond the 1,000 rows that a batch may have"),
        }
    }
}
