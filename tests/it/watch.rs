//! Watch: every committed event, once, in order, as soon as it is visible.

use std::time::{Duration, Instant};

use sendgate::{
    caps,
    proto::v1::{
        ApplyPolicyRequest, ConsentEvent, ImportItem, ImportRequest, Reason, RecordRequest,
        Revision, SuppressRequest, Suppression, WatchRequest, WatchResponse, import_item,
        ledger_record::Event,
    },
};
use tonic::{Code, Status, Streaming};

use crate::support::{START, TestServer, grant, phone};

const TWO_BRANDS: &str = "version = \"brands\"\n[channels.sms]\nkinds = [\"phone\"]\n\
    [purposes.marketing]\nindividual = \"opt_in\"\n[brands.main]\n[brands.other]\n";

fn from_the_first_on() -> WatchRequest {
    WatchRequest { brand: "*".to_owned(), ..WatchRequest::default() }
}

async fn watch(server: &TestServer, request: WatchRequest) -> Streaming<WatchResponse> {
    server.consent().watch(request).await.unwrap().into_inner()
}

/// What a stream that ends says, and how it ends.
async fn rest(mut stream: Streaming<WatchResponse>) -> (Vec<WatchResponse>, Option<Status>) {
    let mut messages = Vec::new();
    loop {
        match stream.message().await {
            Ok(Some(message)) => messages.push(message),
            Ok(None) => return (messages, None),
            Err(status) => return (messages, Some(status)),
        }
    }
}

fn revisions(messages: &[WatchResponse]) -> Vec<u64> {
    messages.iter().flat_map(|message| &message.records).map(|record| record.revision).collect()
}

fn through(messages: &[WatchResponse]) -> Revision {
    messages.last().unwrap().through.clone().unwrap()
}

