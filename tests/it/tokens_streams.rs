//! Streams whose token ends while they are open, busy or idle (F17).

use std::time::{Duration, Instant};

use sendgate::{
    caps::{self, Limits},
    proto::v1::{
        AnswerForm, BatchErrorCode, ContactKind, CreateTokenRequest, ExportRequest,
        ExportSelection, FilterRequest, FilterResponse, ImportItem, ImportRequest, ImportResponse,
        Reason, RecipientBatch, RecipientType, RecordRequest, WatchRequest, WatchResponse,
        consent_service_client::ConsentServiceClient, filter_request, filter_response, import_item,
    },
    tokens::Token,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming, transport::Channel};

use crate::{
    raw::{self, DATA, END_HEADERS, HEADERS, LONG, Raw},
    support::{Asking, HOUR, START, TestServer, options, phones, scope, withdrawal},
    tokens::{ADMIN, FILTER, Guarded, KNOWN, RECORD, UNKNOWN, of, reason, request},
};

const PHONE: u64 = 905_321_234_567;

/// Streams of every kind that stay open, under one token.
struct Open {
    batches: mpsc::Sender<FilterRequest>,
    answers: Streaming<FilterResponse>,
    chunks: mpsc::Sender<ImportRequest>,
    acknowledged: Streaming<ImportResponse>,
    events: Streaming<WatchResponse>,
}

impl Open {
    /// Opens each, and has it work once.
    async fn under(guarded: &Guarded, token: &Token) -> Self {
        let client = guarded.client(Some(token)).await;
        let (batches, stream) = mpsc::channel(4);
        let answers = client.filter_service().filter(ReceiverStream::new(stream)).await.unwrap();
        let (chunks, stream) = mpsc::channel(4);
        let acknowledged = client.consent_service().import(ReceiverStream::new(stream)).await;
        let watch = WatchRequest { brand: "main".to_owned(), ..WatchRequest::default() };
        let events = client.consent_service().watch(watch).await.unwrap().into_inner();
        let mut open = Self {
            batches,
            answers: answers.into_inner(),
            chunks,
            acknowledged: acknowledged.unwrap().into_inner(),
            events,
        };
        open.send(asked()).await;
        open.send(filter_request::Message::Batch(phones(1, &[PHONE]))).await;
        assert!(open.answers.message().await.unwrap().is_some());
        open.import(UNKNOWN).await;
        assert_eq!(open.acknowledged.message().await.unwrap().unwrap().done, 1);
        assert!(open.events.message().await.unwrap().is_some());
        open
    }

    async fn send(&self, message: filter_request::Message) {
        drop(self.batches.send(FilterRequest { message: Some(message) }).await);
    }

    async fn import(&self, address: &str) {
        drop(self.chunks.send(chunk(address)).await);
    }

    /// Waits until each has ended by itself.
    async fn ended(mut self) -> [Status; 3] {
        let begun = Instant::now();
        let ended = async {
            let filter = end(&mut self.answers).await;
            let import = end(&mut self.acknowledged).await;
            [filter, import, end(&mut self.events).await]
        };
        let ended = tokio::time::timeout(Duration::from_secs(20), ended).await;
        ended.unwrap_or_else(|_| panic!("a stream went on for {:?}", begun.elapsed()))
    }
}

fn chunk(address: &str) -> ImportRequest {
    let change = Some(import_item::Change::Consent(of("main", address)));
    ImportRequest { items: vec![ImportItem { change }], dry_run: false }
}

fn asked() -> filter_request::Message {
    filter_request::Message::Options(options(ContactKind::Phone, "sms", AnswerForm::Reasons))
}

/// Calls a method, sends these messages, and takes no answer.
async fn deaf(
    server: &TestServer,
    token: &Token,
    path: &str,
    messages: impl IntoIterator<Item = impl prost::Message>,
) -> Raw {
    let mut raw = Raw::with_settings(server.address(), &[(4, 0)]).await;
    raw.acknowledge().await;
    raw.send(&raw::frame(HEADERS, END_HEADERS, 1, &raw::call_with(path, token))).await.unwrap();
    for message in messages {
        for piece in raw::message(&message).chunks(16 << 10) {
            raw.send(&raw::frame(DATA, 0, 1, piece)).await.unwrap();
        }
    }
    raw
}

