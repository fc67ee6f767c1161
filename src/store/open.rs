//! Opening and creating a store.

use std::{fs, io, os::unix::fs::DirBuilderExt, path::Path};

use rocksdb::{ColumnFamily, DB, FlushOptions, IteratorMode, Options, WriteBatch, WriteOptions};

use super::{
    Checkpoint, Epoch, EventRow, Head, HeadKeeper, Restored, StoreError, Tip, backup, head,
    keys::{self, family, meta},
    log_records,
    options::{database_options, families},
};
use crate::{domain::secret::Secret, metrics::Histogram};

/// The format that this version writes and reads (A8).
const FORMAT: u32 = 1;

/// The file that marks a folder in which a store is being made.
const UNFINISHED: &str = "UNFINISHED";
/// Files that may be in the folder before the store is: the first token is made
/// before the first start.
const BEFORE_THE_STORE: [&str; 2] = ["tokens.json", "tokens.json.new"];

/// A ledger, open. Dropping it writes the last HEAD.
pub struct Store {
    // Dropped in this order: the last HEAD first, then the database.
    head: HeadKeeper,
    database: DB,
    secret: Secret,
    epoch: Epoch,
    syncs: Histogram,
}

/// What was found at open.
pub struct Opened {
    /// The store.
    pub store: Store,
    /// The end of the ledger.
    pub tip: Tip,
    /// The last checkpoint.
    pub checkpoint: Option<Checkpoint>,
    /// The revision of the policy in force; `None` before the first.
    pub policy_revision: Option<u64>,
    /// Where the store comes from, if it was restored from a backup.
    pub restored: Option<Restored>,
}

impl Store {
    /// Opens the store in `folder`, or makes one if the folder is missing or empty.
    ///
    /// # Errors
    /// The folder cannot be used, belongs to another running process, has
    /// another format, or holds less than its HEAD says (A9).
    pub fn open(folder: &Path) -> Result<Opened, StoreError> {
        let before = head::read(folder)?;
        let was_interrupted = before.is_none() && folder.join(UNFINISHED).exists();
        if was_interrupted || is_missing_or_empty(folder)? {
            create(folder)?;
        }
        let database = open_database(folder, false)?;
        let meta_family = database.cf_handle(family::META).ok_or_else(|| {
            StoreError::refused("its database has no family \"meta\": not a store of sendgate")
        })?;
        let get = |key: &[u8]| database.get_cf(meta_family, key);

        let format = get(meta::FORMAT)?.and_then(|bytes| bytes.try_into().ok());
        match format.map(u32::from_le_bytes) {
            Some(FORMAT) => {}
            Some(other) => {
                return Err(StoreError::refused(format!(
                    "its format is {other}, and this version reads format {FORMAT}: use the version \
                     of sendgate that wrote it"
                )));
            }
            None => {
                return Err(StoreError::refused(
                    "its format is not recorded: it lost its first rows, or is not a store of sendgate",
                ));
            }
        }
        check_meta(&database, meta_family)?;
        let epoch = get(meta::EPOCH)?
            .and_then(|bytes| bytes.try_into().ok())
            .map(Epoch::from_le_bytes)
            .ok_or_else(|| StoreError::refused("its epoch is missing"))?;
        let secret = get(meta::SECRET)?
            .and_then(|bytes| Secret::from_bytes(&bytes))
            .ok_or_else(|| StoreError::refused("its secret is missing"))?;
        let tip = get(meta::TIP)?.map_or(Ok(Tip::default()), |bytes| Tip::decode(&bytes))?;
        let checkpoint =
            get(meta::CHECKPOINT)?.map(|bytes| Checkpoint::decode(&bytes)).transpose()?;
        let policy_revision = get(meta::POLICY)?
            .map(|bytes| {
                let bytes = bytes.try_into();
                bytes
                    .map(u64::from_le_bytes)
                    .map_err(|_| StoreError::refused("the policy's revision is damaged"))
            })
            .transpose()?;

        let restored = get(meta::RESTORED)?.map(|bytes| Restored::decode(&bytes)).transpose()?;

        check_tip(&database, &tip)?;
        check_head(&database, before.map(|(_, head)| head), epoch, &tip)?;
        if checkpoint.as_ref().is_some_and(|checkpoint| checkpoint.revision > tip.revision) {
            return Err(StoreError::refused("its checkpoint is ahead of its events"));
        }

        // What a backup left that was cut short by the end of its server.
        backup::remove_leftovers(folder)?;

        let sequence = before.map_or(0, |(sequence, _)| sequence);
        let committed = Head { epoch, revision: tip.revision, chain: tip.chain };
        let head = HeadKeeper::start(folder, sequence, committed)?;
        let store = Self { head, database, secret, epoch, syncs: Histogram::of_durations() };
        Ok(Opened { store, tip, checkpoint, policy_revision, restored })
    }

