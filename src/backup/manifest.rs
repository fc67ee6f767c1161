//! What a backup holds, as `backup.json` says it.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, Read, Write},
    path::Path,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{BackupError, MANIFEST, STORE};
use crate::store::{Epoch, Head};

/// The format of backups that this version writes and reads (A8).
const FORMAT: u32 = 1;
/// Bytes of a manifest that are read: a file has some 150, and the largest
/// stores some ten thousand files.
const MANIFEST_BYTES: u64 = 16 << 20;
/// Bytes of a file that are read at once.
const BUFFER: usize = 1 << 20;

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Its name in the folder of the database's files.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The format of the backup.
    format: u32,
    /// The version of the server that it was taken of.
    pub server_version: String,
    /// When, in RFC 3339.
    pub created: String,
    /// The epoch of the ledger, 32 hexadecimal digits.
    pub epoch: String,
    /// The last revision in it.
    pub revision: u64,
    /// The chain up to it, 64 hexadecimal digits.
    pub chain_head: String,
    /// The files.
    pub files: Vec<FileEntry>,
}

/// The one field by which formats are told apart.
#[derive(Deserialize)]
struct Versioned {
    format: u32,
}

impl Manifest {
    /// The manifest of a backup that is being made.
    #[must_use]
    pub fn new(
        server_version: String,
        created: String,
        (epoch, revision, chain_head): (String, u64, String),
        files: Vec<FileEntry>,
    ) -> Self {
        Self { format: FORMAT, server_version, created, epoch, revision, chain_head, files }
    }

    /// Reads the manifest of the backup in a folder.
    ///
    /// # Errors
    /// There is none, it is of another format, or it contradicts itself.
    pub fn read(backup: &Path) -> Result<Self, BackupError> {
        let path = backup.join(MANIFEST);
        let text = match File::open(&path) {
            Ok(file) => {
                let mut text = String::new();
                file.take(MANIFEST_BYTES)
                    .read_to_string(&mut text)
                    .map_err(BackupError::at(&path))?;
                text
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(BackupError::refused(format!(
                    "{} holds no backup: it has no {MANIFEST}, which is written last",
                    backup.display()
                )));
            }
            Err(error) => return Err(BackupError::File(path, error)),
        };
        let damaged =
            |error| BackupError::refused(format!("{} is damaged: {error}", path.display()));
        let Versioned { format } = serde_json::from_str(&text).map_err(damaged)?;
        if format != FORMAT {
            return Err(BackupError::refused(format!(
                "{} is of format {format}, and this version reads format {FORMAT}: use the version \
                 of sendgate that wrote it",
                path.display()
            )));
        }
        let manifest: Self = serde_json::from_str(&text).map_err(damaged)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Checks that it is of a whole backup, and leads nowhere else.
    fn check(&self) -> Result<(), BackupError> {
        self.head()?;
        let mut names = HashSet::new();
        for file in &self.files {
            check_name(&file.name)?;
            if !names.insert(&file.name) {
                let what = format!("{MANIFEST} names the file {} twice", file.name);
                return Err(BackupError::refused(what));
            }
        }
        Ok(())
    }

    /// The point of the ledger that the backup reaches.
    ///
    /// # Errors
    /// The epoch or the chain's head is none.
    pub fn head(&self) -> Result<Head, BackupError> {
        let wrong = |field| BackupError::refused(format!("{MANIFEST}: {field} is damaged"));
        let epoch = bytes(&self.epoch).ok_or_else(|| wrong("epoch"))?;
        let epoch = Epoch::from_be_bytes(epoch);
        let chain = bytes(&self.chain_head).ok_or_else(|| wrong("chain_head"))?;
        Ok(Head { epoch, revision: self.revision, chain })
    }

    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Refuses a folder with files that the manifest does not name.
    ///
    /// # Errors
    /// There is one, or the folder cannot be read.
    pub(super) fn refuse_others(&self, backup: &Path) -> Result<(), BackupError> {
        let folder = backup.join(STORE);
        for entry in fs::read_dir(&folder).map_err(BackupError::at(&folder))? {
            let name = entry.map_err(BackupError::at(&folder))?.file_name();
            if !self.files.iter().any(|file| name == *file.name) {
                return Err(BackupError::refused(format!(
                    "{} is not in {MANIFEST}: somebody put it there",
                    folder.join(name).display()
                )));
            }
        }
        Ok(())
    }
}

impl FileEntry {
    /// Copies the file of a backup, and holds it against its size and digest.
    ///
    /// # Errors
    /// It is missing or was changed, or cannot be copied.
    pub(super) fn copy(&self, backup: &Path, mut to: impl Write) -> Result<(), BackupError> {
        let path = backup.join(STORE).join(&self.name);
        let mut file = File::open(&path).map_err(BackupError::at(&path))?;
        let mut buffer = vec![0; BUFFER];
        let (mut digest, mut bytes) = (Sha256::new(), 0);
        loop {
            let read = file.read(&mut buffer).map_err(BackupError::at(&path))?;
            let Some(part) = buffer.get(..read).filter(|part| !part.is_empty()) else { break };
            digest.update(part);
            bytes += part.len() as u64;
            let copying = |error| {
                let what = format!("copying {}: {error}", path.display());
                BackupError::refused(what)
            };
            to.write_all(part).map_err(copying)?;
        }
        let sha256 = hex(digest);
        if (bytes, &sha256) != (self.bytes, &self.sha256) {
            return Err(BackupError::refused(format!(
                "{} was changed since the backup was made: it has {bytes} bytes and SHA-256 \
                 {sha256}, and {MANIFEST} says {} and {}. Use another backup",
                path.display(),
                self.bytes,
                self.sha256
            )));
        }
        Ok(())
    }
}

/// Refuses names that are not of a plain file: nothing may be written or read
/// outside of the folder.
pub(super) fn check_name(name: &str) -> Result<(), BackupError> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_');
    if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
        return Err(BackupError::refused(format!("{name:?} is no name of a file of a backup")));
    }
    Ok(())
}

/// Exactly so many bytes in hexadecimal.
fn bytes<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| {
        // `from_str_radix` would take a sign.
        let pair = str::from_utf8(pair).ok().filter(|pair| !pair.starts_with('+'))?;
        u8::from_str_radix(pair, 16).ok()
    };
    let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
    bytes.filter(|_| rest.is_empty())?.try_into().ok()
}

pub(super) fn hex(digest: Sha256) -> String {
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let file = FileEntry { name: "000007.sst".to_owned(), bytes: 3, sha256: "ab".repeat(32) };
        let head = (format!("{:032x}", 5), 9, "0f".repeat(32));
        Manifest::new("0.1.0".to_owned(), "2026-01-01T00:00:00Z".to_owned(), head, vec![file])
    }

    fn read(text: &str) -> Result<Manifest, BackupError> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(MANIFEST), text).unwrap();
        Manifest::read(folder.path())
    }

    #[test]
    fn a_manifest_is_read_back_and_anything_else_is_refused() {
        let text = serde_json::to_string(&manifest()).unwrap();
        assert_eq!(read(&text).unwrap(), manifest());
        assert_eq!(manifest().head().unwrap(), Head { epoch: 5, revision: 9, chain: [0x0f; 32] });
        for (from, to) in [
            ("\"format\":1", "\"format\":2"),
            ("000007.sst", "../HEAD"),
            ("000007.sst", ".bashrc"),
            ("\"revision\"", "\"revisions\""),
            ("0f0f", "0f"),
            ("}", ""),
        ] {
            assert!(read(&text.replace(from, to)).is_err(), "{from} to {to}");
        }
    }
}
