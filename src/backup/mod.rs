//! Backups as folders: what is in one, how it comes to be there whole or not
//! at all, and how it becomes a store again.
//!
//! ```text
//! DIR/backup.json   what the backup holds, and the size and SHA-256 of each file
//! DIR/store/…       the files of the ledger's database, flat
//! ```

mod check;
mod manifest;
mod restore;
mod staging;

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

pub use check::check;
pub use manifest::{FileEntry, Manifest};
pub use restore::{Restoration, restore};
pub use staging::Incoming;

use crate::store::StoreError;

/// The file that says what a backup holds; written last.
pub const MANIFEST: &str = "backup.json";
/// The folder of the database's files.
pub const STORE: &str = "store";

/// Why a backup was not made, or not used.
#[derive(Debug)]
pub enum BackupError {
    /// A file or folder could not be read or written.
    File(PathBuf, io::Error),
    /// The backup, or where something should go, is not what it must be.
    Refused(String),
    /// The ledger in it is refused.
    Store(StoreError),
}

impl BackupError {
    fn refused(what: impl Into<String>) -> Self {
        Self::Refused(what.into())
    }

    fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::File(path, error)
    }
}

impl fmt::Display for BackupError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, error) => write!(formatter, "{}: {error}", path.display()),
            Self::Refused(what) => formatter.write_str(what),
            Self::Store(error) => write!(formatter, "the ledger in the backup: {error}"),
        }
    }
}

impl std::error::Error for BackupError {}

impl From<StoreError> for BackupError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