    /// The name of this history.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The store's secret.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Reports a write of HEAD that failed since the last call; it is final (A10).
    ///
    /// # Errors
    /// The HEAD file could not be written.
    pub fn check(&self) -> Result<(), StoreError> {
        self.head.check()
    }

    /// Writes what is in memory into files, so that the next start need not read
    /// the log. Nothing depends on it.
    ///
    /// # Errors
    /// The disk failed.
    pub fn settle(&self) -> Result<(), StoreError> {
        let families =
            family::ALL.into_iter().map(|name| self.family(name)).collect::<Result<Vec<_>, _>>()?;
        Ok(self.database.flush_cfs_opt(&families, &FlushOptions::default())?)
    }

    /// How long each commit took to become durable.
    #[must_use]
    pub fn syncs(&self) -> &Histogram {
        &self.syncs
    }

    /// Tells what merges files in the background to end; a purge then fails. Of
    /// use only before the store is closed.
    pub fn end_background_work(&self) {
        self.database.cancel_all_background_work(false);
    }

    pub(super) fn head(&self) -> &HeadKeeper {
        &self.head
    }

    pub(super) fn database(&self) -> &DB {
        &self.database
    }

    pub(super) fn family(&self, name: &str) -> Result<&ColumnFamily, StoreError> {
        self.database
            .cf_handle(name)
            .ok_or_else(|| StoreError::refused(format!("its database has no family \"{name}\"")))
    }
}

fn is_missing_or_empty(folder: &Path) -> Result<bool, StoreError> {
    let failed = |error| StoreError::Folder(folder.into(), error);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(failed(error)),
    };
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        if !BEFORE_THE_STORE.iter().any(|before| name == *before) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes the rows that make a database a store, and flushes them into a file:
/// a store whose log is lost later still knows what it is, and its HEAD shows
/// what is missing.
///
/// A file marks the folder until this is done. A store that was never finished
/// has acknowledged nothing, so the next open may begin anew.
fn create(folder: &Path) -> Result<(), StoreError> {
    let failed = |error| StoreError::Folder(folder.into(), error);
    let unfinished = folder.join(UNFINISHED);
    make_folder(folder).map_err(failed)?;
    fs::write(&unfinished, b"").map_err(failed)?;
    DB::destroy(&Options::default(), folder)?;
    let database = open_database(folder, true)?;
    let epoch: Epoch = rand::random();
    if let Some(family) = database.cf_handle(family::META) {
        let mut rows = WriteBatch::default();
        rows.put_cf(family, meta::FORMAT, FORMAT.to_le_bytes());
        rows.put_cf(family, meta::EPOCH, epoch.to_le_bytes());
        rows.put_cf(family, meta::SECRET, rand::random::<[u8; Secret::BYTES]>());
        let mut options = WriteOptions::default();
        options.set_sync(true);
        database.write_opt(rows, &options)?;
        database.flush_cf(family)?;
    }
    let head = Head { epoch, revision: 0, chain: [0; 32] };
    HeadKeeper::start(folder, 0, head).map(drop)?;
    fs::remove_file(unfinished).map_err(failed)
}

/// Makes the folder and those above it, and makes their names durable: whatever
/// is synced inside is lost with a folder whose own name a power cut takes.
fn make_folder(folder: &Path) -> io::Result<()> {
    let missing = folder.ancestors().take_while(|above| !above.exists()).count();
    // Consents are nobody else's business on this machine.
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    // Whoever made a folder that is there may have done so just now.
    for made in folder.ancestors().take(missing.max(1)) {
        let above = made.parent().filter(|above| !above.as_os_str().is_empty());
        let synced = fs::File::open(above.unwrap_or(Path::new("."))).and_then(|it| it.sync_all());
        match synced {
            // Nobody can sync what they may not read.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            synced => synced?,
        }
    }
    Ok(())
}

/// A row that this version does not know may say that the store must not be
/// served, as `restored` does: so whoever does not know it may not open it.
fn check_meta(database: &DB, meta_family: &ColumnFamily) -> Result<(), StoreError> {
    for row in database.iterator_cf(meta_family, IteratorMode::Start) {
        let (key, _) = row?;
        if !meta::ALL.contains(&&*key) {
            return Err(StoreError::refused(format!(
                "it has a row meta/{}, which this version does not know: use the version of sendgate \
                 that wrote it",
                key.escape_ascii()
            )));
        }
    }
    Ok(())
}

