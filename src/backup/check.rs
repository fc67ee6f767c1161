//! Whether a backup would do, found out before it is needed.

use std::{fs, io, path::Path};

use super::{BackupError, Manifest, STORE};
use crate::{
    clock::Clock,
    recovery,
    verify::{self, Report},
};

/// Reads every byte of a backup and holds it against its digests; then opens
/// the ledger in it as a server would, and recomputes everything from its
/// events. The backup itself stays as it is: what is opened is a folder beside
/// it, gone afterwards, to which its files are linked.
///
/// # Errors
/// The backup is damaged or incomplete, or its ledger is refused.
pub fn check(backup: &Path) -> Result<(Manifest, Report), BackupError> {
    let manifest = Manifest::read(backup)?;
    manifest.refuse_others(backup)?;
    for file in &manifest.files {
        file.copy(backup, io::sink())?;
    }
    let folder = tempfile::Builder::new()
        .prefix(".sendgate-verify.")
        .tempdir_in(backup)
        .map_err(BackupError::at(backup))?;
    for file in &manifest.files {
        let (from, to) = (backup.join(STORE).join(&file.name), folder.path().join(&file.name));
        // Table files never change, whoever opens them; everything else is
        // copied, and so are tables where a disk knows no links.
        let linked = file.name.ends_with(".sst") && fs::hard_link(&from, &to).is_ok();
        if !linked {
            fs::copy(&from, &to).map_err(BackupError::at(&to))?;
        }
    }
    let head = manifest.head()?;
    head.vouch_for(folder.path())?;
    let books = recovery::open(folder.path(), Clock::System)?;
    let report = verify::verify(&books, &[(head.revision, head.chain)])?;
    if (books.tip.revision, books.store.epoch()) != (head.revision, head.epoch) {
        return Err(BackupError::refused(format!(
            "its ledger ends at revision {}, and its manifest names revision {}",
            books.tip.revision, head.revision
        )));
    }
    Ok((manifest, report))
}
