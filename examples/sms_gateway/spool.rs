//! The queue: a folder with a file for each batch.
//!
//! A file stays where it is until the last of its messages is settled; only
//! then it moves to `done/`. So whatever happens before, the batch is still in
//! the queue. Whoever fills the folder writes under another name and renames,
//! so that half a file is never found.

use std::{
    collections::{BTreeSet, HashSet, VecDeque},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;
use tokio::time::sleep;

/// Messages of one batch. Small enough that they are sent while the answer is
/// fresh; the server would take 262,144.
const MOST_MESSAGES: usize = 10_000;
/// How often an empty folder is looked at.
const POLL: Duration = Duration::from_millis(200);

/// A message that somebody wants to send.
#[derive(Deserialize)]
pub struct Message {
    /// The sender's identifier. The provider takes each one once.
    pub id: String,
    /// The digits of the number, from the country code on. Written like this, a
    /// number has one spelling, and a change about it is found by comparing.
    pub to: u64,
    /// What to send.
    pub text: String,
}

/// The messages of one file that are not settled yet.
pub struct Batch {
    name: String,
    /// In the order of the file.
    pub messages: VecDeque<Message>,
}

/// The folder, held by this process alone.
pub struct Spool {
    folder: PathBuf,
    until_empty: bool,
    /// Files that are ready, from the last look at the folder.
    ready: BTreeSet<String>,
    /// Files whose batches are somewhere between here and the provider.
    in_hand: HashSet<String>,
    /// Batches that must be asked about again, before anything new.
    again: VecDeque<Batch>,
    _lock: File,
}

impl Spool {
    /// Opens the folder, and makes it if it is not there.
    pub fn open(folder: &Path, until_empty: bool) -> io::Result<Self> {
        for folder in [folder.to_owned(), folder.join("done"), folder.join("bad")] {
            fs::create_dir_all(folder)?;
        }
        let lock = File::create(folder.join(".lock"))?;
        lock.try_lock().map_err(|error| {
            io::Error::other(format!("{}: another gateway? {error}", folder.display()))
        })?;
        Ok(Self {
            folder: folder.to_owned(),
            until_empty,
            ready: BTreeSet::new(),
            in_hand: HashSet::new(),
            again: VecDeque::new(),
            _lock: lock,
        })
    }

    /// The next batch to ask about. Waits for one, unless the folder is to be
    /// emptied and is. May be dropped and called again without losing a batch.
    pub async fn next(&mut self) -> io::Result<Option<Batch>> {
        loop {
            if let Some(batch) = self.again.pop_front() {
                return Ok(Some(batch));
            }
            if self.ready.is_empty() {
                self.ready = self.list()?;
            }
            match self.ready.pop_first() {
                Some(name) => match self.read(&name) {
                    Ok(messages) => {
                        self.in_hand.insert(name.clone());
                        return Ok(Some(Batch { name, messages }));
                    }
                    Err(error) => {
                        eprintln!("sms_gateway: {name} goes to bad/: {error}");
                        self.settle(&name, "bad")?;
                    }
                },
                None if self.until_empty => return Ok(None),
                None => sleep(POLL).await,
            }
        }
    }

    /// Takes a batch back: its answer is not to be used.
    pub fn again(&mut self, batch: Batch) {
        self.again.push_back(batch);
    }

    /// Takes every batch back that is in hand, whatever became of it. Messages
    /// that were sent already are sent by nobody twice: see the provider.
    pub fn take_back_all(&mut self) {
        self.again.clear();
        self.ready.clear();
        self.in_hand.clear();
    }

    /// Every message of the batch is sent or suppressed.
    pub fn done(&mut self, batch: &Batch) -> io::Result<()> {
        self.settle(&batch.name, "done")
    }

    /// Whether nothing is left to do.
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.in_hand.is_empty() && self.list()?.is_empty())
    }

    fn list(&self) -> io::Result<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        for entry in fs::read_dir(&self.folder)? {
            let Ok(name) = entry?.file_name().into_string() else { continue };
            if name.ends_with(".jsonl") && !self.in_hand.contains(&name) {
                names.insert(name);
            }
        }
        Ok(names)
    }

    fn read(&self, name: &str) -> io::Result<VecDeque<Message>> {
        let text = fs::read_to_string(self.folder.join(name))?;
        let message = |(at, line)| {
            serde_json::from_str(line).map_err(|error| {
                // Without what stands there: it is about a person.
                let (line, column) = (at + 1, error.column());
                io::Error::other(format!("line {line} is no message, from column {column} on"))
            })
        };
        let messages: VecDeque<Message> =
            text.lines().enumerate().map(message).collect::<Result<_, _>>()?;
        if messages.len() > MOST_MESSAGES {
            let what = format!("{} messages, {MOST_MESSAGES} may be", messages.len());
            return Err(io::Error::other(what));
        }
        Ok(messages)
    }

    fn settle(&mut self, name: &str, place: &str) -> io::Result<()> {
        fs::rename(self.folder.join(name), self.folder.join(place).join(name))?;
        self.in_hand.remove(name);
        Ok(())
    }
}
