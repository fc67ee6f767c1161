//! A store that an earlier build wrote, kept in the tree: every later version
//! opens it and answers from it as was recorded then (A8).
//!
//! `tests/fixtures/stores/format-1` was made by [`make_the_store`]. It is never
//! made again for this format: what cannot read it has broken the promise. A
//! new format gets a folder of its own beside it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicI64},
    time::Duration,
};

use sendgate::{
    clock::Clock,
    engine::page::Page,
    proto::v1::{
        AcceptRestoreRequest, ApplyPolicyRequest, CheckpointRequest, ConsentEvent, Contact,
        ContactKind, Evidence, GetPolicyRequest, GetStatisticsRequest, PurgeRequest, RecordRequest,
        accept_restore_request::Loss,
    },
    recovery, verify,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    backup::{back_up, restored},
    damage::copy,
    restore::story::{after, before, revision, verdicts},
    support::{HOUR, START, TestServer, grant},
};

const BRANDS: [&str; 2] = ["main", "second"];
/// When the store is asked: some consents have ended by then, others have not.
const NOW: i64 = START + 500 * 24 * HOUR;

/// What was recorded of the store when it was made. How many planes it had then
/// is recorded too, but no promise: a later version may lay them out otherwise.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Recorded {
    revision: u64,
    chain_head: String,
    events: u64,
    contacts: u64,
    erased_contacts: u64,
    redacted_payloads: u64,
    former_epoch: String,
    /// The people with each reason, by scope.
    verdicts: BTreeMap<String, BTreeMap<String, Vec<String>>>,
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/stores/format-1")
}

