//! Reading several rows that stand for one revision.

use rocksdb::{DB, Direction, IteratorMode, PrefixRange, ReadOptions};

use super::{
    ContactKey, EventRow, Store, StoreError, StoredState, Tip,
    keys::{self, family, meta},
    state_rows::decode_erased,
};
use crate::domain::{
    contact::{ContactKind, ContactRef},
    erased::ErasedMark,
    scope::BrandId,
    secret::{Fingerprint, Secret},
    state::ContactState,
};

/// The ledger as of one moment, whatever is committed meanwhile. It keeps old
/// rows from being merged away: hold it for a reading, not for a wait.
pub struct Snapshot<'s> {
    store: &'s Store,
    rows: rocksdb::Snapshot<'s>,
    tip: Tip,
    policy_revision: u64,
}

impl Store {
    /// The ledger as of now: every whole commit up to some revision.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn snapshot(&self) -> Result<Snapshot<'_>, StoreError> {
        let rows = self.database().snapshot();
        let family = self.family(family::META)?;
        let tip = rows
            .get_cf(family, meta::TIP)?
            .map_or(Ok(Tip::default()), |bytes| Tip::decode(&bytes))?;
        let policy_revision = rows.get_cf(family, meta::POLICY)?.map(|bytes| {
            let bytes = bytes.try_into().map(u64::from_le_bytes);
            bytes.map_err(|_| StoreError::refused("the policy's revision is damaged"))
        });
        let policy_revision = policy_revision.transpose()?.unwrap_or(0);
        Ok(Snapshot { store: self, rows, tip, policy_revision })
    }
}

