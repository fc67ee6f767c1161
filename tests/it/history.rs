//! History: the events of one contact, in order, page by page.

use sendgate::{
    caps,
    proto::v1::{
        Actor, ActorRole, ApplyPolicyRequest, ConsentEvent, Evidence, ExplainRequest,
        HistoryRequest, HistoryResponse, ImportItem, ImportRequest, Notice, Reason, RecipientType,
        RecordRequest, SuppressRequest, Suppression, WatchRequest, import_item,
        ledger_record::Event,
    },
};
use tonic::{Code, Status};

use crate::support::{START, TestServer, grant, phone, scope, withdrawal};

const ADDRESS: &str = "+905321234567";

const TWO_BRANDS: &str = "version = \"brands\"\n[channels.sms]\nkinds = [\"phone\"]\n\
    [purposes.marketing]\nindividual = \"opt_in\"\n[brands.main]\n[brands.other]\n";

fn request(brand: &str, address: &str) -> HistoryRequest {
    HistoryRequest {
        brand: brand.to_owned(),
        contact: Some(phone(address)),
        asked_by: Some(Actor { role: ActorRole::Staff.into(), id: "ayse".to_owned() }),
        ..HistoryRequest::default()
    }
}

async fn history(server: &TestServer, request: HistoryRequest) -> Result<HistoryResponse, Status> {
    server.consent().history(request).await.map(tonic::Response::into_inner)
}

fn revisions(answer: &HistoryResponse) -> Vec<u64> {
    answer.records.iter().map(|record| record.revision).collect()
}

