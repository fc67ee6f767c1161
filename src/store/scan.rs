//! Reading the ledger: single rows, many at once, and from end to end.

use rocksdb::{Direction, IteratorMode};

use super::{
    ChainHash, ContactKey, EventRow, KeyHash, KeyRow, Store, StoreError, StoredState,
    checkpoint::row_hash,
    keys::{self, PageKey, family, meta},
    state_rows::decode_erased,
};
use crate::domain::{
    contact::{ContactKind, ContactRef},
    erased::ErasedMark,
    plane::PlaneId,
    scope::BrandId,
    secret::Fingerprint,
};

/// A row of the family `pages`, checked against its hash.
#[derive(Debug)]
pub enum PageRow {
    /// A page of a plane: its name, page index, bytes and hash.
    Plane(PlaneId, u64, Box<[u8]>, u128),
    /// A block of a directory: its kind, block index, fingerprints and hash.
    Directory(ContactKind, u64, Vec<Fingerprint>, u128),
}

type Row = Result<(Box<[u8]>, Box<[u8]>), StoreError>;

impl Store {
    /// An event.
    pub fn event(&self, revision: u64) -> Result<Option<EventRow>, StoreError> {
        let bytes = self.database().get_cf(self.family(family::EVENTS)?, keys::event(revision))?;
        bytes.map(|bytes| EventRow::decode(&bytes)).transpose()
    }

    /// All events from a revision on, each with its revision, checked: no gap,
    /// every row hashes to what the next one says of it, every body to its
    /// digest. `chain` is the chain before the first of them.
    pub fn events(
        &self,
        from: u64,
        chain: ChainHash,
    ) -> Result<impl Iterator<Item = Result<(u64, EventRow), StoreError>>, StoreError> {
        let rows = self.rows(family::EVENTS, &keys::event(from))?;
        let mut expected = (from, chain);
        Ok(rows.map(move |row| {
            let (key, value) = row?;
            let revision = key.as_ref().try_into().map(u64::from_be_bytes).ok();
            let (next, chain) = expected;
            if revision != Some(next) {
                return Err(StoreError::refused(format!("revision {next} is missing")));
            }
            let row = EventRow::decode(&value)?;
            if row.previous != chain {
                return Err(StoreError::refused(format!(
                    "revision {} was changed: revision {next} does not follow it",
                    next.saturating_sub(1)
                )));
            }
            if !row.body_matches() {
                return Err(StoreError::refused(format!(
                    "the payload of revision {next} was changed"
                )));
            }
            expected = (next + 1, row.hash(next));
            Ok((next, row))
        }))
    }

    /// The states of these contacts, in order.
    pub fn states(&self, contacts: &[ContactKey]) -> Result<Vec<Option<StoredState>>, StoreError> {
        self.many(family::STATE, contacts.iter().map(ContactKey::as_bytes), StoredState::decode)
    }

    /// The events that these keys stand for, in order.
    pub fn event_keys(&self, hashes: &[KeyHash]) -> Result<Vec<Option<KeyRow>>, StoreError> {
        self.many(family::KEYS, hashes.iter().map(|hash| hash.0.to_be_bytes()), KeyRow::decode)
    }

    /// The addresses of these ordinals, in order.
    pub fn addresses(
        &self,
        contacts: &[(ContactKind, u64)],
    ) -> Result<Vec<Option<String>>, StoreError> {
        let keys = contacts.iter().map(|(kind, ordinal)| keys::contact(*kind, *ordinal));
        self.many(family::CONTACTS, keys, |bytes| {
            String::from_utf8(bytes.to_vec())
                .map_err(|_| StoreError::refused("an address of the directory is damaged"))
        })
    }

    /// Every state, in the order of the keys.
    pub fn all_states(
        &self,
    ) -> Result<impl Iterator<Item = Result<(ContactKey, StoredState), StoreError>>, StoreError>
    {
        Ok(self.rows(family::STATE, &[])?.map(|row| {
            let (key, value) = row?;
            let contact = ContactKey::parse(&key)
                .ok_or_else(|| StoreError::refused("the key of a contact's state is damaged"))?;
            Ok((contact, StoredState::decode(&value)?))
        }))
    }

