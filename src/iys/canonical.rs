//! The canonical form of the registry's records, their order, and their digest.
//!
//! A canonical row has the eight columns of the daily file, in its order, as
//! sendgate understands them: the recipient as `+90…` or as the e-mail address
//! it keeps, the recipient type written out, an empty consent date filled with
//! the creation date, as the import does. Its bytes are those fields joined by
//! commas, quoted only where a field holds a comma, a quote or a line end, with
//! `\n` after each row. Rows stand in the order of (creationDate,
//! transactionId), then of the other columns, and each once. The digest is the
//! SHA-384 of these bytes, without a header.

use std::io;

use sha2::{Digest, Sha384};

use super::{
    recipient, time,
    words::{IysType, RecipientType, Status},
};
use crate::{domain::address::Accept, formats::DailyRow};

/// What stands for "private persons and merchants alike", where a refusal was
/// recorded without a recipient type.
pub const BOTH_TYPES: &str = "*";

/// One record. Its order is the canonical one.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CanonicalRow {
    /// When the registry made the record; empty where nobody knows.
    pub creation_date: String,
    /// The record's number.
    pub transaction_id: String,
    /// A phone number or an e-mail address.
    pub recipient: String,
    /// BIREYSEL, TACIR or [`BOTH_TYPES`].
    pub recipient_type: String,
    /// ARAMA, MESAJ or EPOSTA.
    pub iys_type: String,
    /// ONAY or RET.
    pub status: String,
    /// When the person said so.
    pub consent_date: String,
    /// Where.
    pub source: String,
}

/// The columns that the ledger keeps, with their names.
type Kept<'a> = [(&'static str, &'a str); 7];

impl CanonicalRow {
    /// The canonical form of a row of a daily file. What cannot be understood
    /// stays as it stands, and so differs from everything in the ledger.
    #[must_use]
    pub fn of_file(row: &DailyRow<'_>) -> Self {
        let status = row.status.trim().to_ascii_uppercase();
        let iys_type = row.iys_type.trim().to_ascii_uppercase();
        let refused = status == Status::Refused.name();
        let accept = if refused { Accept::Possible } else { Accept::Valid };
        let stated = row.recipient.trim();
        let recipient = IysType::parse(&iys_type)
            .and_then(|iys_type| recipient::canonical(iys_type, stated, accept));
        let recipient_type = match row.recipient_type.trim().to_ascii_uppercase().as_str() {
            "" => RecipientType::Individual.name().to_owned(),
            // The import takes a refusal whatever its type, for both.
            word if refused && RecipientType::parse(word).is_none() => BOTH_TYPES.to_owned(),
            word => word.to_owned(),
        };
        let dates = [row.consent_date.trim(), row.creation_date.trim()];
        // As the import: a refusal takes the first date that can be read, a
        // consent the first that is there.
        let is_good = |date: &&&str| {
            if refused { time::parse(date).is_some() } else { !date.is_empty() }
        };
        Self {
            creation_date: row.creation_date.trim().to_owned(),
            transaction_id: row.transaction_id.trim().to_owned(),
            recipient: recipient.unwrap_or_else(|| stated.to_owned()),
            recipient_type,
            iys_type,
            status,
            consent_date: dates.iter().find(is_good).map_or("", |date| date).to_owned(),
            source: row.source.trim().to_owned(),
        }
    }

    /// Everything but the creation date, which the ledger does not keep.
    #[must_use]
    pub fn kept(&self) -> Kept<'_> {
        [
            ("transactionId", &self.transaction_id),
            ("recipient", &self.recipient),
            ("recipientType", &self.recipient_type),
            ("type", &self.iys_type),
            ("status", &self.status),
            ("consentDate", &self.consent_date),
            ("source", &self.source),
        ]
    }
}

/// The SHA-384 of rows in canonical order, in hexadecimal.
///
/// # Errors
/// None that can occur: nothing is written to a disk or a network.
pub fn sha384(rows: &[CanonicalRow]) -> io::Result<String> {
    let mut writer = csv::WriterBuilder::new()
        .has_headers(false)
        .terminator(csv::Terminator::Any(b'\n'))
        .from_writer(Sha384::new());
    for row in rows {
        let kept = row.kept().map(|(_, text)| text);
        writer.write_record(std::iter::once(row.creation_date.as_str()).chain(kept))?;
    }
    let digest = writer.into_inner().map_err(|error| io::Error::other(error.to_string()))?;
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