async fn import(server: &TestServer, count: u64) {
    let item = |at: u64| ImportItem {
        change: Some(import_item::Change::Consent(grant(&format!("+90532{at:07}"), START))),
    };
    let numbers: Vec<u64> = (0..count).collect();
    let chunks: Vec<ImportRequest> = numbers
        .chunks(caps::IMPORT_ITEMS)
        .map(|chunk| ImportRequest {
            items: chunk.iter().map(|at| item(*at)).collect(),
            dry_run: false,
        })
        .collect();
    let mut answers =
        server.consent().import(tokio_stream::iter(chunks)).await.unwrap().into_inner();
    let mut done = 0;
    while let Some(answer) = answers.message().await.unwrap() {
        done = answer.applied;
    }
    assert_eq!(done, count);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_seen_as_soon_as_it_is_acknowledged() {
    let server = TestServer::start().await;
    let mut stream = watch(&server, from_the_first_on()).await;
    let first = stream.message().await.unwrap().unwrap();
    let Some(Event::Policy(policy)) = &first.records[0].event else { panic!("{first:?}") };
    assert_eq!(policy.policy_version, "starter-1");
    for at in 0..20 {
        let events = vec![grant(&format!("+9053212345{at:02}"), START)];
        let answer = server.consent().record(RecordRequest { events }).await.unwrap().into_inner();
        let message = tokio::time::timeout(Duration::from_secs(5), stream.message());
        let message = message.await.unwrap().unwrap().unwrap();
        assert_eq!(message.through, answer.revision);
        assert_eq!(revisions(&[message]), [answer.results[0].revision]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_brand_sees_its_own_events_and_those_of_all_brands() {
    let server = TestServer::start().await;
    let policy = ApplyPolicyRequest { toml: TWO_BRANDS.to_owned(), ..Default::default() };
    server.admin().apply_policy(policy).await.unwrap();
    let of =
        |brand: &str| ConsentEvent { brand: brand.to_owned(), ..grant("+905321234567", START) };
    let events = vec![of("main"), of("other"), of("main")];
    let events = events
        .into_iter()
        .zip(0..)
        .map(|(event, key)| ConsentEvent { event_key: format!("{key}"), ..event });
    server.consent().record(RecordRequest { events: events.collect() }).await.unwrap();
    let block = Suppression {
        brand: "*".to_owned(),
        contact: Some(phone("+905321234567")),
        reason: Reason::LegalBlock.into(),
        ..Suppression::default()
    };
    server.consent().suppress(SuppressRequest { suppressions: vec![block] }).await.unwrap();
    let now = |brand: &str| WatchRequest {
        brand: brand.to_owned(),
        until_now: true,
        ..WatchRequest::default()
    };
    for (brand, expected) in
        [("main", vec![1, 2, 3, 5, 6]), ("other", vec![1, 2, 4, 6]), ("*", vec![1, 2, 3, 4, 5, 6])]
    {
        let (messages, status) = rest(watch(&server, now(brand)).await).await;
        assert!(status.is_none());
        assert_eq!(revisions(&messages), expected, "{brand}");
        assert_eq!(through(&messages).revision, 6);
        // Nothing is left for whoever resumes, and the stream says so.
        let again = WatchRequest { after: Some(through(&messages)), ..now(brand) };
        let (messages, status) = rest(watch(&server, again).await).await;
        assert!(status.is_none());
        assert_eq!((messages.len(), through(&messages).revision), (1, 6));
    }
}

/// The reader stalls while 100,000 events are written, and the server restarts.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stalls_delays_nobody_and_misses_nothing() {
    const EVENTS: u64 = 100_000;
    let mut server = TestServer::start().await;
    let mut stream = watch(&server, from_the_first_on()).await;
    import(&server, EVENTS).await;

    // What was read ahead for the reader is bounded: the first messages stem
    // from the beginning.
    let mut messages = Vec::new();
    for _ in 0..3 {
        messages.push(stream.message().await.unwrap().unwrap());
    }
    assert!(through(&messages).revision <= 3 * caps::WATCH_EVENTS as u64);

    let begun = Instant::now();
    let reading = tokio::spawn(rest(stream));
    server.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(8), "stopping took {:?}", begun.elapsed());
    let (more, status) = reading.await.unwrap();
    messages.extend(more);
    assert_eq!(status.unwrap().code(), Code::Unavailable);

    server.restart().await;
    let resumed =
        WatchRequest { after: Some(through(&messages)), until_now: true, ..from_the_first_on() };
    let (more, status) = rest(watch(&server, resumed).await).await;
    assert!(status.is_none());
    messages.extend(more);
    assert_eq!(revisions(&messages), (1..=EVENTS + 1).collect::<Vec<u64>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_an_idle_reader() {
    let mut server = TestServer::start().await;
    let mut stream = watch(&server, from_the_first_on()).await;
    stream.message().await.unwrap().unwrap();
    let begun = Instant::now();
    let reading = tokio::spawn(async move { stream.message().await });
    server.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "stopping took {:?}", begun.elapsed());
    assert_eq!(reading.await.unwrap().unwrap_err().code(), Code::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_watched_is_refused() {
    let server = TestServer::start().await;
    let (messages, _) =
        rest(watch(&server, WatchRequest { until_now: true, ..from_the_first_on() }).await).await;
    let now = through(&messages);
    let after = |after| WatchRequest { after: Some(after), ..from_the_first_on() };
    for (request, code) in [
        (after(Revision { epoch: "0".repeat(32), revision: 0 }), Code::FailedPrecondition),
        (after(Revision { revision: now.revision + 1, ..now }), Code::OutOfRange),
        (WatchRequest { brand: "none".to_owned(), ..from_the_first_on() }, Code::NotFound),
        (WatchRequest::default(), Code::NotFound),
    ] {
        assert_eq!(server.consent().watch(request).await.unwrap_err().code(), code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_may_watch_and_one_more_may_not_until_another_leaves() {
    let server = TestServer::start().await;
    let mut streams = Vec::new();
    for _ in 0..caps::WATCHES {
        streams.push(watch(&server, from_the_first_on()).await);
    }
    let refused = server.consent().watch(from_the_first_on()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    drop(streams.pop());
    for _ in 0..500 {
        if server.consent().watch(from_the_first_on()).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the place of a reader who left was not free again");
}