async fn apply(server: &TestServer, toml: &str) {
    let dry_run = ApplyPolicyRequest { toml: toml.to_owned(), ..Default::default() };
    server.admin().apply_policy(dry_run).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_brand_shows_its_own_events_and_those_of_all_brands() {
    let server = TestServer::start().await;
    apply(&server, TWO_BRANDS).await;
    let given = ConsentEvent {
        source: "HS_WEB".to_owned(),
        legal_basis: "consent".to_owned(),
        notice: Some(Notice { id: "form".to_owned(), version: "7".to_owned() }),
        actor: Some(Actor { role: ActorRole::Customer.into(), id: "c-1".to_owned() }),
        collected_by: "shop".to_owned(),
        evidence: Some(Evidence {
            uri: "https://example.com/form.pdf".to_owned(),
            sha256: vec![7; 32].into(),
        }),
        event_key: "k1".to_owned(),
        registered_with: "iys".to_owned(),
        ..grant(ADDRESS, START)
    };
    let events = vec![
        given.clone(),
        ConsentEvent { brand: "other".to_owned(), ..grant(ADDRESS, START) },
        grant("+905321234568", START),
    ];
    server.consent().record(RecordRequest { events }).await.unwrap();
    let block = Suppression {
        brand: "*".to_owned(),
        contact: Some(phone(ADDRESS)),
        reason: Reason::LegalBlock.into(),
        note: "register of the ministry".to_owned(),
        ..Suppression::default()
    };
    server.consent().suppress(SuppressRequest { suppressions: vec![block] }).await.unwrap();

    let main = history(&server, request("main", "0 532 123 45 67")).await.unwrap();
    assert_eq!(revisions(&main), [3, 6]);
    assert!(!main.more);
    assert_eq!(main.revision.as_ref().unwrap().revision, 6);
    assert_eq!(revisions(&history(&server, request("other", ADDRESS)).await.unwrap()), [4, 6]);
    assert_eq!(revisions(&history(&server, request("*", ADDRESS)).await.unwrap()), [3, 4, 6]);

    // Every field comes back as it was given, the address in canonical form.
    let Some(Event::Consent(found)) = &main.records[0].event else { panic!("{main:?}") };
    let mut expected = given;
    expected.contact.as_mut().unwrap().default_region.clear();
    assert_eq!(*found, expected);
    let Some(Event::Suppression(found)) = &main.records[1].event else { panic!("{main:?}") };
    assert_eq!((found.brand.as_str(), found.note.as_str()), ("*", "register of the ministry"));

    let unknown = history(&server, request("main", "+905329999999")).await.unwrap();
    assert_eq!(unknown.records, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_follow_each_other_without_a_gap() {
    let server = TestServer::start().await;
    let event = |at: i64| ImportItem {
        change: Some(import_item::Change::Consent(withdrawal(ADDRESS, "sms", "", START - at))),
    };
    let items = (0..2_500).map(event).collect();
    let chunk = ImportRequest { items, dry_run: false };
    let mut answers =
        server.consent().import(tokio_stream::iter([chunk])).await.unwrap().into_inner();
    let done = answers.message().await.unwrap().unwrap();
    assert_eq!(done.applied + done.superseded, 2_500);

    let (mut seen, mut after, mut pages) = (Vec::new(), 0, 0);
    loop {
        let asked = HistoryRequest { after_revision: after, ..request("main", ADDRESS) };
        let page = history(&server, asked).await.unwrap();
        seen.extend(revisions(&page));
        pages += 1;
        after = *seen.last().unwrap();
        if !page.more {
            break;
        }
    }
    assert_eq!(pages, 3);
    assert_eq!(seen, (2..2_502).collect::<Vec<u64>>());

    let page = |after_revision, limit| HistoryRequest {
        after_revision,
        limit,
        ..request("main", ADDRESS)
    };
    let last = history(&server, page(2_491, 10)).await.unwrap();
    assert_eq!((last.records.len(), last.more), (10, false));
    let before = history(&server, page(2_490, 10)).await.unwrap();
    assert_eq!((before.records.len(), before.more), (10, true));
    assert_eq!(history(&server, page(u64::MAX, 10)).await.unwrap().records, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn long_events_are_cut_to_what_a_message_holds() {
    let server = TestServer::start().await;
    let long = |at: usize| ConsentEvent {
        source: "s".repeat(caps::TEXT_BYTES),
        legal_basis: "l".repeat(caps::TEXT_BYTES),
        collected_by: "c".repeat(caps::TEXT_BYTES),
        registered_with: "r".repeat(caps::TEXT_BYTES),
        evidence: Some(Evidence { uri: "u".repeat(caps::NOTE_BYTES), sha256: Vec::new().into() }),
        notice: Some(Notice {
            id: "n".repeat(caps::TEXT_BYTES),
            version: "v".repeat(caps::TEXT_BYTES),
        }),
        actor: Some(Actor { role: 0, id: "a".repeat(caps::TEXT_BYTES) }),
        event_key: format!("{at:0>128}"),
        ..grant(ADDRESS, START - at as i64)
    };
    let all: Vec<ConsentEvent> = (0..1_500).map(long).collect();
    for events in all.chunks(500) {
        let request = RecordRequest { events: events.to_vec() };
        server.consent().record(request).await.unwrap();
    }
    // The longest events fill a page of History.
    let page = history(&server, request("main", ADDRESS)).await.unwrap();
    assert_eq!((page.records.len(), page.more), (caps::HISTORY_EVENTS, true));
    // Explain lists fewer than it decides by, and says so.
    let explain = ExplainRequest {
        brand: "main".to_owned(),
        scope: Some(scope(RecipientType::Individual, "sms", "marketing")),
        contact: Some(phone(ADDRESS)),
        ..ExplainRequest::default()
    };
    let found = server.consent().explain(explain).await.unwrap().into_inner();
    assert!(found.truncated && found.records.len() < 1_500, "{}", found.records.len());
    assert_eq!((found.reason(), found.since_ms), (Reason::Permitted, Some(START)));
    // A change feed goes on in its next message.
    let watch = WatchRequest { brand: "*".to_owned(), until_now: true, ..Default::default() };
    let mut stream = server.consent().watch(watch).await.unwrap().into_inner();
    let (mut messages, mut seen) = (0, Vec::new());
    while let Some(message) = stream.message().await.unwrap() {
        messages += 1;
        seen.extend(message.records.into_iter().map(|record| record.revision));
    }
    assert_eq!(seen, (1..=1_501).collect::<Vec<u64>>());
    assert!(messages > 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_must_make_sense() {
    let server = TestServer::start().await;
    let whole = request("main", ADDRESS);
    let cases = [
        (request("none", ADDRESS), Code::NotFound),
        (request("main", "no number"), Code::InvalidArgument),
        (HistoryRequest { contact: None, ..whole.clone() }, Code::InvalidArgument),
        (HistoryRequest { limit: 1_001, ..whole.clone() }, Code::InvalidArgument),
        (
            HistoryRequest {
                asked_by: Some(Actor { role: 0, id: "x".repeat(caps::TEXT_BYTES + 1) }),
                ..whole.clone()
            },
            Code::InvalidArgument,
        ),
    ];
    for (request, code) in cases {
        assert_eq!(history(&server, request).await.unwrap_err().code(), code);
    }
    let most = HistoryRequest { limit: 1_000, ..whole };
    assert!(history(&server, most).await.is_ok());
}