/// The tip must name the last event, and that event must hash to its chain.
pub(super) fn check_tip(database: &DB, tip: &Tip) -> Result<(), StoreError> {
    let Some(events) = database.cf_handle(family::EVENTS) else { return Ok(()) };
    let mut last = database.raw_iterator_cf(events);
    last.seek_to_last();
    last.status()?;
    let revision = last
        .key()
        .map(|key| key.try_into().map(u64::from_be_bytes))
        .transpose()
        .map_err(|_| StoreError::refused("the last event has no revision for a key"))?;
    if revision.unwrap_or(0) != tip.revision {
        return Err(StoreError::refused(format!(
            "its last event is revision {}, and its tip names revision {}",
            revision.unwrap_or(0),
            tip.revision
        )));
    }
    let chain = match last.value() {
        Some(bytes) => {
            let row = EventRow::decode(bytes)?;
            if !row.body_matches() {
                return Err(StoreError::refused("the payload of its last event was changed"));
            }
            row.hash(tip.revision)
        }
        None => [0; 32],
    };
    if chain != tip.chain {
        return Err(StoreError::refused(
            "its last event was changed: the chain does not end in it",
        ));
    }
    Ok(())
}

/// The store must reach its HEAD, and agree with it (A9).
fn check_head(
    database: &DB,
    head: Option<Head>,
    epoch: Epoch,
    tip: &Tip,
) -> Result<(), StoreError> {
    let Some(head) = head else {
        if tip.revision == 0 {
            return Ok(());
        }
        return Err(StoreError::refused(
            "its HEAD file is missing, so nobody can tell what it lost",
        ));
    };
    if head.epoch != epoch {
        return Err(StoreError::refused("its HEAD file belongs to another store"));
    }
    if head.revision > tip.revision {
        return Err(StoreError::refused(format!(
            "it ends at revision {}, and revision {} had been committed: {} events are lost",
            tip.revision,
            head.revision,
            head.revision - tip.revision
        )));
    }
    if head.revision == 0 {
        return Ok(());
    }
    let events = database.cf_handle(family::EVENTS);
    let row = match events {
        Some(events) => database.get_cf(events, keys::event(head.revision))?,
        None => None,
    };
    let chain =
        row.map(|bytes| EventRow::decode(&bytes)).transpose()?.map(|row| row.hash(head.revision));
    if chain != Some(head.chain) {
        return Err(StoreError::refused(format!(
            "revision {} is not the event that had been committed under it",
            head.revision
        )));
    }
    Ok(())
}

fn open_database(folder: &Path, create: bool) -> Result<DB, StoreError> {
    if !create {
        log_records::check(folder)?;
    }
    let opened = DB::open_cf_descriptors(&database_options(create)?, folder, families()?);
    opened.map_err(|error| {
        if error.to_string().contains("While lock file") {
            StoreError::InUse(folder.into())
        } else {
            StoreError::Database(error)
        }
    })
}

/// Opens a database to look at it: nothing in its folder changes.
pub(super) fn open_to_read(folder: &Path) -> Result<DB, StoreError> {
    log_records::check(folder)?;
    let options = database_options(false)?;
    Ok(DB::open_cf_descriptors_read_only(&options, folder, families()?, false)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_whose_making_was_interrupted_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        drop(open_database(folder.path(), true).unwrap());
        assert!(Store::open(folder.path()).is_err(), "a database without a store's rows");
        fs::write(folder.path().join(UNFINISHED), b"").unwrap();
        let made = Store::open(folder.path()).unwrap();
        assert_eq!(made.tip.revision, 0);
        assert!(!folder.path().join(UNFINISHED).exists());
    }

    #[test]
    fn a_row_of_a_later_version_is_not_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        drop(Store::open(folder.path()).unwrap());
        let database = open_database(folder.path(), false).unwrap();
        let family = database.cf_handle(family::META).unwrap();
        database.put_cf(family, b"quarantined", b"1").unwrap();
        drop(database);
        let refused = Store::open(folder.path()).err().unwrap().to_string();
        assert!(refused.contains("meta/quarantined"), "{refused}");
    }

    #[test]
    fn a_finished_store_is_never_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let epoch = Store::open(folder.path()).unwrap().store.epoch();
        fs::write(folder.path().join(UNFINISHED), b"").unwrap();
        assert_eq!(Store::open(folder.path()).unwrap().store.epoch(), epoch);
    }
}