    /// The registered addresses of a kind from an ordinal on: ordinal, text.
    pub fn addresses_from(
        &self,
        kind: ContactKind,
        ordinal: u64,
    ) -> Result<impl Iterator<Item = Result<(u64, String), StoreError>>, StoreError> {
        let damaged = || StoreError::refused("a row of the directory is damaged");
        let rows = self.rows(family::CONTACTS, &keys::contact(kind, ordinal))?;
        Ok(rows
            .map(move |row| {
                let (key, value) = row?;
                let (tag, ordinal) = key.split_first().ok_or_else(damaged)?;
                let ordinal = u64::from_be_bytes(ordinal.try_into().map_err(|_| damaged())?);
                let text = String::from_utf8(value.into()).map_err(|_| damaged())?;
                Ok((*tag, ordinal, text))
            })
            .take_while(move |row| row.as_ref().map_or(true, |(tag, ..)| *tag == kind as u8))
            .map(|row| row.map(|(_, ordinal, text)| (ordinal, text))))
    }

    /// Whether anything was recorded for all brands: such states come first.
    pub fn has_all_brands(&self) -> Result<bool, StoreError> {
        let first = self.all_states()?.next().transpose()?;
        Ok(first.is_some_and(|(key, _)| key.brand() == BrandId::ALL))
    }

    /// The queued ends with `from < due ≤ until`: time, contact key, contact.
    pub fn ends(
        &self,
        from: i64,
        until: i64,
    ) -> Result<impl Iterator<Item = Result<(i64, ContactKey, ContactRef), StoreError>>, StoreError>
    {
        let damaged = || StoreError::refused("a row of the queue of ends is damaged");
        let rows = self.rows(family::EXPIRY, &keys::expiry_from(from.saturating_add(1)))?;
        Ok(rows
            .map(move |row| {
                let (due, key) = keys::parse_expiry(&row?.0).ok_or_else(damaged)?;
                Ok((due, key, key.contact(self.secret()).ok_or_else(damaged)?))
            })
            .take_while(move |end| end.as_ref().map_or(true, |(due, ..)| *due <= until)))
    }

