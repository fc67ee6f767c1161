//! A server that is asked for more than it has: RESOURCE_EXHAUSTED with a
//! google.rpc.RetryInfo, nothing half done, and others are served meanwhile
//! (A7, F16).

use std::sync::Arc;

use roaring::RoaringTreemap;
use sendgate::{
    caps,
    clock::Clock,
    domain::{
        contact::Address,
        event::{Actor, Change, ChangeKind, Suppression},
        reason::Reason as DomainReason,
        scope::{BrandId, ChannelId},
    },
    proto::v1::{
        self, AnswerForm, BatchErrorCode, ContactKind, Reason, RecipientBatch, RecipientType,
        filter_service_client::FilterServiceClient,
    },
    recovery,
    writer::{Limits, Published, WriteError, Writer},
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::{
    Asking, START, TestServer, batch_error, grant, options, phones, reasons, scope,
};

/// The status says that it is ours, why, and when to come back.
fn assert_overloaded(status: &Status, reason: &str) {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    let info = status.get_details_error_info().expect("an ErrorInfo");
    assert_eq!((info.domain.as_str(), info.reason.as_str()), ("sendgate", reason));
    let retry = status.get_details_retry_info().expect("a RetryInfo");
    assert_eq!(retry.retry_delay, Some(caps::RETRY_AFTER));
}

/// Callers' integers all over u64: a page each, so that counting takes a while.
async fn server_of_many_pages(chunks: u64) -> TestServer {
    let server = TestServer::start().await;
    for chunk in 0..chunks {
        let item = |at: u64| {
            let contact = v1::Contact {
                kind: ContactKind::ContactId.into(),
                address: (at << 20).to_string(),
                ..v1::Contact::default()
            };
            let channel = "push".to_owned();
            let event = v1::ConsentEvent { contact: Some(contact), channel, ..grant("", START) };
            v1::ImportItem { change: Some(v1::import_item::Change::Consent(event)) }
        };
        let size = caps::IMPORT_ITEMS as u64;
        let items = (chunk * size..(chunk + 1) * size).map(item).collect();
        let chunk = v1::ImportRequest { items, dry_run: false };
        let stream = server.consent().import(tokio_stream::iter([chunk])).await.unwrap();
        let answer = stream.into_inner().message().await.unwrap().unwrap();
        assert_eq!(answer.applied, size);
    }
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn so_many_counts_run_at_once_and_filters_go_on() {
    let server = server_of_many_pages(2).await;
    let request = || {
        let scope = scope(RecipientType::Individual, "push", "marketing");
        let query =
            v1::ReachQuery { permitted: vec![scope; caps::REACH_SCOPES], suppressed: Vec::new() };
        v1::ReachRequest {
            brand: "main".to_owned(),
            contact_kind: ContactKind::ContactId.into(),
            queries: vec![query; caps::REACH_QUERIES / 8],
            minimum_revision: None,
        }
    };
    let mut clients = Vec::new();
    for _ in 0..8 * caps::REACHES {
        clients.push(FilterServiceClient::new(server.connect().await));
    }
    let mut calls = tokio::task::JoinSet::new();
    for mut client in clients {
        calls.spawn(async move { client.reach(request()).await });
    }
    let mut stream =
        Asking::open(&server, options(ContactKind::Phone, "sms", AnswerForm::Reasons)).await;
    let (mut counted, mut refused, mut filtered) = (0, 0, 0);
    while let Some(call) = calls.join_next().await {
        match call.unwrap() {
            Ok(answer) => {
                counted += 1;
                assert_eq!(answer.into_inner().counts[0].contacts, 2 * caps::IMPORT_ITEMS as u64);
            }
            Err(status) => {
                refused += 1;
                assert_overloaded(&status, "TOO_MANY_REACHES");
            }
        }
        let answer = stream.ask(phones(filtered, &[7])).await;
        assert_eq!(reasons(&answer), [Reason::InvalidRecipient]);
        filtered += 1;
    }
    println!("{counted} counted, {refused} refused");
    assert!(counted >= caps::REACHES, "{counted} counted");
    assert!(refused > 0, "{} counts ran at once", 8 * caps::REACHES);
    // The places are free again.
    assert!(server.filter().reach(request()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_and_watches_above_their_number_are_told_when_to_come_back() {
    let server = TestServer::start().await;
    let watch = || v1::WatchRequest { brand: "main".to_owned(), ..v1::WatchRequest::default() };
    let mut watches = Vec::new();
    for _ in 0..caps::WATCHES {
        watches.push(server.consent().watch(watch()).await.unwrap());
    }
    let status = server.consent().watch(watch()).await.unwrap_err();
    assert_overloaded(&status, "TOO_MANY_WATCHES");

    // Of so few contacts an export ends at once; one whose reader does not read
    // keeps its place, so the readers have more than fits ahead of them.
    let many = server_of_many_pages(8).await;
    let export = || v1::ExportRequest {
        brand: "main".to_owned(),
        scope: Some(scope(RecipientType::Individual, "push", "marketing")),
        contact_kind: ContactKind::ContactId.into(),
        selection: v1::ExportSelection::Permitted.into(),
        ..v1::ExportRequest::default()
    };
    let mut exports = Vec::new();
    for _ in 0..caps::EXPORTS {
        exports.push(many.consent().export(export()).await.unwrap());
    }
    let status = many.consent().export(export()).await.unwrap_err();
    assert_overloaded(&status, "TOO_MANY_EXPORTS");
}

/// Each batch takes a tenth of the memory that all may take together.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn batches_above_the_memory_of_filters_are_refused_and_small_ones_are_not() {
    let server = TestServer::start().await;
    let mut bytes = Vec::new();
    (0..caps::AUDIENCE_MEMBERS).collect::<RoaringTreemap>().serialize_into(&mut bytes).unwrap();
    let audience = RecipientBatch { roaring: bytes.into(), ..RecipientBatch::default() };
    let each = caps::AUDIENCE_MEMBERS as usize * (48 + 4) / 1_024;
    let at_once = 3 * caps::FILTER_KIB / each;
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..at_once {
        let asked = options(ContactKind::Phone, "sms", AnswerForm::Reasons);
        let mut stream = Asking::open(&server, asked).await;
        let audience = audience.clone();
        asking.spawn(async move { stream.ask(audience).await });
    }
    let mut small =
        Asking::open(&server, options(ContactKind::Phone, "sms", AnswerForm::Reasons)).await;
    assert_eq!(reasons(&small.ask(phones(1, &[7])).await), [Reason::InvalidRecipient]);
    let answers = asking.join_all().await;
    let refused = answers.iter().filter(|answer| answer.error.is_some());
    for answer in refused.clone() {
        assert_eq!(batch_error(answer), BatchErrorCode::Overloaded);
    }
    println!("{} of {at_once} refused", refused.clone().count());
    assert!(refused.clone().count() < at_once, "those that fit are answered");
    // The stream lives, and has room again.
    let asked = options(ContactKind::Phone, "sms", AnswerForm::Reasons);
    let mut stream = Asking::open(&server, asked).await;
    assert_eq!(stream.ask(audience).await.scopes.len(), 1);
}

fn change(number: u64) -> Change {
    Change {
        brand: BrandId(1),
        address: Address::Phone(905_320_000_000 + number),
        stated: None,
        source: String::new(),
        actor: Actor::default(),
        event_key: String::new(),
        rectification: 0,
        kind: ChangeKind::Suppression(Suppression {
            channel: ChannelId::ANY,
            reason: DomainReason::ManualBlock,
            expires_at: None,
            note: String::new(),
        }),
    }
}

/// A queue of a few: those that are told BUSY did nothing, all others are
/// recorded.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_of_the_writer_refuses_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let books = recovery::open(folder.path(), Clock::System).unwrap();
    let begin = books.view.revision;
    let published = Arc::new(Published::of(&books));
    let limits = Limits { queued_tasks: 4, queued_changes: 10_000, group_changes: 2 };
    let writer = Writer::start(books, Arc::clone(&published), limits).unwrap();
    let handle = writer.handle();
    let (mut enqueued, mut busy) = (Vec::new(), 0);
    for number in 0..500 {
        match handle.enqueue(vec![change(number)]).await {
            Ok(task) => enqueued.push(task),
            Err(error) => {
                assert_eq!(error, WriteError::Busy);
                busy += 1;
            }
        }
    }
    let recorded = enqueued.len() as u64;
    println!("{recorded} recorded, {busy} told busy");
    assert!(recorded >= caps_of(&limits) && busy > 0);
    for task in enqueued {
        task.outcome().await.unwrap();
    }
    assert_eq!(published.load().revision, begin + recorded);
    writer.stop(Arc::default()).unwrap();
}

/// What the queue holds at least; `caps::QUEUED_TASKS` of a server.
fn caps_of(limits: &Limits) -> u64 {
    assert!(limits.queued_tasks < caps::QUEUED_TASKS);
    limits.queued_tasks as u64
}
