//! Every cap that a request can meet, at its edge: one less and the cap itself
//! are accepted, one more is refused by name (A7, F16).

use std::time::Duration;

use roaring::RoaringTreemap;
use sendgate::{
    caps,
    proto::v1::{
        self, AnswerForm, BatchErrorCode, ContactKind, FilterOptions, Reason, RecipientBatch,
        RecipientType, Scope, filter_request, filter_service_client::FilterServiceClient,
    },
    reader::Reader,
};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use crate::{
    damage::open,
    support::{
        Asking, START, TestServer, batch_error, grant, lines, options, phone, phones, reasons,
        scope, withdrawal,
    },
};

/// Tries a cap at its edge; a refusal is an error.
async fn edge(name: &str, cap: usize, attempt: impl AsyncFn(usize) -> Result<(), ()>) {
    for size in [cap - 1, cap, cap + 1] {
        let accepted = attempt(size).await.is_ok();
        assert_eq!(accepted, size <= cap, "{name}: {size} of at most {cap}");
    }
}

/// A refusal must be INVALID_ARGUMENT and name the field.
fn by_field<T>(answer: Result<T, Status>, field: &str) -> Result<(), ()> {
    let Err(status) = answer else { return Ok(()) };
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let violations = status.get_details_bad_request().unwrap().field_violations;
    assert_eq!(violations[0].field, field, "{status:?}");
    Err(())
}

