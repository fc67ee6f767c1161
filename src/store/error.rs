//! What can go wrong with the ledger.

use std::{fmt, path::PathBuf};

/// Why the store cannot be opened, read or written.
#[derive(Debug)]
pub enum StoreError {
    /// RocksDB failed. After a failed write nothing is known any more: stop (A10).
    Database(rocksdb::Error),
    /// The HEAD file could not be read or written.
    Head(PathBuf, std::io::Error),
    /// Another process has the store open.
    InUse(PathBuf),
    /// The folder cannot be made or read.
    Folder(PathBuf, std::io::Error),
    /// The store contradicts itself, or its HEAD; it must not be served (A9).
    Refused(String),
}

impl StoreError {
    pub(crate) fn refused(what: impl Into<String>) -> Self {
        Self::Refused(what.into())
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database(error) => write!(formatter, "the ledger's database failed: {error}"),
            Self::Head(path, error) => {
                write!(formatter, "the HEAD file {} failed: {error}", path.display())
            }
            Self::InUse(path) => {
                write!(formatter, "another process has {} open: stop it first", path.display())
            }
            Self::Folder(path, error) => {
                write!(formatter, "cannot use the data folder {}: {error}", path.display())
            }
            Self::Refused(what) => write!(
                formatter,
                "the store is refused: {what}. Restore a backup, or keep this \
                 folder for examination"
            ),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<rocksdb::Error> for StoreError {
    fn from(error: rocksdb::Error) -> Self {
        Self::Database(error)
    }
}
