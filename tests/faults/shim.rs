//! The test's end of `shim.c`: compiles it, starts servers under it, and sets
//! and reads the words that both sides know.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use tempfile::TempDir;

use crate::process::{Process, sendgate};

/// What happens at the place that the shim was armed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// SIGKILL instead of the operation.
    KillBefore = 1,
    /// SIGKILL once the operation is done.
    KillAfter = 2,
    /// SIGKILL instead of the first write to a socket behind the operation.
    KillAtAnswer = 3,
    /// The operation fails with EIO, once.
    Fail = 4,
}

/// Operations on files; added up, any of them.
pub mod operation {
    pub const WRITE: u64 = 1;
    pub const SYNC: u64 = 2;
    /// These, and opening, renaming and deleting.
    pub const CHANGE: u64 = 31;
    /// These, and reading.
    pub const ANY: u64 = 63;
}

/// Kinds of files; added up, any of them.
pub mod kind {
    pub const LOG: u64 = 1;
    pub const TABLE: u64 = 2;
    pub const MANIFEST: u64 = 4;
    pub const CURRENT: u64 = 8;
    pub const HEAD: u64 = 16;
    pub const FOLDER: u64 = 64;
    /// All that the ledger is made of.
    pub const LEDGER: u64 = LOG | TABLE | MANIFEST | CURRENT | HEAD | FOLDER;
}

/// The words of the control file, by their place.
#[derive(Clone, Copy, Debug)]
pub enum Word {
    Action = 0,
    Operations = 1,
    Kinds = 2,
    Nth = 3,
    Hits = 4,
    Fired = 5,
    StallMs = 6,
    Limited = 7,
    Room = 8,
    Drops = 9,
    StepMs = 10,
    FrozenMs = 11,
    Committing = 12,
    Refused = 13,
}

/// A store of its own under the shim.
pub struct Shim {
    place: TempDir,
    control: File,
    with_journal: bool,
}

impl Shim {
    /// A place for a store, without a journal.
    pub fn new() -> Self {
        Self::of(false)
    }

    /// As [`new`](Self::new), with a journal of what became durable when.
    pub fn with_journal() -> Self {
        Self::of(true)
    }

    fn of(with_journal: bool) -> Self {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("control");
        fs::write(&path, [0; 4_096]).unwrap();
        let control = File::options().read(true).write(true).open(path).unwrap();
        // The shim watches a folder above the store's, whose name must become
        // durable as well.
        fs::create_dir(place.path().join("disk")).unwrap();
        Self { place, control, with_journal }
    }

    /// All that the shim watches.
    pub fn disk(&self) -> PathBuf {
        self.place.path().join("disk")
    }

    /// The store's folder.
    pub fn folder(&self) -> PathBuf {
        self.disk().join("data")
    }

    /// The journal.
    pub fn journal(&self) -> PathBuf {
        self.place.path().join("journal")
    }

    /// A command that runs the binary under the shim.
    pub fn command(&self) -> Command {
        let mut command = sendgate();
        command
            .env("LD_PRELOAD", library())
            .env("FAULT_FOLDER", self.disk())
            .env("FAULT_CONTROL", self.place.path().join("control"));
        if self.with_journal {
            command.env("FAULT_JOURNAL", self.journal());
        }
        command
    }

    /// Starts a server under the shim and waits until it serves.
    pub fn serve(&self) -> Result<(Process, std::net::SocketAddr), String> {
        Process::serve_by(self.command(), &self.folder(), "127.0.0.1:0")
    }

    /// Sets a word.
    pub fn set(&self, word: Word, value: i64) {
        self.control.write_all_at(&value.to_le_bytes(), word as u64 * 8).unwrap();
    }

    /// Reads a word.
    pub fn get(&self, word: Word) -> i64 {
        let mut bytes = [0; 8];
        self.control.read_exact_at(&mut bytes, word as u64 * 8).unwrap();
        i64::from_le_bytes(bytes)
    }

    /// Makes something happen at the `nth` of these operations from now on.
    pub fn arm(&self, action: Action, operations: u64, kinds: u64, nth: u64) {
        self.disarm();
        self.set(Word::Operations, operations.cast_signed());
        self.set(Word::Kinds, kinds.cast_signed());
        self.set(Word::Nth, nth.cast_signed());
        // Last: until now nothing is counted.
        self.set(Word::Action, action as i64);
    }

    /// Lets everything pass.
    pub fn disarm(&self) {
        for word in [Word::Action, Word::Hits, Word::Fired, Word::Committing] {
            self.set(word, 0);
        }
    }

    /// Whether what it was armed for has happened.
    pub fn has_fired(&self) -> bool {
        self.get(Word::Fired) != 0
    }
}

/// The compiled shim: once a run of the tests.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/shim.c");
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("shim.so");
        // Compiled beside it first: another run of the tests may be using it.
        let fresh = library.with_extension(std::process::id().to_string());
        let compiled = Command::new("cc")
            .args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC", "-o"])
            .args([fresh.as_path(), Path::new(source)])
            .status()
            .expect("cc compiles the shim; RocksDB needs a C++ compiler anyway");
        assert!(compiled.success(), "cc does not compile {source}");
        fs::rename(&fresh, &library).unwrap();
        library
    })
}