/// Items that are each wrong in themselves: the request that brings them is
/// accepted up to its cap all the same.
#[tokio::test(flavor = "multi_thread")]
async fn requests_hold_so_many_items() {
    let server = TestServer::start().await;
    let consent = || server.consent();
    edge("RECORD_EVENTS", caps::RECORD_EVENTS, async |size| {
        let events = vec![v1::ConsentEvent::default(); size];
        by_field(consent().record(v1::RecordRequest { events }).await, "events")
    })
    .await;
    edge("RECORD_EVENTS of Suppress", caps::RECORD_EVENTS, async |size| {
        let suppressions = vec![v1::Suppression::default(); size];
        let request = v1::SuppressRequest { suppressions };
        by_field(consent().suppress(request).await, "suppressions")
    })
    .await;
    edge("RECORD_EVENTS of Lift", caps::RECORD_EVENTS, async |size| {
        let lifts = vec![v1::Lift::default(); size];
        by_field(consent().lift(v1::LiftRequest { lifts }).await, "lifts")
    })
    .await;
    edge("ERASURES", caps::ERASURES, async |size| {
        let erasures = vec![v1::Erasure::default(); size];
        by_field(consent().erase(v1::EraseRequest { erasures }).await, "erasures")
    })
    .await;
    edge("IMPORT_ITEMS", caps::IMPORT_ITEMS, async |size| {
        let items = vec![v1::ImportItem::default(); size];
        let chunk = v1::ImportRequest { items, dry_run: false };
        let stream = consent().import(tokio_stream::iter([chunk])).await.unwrap();
        by_field(stream.into_inner().message().await, "items")
    })
    .await;
    edge("DESCRIBE_ADDRESSES", caps::DESCRIBE_ADDRESSES, async |size| {
        let request = v1::DescribeRequest {
            brand: "main".to_owned(),
            scope: Some(scope(RecipientType::Individual, "sms", "marketing")),
            contact_kind: ContactKind::Phone.into(),
            addresses: vec!["no number".to_owned(); size],
            ..v1::DescribeRequest::default()
        };
        by_field(server.filter().describe(request).await, "addresses")
    })
    .await;
    edge("HISTORY_EVENTS", caps::HISTORY_EVENTS, async |size| {
        let request = v1::HistoryRequest {
            brand: "main".to_owned(),
            contact: Some(phone("+905321234567")),
            limit: size.try_into().unwrap(),
            ..v1::HistoryRequest::default()
        };
        by_field(consent().history(request).await, "limit")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_have_so_many_queries_of_so_many_scopes() {
    let server = TestServer::start().await;
    let reach = async |queries: usize, scopes: usize, field: &str| {
        let query =
            v1::ReachQuery { permitted: all_scopes()[..scopes].to_vec(), suppressed: vec![] };
        let request = v1::ReachRequest {
            brand: "main".to_owned(),
            contact_kind: ContactKind::Phone.into(),
            queries: vec![query; queries],
            minimum_revision: None,
        };
        by_field(server.filter().reach(request).await, field)
    };
    edge("REACH_QUERIES", caps::REACH_QUERIES, async |size| reach(size, 1, "queries").await).await;
    edge("REACH_SCOPES", caps::REACH_SCOPES, async |size| reach(1, size, "queries[0]").await).await;
}

/// Every scope of the starter policy that reaches phones: 20.
fn all_scopes() -> Vec<Scope> {
    let purposes = ["marketing", "newsletter", "tracking", "transactional"];
    let channels = ["sms", "mms", "rcs", "call", "whatsapp"];
    let of = |channel| purposes.map(|purpose| scope(RecipientType::Individual, channel, purpose));
    channels.into_iter().flat_map(of).collect()
}

fn asking(scopes: usize, form: AnswerForm) -> FilterOptions {
    let scopes = all_scopes()[..scopes].to_vec();
    FilterOptions { scopes, ..options(ContactKind::Phone, "sms", form) }
}

/// Asks a batch; a refusal must have the code and name the field.
async fn by_code(
    stream: &mut Asking,
    batch: RecipientBatch,
    code: BatchErrorCode,
    field: &str,
) -> Result<(), ()> {
    let answer = stream.ask(batch).await;
    if answer.error.is_none() {
        return Ok(());
    }
    assert_eq!(batch_error(&answer), code, "{answer:?}");
    assert_eq!(answer.error.unwrap().field, field);
    Err(())
}

fn roaring(members: impl Iterator<Item = u64>) -> RecipientBatch {
    let mut bytes = Vec::new();
    members.collect::<RoaringTreemap>().serialize_into(&mut bytes).unwrap();
    RecipientBatch { roaring: bytes.into(), ..RecipientBatch::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_has_so_many_scopes_and_a_batch_so_many_recipients() {
    use BatchErrorCode::TooManyRecipients;
    let server = TestServer::start().await;
    edge("FILTER_SCOPES", caps::FILTER_SCOPES, async |size| {
        let mut stream = Asking::open(&server, asking(size, AnswerForm::PermittedBits)).await;
        by_field(stream.try_ask(phones(1, &[1])).await, "scopes")
    })
    .await;

    let asked = || asking(1, AnswerForm::PermittedBits);
    edge("BATCH_RECIPIENTS of phones", caps::BATCH_RECIPIENTS, async |size| {
        let mut stream = Asking::open(&server, asked()).await;
        by_code(&mut stream, phones(1, &vec![7; size]), TooManyRecipients, "phones").await
    })
    .await;
    edge("BATCH_RECIPIENTS of lines", caps::BATCH_RECIPIENTS, async |size| {
        let mut stream = Asking::open(&server, asked()).await;
        by_code(&mut stream, lines(1, &vec!["7"; size]), TooManyRecipients, "lines").await
    })
    .await;
    edge("AUDIENCE_MEMBERS", caps::AUDIENCE_MEMBERS as usize, async |size| {
        let mut stream = Asking::open(&server, asked()).await;
        by_code(&mut stream, roaring(0..size as u64), TooManyRecipients, "roaring").await
    })
    .await;
    edge("BATCH_VERDICTS", caps::BATCH_VERDICTS / 16, async |size| {
        let mut stream = Asking::open(&server, asking(16, AnswerForm::Reasons)).await;
        by_code(&mut stream, phones(1, &vec![7; size]), TooManyRecipients, "phones").await
    })
    .await;
    // Without reasons a column is bounded by its own cap alone.
    let mut stream = Asking::open(&server, asking(16, AnswerForm::PermittedBits)).await;
    let full = phones(1, &vec![7; caps::BATCH_RECIPIENTS]);
    assert_eq!(by_code(&mut stream, full, TooManyRecipients, "phones").await, Ok(()));
}

/// 131,072 containers in two maps, and as many members as fill the bytes: two
/// each, behind headers of 8 + 2 × 12 and 8 bytes a container.
#[tokio::test(flavor = "multi_thread")]
async fn an_audience_has_so_many_bytes_times_scopes() {
    let server = TestServer::start().await;
    let half = caps::AUDIENCE_BYTES / 2;
    let members = (half - 32 - (8 << 17)) / 2;
    edge("AUDIENCE_BYTES", members, async |members| {
        let at = |member: u64| (member % (1 << 17)) << 16 | member >> 17;
        let batch = roaring((0..members as u64).map(at));
        assert_eq!(batch.roaring.len(), half + 2 * members - 2 * ((half - 32 - (8 << 17)) / 2));
        let mut stream = Asking::open(&server, asking(2, AnswerForm::PermittedBits)).await;
        by_code(&mut stream, batch, BatchErrorCode::TooManyRecipients, "roaring").await
    })
    .await;
}

/// Where a batch is filtered changes with its size, and nothing else does.
#[tokio::test(flavor = "multi_thread")]
async fn long_batches_are_answered_as_short_ones() {
    let server = TestServer::start().await;
    let events = vec![grant("+905321234567", START)];
    server.consent().record(v1::RecordRequest { events }).await.unwrap();
    let mut stream = Asking::open(&server, asking(1, AnswerForm::Reasons)).await;
    for size in [caps::LONG_BATCH - 1, caps::LONG_BATCH, caps::LONG_BATCH + 1] {
        let granted = |at: usize| at.is_multiple_of(3) || at + 1 == size;
        let number = |at: usize| 905_321_234_567 + u64::from(!granted(at));
        let numbers: Vec<u64> = (0..size).map(number).collect();
        let due = (0..size).map(|at| match granted(at) {
            true => Reason::Permitted,
            false => Reason::NoConsent,
        });
        assert!(reasons(&stream.ask(phones(1, &numbers)).await).into_iter().eq(due), "{size}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_have_so_many_bytes() {
    let server = TestServer::start().await;
    let record = async |event: v1::ConsentEvent, field: &str| {
        let request = v1::RecordRequest { events: vec![event] };
        let answer = server.consent().record(request).await.unwrap().into_inner();
        let Some(rejection) = &answer.results[0].rejection else { return Ok(()) };
        assert_eq!(rejection.field, field, "{rejection:?}");
        Err(())
    };
    let event = || grant("+905321234567", START);
    // Two bytes a letter would pass if characters were counted.
    let text = |bytes: usize| format!("{}{}", "ş".repeat(bytes / 2), "x".repeat(bytes % 2));
    edge("TEXT_BYTES", caps::TEXT_BYTES, async |size| {
        record(v1::ConsentEvent { source: text(size), ..event() }, "source").await
    })
    .await;
    edge("KEY_BYTES", caps::KEY_BYTES, async |size| {
        record(v1::ConsentEvent { event_key: text(size), ..event() }, "event_key").await
    })
    .await;
    edge("NOTE_BYTES", caps::NOTE_BYTES, async |size| {
        let evidence = v1::Evidence { uri: text(size), ..v1::Evidence::default() };
        let event = v1::ConsentEvent { evidence: Some(evidence), ..event() };
        record(event, "evidence.uri").await
    })
    .await;
}

/// The latest so many policies are listed. How many is a parameter of the
/// reader, so a few policies are enough.
#[tokio::test(flavor = "multi_thread")]
async fn so_many_policies_are_listed() {
    let mut server = TestServer::start().await;
    let request = v1::GetPolicyRequest::default();
    let starter = server.admin().get_policy(request).await.unwrap().into_inner().toml;
    for number in 1..=4 {
        let toml = starter.replace("starter-1", &format!("version-{number}"));
        let request = v1::ApplyPolicyRequest { toml, ..v1::ApplyPolicyRequest::default() };
        server.admin().apply_policy(request).await.unwrap();
    }
    let request = v1::ListPoliciesRequest::default();
    let listed = server.admin().list_policies(request).await.unwrap().into_inner().policies;
    assert!(listed.len() == 5 && listed.len() < caps::LISTED_POLICIES);
    server.stop().await;
    let books = open(server.folder.path()).unwrap();
    let (reader, newest) = (Reader::new(books.store), books.view.policy_revision);
    edge("LISTED_POLICIES", 5, async |size| {
        let rows = reader.policies(newest, size).unwrap();
        assert_eq!(rows[0].version, "version-4");
        if rows.len() == size { Ok(()) } else { Err(()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_has_so_many_streams_and_one_more_waits() {
    let server = TestServer::start().await;
    let channel = server.connect().await;
    let open = async || {
        let mut stream = Asking::open_bare(FilterServiceClient::new(channel.clone())).await;
        let asked = options(ContactKind::Phone, "sms", AnswerForm::Reasons);
        stream.send(filter_request::Message::Options(asked)).await;
        assert_eq!(reasons(&stream.ask(phones(1, &[7])).await), [Reason::InvalidRecipient]);
        stream
    };
    let mut streams = Vec::new();
    for _ in 0..caps::STREAMS {
        streams.push(open().await);
    }
    let one_more = open();
    tokio::pin!(one_more);
    let waits = tokio::time::timeout(Duration::from_millis(300), &mut one_more).await;
    assert!(waits.is_err(), "stream {} of one connection was opened", caps::STREAMS + 1);
    // Those that are open go on, another connection is free, and a place that is
    // given up goes to whoever waits.
    assert_eq!(reasons(&streams[0].ask(phones(2, &[7])).await), [Reason::InvalidRecipient]);
    let mut other =
        Asking::open(&server, options(ContactKind::Phone, "sms", AnswerForm::Reasons)).await;
    assert_eq!(reasons(&other.ask(phones(2, &[7])).await), [Reason::InvalidRecipient]);
    drop(streams.pop());
    tokio::time::timeout(Duration::from_secs(30), one_more).await.unwrap();
}

/// The headers of a request count with 32 bytes each on top of their names and
/// values, so where exactly the edge lies is found by trying.
#[tokio::test(flavor = "multi_thread")]
async fn the_headers_of_a_request_have_so_many_bytes() {
    let server = TestServer::start().await;
    let fits = async |size: usize| {
        let mut request = Request::new(v1::GetPolicyRequest::default());
        let value = "x".repeat(size).parse().unwrap();
        request.metadata_mut().insert("x-long", value);
        // A connection of its own: one that was abused may be closed.
        let channel = server.connect().await;
        v1::admin_service_client::AdminServiceClient::new(channel).get_policy(request).await.is_ok()
    };
    let cap = caps::HEADER_BYTES as usize;
    let (mut fitting, mut too_long) = (cap - 1_024, cap);
    assert!(fits(fitting).await && !fits(too_long).await);
    while too_long - fitting > 1 {
        let middle = (fitting + too_long) / 2;
        match fits(middle).await {
            true => fitting = middle,
            false => too_long = middle,
        }
    }
    println!("a header of {fitting} bytes fits, one of {too_long} does not");
    assert!(fits(1).await, "the server goes on");
}

/// One contact with as many events as an explanation lists, and one more.
#[tokio::test(flavor = "multi_thread")]
async fn an_explanation_lists_so_many_events() {
    let server = TestServer::start().await;
    let mut recorded = 0;
    let record_up_to = async |recorded: &mut usize, events: usize| {
        while *recorded < events {
            let next = (*recorded + caps::RECORD_EVENTS).min(events);
            let time = |at: usize| START - 100_000 + at as i64;
            let event = |at| withdrawal("+905321234567", "sms", "marketing", time(at));
            let events = (*recorded..next).map(event).collect();
            server.consent().record(v1::RecordRequest { events }).await.unwrap();
            *recorded = next;
        }
    };
    for (events, truncated) in [
        (caps::EXPLAIN_EVENTS - 1, false),
        (caps::EXPLAIN_EVENTS, false),
        (caps::EXPLAIN_EVENTS + 1, true),
    ] {
        record_up_to(&mut recorded, events).await;
        let request = v1::ExplainRequest {
            brand: "main".to_owned(),
            scope: Some(scope(RecipientType::Individual, "sms", "marketing")),
            contact: Some(phone("+905321234567")),
            ..v1::ExplainRequest::default()
        };
        let answer = server.consent().explain(request).await.unwrap().into_inner();
        assert_eq!(answer.records.len(), events.min(caps::EXPLAIN_EVENTS), "{events}");
        assert_eq!(answer.truncated, truncated, "{events}");
    }
}
