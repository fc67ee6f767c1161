//! Whether the registry's day and the ledger agree.
//!
//! Compared is what the ledger keeps of the registry's record: transaction ID
//! (`event_key`), recipient, recipient type, type, status, consent date and
//! source. It does not keep the creation date: a row of the ledger takes it from
//! the row of the file with the same transaction ID, which also gives it its
//! place in the canonical order.
//!
//! One row of the file may have become several events, one per channel of its
//! type; they are one row again here.
//!
//! What the ledger has and the file lacks can be told only where the ledger
//! knows the day of a record. It does for what people said to the registry
//! itself (sources `IYS_…`): consent and record are made in the same moment
//! there. What a sender reported was said at some earlier time.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use xxhash_rust::xxh3::xxh3_128;

use super::{
    MAX_ROWS, TooManyRows,
    canonical::{BOTH_TYPES, CanonicalRow},
    outgoing::{is_from_registry, type_of_channel},
    time,
    words::{IysType, RecipientType, Status},
};
use crate::{
    formats::{DailyRow, IysMapping, REGISTRY_PREFIX},
    proto::v1::{ConsentEvent, ConsentStatus, ContactKind, LedgerRecord, ledger_record::Event},
};

/// Characters of the date in a time of the registry.
const DAY_CHARACTERS: usize = 10;

/// How file and ledger differ in one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The file has it and the ledger does not: it was not imported, was
    /// rejected, or was erased since.
    NotInLedger(CanonicalRow),
    /// The ledger has it and the file does not.
    NotInFile(CanonicalRow),
    /// Both have it, with other fields.
    Fields {
        /// The file's.
        file: CanonicalRow,
        /// The ledger's.
        ledger: CanonicalRow,
    },
}

/// The records of the registry's files.
#[derive(Debug, Default)]
pub struct Day {
    rows: Vec<CanonicalRow>,
    repeated: u64,
}

impl Day {
    /// Takes in a row.
    ///
    /// # Errors
    /// There are more than [`MAX_ROWS`].
    pub fn take(&mut self, row: &DailyRow<'_>) -> Result<(), TooManyRows> {
        if self.rows.len() == MAX_ROWS {
            return Err(TooManyRows);
        }
        self.rows.push(CanonicalRow::of_file(row));
        Ok(())
    }

    /// Puts the rows into canonical order, each once.
    pub fn sort(&mut self) {
        self.rows.sort_unstable();
        let before = self.rows.len();
        self.rows.dedup();
        self.repeated += (before - self.rows.len()) as u64;
    }

    /// The rows.
    #[must_use]
    pub fn rows(&self) -> &[CanonicalRow] {
        &self.rows
    }

    /// How many rows stood in the files more than once.
    #[must_use]
    pub fn repeated(&self) -> u64 {
        self.repeated
    }
}

/// What the ledger can reproduce of a day.
pub struct LedgerSide<'a> {
    brand: &'a str,
    mapping: &'a IysMapping,
    /// The creation date of each transaction of the file, by its fingerprint.
    creation_dates: HashMap<u128, &'a str>,
    days: BTreeSet<&'a str>,
    /// Whether the files are all that the registry ever sent.
    whole: bool,
    rows: BTreeSet<CanonicalRow>,
}

impl<'a> LedgerSide<'a> {
    /// The ledger's side of a [sorted](Day::sort) day. With `whole`, the files
    /// are all that the registry ever sent, and nothing else may be there.
    #[must_use]
    pub fn new(brand: &'a str, mapping: &'a IysMapping, day: &'a Day, whole: bool) -> Self {
        let with_key = day.rows.iter().filter(|row| !row.transaction_id.is_empty());
        let dated =
            |row: &'a CanonicalRow| (fingerprint(&row.transaction_id), row.creation_date.as_str());
        Self {
            brand,
            mapping,
            creation_dates: with_key.map(dated).collect(),
            days: day.rows.iter().filter_map(|row| day_of(&row.creation_date)).collect(),
            whole,
            rows: BTreeSet::new(),
        }
    }

