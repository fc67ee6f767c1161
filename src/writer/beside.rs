//! Long work on the ledger that runs beside the writer, which goes on: purges,
//! copies, searches. Each is on a thread that may wait for the disk, one of its
//! kind at a time.

use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;

use super::{handle::WriterHandle, search::Search};
use crate::store::{BackupCopy, Purged, StoreError};

impl WriterHandle {
    /// Looks at everybody in the ledger for the contacts that are searched for.
    /// It runs beside the writer, which goes on; one search at a time.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub async fn search(&self, mut search: Search) -> Result<Search, StoreError> {
        let one_at_a_time = Arc::clone(&self.searches).lock_owned().await;
        let store = Arc::clone(&self.store);
        let read = move || {
            let _one_at_a_time = one_at_a_time;
            search.read(&store)?;
            // Reading everybody takes a while; so that the writer, which looks at who
            // has come meanwhile, finds few.
            let now = store.snapshot()?.revision();
            search.catch_up(&store, now)?;
            Ok(search)
        };
        let read = tokio::task::spawn_blocking(read).await;
        read.unwrap_or_else(|error| Err(StoreError::refused(error.to_string())))
    }

    /// Rewrites the store's files without what was erased. It runs beside the
    /// writer, which goes on.
    ///
    /// # Errors
    /// A file could not be written or removed; nothing is promised then.
    pub async fn purge(&self) -> Result<Purged, StoreError> {
        let Ok(one_at_a_time) = Arc::clone(&self.files).try_lock_owned() else {
            return Ok(Purged::InUse);
        };
        let store = Arc::clone(&self.store);
        let purge = move || {
            let _one_at_a_time = one_at_a_time;
            store.purge()
        };
        let purged = tokio::task::spawn_blocking(purge).await;
        purged.unwrap_or_else(|error| Err(StoreError::refused(error.to_string())))
    }

    /// Makes a copy of the ledger to be carried elsewhere. It runs beside the
    /// writer, which goes on. `None` while a purge or another backup runs.
    ///
    /// # Errors
    /// The copy could not be made.
    pub async fn backup(&self) -> Result<Option<Backup>, StoreError> {
        let Ok(one_at_a_time) = Arc::clone(&self.files).try_lock_owned() else {
            return Ok(None);
        };
        let store = Arc::clone(&self.store);
        // The guard goes along: who asks may leave before the copy is made.
        let make =
            move || store.backup().map(|copy| Some(Backup { copy, _one_at_a_time: one_at_a_time }));
        let made = tokio::task::spawn_blocking(make).await;
        made.unwrap_or_else(|error| Err(StoreError::refused(error.to_string())))
    }
}

/// A copy of the ledger, the only one at its time. It is gone when dropped.
pub struct Backup {
    // Dropped first: nobody else may begin while the files are still there.
    copy: BackupCopy,
    _one_at_a_time: OwnedMutexGuard<()>,
}

impl std::ops::Deref for Backup {
    type Target = BackupCopy;

    fn deref(&self) -> &BackupCopy {
        &self.copy
    }
}
