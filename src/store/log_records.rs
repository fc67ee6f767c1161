//! Looks through the database's logs for records over which RocksDB would hang.
//!
//! A record of a reused log behind one of a log that is not makes RocksDB 11.8
//! read the same bytes for ever, whether it opens the write-ahead log or the
//! MANIFEST (facebook/rocksdb#13333). One flipped bit in the kind of a record is
//! enough. No log is reused here (`recycle_log_file_num` is 0), so that each
//! such record is damage: refused before RocksDB sees it (A9).

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::StoreError;

/// Logs are read in blocks, and no record reaches into the next one.
const BLOCK: usize = 32 << 10;
/// Before a record's bytes: its checksum (4), its length (2), its kind (1).
const HEADER: usize = 7;
/// The kinds of records that only a reused log has.
const OF_REUSED_LOGS: [u8; 6] = [5, 6, 7, 8, 11, 131];

/// Refuses a database one of whose logs holds a record of a reused log.
///
/// Checksums are RocksDB's to check: behind a record that fails its own, this
/// may take for a record what is none, but such a log is refused anyway.
///
/// # Errors
/// There is such a record, or a log cannot be read.
pub(super) fn check(folder: &Path) -> Result<(), StoreError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| StoreError::Folder(path, error)
    };
    for path in logs(folder).map_err(failed(folder))? {
        let log = match File::open(&path) {
            // A process that has the store open puts new logs in the place of old ones.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            log => log.map_err(failed(&path))?,
        };
        let damaged = first_of_a_reused_log(log).map_err(failed(&path))?;
        if let Some(at) = damaged {
            return Err(StoreError::refused(format!(
                "{} is damaged at byte {at}: a record of a kind that is never written here",
                path.display()
            )));
        }
    }
    Ok(())
}

/// The write-ahead logs and the MANIFEST in force. Without a CURRENT that names
/// one, RocksDB refuses by itself.
fn logs(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut logs = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".log"));
        // Whatever else is called a log there is not RocksDB's.
        if number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit())) {
            logs.push(path);
        }
    }
    let current = fs::read_to_string(folder.join("CURRENT")).unwrap_or_default();
    // RocksDB reads past a slash in front.
    logs.push(folder.join(current.trim_end().trim_start_matches('/')));
    logs.retain(|log| log.is_file());
    Ok(logs)
}

/// Where the first such record of a log begins, in bytes.
fn first_of_a_reused_log(mut log: File) -> io::Result<Option<u64>> {
    let mut block = Vec::with_capacity(BLOCK);
    let mut before = 0;
    while log.by_ref().take(BLOCK as u64).read_to_end(&mut block)? > 0 {
        let mut at = 0;
        while let Some(&[_, _, _, _, low, high, kind]) = block.get(at..at + HEADER) {
            if OF_REUSED_LOGS.contains(&kind) {
                return Ok(Some(before + at as u64));
            }
            let length = usize::from(u16::from_le_bytes([low, high]));
            if kind == 0 && length == 0 {
                // The rest was set aside and never written.
                break;
            }
            at += HEADER + length;
        }
        if block.len() < BLOCK {
            // The end of the log, though somebody may be adding to it.
            break;
        }
        before += BLOCK as u64;
        block.clear();
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record of so many bytes, without a checksum.
    fn record(kind: u8, length: u16) -> Vec<u8> {
        let mut record = vec![0; HEADER + usize::from(length)];
        record[4..6].copy_from_slice(&length.to_le_bytes());
        record[6] = kind;
        record
    }

    fn first_in(log: &[u8]) -> Option<u64> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, log).unwrap();
        first_of_a_reused_log(File::open(path).unwrap()).unwrap()
    }

    #[test]
    fn records_are_found_in_every_block_and_nothing_between_them() {
        for kind in OF_REUSED_LOGS {
            assert_eq!(first_in(&[record(1, 9), record(kind, 0)].concat()), Some(16));
        }
        // What looks like such a header within a record is none.
        let mut full = record(1, 200);
        full[20..27].copy_from_slice(&record(5, 0));
        assert_eq!(first_in(&full), None);
        // One that fills its block but for what no header fits into, or claims more.
        for length in [32_761, 32_759, 32_755, 65_535] {
            let mut log = record(2, length);
            log.resize(BLOCK, 5);
            log.extend(record(8, 3));
            assert_eq!(first_in(&log), Some(BLOCK as u64), "{length}");
        }
        // A block that was not written to its end, and a last header cut short.
        let log = [record(1, 5), vec![0; BLOCK - 12], record(4, 5), vec![0, 0, 0, 0, 0, 0]];
        assert_eq!(first_in(&log.concat()), None);
        assert_eq!(first_in(&[log.concat(), vec![5]].concat()), Some(BLOCK as u64 + 12));
    }
}