    /// How many payloads were redacted.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn redacted(&self) -> Result<u64, StoreError> {
        let row = self.database().get_pinned_cf(self.family(family::META)?, meta::REDACTED)?;
        Ok(row.and_then(|row| row.first_chunk().copied()).map_or(0, u64::from_le_bytes))
    }

    /// The keys of the contacts that have a state, behind one of them.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn contacts_behind(
        &self,
        last: Option<ContactKey>,
    ) -> Result<impl Iterator<Item = Result<ContactKey, StoreError>>, StoreError> {
        let from = last.as_ref().map_or(&[][..], ContactKey::as_bytes);
        Ok(self
            .rows(family::STATE, from)?
            .map(|row| {
                ContactKey::parse(&row?.0)
                    .ok_or_else(|| StoreError::refused("the key of a contact's state is damaged"))
            })
            .filter(move |key| !matches!(key, Ok(key) if Some(*key) == last)))
    }

    /// Whether an end is queued.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn has_end(&self, due: i64, contact: &ContactKey) -> Result<bool, StoreError> {
        let row = self
            .database()
            .get_pinned_cf(self.family(family::EXPIRY)?, keys::expiry(due, contact))?;
        Ok(row.is_some())
    }

    /// Whether an event stands in a contact's history.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn has_history(&self, contact: &ContactKey, revision: u64) -> Result<bool, StoreError> {
        let key = keys::history(contact, revision);
        Ok(self.database().get_pinned_cf(self.family(family::HISTORY)?, key)?.is_some())
    }

    /// The revisions of a contact's history, in order.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn history(&self, contact: &ContactKey) -> Result<Vec<u64>, StoreError> {
        let contact = *contact;
        self.rows(family::HISTORY, contact.as_bytes())?
            .map(|row| row.map(|(key, _)| key))
            .take_while(|key| key.as_ref().map_or(true, |key| key.starts_with(contact.as_bytes())))
            .map(|key| {
                key?.last_chunk()
                    .copied()
                    .map(u64::from_be_bytes)
                    .ok_or_else(|| StoreError::refused("a key of a contact's history is damaged"))
            })
            .collect()
    }

    /// The hash of a directory's block on disk; `None` if there is no such block.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn block_hash(&self, kind: ContactKind, block: u64) -> Result<Option<u128>, StoreError> {
        let key = PageKey::Directory(kind, block).encode();
        let row = self.database().get_pinned_cf(self.family(family::PAGES)?, key)?;
        Ok(row.and_then(|row| row.first_chunk().copied()).map(u128::from_le_bytes))
    }

    /// The bytes of a page on disk, which must have this hash.
    ///
    /// # Errors
    /// The page is missing or was changed, or the ledger cannot be read.
    pub fn page(&self, plane: &PlaneId, page: u64, hash: u128) -> Result<Box<[u8]>, StoreError> {
        let key = PageKey::Plane(*plane, page).encode();
        let row = self.database().get_pinned_cf(self.family(family::PAGES)?, &key)?;
        let bytes = row.as_ref().and_then(|row| row.get(16..));
        bytes
            .filter(|bytes| row_hash(&key, bytes) == hash)
            .map(Box::from)
            .ok_or_else(|| StoreError::refused("a page is missing or was changed on disk"))
    }

    /// Every page and block, each checked against its own hash.
    pub fn pages(&self) -> Result<impl Iterator<Item = Result<PageRow, StoreError>>, StoreError> {
        Ok(self.rows(family::PAGES, &[])?.map(|row| {
            let (key, value) = row?;
            let damaged = || StoreError::refused("a page was changed on disk");
            let (stored, bytes) = value.split_first_chunk::<16>().ok_or_else(damaged)?;
            let hash = row_hash(&key, bytes);
            if hash != u128::from_le_bytes(*stored) {
                return Err(damaged());
            }
            match PageKey::parse(&key).ok_or_else(damaged)? {
                PageKey::Plane(plane, page) => Ok(PageRow::Plane(plane, page, bytes.into(), hash)),
                PageKey::Directory(kind, block) => {
                    let (fingerprints, rest) = bytes.as_chunks::<16>();
                    if !rest.is_empty() {
                        return Err(damaged());
                    }
                    let fingerprints =
                        fingerprints.iter().map(|each| Fingerprint::from_le_bytes(*each));
                    Ok(PageRow::Directory(kind, block, fingerprints.collect(), hash))
                }
            }
        }))
    }

    /// Every mark of an erasure, by keyed fingerprint.
    pub fn all_erased(
        &self,
    ) -> Result<impl Iterator<Item = Result<(Fingerprint, ErasedMark), StoreError>>, StoreError>
    {
        Ok(self.rows(family::ERASED, &[])?.map(|row| {
            let (key, value) = row?;
            let fingerprint = key
                .as_ref()
                .try_into()
                .map(Fingerprint::from_be_bytes)
                .map_err(|_| StoreError::refused("the key of an erasure's mark is damaged"))?;
            Ok((fingerprint, decode_erased(&value)?))
        }))
    }

    fn rows<'s>(
        &'s self,
        family: &str,
        from: &[u8],
    ) -> Result<impl Iterator<Item = Row> + use<'s>, StoreError> {
        let family = self.family(family)?;
        let mode = IteratorMode::From(from, Direction::Forward);
        Ok(self.database().iterator_cf(family, mode).map(|row| row.map_err(StoreError::from)))
    }

    fn many<T, K: AsRef<[u8]>>(
        &self,
        family: &str,
        keys: impl Iterator<Item = K>,
        decode: impl Fn(&[u8]) -> Result<T, StoreError>,
    ) -> Result<Vec<Option<T>>, StoreError> {
        // The database would sort them itself, at several times the cost.
        let mut sorted: Vec<(K, usize)> = keys.zip(0..).collect();
        sorted.sort_unstable_by(|(a, _), (b, _)| a.as_ref().cmp(b.as_ref()));
        let found = self.database().batched_multi_get_cf(
            self.family(family)?,
            sorted.iter().map(|(key, _)| key),
            true,
        );
        let mut rows: Vec<Option<T>> = Vec::new();
        rows.resize_with(sorted.len(), || None);
        for ((_, place), row) in sorted.iter().zip(found) {
            if let (Some(bytes), Some(slot)) = (row?, rows.get_mut(*place)) {
                *slot = Some(decode(&bytes)?);
            }
        }
        Ok(rows)
    }
}
