//! A folder that gets its name only once it is whole.

use std::{
    fs::{self, File, Permissions},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::{
    BackupError, FileEntry, MANIFEST, Manifest, STORE,
    manifest::{check_name, hex},
};

/// A folder in the making, beside the one that it is to become. Dropped, it is
/// gone.
pub(super) struct Staging {
    folder: TempDir,
    target: PathBuf,
}

impl Staging {
    /// Begins a folder.
    ///
    /// # Errors
    /// The target exists, or the folder beside it cannot be made.
    pub fn create(target: &Path) -> Result<Self, BackupError> {
        refuse_existing(target)?;
        let parent = match target.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let name = target.file_name().ok_or_else(|| {
            BackupError::refused(format!("{} is no name for a new folder", target.display()))
        })?;
        let folder = tempfile::Builder::new()
            .prefix(&format!(".{}.", name.to_string_lossy()))
            .suffix(".partial")
            // Consents are nobody else's business on this machine.
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(parent)
            .map_err(BackupError::at(parent))?;
        Ok(Self { folder, target: target.to_owned() })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Gives the folder its name, once everything in it is on the disk.
    ///
    /// # Errors
    /// The target exists by now, or the disk failed.
    pub fn publish(self) -> Result<(), BackupError> {
        sync(self.path())?;
        refuse_existing(&self.target)?;
        fs::rename(self.path(), &self.target).map_err(BackupError::at(&self.target))?;
        // The temporary name is gone; there is nothing left to remove.
        let _renamed = self.folder.keep();
        match self.target.parent() {
            Some(parent) if parent != Path::new("") => sync(parent),
            _ => sync(Path::new(".")),
        }
    }
}

/// Nothing is ever put over something else.
fn refuse_existing(target: &Path) -> Result<(), BackupError> {
    if target.symlink_metadata().is_ok() {
        return Err(BackupError::refused(format!(
            "{} exists already: name a folder that does not",
            target.display()
        )));
    }
    Ok(())
}

/// Makes what was written to a file or folder durable.
pub(super) fn sync(path: &Path) -> Result<(), BackupError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(BackupError::at(path))
}

/// A file being written, with what was written so far.
pub(super) struct Writing {
    path: PathBuf,
    file: File,
    name: String,
    bytes: u64,
    digest: Sha256,
}

impl Writing {
    /// Begins a file of this name.
    ///
    /// # Errors
    /// It exists, or cannot be made.
    pub fn create(folder: &Path, name: &str) -> Result<Self, BackupError> {
        check_name(name)?;
        let path = folder.join(name);
        let file = File::create_new(&path).map_err(BackupError::at(&path))?;
        Ok(Self { path, file, name: name.to_owned(), bytes: 0, digest: Sha256::new() })
    }

    pub fn write(&mut self, part: &[u8]) -> Result<(), BackupError> {
        self.file.write_all(part).map_err(BackupError::at(&self.path))?;
        self.bytes += part.len() as u64;
        self.digest.update(part);
        Ok(())
    }

    /// Makes the file durable; returns what was written.
    pub fn finish(self) -> Result<FileEntry, BackupError> {
        self.file.sync_all().map_err(BackupError::at(&self.path))?;
        Ok(FileEntry { name: self.name, bytes: self.bytes, sha256: hex(self.digest) })
    }
}

/// A backup as it arrives. Dropped before its end, it leaves nothing.
pub struct Incoming {
    staging: Staging,
    writing: Option<Writing>,
    files: Vec<FileEntry>,
}

impl Incoming {
    /// Begins a backup that is to become this folder.
    ///
    /// # Errors
    /// The folder exists, or nothing can be written beside it.
    pub fn create(target: &Path) -> Result<Self, BackupError> {
        let staging = Staging::create(target)?;
        let store = staging.path().join(STORE);
        fs::create_dir(&store).map_err(BackupError::at(&store))?;
        Ok(Self { staging, writing: None, files: Vec::new() })
    }

    /// Begins the next file.
    ///
    /// # Errors
    /// The name is none of a plain file, or the disk is full or failed.
    pub fn begin(&mut self, name: &str) -> Result<(), BackupError> {
        self.end_file()?;
        self.writing = Some(Writing::create(&self.staging.path().join(STORE), name)?);
        Ok(())
    }

    /// Takes the next bytes of the file.
    ///
    /// # Errors
    /// No file was begun, or the disk is full or failed.
    pub fn write(&mut self, part: &[u8]) -> Result<(), BackupError> {
        let none = || BackupError::refused("the server sent bytes before the name of their file");
        self.writing.as_mut().ok_or_else(none)?.write(part)
    }

    fn end_file(&mut self) -> Result<(), BackupError> {
        if let Some(writing) = self.writing.take() {
            self.files.push(writing.finish()?);
        }
        Ok(())
    }

    /// Holds what arrived against what the server sent, and gives the backup
    /// its name.
    ///
    /// # Errors
    /// Something is missing or was changed on the way, or the disk failed.
    pub fn finish(mut self, manifest: &Manifest) -> Result<(), BackupError> {
        self.end_file()?;
        manifest.head()?;
        if self.files != manifest.files {
            return Err(BackupError::refused(
                "what arrived is not what the server sent: make the backup again",
            ));
        }
        let path = self.staging.path().join(MANIFEST);
        let text = serde_json::to_vec_pretty(manifest)
            .map_err(|error| BackupError::refused(error.to_string()))?;
        let mut file = File::create_new(&path).map_err(BackupError::at(&path))?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(BackupError::at(&path))?;
        sync(&self.staging.path().join(STORE))?;
        self.staging.publish()
    }
}
