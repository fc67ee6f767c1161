//! What a power cut leaves. The shim's journal holds every change of a file and
//! every sync, in order; replayed up to a moment, it says what had become
//! durable by then and what had not.
//!
//! The strictest disk that POSIX allows: a file's bytes become durable with a
//! sync of the file, a name with a sync of its folder, nothing else ever.

use std::{collections::BTreeMap, fs, path::Path};

use rand::{RngExt, rngs::StdRng};

/// What a disk keeps of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// Nothing.
    Dropped,
    /// Of each file, and of the names, as much as chance will have; the last
    /// write of a file may be torn.
    Torn,
}

/// A file by whatever name: its durable bytes, and the changes since its sync.
#[derive(Default)]
struct Content {
    durable: Vec<u8>,
    since: Vec<Change>,
}

enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

/// A change of names, which becomes durable with a sync of the folder.
enum Naming {
    Name(String, usize),
    Forget(String),
}

/// A disk as far as the journal has been replayed.
#[derive(Default)]
pub struct Disk {
    contents: Vec<Content>,
    /// Names as the running process sees them, and what they name.
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    since: Vec<Naming>,
    /// What each opening of a file is of; `None` for folders.
    openings: Vec<Option<usize>>,
    opened_folders: BTreeMap<usize, String>,
}

/// The journal, read as far as asked.
pub struct Journal {
    bytes: Vec<u8>,
    at: usize,
}

/// Contents by this number are folders.
const FOLDER: usize = usize::MAX;

impl Journal {
    pub fn read(path: &Path) -> Self {
        Self { bytes: fs::read(path).unwrap(), at: 0 }
    }

    /// The moments behind each operation.
    pub fn moments(&self) -> Vec<u64> {
        let mut moments = Vec::new();
        let mut at = 0;
        while let Some((_, _, _, bytes)) = self.entry(at) {
            at += 32 + bytes.len();
            moments.push(at as u64);
        }
        moments
    }

    fn entry(&self, at: usize) -> Option<(u64, usize, usize, &[u8])> {
        let word = |index: usize| {
            let bytes = self.bytes.get(at + index * 8..)?.first_chunk::<8>()?;
            Some(u64::from_le_bytes(*bytes))
        };
        let (what, opening, place, length) = (word(0)?, word(1)?, word(2)?, word(3)?);
        let bytes = self.bytes.get(at + 32..at + 32 + length as usize)?;
        Some((what, opening as usize, place as usize, bytes))
    }

    /// Replays what is behind until this moment.
    pub fn replay(&mut self, disk: &mut Disk, moment: u64) {
        while self.at < moment as usize
            && let Some((what, opening, place, bytes)) = self.entry(self.at)
        {
            disk.apply(what, opening, place, bytes);
            self.at += 32 + bytes.len();
        }
    }
}

impl Disk {
    fn apply(&mut self, what: u64, opening: usize, place: usize, bytes: &[u8]) {
        let text = || String::from_utf8(bytes.to_vec()).unwrap();
        match what {
            1 => self.open(opening, place != 0, text()),
            2 => self.change(opening, Change::Write(place, bytes.to_vec())),
            3 => self.change(opening, Change::Truncate(place)),
            4 => self.sync(opening),
            5 => {
                let text = text();
                let (from, to) = text.split_once('\0').unwrap();
                if let Some(content) = self.names.remove(from) {
                    self.names.insert(to.to_owned(), content);
                    self.since.push(Naming::Forget(from.to_owned()));
                    self.since.push(Naming::Name(to.to_owned(), content));
                }
            }
            6 => {
                self.names.remove(&text());
                self.since.push(Naming::Forget(text()));
            }
            7 => {
                self.names.insert(text(), FOLDER);
                self.since.push(Naming::Name(text(), FOLDER));
            }
            other => panic!("the journal holds {other}"),
        }
    }

    fn open(&mut self, opening: usize, truncates: bool, name: String) {
        self.openings.resize(self.openings.len().max(opening + 1), None);
        // The watched folder itself has no name.
        if name.is_empty() || self.names.get(&name) == Some(&FOLDER) {
            // Another process counts its openings anew.
            self.openings[opening] = None;
            self.opened_folders.insert(opening, name);
            return;
        }
        let content = *self.names.entry(name.clone()).or_insert_with(|| {
            self.contents.push(Content::default());
            let content = self.contents.len() - 1;
            self.since.push(Naming::Name(name, content));
            content
        });
        self.openings[opening] = Some(content);
        if truncates {
            self.change(opening, Change::Truncate(0));
        }
    }

    fn change(&mut self, opening: usize, change: Change) {
        if let Some(content) = self.openings[opening] {
            self.contents[content].since.push(change);
        }
    }

    fn sync(&mut self, opening: usize) {
        if let Some(content) = self.openings[opening] {
            let Content { durable, since } = &mut self.contents[content];
            since.drain(..).for_each(|change| change.apply(durable));
        } else if let Some(folder) = self.opened_folders.get(&opening) {
            let is_in = |naming: &Naming| parent(naming.name()) == folder;
            let (now, later) = std::mem::take(&mut self.since).into_iter().partition(is_in);
            self.since = later;
            let now: Vec<Naming> = now;
            now.into_iter().for_each(|naming| naming.apply(&mut self.durable_names));
        }
    }

    /// Writes into an empty folder what a power cut leaves now.
    pub fn write(&self, folder: &Path, unsynced: Unsynced, random: &mut StdRng) {
        let mut names = self.durable_names.clone();
        if unsynced == Unsynced::Torn {
            // Names change in the order in which they were changed.
            let kept = random.random_range(0..=self.since.len());
            self.since[..kept].iter().for_each(|naming| naming.apply(&mut names));
        }
        for (name, content) in &names {
            let path = folder.join(name);
            if *content == FOLDER {
                fs::create_dir_all(path).unwrap();
            } else if names.get(parent(name)) == Some(&FOLDER) {
                fs::write(path, self.contents[*content].left(unsynced, random)).unwrap();
            }
        }
    }
}

impl Content {
    fn left(&self, unsynced: Unsynced, random: &mut StdRng) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        if unsynced == Unsynced::Torn {
            let kept = random.random_range(0..=self.since.len());
            self.since[..kept].iter().for_each(|change| change.apply(&mut bytes));
            if let Some(Change::Write(place, torn)) = self.since.get(kept) {
                let kept = random.random_range(0..=torn.len());
                Change::Write(*place, torn[..kept].to_vec()).apply(&mut bytes);
            }
        }
        bytes
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(place, written) => {
                bytes.resize(bytes.len().max(place + written.len()), 0);
                bytes[*place..place + written.len()].copy_from_slice(written);
            }
            Self::Truncate(length) => bytes.resize(*length, 0),
        }
    }
}

impl Naming {
    fn name(&self) -> &str {
        match self {
            Self::Name(name, _) | Self::Forget(name) => name,
        }
    }

    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Name(name, content) => drop(names.insert(name.clone(), *content)),
            Self::Forget(name) => drop(names.remove(name)),
        }
    }
}

fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(parent, _)| parent)
}
