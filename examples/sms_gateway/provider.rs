//! The SMS provider. This one appends to a file what a real one would take by
//! its API.
//!
//! A crash may come between sending a message and writing down that it was
//! sent. So each message goes out with an identifier, and the provider takes
//! each of them once; most have a field for that. Look for it before you go
//! live: without it, messages come twice or not at all.

use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::Path,
    time::Duration,
};

use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use crate::spool::Message;

/// The provider, with what it has taken so far.
pub struct Provider {
    outbox: File,
    taken: HashSet<String>,
    /// Time between two messages.
    pace: Duration,
    next: Instant,
}

/// What matters here of a message that was taken.
#[derive(Deserialize)]
struct Taken {
    id: String,
}

impl Provider {
    /// Opens the outbox; the provider takes `rate` messages a second.
    pub fn open(outbox: &Path, rate: u32) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(outbox)?;
        let mut taken = HashSet::new();
        for line in fs::read_to_string(outbox)?.lines() {
            taken.insert(serde_json::from_str::<Taken>(line)?.id);
        }
        let pace = Duration::from_secs(1) / rate.max(1);
        Ok(Self { outbox: file, taken, pace, next: Instant::now() })
    }

    /// Waits until it would take a message.
    pub async fn ready(&mut self) {
        sleep_until(self.next).await;
    }

    /// Sends a message, and says whether it was not sent before.
    pub fn send(&mut self, Message { id, to, text }: &Message) -> io::Result<bool> {
        if !self.taken.insert(id.clone()) {
            return Ok(false);
        }
        let line = format!("{}\n", json!({ "id": id, "to": to, "text": text }));
        self.outbox.write_all(line.as_bytes())?;
        self.next = Instant::now() + self.pace;
        Ok(true)
    }
}