/// A filter stream that has this batch answered three times, and then asks for
/// more answers than are kept; nobody reads them.
async fn deaf_filter(guarded: &Guarded, token: &Token, batch: &RecipientBatch) -> Raw {
    let request = |message| FilterRequest { message: Some(message) };
    let mut raw = deaf(&guarded.server, token, raw::FILTER, [request(asked())]).await;
    let filtered = async || guarded.statistics().await.recipients_filtered;
    raw::leave_unread(&mut raw, batch, filtered).await;
    let small = request(filter_request::Message::Batch(phones(9, &[PHONE])));
    for _ in 0..2 * caps::ANSWERS_AHEAD {
        raw.send(&raw::frame(DATA, 0, 1, &raw::message(&small))).await.unwrap();
    }
    raw
}

/// The error that ends a stream; what was on its way before is read first.
async fn end<T: std::fmt::Debug>(stream: &mut Streaming<T>) -> Status {
    loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ended as if it were whole"),
            Err(status) => return status,
        }
    }
}

fn assert_all(ended: &[Status], expected: &str) {
    for status in ended {
        assert_eq!(status.code(), Code::Unauthenticated, "{status}");
        assert_eq!(reason(status), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_streams_end_when_their_token_is_revoked_and_others_go_on() {
    let guarded = Guarded::start().await;
    let roles = [FILTER, RECORD, ADMIN];
    let revoked = guarded.create("revoked", &["main"], &roles).await;
    let kept = guarded.create("kept", &["main"], &roles).await;
    let open = Open::under(&guarded, &revoked).await;
    let mut other = Open::under(&guarded, &kept).await;
    guarded.revoke("revoked").await;
    assert_all(&open.ended().await, "TOKEN_REVOKED");

    other.send(filter_request::Message::Batch(phones(2, &[PHONE]))).await;
    assert!(other.answers.message().await.unwrap().is_some());
    // Each end is a denial, and the filter stream has told what it answered.
    assert_eq!(guarded.rows_once("denied", 3).await.len(), 3);
    let row = &guarded.rows_once("filter", 1).await[0];
    assert_eq!((&row["token"], &row["outcome"]), (&"revoked".into(), &"Unauthenticated".into()));
    assert_eq!(row["scopes"][0]["recipients"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_after_a_revocation_is_neither_answered_nor_recorded() {
    let guarded = Guarded::start().await;
    for round in 0..20 {
        let name = format!("t{round}");
        let token = guarded.create(&name, &["main"], &[FILTER, RECORD, ADMIN]).await;
        let mut open = Open::under(&guarded, &token).await;
        guarded.revoke(&name).await;
        // The revocation is acknowledged: not one batch more.
        open.send(filter_request::Message::Batch(phones(2, &[PHONE]))).await;
        open.import("+905321239999").await;
        let status = open.answers.message().await.unwrap_err();
        assert_eq!(reason(&status), "TOKEN_REVOKED");
        let status = open.acknowledged.message().await.unwrap_err();
        assert_eq!(reason(&status), "TOKEN_REVOKED");
    }
    let filter = guarded.create("asks", &["main"], &[FILTER]).await;
    let mut filter = guarded.client(Some(&filter)).await.filter_service();
    let verdict = filter.check(crate::tokens::check("main", "+905321239999")).await.unwrap();
    assert_eq!(verdict.into_inner().reason(), Reason::NoConsent);
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_streams_end_when_the_time_of_their_token_is_over() {
    let guarded = Guarded::start().await;
    let brief = CreateTokenRequest {
        expires_at_ms: Some(START + HOUR),
        ..request("brief", &["main"], &[FILTER, RECORD, ADMIN])
    };
    let token = guarded.create_as(brief).await.unwrap();
    let open = Open::under(&guarded, &token).await;
    guarded.server.set_clock(START + HOUR);
    assert_all(&open.ended().await, "TOKEN_EXPIRED");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_before_the_first_token_end_with_it() {
    let server = TestServer::start().await;
    let watch = WatchRequest { brand: "*".to_owned(), ..WatchRequest::default() };
    let mut events = server.consent().watch(watch).await.unwrap().into_inner();
    events.message().await.unwrap();
    server.admin().create_token(request("boss", &["*"], &[ADMIN])).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(20), end(&mut events)).await.unwrap();
    assert_eq!(reason(&ended), "TOKEN_REVOKED");
}

/// The reader stops reading, so that the export waits for it with most of its
/// contacts still to come.
#[tokio::test(flavor = "multi_thread")]
async fn an_export_ends_when_its_token_is_revoked() {
    const CONTACTS: u64 = 200_000;
    let guarded = Guarded::start().await;
    let token = guarded.create("office", &["main"], &[ADMIN, RECORD]).await;
    let client = guarded.client(Some(&token)).await;
    let item = |at: u64| ImportItem {
        change: Some(import_item::Change::Consent(of("main", &format!("+90533{at:07}")))),
    };
    let numbers: Vec<u64> = (0..CONTACTS).collect();
    let chunks: Vec<ImportRequest> = numbers
        .chunks(sendgate::caps::IMPORT_ITEMS)
        .map(|chunk| ImportRequest {
            items: chunk.iter().map(|at| item(*at)).collect(),
            dry_run: false,
        })
        .collect();
    let mut done = client.consent_service().import(tokio_stream::iter(chunks)).await.unwrap();
    while done.get_mut().message().await.unwrap().is_some() {}

    let export = ExportRequest {
        brand: "main".to_owned(),
        scope: Some(scope(RecipientType::Individual, "sms", "marketing")),
        contact_kind: ContactKind::Phone.into(),
        selection: ExportSelection::Permitted.into(),
        asked_by: None,
    };
    // The protocol's own small windows: little is on its way unread.
    let channel = Channel::from_shared(guarded.server.endpoint()).unwrap();
    let channel = channel.initial_stream_window_size(65_535).initial_connection_window_size(65_535);
    let mut consent = ConsentServiceClient::new(channel.connect().await.unwrap());
    let mut asked = tonic::Request::new(export);
    let bearer = format!("bearer {}", token.expose()).parse().unwrap();
    asked.metadata_mut().insert("authorization", bearer);
    let mut contacts = consent.export(asked).await.unwrap().into_inner();
    let first = contacts.message().await.unwrap().unwrap().contacts.len() as u64;
    guarded.revoke("office").await;
    let mut given = first;
    let status = loop {
        match contacts.message().await {
            Ok(None) => panic!("the export seemed whole, with {given}, first {first}"),
            Ok(Some(part)) => given += part.contacts.len() as u64,
            Err(status) => break status,
        }
    };
    assert_all(&[status], "TOKEN_REVOKED");
    assert!(given < CONTACTS, "all {given} were given out");
    let rows = guarded.rows_once("export", 2).await;
    assert_eq!(rows[1]["outcome"], "Unauthenticated");
    assert_eq!(rows[1]["asked_by"]["token"], "office");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_stream_tells_what_it_answered_once_it_has_ended() {
    let guarded = Guarded::start().await;
    let token = guarded.create("gateway", &["main"], &[FILTER, RECORD]).await;
    let client = guarded.client(Some(&token)).await;
    let (batches, stream) = mpsc::channel(4);
    let mut answers =
        client.filter_service().filter(ReceiverStream::new(stream)).await.unwrap().into_inner();
    let send =
        async |message| batches.send(FilterRequest { message: Some(message) }).await.unwrap();
    send(asked()).await;
    send(filter_request::Message::Batch(phones(1, &[PHONE, PHONE + 1, 5]))).await;
    let answer = async |answers: &mut Streaming<FilterResponse>| match answers
        .message()
        .await
        .unwrap()
        .unwrap()
        .message
        .unwrap()
    {
        filter_response::Message::Answer(answer) => answer.revision.unwrap(),
        filter_response::Message::Summary(_) => panic!("too early"),
    };
    let first = answer(&mut answers).await;
    let events = vec![withdrawal(KNOWN, "sms", "marketing", START)];
    client.consent_service().record(RecordRequest { events }).await.unwrap();
    send(filter_request::Message::Batch(phones(2, &[PHONE]))).await;
    let last = answer(&mut answers).await;
    drop(batches);
    assert!(answers.message().await.unwrap().is_some());
    assert!(answers.message().await.unwrap().is_none());

    let [row] = &guarded.rows_once("filter", 1).await[..] else { panic!("one row is due") };
    let expected = serde_json::json!({
        "time": "2026-01-01T00:00:00Z",
        "event": "filter",
        "token": "gateway",
        "peer": row["peer"],
        "brand": "main",
        "outcome": "ended",
        "batches": 2,
        "refused_batches": 0,
        "scopes": [{
            "scope": "individual/sms/marketing",
            "recipients": 4,
            "permitted": 1,
            "reasons": {
                "PERMITTED": 1, "INVALID_RECIPIENT": 1, "OPTED_OUT": 1, "NO_CONSENT": 1,
            },
        }],
        "epoch": first.epoch,
        "first_revision": first.revision,
        "last_revision": last.revision,
        "policy_versions": ["brands"],
    });
    assert_eq!(row, &expected);
    assert!(row["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
}

/// The answers of a full batch with reasons keep 0.3 MiB each, and another
/// batch needs 13.
#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_reads_keep_no_room_once_their_token_is_revoked() {
    let limits = Limits { filter_kib: 13_700, ..Limits::default() };
    let guarded = Guarded::limited(limits).await;
    let token = guarded.create("deaf", &["main"], &[FILTER]).await;
    let other = guarded.create("other", &["main"], &[FILTER]).await;
    let full = phones(1, &vec![PHONE; caps::BATCH_RECIPIENTS]);
    let mut other = Asking::open_bare(guarded.client(Some(&other)).await.filter_service()).await;
    other.send(asked()).await;
    assert!(other.ask(full.clone()).await.error.is_none(), "there is room for one");

    let raw = deaf_filter(&guarded, &token, &full).await;
    let is_refused = async |other: &mut Asking| {
        let error = other.ask(full.clone()).await.error;
        error.is_some_and(|error| error.code() == BatchErrorCode::Overloaded)
    };
    // While a batch is worked on there is no room either: so again and again.
    let (begun, mut refusals) = (Instant::now(), 0);
    while refusals < 20 {
        assert!(begun.elapsed() < LONG, "answers that nobody reads take no room");
        refusals = if is_refused(&mut other).await { refusals + 1 } else { 0 };
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    guarded.revoke("deaf").await;
    let begun = Instant::now();
    while is_refused(&mut other).await {
        // A client that answers no ping loses its connection some time later, and
        // the room with it: that would show nothing.
        assert!(begun.elapsed() < caps::KEEPALIVE, "the room is not given back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let [denied] = &guarded.rows_once("denied", 1).await[..] else { panic!("one row is due") };
    assert_eq!((&denied["token"], &denied["reason"]), (&"deaf".into(), &"TOKEN_REVOKED".into()));
    let row = &guarded.rows_once("filter", 1).await[0];
    assert_eq!((&row["token"], &row["outcome"]), (&"deaf".into(), &"Unauthenticated".into()));
    assert_eq!(raw.ended(), 0, "the client has read nothing of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_whose_acknowledgements_nobody_reads_ends_with_its_token() {
    let guarded = Guarded::start().await;
    let token = guarded.create("deaf", &["main"], &[RECORD]).await;
    // More than are acknowledged and read ahead without a reader.
    let chunks = (0..4 * caps::IMPORT_AHEAD).map(|at| chunk(&format!("+90532555{at:04}")));
    let _raw = deaf(&guarded.server, &token, raw::IMPORT, chunks).await;
    // It is stuck once no more is recorded, with chunks left.
    let (begun, mut recorded, mut still) = (Instant::now(), 0, 0);
    while still < 10 {
        assert!(begun.elapsed() < LONG, "it never stops");
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = guarded.server.revision();
        still = if now == recorded { still + 1 } else { 0 };
        recorded = now;
    }
    guarded.revoke("deaf").await;
    let [denied] = &guarded.rows_once("denied", 1).await[..] else { panic!("one row is due") };
    assert_eq!(denied["method"], "sendgate.v1.ConsentService/Import");
}

/// Takes the five seconds that a server waits for its streams: half of a stop.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_streams_that_go_on_and_tells_of_them() {
    let mut guarded = Guarded::start().await;
    let token = guarded.create("gateway", &["main"], &[FILTER, RECORD, ADMIN]).await;
    let mut open = Open::under(&guarded, &token).await;
    let _deaf = deaf_filter(&guarded, &token, &phones(1, &[PHONE; 100])).await;
    let begun = Instant::now();
    guarded.server.stop().await;
    let took = begun.elapsed();
    assert!(took >= caps::DRAIN / 2, "it waited {took:?}");
    // What is not waited for is a checkpoint of little.
    let patience = caps::DRAIN / 2 + caps::CUT + Duration::from_secs(20);
    assert!(took < patience, "it waited {took:?}");
    for status in [end(&mut open.answers).await, end(&mut open.acknowledged).await] {
        assert_eq!((status.code(), reason(&status)), (Code::Unavailable, "STOPPING".to_owned()));
    }
    let rows = guarded.rows("filter");
    assert_eq!(rows.len(), 2, "{rows:?}");
    for row in &rows {
        assert_eq!(row["outcome"], "Unavailable", "{row}");
    }
    assert!(rows.iter().any(|row| row["batches"] == 1), "{rows:?}");
    // While the server lived: a process has no time for it afterwards.
    let log = std::fs::read_to_string(guarded.server.folder.path().join("audit.jsonl")).unwrap();
    assert!(log.lines().last().unwrap().contains("\"when\":\"stop\""), "{log}");
}
