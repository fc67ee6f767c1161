//! A copy of a ledger becomes a store of its own.

use std::{fs, path::Path};

use super::{Batch, Epoch, Head, Loss, Opened, Restored, Store, StoreError, head, rows::Tip};

impl Store {
    /// Makes the copy in `folder` a store of its own: with a new epoch, as it
    /// goes on otherwise than the one that it was copied from, and with the
    /// note that nobody knows what came after. `copied` is what the copy must
    /// hold, to the revision; the folder must be nobody else's.
    ///
    /// # Errors
    /// The copy is not that, cannot be opened, or the disk failed. The folder
    /// is then of no use any more.
    pub fn adopt(folder: &Path, copied: Head, now: i64) -> Result<Epoch, StoreError> {
        // Opened as the store that it was, it passes every check of a start.
        copied.vouch_for(folder)?;
        let Opened { store, tip, .. } = Self::open(folder)?;
        let Tip { revision, chain, .. } = tip;
        if (store.epoch(), revision, chain) != (copied.epoch, copied.revision, copied.chain) {
            return Err(StoreError::refused(format!(
                "it ends at revision {revision}, and revision {} of another ledger was expected",
                copied.revision
            )));
        }
        let epoch: Epoch = rand::random();
        let mut batch = Batch::new(&store);
        batch.epoch(epoch)?;
        batch.restored(&Restored {
            former_epoch: copied.epoch,
            former_revision: copied.revision,
            restored_at: now,
            loss: Loss::Unknown,
        })?;
        batch.commit()?;
        store.settle()?;
        drop(store);

        let path = folder.join(head::FILE);
        fs::remove_file(&path).map_err(|error| StoreError::Head(path, error))?;
        Head { epoch, ..copied }.vouch_for(folder)?;
        Self::open(folder)?;
        Ok(epoch)
    }
}
