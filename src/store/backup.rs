//! A copy of the ledger as of one moment, to be carried elsewhere.
//!
//! RocksDB links its table files, which never change, into a folder of their
//! own, and copies the little else that it needs. That takes no longer for a
//! large store than for a small one, and commits go on meanwhile; some of them
//! are in the copy, so the copy itself says how far it comes.
//!
//! HEAD and the audit log are not in it. HEAD vouches for one store, and a
//! restored one becomes another. The audit log tells what happened on this
//! machine, and is for people: keep it elsewhere by itself.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use rocksdb::checkpoint::Checkpoint as Links;

use super::{
    Head, Store, StoreError, Tip,
    keys::{family, meta},
    open::{check_tip, open_to_read},
};

/// The folder within that of the store in which copies are made.
const FOLDER: &str = "backup";

/// A copy of the ledger on the same disk, gone when dropped.
#[derive(Debug)]
pub struct BackupCopy {
    folder: PathBuf,
    head: Head,
    files: Vec<(String, u64)>,
}

impl Store {
    /// Makes a copy. Only one may be made at a time, and while it is there the
    /// disk keeps files that a purge would remove.
    ///
    /// # Errors
    /// The disk failed, or the copy cannot be read.
    pub fn backup(&self) -> Result<BackupCopy, StoreError> {
        let folder = self.database().path().join(FOLDER);
        remove_leftovers(self.database().path())?;
        let head = Head { epoch: self.epoch(), revision: 0, chain: [0; 32] };
        // From here on whatever fails takes the copy with it.
        let copy = BackupCopy { folder, head, files: Vec::new() };
        let failed = |error| StoreError::Folder(copy.folder.clone(), error);
        fs::DirBuilder::new().mode(0o700).create(&copy.folder).map_err(failed)?;
        let linked = copy.linked();
        Links::new(self.database())?.create_checkpoint(&linked)?;
        let files = files(&linked).map_err(failed)?;

        let database = open_to_read(&linked)?;
        let meta_family = database
            .cf_handle(family::META)
            .ok_or_else(|| StoreError::refused("its copy has no family \"meta\""))?;
        let tip = database.get_cf(meta_family, meta::TIP)?;
        let tip = tip.map_or(Ok(Tip::default()), |bytes| Tip::decode(&bytes))?;
        check_tip(&database, &tip)?;
        let head = Head { revision: tip.revision, chain: tip.chain, ..head };
        Ok(copy.of(head, files))
    }
}

impl BackupCopy {
    fn of(mut self, head: Head, files: Vec<(String, u64)>) -> Self {
        (self.head, self.files) = (head, files);
        self
    }

    fn linked(&self) -> PathBuf {
        self.folder.join("store")
    }

    /// How far the copy comes.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// The names and sizes of its files.
    #[must_use]
    pub fn files(&self) -> &[(String, u64)] {
        &self.files
    }

    /// Opens one of its files.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn open(&self, name: &str) -> io::Result<File> {
        File::open(self.linked().join(name))
    }
}

impl Drop for BackupCopy {
    fn drop(&mut self) {
        // What stays goes with the next copy, or at the next start.
        if let Err(error) = fs::remove_dir_all(&self.folder)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "the copy that a backup was made of could not be removed");
        }
    }
}

/// Removes what was left of a copy whose server ended before it did.
pub(super) fn remove_leftovers(store: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(store.join(FOLDER)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::Folder(store.join(FOLDER), error))
        }
        _ => Ok(()),
    }
}

fn files(folder: &Path) -> io::Result<Vec<(String, u64)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().into_string();
        let name = name.map_err(|_| io::Error::other("a file's name is not UTF-8"))?;
        files.push((name, entry.metadata()?.len()));
    }
    files.sort();
    Ok(files)
}
