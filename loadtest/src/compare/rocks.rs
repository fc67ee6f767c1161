//! RocksDB alone: the rows that sendgate wrote, written again by a bare loop.
//!
//! The rows are read back from a store that a sendgate has left, and the options
//! are those that it recorded, so that the loop writes the same bytes into the
//! same families, and no more.

use std::{
    collections::HashMap,
    ops::Range,
    path::Path,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rocksdb::{
    Cache, ColumnFamilyDescriptor, DB, Env, IngestExternalFileOptions, IteratorMode, Options,
    SstFileWriter, WriteBatch, WriteOptions,
};

use super::cores;
use crate::failure::Failure;

/// The families that hold one row an event.
const PER_EVENT: [&str; 4] = ["events", "history", "state", "keys"];
/// Bytes of a contact's key, with which those of its history and state begin.
const CONTACT: usize = 13;
/// The row that every commit rewrites.
const TIP: (&str, &[u8]) = ("meta", b"tip");
/// As sendgate's own.
const BLOCK_CACHE: usize = 256 << 20;

/// One row: its family's position, key and value.
type Row = (usize, Vec<u8>, Vec<u8>);

/// The rows of a store, event by event.
pub struct Rows {
    events: Vec<Vec<Row>>,
    tip: Vec<u8>,
}

impl Rows {
    /// Reads the rows of a store that nobody has open.
    pub fn read(folder: &Path) -> Result<Self, Failure> {
        let (options, families) = options(folder)?;
        let database = DB::open_cf_descriptors_read_only(&options, folder, families, false)?;
        let mut events: HashMap<u64, Vec<Row>> = HashMap::new();
        // The last event of each contact, which the state is put with.
        let mut last: HashMap<Vec<u8>, u64> = HashMap::new();
        for (at, name) in PER_EVENT.into_iter().enumerate() {
            let family = database.cf_handle(name).ok_or("a family of the store is missing")?;
            for row in database.iterator_cf(family, IteratorMode::Start) {
                let (key, value) = row?;
                let revision = match name {
                    "events" => number(&key, 0, u64::from_be_bytes),
                    "history" => {
                        let revision = number(&key, CONTACT, u64::from_be_bytes);
                        let contact = key.get(..CONTACT).unwrap_or_default().to_vec();
                        last.extend(revision.map(|revision| (contact, revision)));
                        revision
                    }
                    "state" => last.get(key.as_ref()).copied(),
                    // A version, then the revision.
                    _ => number(&value, 1, u64::from_le_bytes),
                };
                let revision = revision.ok_or("a row of the store is not understood")?;
                events.entry(revision).or_default().push((at, key.into(), value.into()));
            }
        }
        let family = database.cf_handle(TIP.0).ok_or("a family of the store is missing")?;
        let tip = database.get_cf(family, TIP.1)?.ok_or("the store has no tip")?;
        let mut events: Vec<(u64, Vec<Row>)> = events.into_iter().collect();
        events.sort_unstable_by_key(|(revision, _)| *revision);
        // Policies are events too, but not of a contact.
        let of_contacts = |(_, rows): &(u64, Vec<Row>)| rows.len() == PER_EVENT.len();
        let events: Vec<_> = events.into_iter().filter(of_contacts).map(|(_, rows)| rows).collect();
        if events.is_empty() {
            return Err("the store has no events of contacts".into());
        }
        Ok(Self { events, tip })
    }

    /// How many events.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Bytes of an event's rows.
    pub fn bytes_each(&self) -> f64 {
        let rows = self.events.iter().flatten();
        let bytes: usize = rows.map(|(_, key, value)| key.len() + value.len()).sum();
        bytes as f64 / self.len() as f64
    }
}

/// Writes the rows of these events into a new database as sorted files, without
/// a log: the least that a first load can cost. Uncompressed; each file is synced
/// once and moved.
pub fn ingest(
    rows: &Rows,
    events: Range<usize>,
    like: &Path,
    folder: &Path,
) -> Result<Duration, Failure> {
    let work = || -> Result<Duration, Failure> {
        cores::pin(cores::SERVER)?;
        let database = create(like, folder)?;
        let begun = Instant::now();
        let events = rows.events.get(events).unwrap_or_default();
        for (at, name) in PER_EVENT.into_iter().enumerate() {
            let of_family = events.iter().flatten().filter(|(family, ..)| *family == at);
            let mut sorted: Vec<_> = of_family.map(|(_, key, value)| (key, value)).collect();
            sorted.sort_unstable();
            let file = folder.join(format!("{name}.sst"));
            let options = Options::default();
            let mut writer = SstFileWriter::create(&options);
            writer.open(&file)?;
            for (key, value) in sorted {
                writer.put(key, value)?;
            }
            writer.finish()?;
            let family = database.cf_handle(name).ok_or("a family is missing")?;
            let mut moved = IngestExternalFileOptions::default();
            moved.set_move_files(true);
            database.ingest_external_file_cf_opts(family, &moved, vec![file])?;
        }
        Ok(begun.elapsed())
    };
    let done = thread::scope(|scope| scope.spawn(work).join());
    done.map_err(|_| "the rows could not be written as sorted files")?
}

/// A bare database, on a thread of its own on the server's core.
pub struct Loop {
    work: mpsc::Sender<(usize, usize, usize)>,
    done: mpsc::Receiver<Result<Vec<Duration>, Failure>>,
}

impl Loop {
    /// Makes a database like the one in `like`, in a new folder.
    pub fn start(rows: Rows, like: &Path, folder: &Path) -> Result<Self, Failure> {
        let (work, tasks) = mpsc::channel();
        let (told, done) = mpsc::channel();
        let (like, folder) = (like.to_owned(), folder.to_owned());
        thread::spawn(move || {
            // The database's own threads inherit the core.
            let opened = cores::pin(cores::SERVER).and_then(|()| create(&like, &folder));
            let database = match opened {
                Ok(database) => database,
                Err(error) => return drop(told.send(Err(error))),
            };
            for (from, to, group) in tasks {
                if told.send(write(&database, &rows, from, to, group)).is_err() {
                    return;
                }
            }
        });
        Ok(Self { work, done })
    }

    /// Commits these events in groups, each with one sync; returns how long
    /// each group took.
    pub fn commit(&self, from: usize, to: usize, group: usize) -> Result<Vec<Duration>, Failure> {
        self.begin(from, to, group)?;
        self.end()
    }

    /// As [`commit`](Self::commit), but does not wait: each needs an
    /// [`end`](Self::end).
    pub fn begin(&self, from: usize, to: usize, group: usize) -> Result<(), Failure> {
        Ok(self.work.send((from, to, group)).map_err(|_| "the bare database could not be made")?)
    }

    /// How many of those begun have ended; these are not waited for any more.
    pub fn ended(&self) -> Result<usize, Failure> {
        self.done.try_iter().try_fold(0, |ended, done| done.map(|_| ended + 1))
    }

    /// Waits for the first that was begun and has not been waited for.
    pub fn end(&self) -> Result<Vec<Duration>, Failure> {
        self.done.recv().map_err(|_| "the bare database ended")?
    }
}

fn write(
    database: &DB,
    rows: &Rows,
    from: usize,
    to: usize,
    group: usize,
) -> Result<Vec<Duration>, Failure> {
    let family = |name| database.cf_handle(name).ok_or("a family is missing");
    let families = PER_EVENT.map(family);
    let meta = family(TIP.0)?;
    let mut options = WriteOptions::default();
    options.set_sync(true);
    let mut taken = Vec::new();
    for events in rows.events.get(from..to).unwrap_or_default().chunks(group) {
        let begun = Instant::now();
        let mut batch = WriteBatch::default();
        for (at, key, value) in events.iter().flatten() {
            if let Some(family) = families.get(*at) {
                batch.put_cf((*family)?, key, value);
            }
        }
        batch.put_cf(meta, TIP.1, &rows.tip);
        database.write_opt(batch, &options)?;
        taken.push(begun.elapsed());
    }
    Ok(taken)
}

/// The options that sendgate recorded with its store.
fn options(folder: &Path) -> Result<(Options, Vec<ColumnFamilyDescriptor>), Failure> {
    let cache = Cache::new_lru_cache(BLOCK_CACHE);
    Ok(Options::load_latest(folder, Env::new()?, true, cache)?)
}

fn create(like: &Path, folder: &Path) -> Result<DB, Failure> {
    let (mut options, families) = options(like)?;
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    Ok(DB::open_cf_descriptors(&options, folder, families)?)
}

fn number(bytes: &[u8], at: usize, read: impl Fn([u8; 8]) -> u64) -> Option<u64> {
    bytes.get(at..)?.first_chunk().copied().map(read)
}
