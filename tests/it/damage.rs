//! Stopped and crashed stores, copies of them, and ways to damage those.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicI64},
    time::Duration,
};

use rocksdb::{DB, Options};
use sendgate::{
    clock::Clock,
    domain::plane::PlaneId,
    proto::v1::{self, ConsentEvent, ContactKind, Reason, RecordRequest, SuppressRequest},
    recovery,
    store::StoreError,
    writer::Books,
};
use tempfile::TempDir;

use crate::support::{START, TestServer, grant, phone, withdrawal};

pub const EVENTS: &str = "events";
pub const PAGES: &str = "pages";
pub const META: &str = "meta";
pub const HEAD: &str = "HEAD";

/// The last revision of a store after [`tell`]: the policy and 75 events.
pub const REVISION: u64 = 76;

/// A server that holds a little of everything: private persons and merchants,
/// phones and e-mails, consents and suppressions.
pub async fn told() -> TestServer {
    let server = TestServer::start().await;
    tell(&server).await;
    server
}

/// Tells a server that knows nothing all of that.
pub async fn tell(server: &TestServer) {
    let mut events = Vec::new();
    for i in 0..20 {
        // Far apart, so that they fall into several pages.
        let number = format!("+9053{:02}{:06}", i % 4, i * 7);
        events.push(grant(&number, START - 1));
        if i % 2 == 0 {
            events.push(withdrawal(&number, "sms", "", START));
        }
        let contact = v1::Contact {
            kind: ContactKind::Email.into(),
            address: format!("person{i}@example.com"),
            ..v1::Contact::default()
        };
        let channel = "email".to_owned();
        events.push(ConsentEvent { contact: Some(contact.clone()), channel, ..grant("", START) });
        if i % 4 == 0 {
            let all = withdrawal("", "", "", START);
            events.push(ConsentEvent { contact: Some(contact), ..all });
        }
    }
    let suppressions = (0..20).map(|i| v1::Suppression {
        brand: "main".to_owned(),
        contact: Some(phone(&format!("+90541{i:07}"))),
        reason: Reason::HardBounce.into(),
        ..v1::Suppression::default()
    });
    let request = SuppressRequest { suppressions: suppressions.collect() };
    server.consent().suppress(request).await.unwrap();
    let response = server.consent().record(RecordRequest { events }).await.unwrap().into_inner();
    assert!(response.results.iter().all(|result| result.rejection.is_none()));
    assert_eq!(response.revision.unwrap().revision, REVISION);
}

/// A store that was stopped in good order.
pub async fn stopped() -> TempDir {
    let mut server = told().await;
    server.stop().await;
    server.folder
}

/// A copy that went on: so many more events, and stopped again.
pub async fn with_more(store: &TempDir, events: usize) -> TempDir {
    let folder = copy(store.path());
    let mut server = TestServer::open(folder).await;
    for number in 0..events {
        record(&server, number).await;
    }
    server.stop().await;
    server.folder
}

/// Records one more event, not the same in two stores.
pub async fn record(server: &TestServer, number: usize) {
    let mut event = grant(&format!("+90542{number:07}"), START);
    event.source = format!("{:?}", server.folder.path());
    let response = server.consent().record(RecordRequest { events: vec![event] }).await.unwrap();
    assert_eq!(response.into_inner().results[0].outcome(), v1::Outcome::Applied);
}

/// Waits until HEAD names this revision: at most a hundred milliseconds by
/// design, seconds on a machine that is busy.
pub fn await_head(folder: &Path, revision: u64) {
    for _ in 0..1_000 {
        let bytes = fs::read(folder.join(HEAD)).unwrap();
        let names = |slot: &[u8]| slot.get(32..40) == Some(&revision.to_le_bytes()[..]);
        if bytes.chunks(512).any(names) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("HEAD did not reach revision {revision}");
}

/// A copy of a folder as it is on disk now; of a running server, what a
/// SIGKILL would leave.
///
/// The files are copied one after the other. If RocksDB took another manifest
/// meanwhile, the copy is of no moment at all, and is made again.
pub fn copy(folder: &Path) -> TempDir {
    loop {
        let copied = copy_once(folder);
        let current = |folder: &Path| fs::read_to_string(folder.join("CURRENT")).ok();
        let manifest = current(copied.path());
        let is_there = |name: &String| copied.path().join(name.trim()).is_file();
        if manifest == current(folder) && manifest.as_ref().is_none_or(is_there) {
            return copied;
        }
    }
}

fn copy_once(folder: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        // RocksDB removes files of its own in the background.
        if entry.file_name() != "LOCK" && entry.path().is_file() {
            drop(fs::copy(entry.path(), copy.path().join(entry.file_name())));
        }
    }
    copy
}

/// Opens a store as a server does.
pub fn open(folder: &Path) -> Result<Books, StoreError> {
    recovery::open(folder, Clock::Manual(Arc::new(AtomicI64::new(START))))
}

/// The members of every plane: all that verdicts are read from.
pub fn planes(books: &Books) -> BTreeMap<PlaneId, Vec<u64>> {
    let planes = books.view.planes.all(&books.view.policy);
    planes.map(|(name, plane)| (name, plane.ids().collect())).collect()
}

/// Opens the database of a stopped store, past the store itself.
pub fn edit(folder: &Path, change: impl FnOnce(&DB)) {
    let options = Options::default();
    let families = DB::list_cf(&options, folder).unwrap();
    change(&DB::open_cf(&options, folder, families).unwrap());
}

/// The files of a folder with this ending.
pub fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        paths.filter(|path| path.to_str().is_some_and(|path| path.ends_with(ending))).collect();
    files.sort();
    files
}
