//! After an erasure and a purge no file of the store holds the address: neither
//! decoded, row by row, nor raw, byte by byte (F21). Each search has a control
//! that it does find what was not erased.

use std::{collections::BTreeSet, fs, path::Path};

use sendgate::{
    clock::Clock,
    domain::contact::{ContactKind, ContactRef},
    engine::page::Page,
    proto::v1::{
        self, ConsentEvent, EraseRequest, Erasure, Outcome, PurgeRequest, Reason, RecordRequest,
        SuppressRequest, Suppression,
    },
    recovery,
    store::{PageRow, Store, StoredChange},
    writer::Books,
};

use crate::support::{HOUR, START, TestServer, grant, phone, verified, withdrawal};

const GONE: u64 = 905_321_234_567;
const KEPT: u64 = 905_327_654_321;
const GONE_EMAIL: &str = "gone.person@example.com";
const KEPT_EMAIL: &str = "kept.person@example.com";

fn email(address: &str) -> v1::Contact {
    v1::Contact {
        kind: v1::ContactKind::Email.into(),
        address: address.to_owned(),
        default_region: String::new(),
    }
}

/// Events of all kinds about a phone and an e-mail address.
async fn record(server: &TestServer, number: u64, address: &str) {
    let text = format!("+{number}");
    let by_email = ConsentEvent {
        contact: Some(email(address)),
        channel: "email".to_owned(),
        event_key: format!("key of {address}"),
        ..grant("", START - HOUR)
    };
    let ending = ConsentEvent {
        valid_until_ms: Some(START + 24 * HOUR),
        purpose: "newsletter".to_owned(),
        ..grant(&text, START - HOUR)
    };
    let events = vec![
        grant(&text, START - HOUR),
        ending,
        by_email,
        withdrawal(&text, "call", "", START - HOUR),
    ];
    let results = server.consent().record(RecordRequest { events }).await.unwrap().into_inner();
    assert!(results.results.iter().all(|result| result.outcome() == Outcome::Applied));
    let suppressions = [phone(&text), email(address)].map(|contact| Suppression {
        brand: "main".to_owned(),
        contact: Some(contact),
        reason: Reason::LegalBlock.into(),
        note: format!("about {number} and {address}"),
        ..Suppression::default()
    });
    let request = SuppressRequest { suppressions: suppressions.to_vec() };
    server.consent().suppress(request).await.unwrap();
}

/// The files of a folder that hold one of these byte strings.
fn files_with(folder: &Path, needles: &[Vec<u8>]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let holds = |needle: &Vec<u8>| memchr::memmem::find(&bytes, needle).is_some();
        if needles.iter().any(holds) {
            found.insert(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
    found
}

/// How an address may stand in a file: as text and as an integer of either
/// byte order, without the bytes that are zero in every number.
fn spellings(number: u64, address: &str) -> Vec<Vec<u8>> {
    vec![
        number.to_string().into_bytes(),
        number.to_le_bytes()[..5].to_vec(),
        number.to_be_bytes()[3..].to_vec(),
        address.as_bytes().to_vec(),
    ]
}

/// The places in the decoded rows that hold an address.
fn rows_with(books: &Books, number: u64, address: &str) -> Vec<&'static str> {
    let store: &Store = &books.store;
    let mut found = Vec::new();
    let spelled = format!("{number}");
    for event in store.events(1, [0; 32]).unwrap() {
        let (_, row) = event.unwrap();
        let Some((_, payload)) = row.body else { continue };
        let text = String::from_utf8_lossy(&payload).into_owned();
        let decoded = StoredChange::decode(&payload).ok();
        let names = decoded.is_some_and(|stored| stored.contact.id == number);
        if names || text.contains(&spelled) || text.contains(address) {
            found.push("events");
        }
    }
    for row in store.all_states().unwrap() {
        let (key, row) = row.unwrap();
        let contact = key.contact(store.secret()).unwrap();
        if row.contact_id == number || contact.id == number {
            found.push("state");
        }
    }
    for row in store.addresses_from(ContactKind::Email, 0).unwrap() {
        if row.unwrap().1 == address {
            found.push("contacts");
        }
    }
    for end in store.ends(i64::MIN, i64::MAX).unwrap() {
        if end.unwrap().2 == (ContactRef { kind: ContactKind::Phone, id: number }) {
            found.push("expiry");
        }
    }
    let fingerprint = store.secret().fingerprint(address.as_bytes());
    for row in store.pages().unwrap() {
        match row.unwrap() {
            PageRow::Plane(name, index, bytes, _) if name.kind == ContactKind::Phone => {
                let page = Page::from_bytes(index, &bytes).unwrap();
                if index == number >> 16 && page.contains((number & 0xffff) as u16) {
                    found.push("pages");
                }
            }
            PageRow::Plane(..) => {}
            PageRow::Directory(_, _, fingerprints, _) => {
                if fingerprints.contains(&fingerprint) {
                    found.push("directory");
                }
            }
        }
    }
    found.dedup();
    found
}

fn books(server: &TestServer) -> Books {
    let clock = Clock::Manual(std::sync::Arc::clone(&server.clock));
    recovery::open(server.folder.path(), clock).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_erasure_and_purge_no_file_holds_the_address() {
    let mut server = TestServer::start().await;
    record(&server, GONE, GONE_EMAIL).await;
    record(&server, KEPT, KEPT_EMAIL).await;
    server.admin().checkpoint(v1::CheckpointRequest {}).await.unwrap();
    let folder = server.folder.path().to_owned();
    let gone = spellings(GONE, GONE_EMAIL);
    let before = files_with(&folder, &gone);
    assert!(!before.is_empty(), "control: the search finds an address that is there");

    let erasures = [phone(&format!("+{GONE}")), email(GONE_EMAIL)].map(|contact| Erasure {
        brand: "main".to_owned(),
        contact: Some(contact),
        ..Erasure::default()
    });
    let request = EraseRequest { erasures: erasures.to_vec() };
    let erased = server.consent().erase(request).await.unwrap().into_inner();
    assert_eq!(erased.results.iter().map(|result| result.events).collect::<Vec<_>>(), [4, 2]);
    let names = |end: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(&folder).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains(end)).collect()
    };
    let manifest = names("MANIFEST");
    server.admin().purge(PurgeRequest {}).await.unwrap();
    assert_eq!(files_with(&folder, &gone), BTreeSet::new(), "while the server runs");
    assert!(names("MANIFEST").is_disjoint(&manifest), "the MANIFEST begins anew");

    server.stop().await;
    assert_eq!(files_with(&folder, &gone), BTreeSet::new(), "after the end");
    let stopped = books(&server);
    assert_eq!(rows_with(&stopped, GONE, GONE_EMAIL), Vec::<&str>::new());
    let kept = rows_with(&stopped, KEPT, KEPT_EMAIL);
    for place in ["events", "state", "contacts", "expiry", "pages", "directory"] {
        assert!(kept.contains(&place), "control: {place} is searched, {kept:?}");
    }
    drop(stopped);
    verified(server).await;
}