/// What a server says of a store, and what a verification does.
async fn recorded(server: &mut TestServer) -> Recorded {
    server.set_clock(NOW);
    // Ends take effect within a second.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut by_scope: BTreeMap<String, BTreeMap<String, Vec<String>>> = BTreeMap::new();
    for ((scope, person), reason) in verdicts(server, &BRANDS).await {
        let reasons = by_scope.entry(scope).or_default();
        reasons.entry(format!("{reason:?}")).or_default().push(person);
    }
    let statistics = server.admin().get_statistics(GetStatisticsRequest::default()).await.unwrap();
    let statistics = statistics.into_inner();
    server.stop().await;
    let clock = Clock::Manual(Arc::new(AtomicI64::new(NOW)));
    let books = recovery::open(server.folder.path(), clock).unwrap();
    let report = verify::verify(&books, &[]).unwrap();
    assert_eq!(report.differences, Vec::<String>::new());
    Recorded {
        revision: report.revision,
        chain_head: report.chain_head,
        events: report.events,
        contacts: report.contacts,
        erased_contacts: statistics.erased_contacts,
        redacted_payloads: statistics.redacted_payloads,
        former_epoch: statistics.restored.unwrap().backup.unwrap().epoch,
        verdicts: by_scope,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_format_1_opens_verifies_and_answers_as_it_did() {
    let text = fs::read_to_string(fixture().join("recorded.json")).unwrap();
    let expected: Recorded = serde_json::from_str(&text).unwrap();
    // Opening a store writes into it.
    let mut server = TestServer::open(copy(&fixture().join("store"))).await;
    assert_eq!(recorded(&mut server).await, expected);
    // And once more, from what this version wrote.
    let mut server = TestServer::open(server.folder).await;
    assert_eq!(recorded(&mut server).await, expected);
}

/// Pages of every form have the bytes that they had. A page of a bitset takes
/// thousands of contacts, more than a store in the tree should have.
#[test]
fn pages_have_the_bytes_of_format_1() {
    let digest = |count: usize| {
        let header = [12_346_u32.to_le_bytes(), 1_u32.to_le_bytes()].concat();
        let mut bytes = header;
        bytes.extend(0_u16.to_le_bytes());
        bytes.extend((count as u16).wrapping_sub(1).to_le_bytes());
        bytes.extend(16_u32.to_le_bytes());
        let members: Vec<u16> = (0..count).map(|at| (at * (65_536 / count)) as u16).collect();
        if count > 4_096 {
            let mut words = vec![0_u8; 8_192];
            members.iter().for_each(|low| words[usize::from(low / 8)] |= 1 << (low % 8));
            bytes.extend(words);
        } else {
            bytes.extend(members.iter().flat_map(|low| low.to_le_bytes()));
        }
        let page = Page::from_bytes(9, &bytes).unwrap();
        assert_eq!((page.to_bytes(), page.len()), (bytes.clone(), count));
        let digest = Sha256::digest(&bytes);
        digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let digests = [1, 4, 5, 2_569, 2_570, 4_096, 4_097, 65_536].map(digest);
    assert_eq!(digests, PAGES);
}

/// The beginnings of the digests of these pages.
const PAGES: [&str; 8] = [
    "9b64e3a3", "b5dc8402", "c0fa4122", "e0679b45", "98562904", "b5c52948", "c9f48eef", "749f2fad",
];

/// Makes the store and records what it says. Run once for a format:
/// `cargo test --test it -- --ignored golden::make_the_store`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "makes the files that the tests above open"]
async fn make_the_store() {
    let target = fixture();
    assert!(!target.exists(), "the store of a format is made once");
    let original = TestServer::start().await;
    before(&original).await;
    // Contacts of the other kinds, and proofs for retention to take.
    let other = |kind: ContactKind, address: &str| ConsentEvent {
        contact: Some(Contact {
            kind: kind.into(),
            address: address.to_owned(),
            ..Contact::default()
        }),
        channel: "push".to_owned(),
        registered_with: "iys".to_owned(),
        evidence: Some(Evidence { uri: "s3://proof".to_owned(), sha256: vec![7; 32].into() }),
        event_key: format!("push of {address}"),
        ..grant("", START)
    };
    let ended = ConsentEvent {
        valid_until_ms: Some(START + HOUR),
        ..other(ContactKind::ExternalId, "customer-2")
    };
    let events = vec![
        other(ContactKind::ContactId, "18446744073709551615"),
        other(ContactKind::ExternalId, "customer-1"),
        ended,
    ];
    original.consent().record(RecordRequest { events }).await.unwrap();
    after(&original).await;
    let policy = original.admin().get_policy(GetPolicyRequest {}).await.unwrap().into_inner().toml;
    let toml =
        policy.replace("two-brands", "retaining") + "\n[retention]\nredact_after_years = 1\n";
    let request = ApplyPolicyRequest { toml, ..ApplyPolicyRequest::default() };
    original.admin().apply_policy(request).await.unwrap();
    let place = tempfile::tempdir().unwrap();
    let reached = revision(&original).await;
    back_up(&original, &place.path().join("backup")).await;

    let mut server = TestServer::open(restored(&place.path().join("backup"))).await;
    let request = AcceptRestoreRequest {
        loss: Some(Loss::ReplayedTo(reached)),
        ..AcceptRestoreRequest::default()
    };
    server.admin().accept_restore(request).await.unwrap();
    server.set_clock(NOW);
    for _ in 0..100 {
        let statistics =
            server.admin().get_statistics(GetStatisticsRequest::default()).await.unwrap();
        if statistics.into_inner().redacted_payloads > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Small: everything in few files, and no log.
    server.admin().checkpoint(CheckpointRequest {}).await.unwrap();
    server.admin().purge(PurgeRequest {}).await.unwrap();
    server.stop().await;
    let store = target.join("store");
    fs::create_dir_all(&store).unwrap();
    for entry in fs::read_dir(server.folder.path()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let is_needed = name.ends_with(".sst")
            || name.starts_with("MANIFEST")
            || ["CURRENT", "HEAD"].contains(&name.as_str());
        if is_needed {
            fs::copy(entry.path(), store.join(name)).unwrap();
        }
    }
    let mut copied = TestServer::open(copy(&store)).await;
    let said = recorded(&mut copied).await;
    assert!(said.redacted_payloads > 0 && said.erased_contacts > 0);
    fs::write(target.join("recorded.json"), serde_json::to_string_pretty(&said).unwrap()).unwrap();
}
