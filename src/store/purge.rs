//! Purging: no file of the store keeps a byte of what was deleted or replaced.
//!
//! RocksDB deletes by writing that something is deleted; the bytes leave with
//! the files that held them. A purge replaces every such file: memtables are
//! flushed, so that logs become obsolete; every table is rewritten down to the
//! last level; and the MANIFEST, which keeps key ranges, begins anew.

use std::{fs, thread, time::Duration};

use rocksdb::{BottommostLevelCompaction, CompactOptions, FlushOptions};

use super::{Store, StoreError, keys::family};

/// What became of a purge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purged {
    /// Everything deleted or replaced before it is gone from all files.
    Done,
    /// A snapshot keeps old rows; nothing is promised.
    InUse,
}

/// Commits that go into the MANIFEST at the end. It is begun anew by the next
/// entry once it has grown at all (see `open`); two leave none of the old.
const MANIFEST_ENTRIES: u64 = 3;
/// How long obsolete files may take to go, in steps of [`PAUSE`].
const PATIENCE: u32 = 600;
const PAUSE: Duration = Duration::from_millis(100);

impl Store {
    /// Rewrites the store's files. Takes as long as reading and writing the
    /// store once; other reads and writes go on.
    ///
    /// # Errors
    /// A file could not be written or removed.
    pub fn purge(&self) -> Result<Purged, StoreError> {
        let database = self.database();
        let mut flush = FlushOptions::default();
        flush.set_wait(true);
        let before = self.logs()?;
        let families = family::ALL.map(|name| self.family(name));
        for family in &families {
            let family = family.as_ref().map_err(|error| StoreError::refused(error.to_string()))?;
            database.flush_cf_opt(*family, &flush)?;
        }
        if self.has_snapshots()? {
            return Ok(Purged::InUse);
        }
        let mut compact = CompactOptions::default();
        compact.set_exclusive_manual_compaction(true);
        // Tables on the last level are otherwise left as they are.
        compact.set_bottommost_level_compaction(BottommostLevelCompaction::ForceOptimized);
        for family in families.iter().flatten() {
            database.compact_range_cf_opt(*family, None::<&[u8]>, None::<&[u8]>, &compact);
        }
        if self.has_snapshots()? {
            return Ok(Purged::InUse);
        }
        let meta = self.family(family::META)?;
        for entry in 0..MANIFEST_ENTRIES {
            database.put_cf(meta, super::keys::meta::PURGE, entry.to_le_bytes())?;
            database.flush_cf_opt(meta, &flush)?;
        }
        for _ in 0..PATIENCE {
            let now = self.logs()?;
            if !before.iter().any(|log| now.contains(log)) {
                return Ok(Purged::Done);
            }
            thread::sleep(PAUSE);
        }
        Err(StoreError::refused("an old log file did not go: look at the disk, then purge again"))
    }

    fn has_snapshots(&self) -> Result<bool, StoreError> {
        let count = self.database().property_int_value("rocksdb.num-snapshots")?;
        Ok(count.unwrap_or(0) > 0)
    }

    /// The names of the write-ahead logs.
    fn logs(&self) -> Result<Vec<std::ffi::OsString>, StoreError> {
        let folder = self.database().path();
        let read = |error| StoreError::Folder(folder.into(), error);
        let mut logs = Vec::new();
        for entry in fs::read_dir(folder).map_err(read)? {
            let name = entry.map_err(read)?.file_name();
            if std::path::Path::new(&name).extension().is_some_and(|end| end == "log") {
                logs.push(name);
            }
        }
        Ok(logs)
    }
}
