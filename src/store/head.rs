//! The HEAD file: how far the ledger had come, kept outside the database.
//!
//! RocksDB opens a store whose log was cut or deleted without a word. HEAD
//! names a revision that had been committed for certain, so a store that opens
//! behind it has lost something and is refused (A9). It is written after the
//! commit that it names has returned, never before, and at most
//! [`LAG`] later: a younger loss than that can go unnoticed.
//!
//! The file is a ring of slots, each in a sector of its own, written in turn
//! and synced, so that a torn write spoils one slot and leaves the one before.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use xxhash_rust::xxh3::xxh3_64;

use super::{ChainHash, Epoch, StoreError};

/// How long HEAD may lag behind a commit.
pub(super) const LAG: Duration = Duration::from_millis(100);

pub(super) const FILE: &str = "HEAD";
const MAGIC: [u8; 8] = *b"SGHEAD01";
const SLOTS: u64 = 16;
const SLOT_BYTES: usize = 512;
/// magic ‖ sequence ‖ epoch ‖ revision ‖ chain ‖ checksum of all before.
const USED_BYTES: usize = 8 + 8 + 16 + 8 + 32 + 8;

/// A committed point of a ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The name of the history.
    pub epoch: Epoch,
    /// A revision in it.
    pub revision: u64,
    /// The chain up to that revision.
    pub chain: ChainHash,
}

impl Head {
    /// Makes this the HEAD of a copy of a store, which has none of its own.
    ///
    /// # Errors
    /// The file could not be written.
    pub fn vouch_for(self, folder: &Path) -> Result<(), StoreError> {
        HeadKeeper::start(folder, 0, self).map(drop)
    }
}

/// Reads the latest head. `None` if there is no file.
pub(super) fn read(folder: &Path) -> Result<Option<(u64, Head)>, StoreError> {
    let path = folder.join(FILE);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::Head(path, error)),
    };
    let newest = bytes.chunks(SLOT_BYTES).filter_map(decode).max_by_key(|(sequence, _)| *sequence);
    newest
        .map(Some)
        .ok_or_else(|| StoreError::refused(format!("{} holds no readable head", path.display())))
}

pub(super) fn encode(sequence: u64, head: &Head) -> Vec<u8> {
    let mut slot = [
        &MAGIC[..],
        &sequence.to_le_bytes(),
        &head.epoch.to_le_bytes(),
        &head.revision.to_le_bytes(),
        &head.chain,
    ]
    .concat();
    slot.extend(xxh3_64(&slot).to_le_bytes());
    slot.resize(SLOT_BYTES, 0);
    slot
}

pub(super) fn decode(slot: &[u8]) -> Option<(u64, Head)> {
    let (body, _) = slot.split_at_checked(USED_BYTES)?;
    let (body, checksum) = body.split_last_chunk::<8>()?;
    let (magic, rest) = body.split_first_chunk::<8>()?;
    if *magic != MAGIC || xxh3_64(body) != u64::from_le_bytes(*checksum) {
        return None;
    }
    let (sequence, rest) = rest.split_first_chunk::<8>()?;
    let (epoch, rest) = rest.split_first_chunk::<16>()?;
    let (revision, chain) = rest.split_first_chunk::<8>()?;
    let head = Head {
        epoch: Epoch::from_le_bytes(*epoch),
        revision: u64::from_le_bytes(*revision),
        chain: chain.try_into().ok()?,
    };
    Some((u64::from_le_bytes(*sequence), head))
}

/// Writes HEAD behind the commits, on a thread of its own, so that no commit
/// waits for a second sync.
#[derive(Debug)]
pub struct HeadKeeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    slots: Mutex<Slots>,
    changed: Condvar,
    path: PathBuf,
}

#[derive(Debug)]
struct Slots {
    committed: Head,
    written: Option<Head>,
    stop: bool,
    failure: Option<io::ErrorKind>,
}