    /// Takes in an event.
    ///
    /// # Errors
    /// There are more than [`MAX_ROWS`].
    pub fn take(&mut self, record: &LedgerRecord) -> Result<(), TooManyRows> {
        let Some(Event::Consent(event)) = &record.event else { return Ok(()) };
        if event.brand != self.brand || !is_from_registry(event) {
            return Ok(());
        }
        let Some(mut row) = reproduced(event, self.mapping) else { return Ok(()) };
        match self.creation_dates.get(&fingerprint(&row.transaction_id)) {
            Some(date) => (*date).clone_into(&mut row.creation_date),
            None if self.whole => {}
            None if self.is_of_the_day(&row) => {}
            None => return Ok(()),
        }
        if self.rows.len() == MAX_ROWS && !self.rows.contains(&row) {
            return Err(TooManyRows);
        }
        self.rows.insert(row);
        Ok(())
    }

    /// The rows, in canonical order.
    #[must_use]
    pub fn into_rows(self) -> Vec<CanonicalRow> {
        self.rows.into_iter().collect()
    }

    fn is_of_the_day(&self, row: &CanonicalRow) -> bool {
        row.source.starts_with(REGISTRY_PREFIX)
            && day_of(&row.consent_date).is_some_and(|day| self.days.contains(day))
    }
}

/// The registry's record that an event came from; none if the policy no longer
/// maps its channel.
fn reproduced(event: &ConsentEvent, mapping: &IysMapping) -> Option<CanonicalRow> {
    let contact = event.contact.as_ref()?;
    let iys_type = match contact.kind() {
        ContactKind::Email => IysType::Email,
        _ => type_of_channel(mapping, &event.channel)?,
    };
    let status = match event.status() {
        ConsentStatus::Granted => Status::Approved,
        _ => Status::Refused,
    };
    Some(CanonicalRow {
        creation_date: String::new(),
        transaction_id: event.event_key.clone(),
        recipient: contact.address.clone(),
        recipient_type: RecipientType::of_event(event)
            .map_or(BOTH_TYPES, RecipientType::name)
            .to_owned(),
        iys_type: iys_type.name().to_owned(),
        status: status.name().to_owned(),
        consent_date: event.consent_time.map(|time| time::format(time.unix_ms)).unwrap_or_default(),
        source: event.source.clone(),
    })
}

/// How two sides in canonical order differ.
#[must_use]
pub fn differences(file: &[CanonicalRow], ledger: &[CanonicalRow]) -> Vec<Difference> {
    let mut left: BTreeMap<&str, [Vec<&CanonicalRow>; 2]> = BTreeMap::new();
    let (mut ours, mut theirs) = (ledger.iter().peekable(), file.iter().peekable());
    loop {
        let order = match (theirs.peek(), ours.peek()) {
            (None, None) => break,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(one), Some(other)) => one.cmp(other),
        };
        let one = if order.is_le() { theirs.next() } else { None };
        let other = if order.is_ge() { ours.next() } else { None };
        if order.is_ne() {
            for (side, row) in [one, other].into_iter().enumerate() {
                let Some(row) = row else { continue };
                let sides = left.entry(&row.transaction_id).or_default();
                sides.get_mut(side).into_iter().for_each(|rows| rows.push(row));
            }
        }
    }
    left.into_iter().flat_map(|(key, [file, ledger])| paired(key, file, ledger)).collect()
}

/// Rows of one transaction that are not equal: those of one status are the same
/// record with other fields.
fn paired(key: &str, file: Vec<&CanonicalRow>, mut ledger: Vec<&CanonicalRow>) -> Vec<Difference> {
    let mut found = Vec::new();
    for row in file {
        // Rows without an ID have nothing by which they would belong together.
        let same = |other: &&CanonicalRow| !key.is_empty() && other.status == row.status;
        found.push(match ledger.iter().position(same) {
            Some(place) => {
                let ledger = ledger.swap_remove(place).clone();
                Difference::Fields { file: row.clone(), ledger }
            }
            None => Difference::NotInLedger(row.clone()),
        });
    }
    found.extend(ledger.into_iter().cloned().map(Difference::NotInFile));
    found
}

fn fingerprint(transaction_id: &str) -> u128 {
    xxh3_128(transaction_id.as_bytes())
}

/// The day of one of the registry's times.
fn day_of(time: &str) -> Option<&str> {
    time.get(..DAY_CHARACTERS)
}