impl Snapshot<'_> {
    /// The last revision in it.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.tip.revision
    }

    /// The revision of the policy in force; 0 before the first.
    #[must_use]
    pub fn policy_revision(&self) -> u64 {
        self.policy_revision
    }

    /// The store's secret.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        self.store.secret()
    }

    /// An event.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn event(&self, revision: u64) -> Result<Option<EventRow>, StoreError> {
        let events = self.store.family(family::EVENTS)?;
        let bytes = self.rows.get_cf(events, keys::event(revision))?;
        bytes.map(|bytes| EventRow::decode(&bytes)).transpose()
    }

    /// The events of these revisions, in order.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn events(&self, revisions: &[u64]) -> Result<Vec<Option<EventRow>>, StoreError> {
        let keys = revisions.iter().map(|revision| keys::event(*revision));
        self.many(family::EVENTS, keys, EventRow::decode)
    }

    /// Every event from a revision on, with its revision.
    ///
    /// # Errors
    /// The ledger cannot be read, or a revision is missing.
    pub fn events_from(
        &self,
        first: u64,
    ) -> Result<impl Iterator<Item = Result<(u64, EventRow), StoreError>>, StoreError> {
        let events = self.store.family(family::EVENTS)?;
        let from = keys::event(first);
        let rows = self.rows.iterator_cf(events, IteratorMode::From(&from, Direction::Forward));
        Ok((first..).zip(rows).map(|(expected, row)| {
            let (key, value) = row?;
            if *key != keys::event(expected) {
                return Err(StoreError::refused(format!("revision {expected} is missing")));
            }
            Ok((expected, EventRow::decode(&value)?))
        }))
    }

    /// The last revision recorded at or before `time`; 0 if there is none.
    /// Recorded times never fall from one revision to the next.
    ///
    /// # Errors
    /// The ledger cannot be read, or a revision is missing.
    pub fn revision_at(&self, time: i64) -> Result<u64, StoreError> {
        let (mut before, mut after) = (0, self.tip.revision + 1);
        while after - before > 1 {
            let middle = before + (after - before) / 2;
            let row = self
                .event(middle)?
                .ok_or_else(|| StoreError::refused(format!("revision {middle} is missing")))?;
            if row.recorded_time <= time {
                before = middle;
            } else {
                after = middle;
            }
        }
        Ok(before)
    }

    /// The states of these contacts, in order.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn states(&self, contacts: &[ContactKey]) -> Result<Vec<Option<StoredState>>, StoreError> {
        self.many(family::STATE, contacts.iter().map(ContactKey::as_bytes), StoredState::decode)
    }

    /// Whether anything is recorded for all brands: such states come first.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn has_all_brands(&self) -> Result<bool, StoreError> {
        let states = self.store.family(family::STATE)?;
        let first = self.rows.iterator_cf(states, IteratorMode::Start).next().transpose()?;
        let first = first.and_then(|(key, _)| ContactKey::parse(&key));
        Ok(first.is_some_and(|key| key.brand() == BrandId::ALL))
    }

    /// The state of every contact of a kind within a brand, in the order of the
    /// sealed contact IDs.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn states_of(
        &self,
        brand: BrandId,
        kind: ContactKind,
    ) -> Result<impl Iterator<Item = Result<(ContactRef, ContactState), StoreError>>, StoreError>
    {
        let prefix = keys::contacts(brand, kind);
        let rows = self.prefixed(family::STATE, &prefix, &prefix)?;
        Ok(rows.map(move |row| {
            let row = StoredState::decode(&row?.1)?;
            Ok((ContactRef { kind, id: row.contact_id }, row.state))
        }))
    }

    /// Whether any contact was ever erased.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn has_erased(&self) -> Result<bool, StoreError> {
        let marks = self.store.family(family::ERASED)?;
        Ok(self.rows.iterator_cf(marks, IteratorMode::Start).next().transpose()?.is_some())
    }

    /// The marks of erasures under these fingerprints, in order.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn erased(&self, marks: &[Fingerprint]) -> Result<Vec<Option<ErasedMark>>, StoreError> {
        let keys = marks.iter().map(|mark| mark.to_be_bytes());
        self.many(family::ERASED, keys, decode_erased)
    }

    /// The addresses of these ordinals, in order.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn addresses(&self, contacts: &[ContactRef]) -> Result<Vec<Option<String>>, StoreError> {
        let keys = contacts.iter().map(|contact| keys::contact(contact.kind, contact.id));
        self.many(family::CONTACTS, keys, |bytes| {
            String::from_utf8(bytes.to_vec())
                .map_err(|_| StoreError::refused("an address of the directory is damaged"))
        })
    }

    /// The revisions of a contact's events from a revision on, in order.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn history(
        &self,
        contact: &ContactKey,
        first: u64,
    ) -> Result<impl Iterator<Item = Result<u64, StoreError>>, StoreError> {
        let from = keys::history(contact, first);
        let rows = self.prefixed(family::HISTORY, contact.as_bytes(), &from)?;
        Ok(rows.map(|row| {
            let (key, _) = row?;
            let revision = key.last_chunk().copied().map(u64::from_be_bytes);
            revision.ok_or_else(|| StoreError::refused("the key of a history is damaged"))
        }))
    }

    /// The rows whose keys begin with `prefix`, from a key on.
    fn prefixed(
        &self,
        family: &str,
        prefix: &[u8],
        from: &[u8],
    ) -> Result<impl Iterator<Item = Row> + use<'_>, StoreError> {
        let mut options = ReadOptions::default();
        options.set_iterate_range(PrefixRange(prefix));
        // A long reading must not push out what the writer looks up.
        options.fill_cache(false);
        let mode = IteratorMode::From(from, Direction::Forward);
        let rows = self.rows.iterator_cf_opt(self.store.family(family)?, options, mode);
        Ok(rows.map(|row| row.map_err(StoreError::from)))
    }

    fn many<T, K: AsRef<[u8]>>(
        &self,
        family: &str,
        keys: impl Iterator<Item = K>,
        decode: impl Fn(&[u8]) -> Result<T, StoreError>,
    ) -> Result<Vec<Option<T>>, StoreError> {
        let keys: Vec<K> = keys.collect();
        let mut options = ReadOptions::default();
        options.set_snapshot(&self.rows);
        let database: &DB = self.store.database();
        let family = self.store.family(family)?;
        let rows = database.batched_multi_get_cf_opt(family, &keys, false, &options);
        rows.into_iter().map(|row| row?.map(|bytes| decode(&bytes)).transpose()).collect()
    }
}

type Row = Result<(Box<[u8]>, Box<[u8]>), StoreError>;