impl HeadKeeper {
    /// Starts keeping the HEAD of the store in `folder`, beginning with a
    /// first write of `committed`.
    pub(super) fn start(folder: &Path, sequence: u64, committed: Head) -> Result<Self, StoreError> {
        let path = folder.join(FILE);
        let failed = |error| StoreError::Head(path.clone(), error);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(failed)?;
        write(&file, sequence + 1, &committed).map_err(failed)?;
        // A new file's name is durable only once its folder is.
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;

        let shared = Arc::new(Shared {
            slots: Mutex::new(Slots {
                committed,
                written: Some(committed),
                stop: false,
                failure: None,
            }),
            changed: Condvar::new(),
            path: path.clone(),
        });
        let keeper = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("head".to_owned())
            .spawn(move || keeper.keep(&file, sequence + 1))
            .map_err(failed)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Tells that a commit has returned.
    pub(super) fn committed(&self, revision: u64, chain: ChainHash) {
        let mut slots = self.shared.lock();
        slots.committed = Head { revision, chain, ..slots.committed };
        self.shared.changed.notify_one();
    }

    /// Reports a write that failed since; it is final (A10).
    pub(super) fn check(&self) -> Result<(), StoreError> {
        match self.shared.lock().failure {
            // The error stays: there is no HEAD any more until a restart.
            Some(kind) => Err(StoreError::Head(self.shared.path.clone(), kind.into())),
            None if self.thread.as_ref().is_none_or(JoinHandle::is_finished) => {
                let panicked = io::Error::other("the thread that writes it panicked");
                Err(StoreError::Head(self.shared.path.clone(), panicked))
            }
            None => Ok(()),
        }
    }
}

impl Drop for HeadKeeper {
    /// Writes what is still to be written.
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed; there is nothing left to tell it to.
            drop(thread.join());
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Slots> {
        // The state is a few plain values, whole at every moment.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, file: &File, mut sequence: u64) {
        loop {
            let mut slots = self.lock();
            while slots.written == Some(slots.committed) && !slots.stop {
                slots = self.changed.wait(slots).unwrap_or_else(PoisonError::into_inner);
            }
            if slots.written == Some(slots.committed) {
                return;
            }
            let (head, stop) = (slots.committed, slots.stop);
            drop(slots);
            sequence += 1;
            if let Err(error) = write(file, sequence, &head) {
                tracing::error!(%error, "HEAD could not be written");
                self.lock().failure = Some(error.kind());
                return;
            }
            let mut slots = self.lock();
            slots.written = Some(head);
            if !stop && !slots.stop {
                // One sync for all commits of the next half of the lag: with
                // the sync itself HEAD stays within it.
                drop(self.changed.wait_timeout_while(slots, LAG / 2, |slots| !slots.stop));
            }
        }
    }
}

fn write(file: &File, sequence: u64, head: &Head) -> io::Result<()> {
    let slot = (sequence % SLOTS) * SLOT_BYTES as u64;
    file.write_all_at(&encode(sequence, head), slot)?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(revision: u64) -> Head {
        Head { epoch: 7, revision, chain: [revision as u8; 32] }
    }

    #[test]
    fn the_newest_readable_slot_counts() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap(), None);
        let keeper = HeadKeeper::start(folder.path(), 0, head(0)).unwrap();
        for revision in 1..100 {
            keeper.committed(revision, [revision as u8; 32]);
            if revision % 40 == 0 {
                thread::sleep(LAG);
            }
        }
        keeper.check().unwrap();
        drop(keeper);
        let (sequence, newest) = read(folder.path()).unwrap().unwrap();
        assert_eq!(newest, head(99));

        // A torn write spoils the newest slot: the one before it counts.
        let path = folder.path().join(FILE);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[(sequence % SLOTS) as usize * SLOT_BYTES + 40] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let (_, older) = read(folder.path()).unwrap().unwrap();
        assert!(older.revision < 99);

        std::fs::write(&path, vec![0; bytes.len()]).unwrap();
        assert!(matches!(read(folder.path()), Err(StoreError::Refused(_))));
    }
}
