//! One commit: rows that become durable together, with one sync.

use std::time::Instant;

use rocksdb::{WriteBatch, WriteOptions};

use super::{
    Checkpoint, Epoch, EventRow, KeyRow, Restored, Store, StoreError, StoredState, Tip,
    checkpoint::row_hash,
    keys::{self, ContactKey, KeyHash, PageKey, family, meta},
    state_rows::encode_erased,
};
use crate::domain::{
    contact::ContactKind, erased::ErasedMark, plane::PlaneId, secret::Fingerprint,
    state::ContactState,
};

/// Rows to be committed together.
pub struct Batch<'a> {
    store: &'a Store,
    rows: WriteBatch,
    tip: Option<Tip>,
}

impl<'a> Batch<'a> {
    /// A batch without rows.
    #[must_use]
    pub fn new(store: &'a Store) -> Self {
        Self { store, rows: WriteBatch::default(), tip: None }
    }

    fn put(&mut self, family: &str, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.rows.put_cf(self.store.family(family)?, key, value);
        Ok(())
    }

    fn delete(&mut self, family: &str, key: &[u8]) -> Result<(), StoreError> {
        self.rows.delete_cf(self.store.family(family)?, key);
        Ok(())
    }

    /// Appends an event, or replaces one whose body was erased.
    pub fn event(&mut self, revision: u64, row: &EventRow) -> Result<(), StoreError> {
        self.put(family::EVENTS, &keys::event(revision), &row.encode())
    }

    /// Enters an event into a contact's history.
    pub fn history(&mut self, contact: &ContactKey, revision: u64) -> Result<(), StoreError> {
        self.put(family::HISTORY, &keys::history(contact, revision), &[])
    }

    /// Replaces a contact's state.
    pub fn state(
        &mut self,
        contact: &ContactKey,
        contact_id: u64,
        state: &ContactState,
    ) -> Result<(), StoreError> {
        self.put(family::STATE, contact.as_bytes(), &StoredState::encode(contact_id, state))
    }

    /// Remembers which event a key stands for.
    pub fn event_key(&mut self, key: KeyHash, row: &KeyRow) -> Result<(), StoreError> {
        self.put(family::KEYS, &key.0.to_be_bytes(), &row.encode())
    }

    /// Registers an address under its ordinal; an empty text stands for one
    /// that was erased, whose ordinal is never given out again.
    pub fn address(
        &mut self,
        kind: ContactKind,
        ordinal: u64,
        text: &str,
    ) -> Result<(), StoreError> {
        self.put(family::CONTACTS, &keys::contact(kind, ordinal), text.as_bytes())
    }

    /// Replaces the mark of an erasure.
    pub fn erased(&mut self, key: Fingerprint, mark: &ErasedMark) -> Result<(), StoreError> {
        self.put(family::ERASED, &key.to_be_bytes(), &encode_erased(mark))
    }

    /// Queues an end: at `due` the contact's verdicts may change by themselves.
    pub fn end(&mut self, due: i64, contact: &ContactKey) -> Result<(), StoreError> {
        self.put(family::EXPIRY, &keys::expiry(due, contact), &[])
    }

    /// Removes a contact's state.
    pub fn forget_state(&mut self, contact: &ContactKey) -> Result<(), StoreError> {
        self.delete(family::STATE, contact.as_bytes())
    }

    /// Removes an event from a contact's history.
    pub fn forget_history(
        &mut self,
        contact: &ContactKey,
        revision: u64,
    ) -> Result<(), StoreError> {
        self.delete(family::HISTORY, &keys::history(contact, revision))
    }

    /// Forgets what a key stands for.
    pub fn forget_event_key(&mut self, key: KeyHash) -> Result<(), StoreError> {
        self.delete(family::KEYS, &key.0.to_be_bytes())
    }

    /// Takes an end out of the queue.
    pub fn forget_end(&mut self, due: i64, contact: &ContactKey) -> Result<(), StoreError> {
        self.delete(family::EXPIRY, &keys::expiry(due, contact))
    }

    /// Replaces the count of redacted payloads.
    pub fn redacted(&mut self, count: u64) -> Result<(), StoreError> {
        self.put(family::META, meta::REDACTED, &count.to_le_bytes())
    }

    /// Gives the history a new name: it goes on otherwise than the one that it
    /// was copied from.
    pub(super) fn epoch(&mut self, epoch: Epoch) -> Result<(), StoreError> {
        self.put(family::META, meta::EPOCH, &epoch.to_le_bytes())
    }

    /// Replaces what is known of where a restored store comes from.
    pub fn restored(&mut self, restored: &Restored) -> Result<(), StoreError> {
        self.put(family::META, meta::RESTORED, &restored.encode())
    }

    /// Replaces the tip.
    pub fn tip(&mut self, tip: &Tip) -> Result<(), StoreError> {
        self.tip = Some(*tip);
        self.put(family::META, meta::TIP, &tip.encode())
    }

    /// Names the event that holds the policy in force.
    pub fn policy(&mut self, revision: u64) -> Result<(), StoreError> {
        self.put(family::META, meta::POLICY, &revision.to_le_bytes())
    }

    /// Replaces a page of a plane, or removes it if it is `None`.
    pub fn page(
        &mut self,
        plane: &PlaneId,
        page: u64,
        bytes: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        let key = PageKey::Plane(*plane, page).encode();
        match bytes {
            Some(bytes) => self.hashed(&key, bytes).map(|_| ()),
            None => self.delete(family::PAGES, &key),
        }
    }

    /// Replaces a block of a directory; returns its hash.
    pub fn directory_block(
        &mut self,
        kind: ContactKind,
        block: u64,
        fingerprints: &[Fingerprint],
    ) -> Result<u128, StoreError> {
        let bytes: Vec<u8> =
            fingerprints.iter().flat_map(|fingerprint| fingerprint.to_le_bytes()).collect();
        self.hashed(&PageKey::Directory(kind, block).encode(), &bytes)
    }

    /// Replaces the checkpoint, in the same commit as its pages.
    pub fn checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        self.put(family::META, meta::CHECKPOINT, &checkpoint.encode())
    }

    fn hashed(&mut self, key: &[u8], bytes: &[u8]) -> Result<u128, StoreError> {
        let hash = row_hash(key, bytes);
        self.put(family::PAGES, key, &[&hash.to_le_bytes(), bytes].concat())?;
        Ok(hash)
    }

    /// Makes the rows durable (A2). An error is final: what reached the disk
    /// is unknown, and the caller must stop (A10).
    pub fn commit(self) -> Result<(), StoreError> {
        // The acknowledgement promises that a power cut loses nothing (A3).
        let (store, tip, begun) = (self.store, self.tip, Instant::now());
        self.write(true)?;
        store.syncs().observe_since(begun);
        if let Some(tip) = tip {
            store.head().committed(tip.revision, tip.chain);
        }
        Ok(())
    }

    /// Writes the rows, to become durable with the next commit and never after
    /// it. For rows without which the ledger is whole.
    pub fn commit_unsynced(self) -> Result<(), StoreError> {
        self.write(false)
    }

    fn write(self, sync: bool) -> Result<(), StoreError> {
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        self.store.head().check()?;
        Ok(self.store.database().write_opt(self.rows, &options)?)
    }
}
