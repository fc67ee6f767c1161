//! What the registry holds, gathered from its daily files.

use std::{
    collections::{HashMap, hash_map::Entry},
    io::{self, BufRead},
};

use xxhash_rust::xxh3::xxh3_128;

use super::{
    MAX_ROWS, TooManyRows, recipient, time,
    words::{IysType, RecipientType, Status},
};
use crate::{
    domain::address::Accept,
    formats::{DailyRow, DailyRows},
};

/// Whom a record is about: the fingerprint of recipient, type and recipient
/// type, of which the registry has one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Subject(u128);

impl Subject {
    /// The subject of a row with this canonical recipient.
    #[must_use]
    pub fn new(iys_type: IysType, recipient_type: RecipientType, recipient: &str) -> Self {
        let text = format!("{} {} {recipient}", iys_type.name(), recipient_type.name());
        Self(xxh3_128(text.as_bytes()))
    }
}

/// The registry's record of one subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Consented or refused.
    pub status: Status,
    /// When, in ms; none if the files do not say.
    pub consent_time_ms: Option<i64>,
    /// Creation date and transaction ID, whose order as text is the order of
    /// the registry's records.
    order: Box<str>,
}

/// What the registry holds.
#[derive(Debug, Default)]
pub struct Registry {
    held: HashMap<Subject, Held>,
    unreadable: u64,
}

impl Registry {
    /// Takes in a daily file. The files' order does not matter.
    ///
    /// # Errors
    /// Reading failed, the header lacks a column, or there are more than
    /// [`MAX_ROWS`] subjects.
    pub fn read(&mut self, input: impl BufRead) -> io::Result<()> {
        let mut rows = DailyRows::new(input)?;
        while let Some((_, row)) = rows.next_row()? {
            match row.as_ref().and_then(record) {
                Some((subject, held)) => self.take(subject, held).map_err(io::Error::other)?,
                None => self.unreadable += 1,
            }
        }
        Ok(())
    }

    /// The record of a subject.
    #[must_use]
    pub fn held(&self, subject: Subject) -> Option<&Held> {
        self.held.get(&subject)
    }

    /// How many records there are.
    #[must_use]
    pub fn records(&self) -> usize {
        self.held.len()
    }

    /// How many rows could not be read, and so are not known to be held.
    #[must_use]
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    fn take(&mut self, subject: Subject, held: Held) -> Result<(), TooManyRows> {
        let is_full = self.held.len() == MAX_ROWS;
        match self.held.entry(subject) {
            Entry::Occupied(mut known) => {
                if known.get().order <= held.order {
                    known.insert(held);
                }
            }
            Entry::Vacant(_) if is_full => return Err(TooManyRows),
            Entry::Vacant(place) => {
                place.insert(held);
            }
        }
        Ok(())
    }
}

/// The record that a row stands for.
fn record(row: &DailyRow<'_>) -> Option<(Subject, Held)> {
    let iys_type = IysType::parse(row.iys_type.trim())?;
    let recipient_type = match row.recipient_type.trim() {
        "" => RecipientType::Individual,
        word => RecipientType::parse(word)?,
    };
    let status = Status::parse(row.status.trim())?;
    let recipient = recipient::canonical(iys_type, row.recipient.trim(), Accept::Possible)?;
    let (created, consented) = (row.creation_date.trim(), row.consent_date.trim());
    let consent_date = if consented.is_empty() { created } else { consented };
    let held = Held {
        status,
        consent_time_ms: time::parse(consent_date),
        order: format!("{created},{}", row.transaction_id.trim()).into(),
    };
    Some((Subject::new(iys_type, recipient_type, &recipient), held))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str =
        "creationDate,transactionId,recipient,recipientType,type,status,consentDate,source\n";

    fn subject(recipient: &str) -> Subject {
        Subject::new(IysType::Message, RecipientType::Individual, recipient)
    }

    #[test]
    fn the_last_record_in_the_registry_s_order_is_held_whichever_file_comes_first() {
        let row = |created: &str, id: &str, status: &str| {
            format!("{created},{id},5321234567,,MESAJ,{status},2025-01-02 03:04:05,HS_WEB\n")
        };
        let monday = HEADER.to_owned()
            + &row("2025-06-16 10:00:00", "b", "RET")
            + &row("2025-06-16 10:00:00", "a", "ONAY");
        let sunday = HEADER.to_owned() + &row("2025-06-15 23:59:59", "z", "ONAY");
        for files in [[&monday, &sunday], [&sunday, &monday]] {
            let mut registry = Registry::default();
            files.iter().for_each(|file| registry.read(file.as_bytes()).unwrap());
            assert_eq!((registry.records(), registry.unreadable()), (1, 0));
            let held = registry.held(subject("+905321234567")).unwrap();
            assert_eq!(held.status, Status::Refused);
            assert_eq!(held.consent_time_ms, time::parse("2025-01-02 03:04:05"));
        }
    }

    #[test]
    fn a_record_without_a_date_has_that_of_its_creation_and_bad_rows_are_counted() {
        let file = HEADER.to_owned()
            + "2025-06-16 10:00:00,a,+905321234567,BIREYSEL,MESAJ,RET,,IYS_WEB\n"
            + "2025-06-16 10:00:00,b,nobody,BIREYSEL,MESAJ,RET,,IYS_WEB\n"
            + "2025-06-16 10:00:00,c,+905321234567,BIREYSEL,MESAJ,RET,,\"IYS_WEB\n";
        let mut registry = Registry::default();
        registry.read(file.as_bytes()).unwrap();
        assert_eq!((registry.records(), registry.unreadable()), (1, 2));
        let held = registry.held(subject("+905321234567")).unwrap();
        assert_eq!(held.consent_time_ms, time::parse("2025-06-16 10:00:00"));
    }
}
