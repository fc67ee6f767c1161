//! A backup becomes a store.

use std::{fs::File, path::Path};

use super::{BackupError, Manifest, staging::Staging};
use crate::{
    audit::{Audit, Restore, Row},
    clock::Clock,
    store::{Epoch, Store},
};

/// What was restored.
pub struct Restoration {
    /// The backup's manifest.
    pub manifest: Manifest,
    /// The epoch of the new store.
    pub epoch: Epoch,
}

/// Makes the backup a store in a folder that does not exist yet. The store
/// serves nothing until its loss is decided on.
///
/// # Errors
/// The backup is damaged or incomplete, the folder exists, or the disk failed.
/// The folder is then not there.
pub fn restore(backup: &Path, data: &Path, clock: Clock) -> Result<Restoration, BackupError> {
    let manifest = Manifest::read(backup)?;
    let staging = Staging::create(data)?;
    manifest.refuse_others(backup)?;
    for entry in &manifest.files {
        let path = staging.path().join(&entry.name);
        let mut file = File::create_new(&path).map_err(BackupError::at(&path))?;
        entry.copy(backup, &mut file)?;
        file.sync_all().map_err(BackupError::at(&path))?;
    }

    let epoch = Store::adopt(staging.path(), manifest.head()?, clock.now())?;
    let row = Row::Restore(Restore {
        former_epoch: manifest.epoch.clone(),
        former_revision: manifest.revision,
        chain: manifest.chain_head.clone(),
        epoch: format!("{epoch:032x}"),
    });
    let audit = Audit::new(staging.path(), clock);
    audit.record_durably(&row).map_err(BackupError::at(staging.path()))?;
    staging.publish()?;
    Ok(Restoration { manifest, epoch })
}
