//! F14: clients that are idle, slow, deaf or gone cost little and end.

use std::{future::Future, net::SocketAddr, time::Duration};

use sendgate::{
    caps::{self, Limits},
    client::Client,
    proto::v1::{
        AnswerForm, BatchErrorCode, ContactKind, FilterRequest, GetStatisticsRequest,
        RecordRequest, WatchRequest, filter_request,
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{Instant, sleep, timeout},
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::{
    process::{Process, connect},
    raw::{
        DATA, END_HEADERS, FILTER, GOAWAY, HEADERS, LONG, Raw, call, frame, leave_unread, message,
        settings,
    },
    support::{Asking, START, TestServer, grant, options, phones},
};

const PHONE: u64 = 905_321_234_567;
const MS: fn(u64) -> Duration = Duration::from_millis;

fn asked() -> filter_request::Message {
    filter_request::Message::Options(options(ContactKind::Phone, "sms", AnswerForm::Reasons))
}

fn reason(status: &Status) -> (Code, String) {
    (status.code(), status.get_details_error_info().unwrap().reason)
}

/// Tries again and again, for as long as any machine takes.
async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < LONG, "{what}");
        sleep(MS(20)).await;
    }
}

async fn others_are_served(server: &TestServer) {
    let client = async { server.connect().await };
    let asked = async {
        let mut admin =
            sendgate::proto::v1::admin_service_client::AdminServiceClient::new(client.await);
        admin.get_statistics(GetStatisticsRequest::default()).await.unwrap();
    };
    timeout(LONG, asked).await.expect("others wait");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_says_nothing_more_is_ended_and_one_that_goes_on_is_not() {
    let idle = MS(1_500);
    let server = TestServer::limited(Limits { stream_idle: idle, ..Limits::default() }).await;
    let mut silent = Asking::open_bare(server.filter()).await;
    silent.send(asked()).await;
    let mut talking = Asking::open_bare(server.filter()).await;
    talking.send(asked()).await;
    let begun = Instant::now();
    for batch in 0.. {
        talking.ask(phones(batch, &[PHONE])).await;
        if begun.elapsed() > 3 * idle {
            break;
        }
        sleep(MS(100)).await;
    }
    let status = timeout(LONG, silent.next()).await.unwrap().unwrap_err();
    assert_eq!(reason(&status), (Code::Aborted, "STREAM_IDLE".to_owned()));
    assert!(talking.end().await.batches > 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_now_and_then_is_not_going_on() {
    let limits = Limits { stream_idle: MS(1_000), ..Limits::default() };
    let server = TestServer::limited(limits).await;
    let filter = message(&FilterRequest { message: Some(asked()) });
    let record = message(&RecordRequest { events: vec![grant("+905321234567", START); 100] });
    for (path, body) in [(FILTER, filter), ("/sendgate.v1.ConsentService/Record", record)] {
        let mut raw = Raw::connect(server.address()).await;
        raw.send(&frame(HEADERS, END_HEADERS, 1, &call(path))).await.unwrap();
        let begun = Instant::now();
        let mut bytes = body.iter().cycle();
        // The message must not come to its end before the idle limit.
        let step = MS(1_000) / u32::try_from(body.len().min(20)).unwrap() * 2;
        while raw.ended() == 0 {
            assert!(begun.elapsed() < LONG, "{path} is never ended");
            raw.send(&frame(DATA, 0, 1, &[*bytes.next().unwrap()])).await.unwrap();
            sleep(step).await;
        }
        raw.finish().await;
    }
    others_are_served(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_at_their_age() {
    let limits = Limits { stream_age: MS(1_500), ..Limits::default() };
    let server = TestServer::limited(limits).await;
    let watch = WatchRequest { brand: "main".to_owned(), ..WatchRequest::default() };
    let mut watched = server.consent().watch(watch).await.unwrap().into_inner();
    let mut asking = Asking::open_bare(server.filter()).await;
    asking.send(asked()).await;
    let ended = async {
        loop {
            if let Err(status) = watched.message().await.map(|message| message.unwrap()) {
                return status;
            }
        }
    };
    let expected = (Code::Aborted, "STREAM_AGE".to_owned());
    assert_eq!(reason(&timeout(LONG, ended).await.unwrap()), expected);
    let status = timeout(LONG, asking.next()).await.unwrap().unwrap_err();
    assert_eq!(reason(&status), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_leave_the_ledger_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let (_process, address) = Process::serve_with_files(folder.path(), 200).unwrap();
    // Half of so few files are for connections.
    let mut connections = Vec::new();
    for _ in 0..300 {
        connections.push(TcpStream::connect(address).await.unwrap());
    }
    sleep(MS(1_000)).await;
    let mut kept = 0;
    for stream in &mut connections {
        kept += usize::from(!is_closed(stream, MS(2)).await);
    }
    assert_eq!(kept, 100);
    drop(connections.split_off(50));
    let served = async || {
        let Ok(client) = Client::connect(&format!("http://{address}")).await else { return false };
        let events = vec![grant("+905321234567", START)];
        client.consent_service().record(RecordRequest { events }).await.is_ok()
    };
    until("nothing can be recorded", served).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_never_reads_loses_the_connection() {
    let limits = Limits { stream_idle: MS(1_000), ..Limits::default() };
    let server = TestServer::limited(limits).await;
    // A window of nothing, on a socket that is read.
    let mut raw = Raw::with_settings(server.address(), &[(4, 0)]).await;
    let mut bytes = frame(HEADERS, END_HEADERS, 1, &call(FILTER));
    let batch = filter_request::Message::Batch(phones(1, &[PHONE; 100]));
    for message in [asked(), batch] {
        let request = FilterRequest { message: Some(message) };
        bytes.extend(frame(DATA, 0, 1, &self::message(&request)));
    }
    raw.send(&bytes).await.unwrap();
    // The keepalive, whose pings this client does not answer, would take 50 s.
    let seen = timeout(MS(30_000), raw.closed()).await.expect("it may stay");
    assert_eq!(seen.data, 0, "the window was not respected");
    others_are_served(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_never_come_whole_are_capped_together() {
    let limits = Limits { connection_bytes: 5 << 20, ..Limits::default() };
    let server = TestServer::limited(limits).await;
    let mut raw = Raw::connect(server.address()).await;
    raw.acknowledge().await;
    // Each says 4 MiB and sends two.
    let mut begun = vec![0, 0, 0x40, 0, 0];
    begun.resize(16 << 10, 7);
    let piece = [7; 16 << 10];
    for stream in [1, 3] {
        raw.send(&frame(HEADERS, END_HEADERS, stream, &call(FILTER))).await.unwrap();
        raw.send(&frame(DATA, 0, stream, &begun)).await.unwrap();
        for _ in 0..127 {
            raw.send(&frame(DATA, 0, stream, &piece)).await.unwrap();
        }
    }
    sleep(MS(500)).await;
    assert_eq!(raw.ended(), 0, "two of two MiB are within five");
    raw.send(&frame(HEADERS, END_HEADERS, 5, &call(FILTER))).await.unwrap();
    raw.send(&frame(DATA, 0, 5, &begun)).await.unwrap();
    for _ in 0..127 {
        raw.send(&frame(DATA, 0, 5, &piece)).await.unwrap();
    }
    let begun = Instant::now();
    while raw.ended() == 0 {
        assert!(begun.elapsed() < LONG, "six MiB are kept");
        sleep(MS(20)).await;
    }
    others_are_served(&server).await;
    raw.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_wait_for_a_reader_take_room_until_it_leaves() {
    // A full batch with reasons needs 13 MiB, and its answer keeps 0.3 of them.
    let limits = Limits { filter_kib: 13_700, ..Limits::default() };
    let server = TestServer::limited(limits).await;
    let full = phones(1, &vec![PHONE; caps::BATCH_RECIPIENTS]);
    let mut other = Asking::open_bare(server.filter()).await;
    other.send(asked()).await;
    assert!(other.ask(full.clone()).await.error.is_none(), "there is room for one");

    let mut raw = Raw::with_settings(server.address(), &[(4, 0)]).await;
    raw.acknowledge().await;
    raw.send(&frame(HEADERS, END_HEADERS, 1, &call(FILTER))).await.unwrap();
    let options = message(&FilterRequest { message: Some(asked()) });
    raw.send(&frame(DATA, 0, 1, &options)).await.unwrap();
    // The transport takes the first answer; two are kept, and then the next batch
    // of anybody has no room.
    leave_unread(&mut raw, &full, async || {
        let statistics = server.admin().get_statistics(GetStatisticsRequest::default()).await;
        statistics.unwrap().into_inner().recipients_filtered
    })
    .await;
    let refused = async |other: &mut Asking| {
        let answer = other.ask(full.clone()).await;
        answer.error.is_some_and(|error| error.code() == BatchErrorCode::Overloaded)
    };
    // While a batch is worked on there is no room either: so it must be refused
    // again and again.
    let (begun, mut refusals) = (Instant::now(), 0);
    while refusals < 20 {
        assert!(begun.elapsed() < LONG, "answers that nobody reads take no room");
        refusals = if refused(&mut other).await { refusals + 1 } else { 0 };
        sleep(MS(50)).await;
    }
    drop(raw);
    let begun = Instant::now();
    while refused(&mut other).await {
        assert!(begun.elapsed() < LONG, "the room is not given back");
        sleep(MS(20)).await;
    }
}

/// Whether the other side closes within this time, whatever it says before.
async fn is_closed(stream: &mut TcpStream, within: Duration) -> bool {
    // A reset is an end as well.
    timeout(within, stream.read_to_end(&mut Vec::new())).await.is_ok()
}

/// A reset would take from a client what it has not read yet.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_still_speaks_at_the_end_is_not_cut_short_and_has_little_time() {
    let server = TestServer::start().await;
    let mut talking = TcpStream::connect(server.address()).await.unwrap();
    let wrong = frame(DATA, 0, 0, b"data of no stream");
    let first = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings(&[]), &wrong].concat();
    talking.write_all(&first).await.unwrap();
    // It goes on speaking, and reads only then: well before its time is over.
    for _ in 0..5 {
        talking.write_all(&frame(DATA, 0, 1, &[0; 16 << 10])).await.unwrap();
        sleep(MS(10)).await;
    }
    let mut answer = [0; 9];
    let last = loop {
        talking.read_exact(&mut answer).await.expect("the last word comes before the end");
        let length = u32::from_be_bytes([0, answer[0], answer[1], answer[2]]);
        let mut payload = vec![0; length as usize];
        talking.read_exact(&mut payload).await.unwrap();
        if answer[3] == GOAWAY {
            break payload;
        }
    };
    assert_eq!(last[4..8], 1_u32.to_be_bytes(), "PROTOCOL_ERROR");
    // It never hangs up, and sends as much as goes through.
    let flooding = async { while talking.write_all(&[0; 1 << 16]).await.is_ok() {} };
    timeout(LONG, flooding).await.expect("the connection is kept");
    others_are_served(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_begin_to_speak_is_closed() {
    let limits = Limits { handshake: MS(1_000), ..Limits::default() };
    let server = TestServer::limited(limits).await;
    let mut silent = TcpStream::connect(server.address()).await.unwrap();
    let mut halting = TcpStream::connect(server.address()).await.unwrap();
    halting.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
    assert!(is_closed(&mut silent, LONG).await && is_closed(&mut halting, LONG).await);
    // This connection is older than they were.
    server.admin().get_statistics(GetStatisticsRequest::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_peer_cannot_take_all_connections() {
    // One is the test's own.
    let limits = Limits { peer_connections: 3, connections: 4, ..Limits::default() };
    let server = TestServer::limited(limits).await;
    let from = async |source: &str| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(source.parse().unwrap(), 0)).unwrap();
        socket.connect(server.address()).await.unwrap()
    };
    let mut within = [from("127.0.0.1").await, from("127.0.0.1").await];
    assert!(is_closed(&mut from("127.0.0.1").await, LONG).await, "a fourth of one peer");
    let mut other = from("127.0.0.2").await;
    assert!(is_closed(&mut from("127.0.0.3").await, LONG).await, "a fifth in all");
    for stream in within.iter_mut().chain([&mut other]) {
        assert!(!is_closed(stream, MS(100)).await, "there was room");
    }
    drop(within);
    let connected = async || {
        let endpoint = format!("http://{}", server.address());
        let Ok(client) = Client::connect(&endpoint).await else { return false };
        client.admin_service().get_statistics(GetStatisticsRequest::default()).await.is_ok()
    };
    until("places are not given back", connected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_streams_and_as_many_left_in_mid_batch() {
    const CONNECTIONS: usize = 40;
    const STREAMS: usize = 250;
    const { assert!(STREAMS <= caps::STREAMS as usize) };
    let folder = tempfile::tempdir().unwrap();
    let (process, address) = Process::serve(folder.path()).unwrap();
    let channel = connect(address).await;
    let open = async || {
        let mut admin =
            sendgate::proto::v1::admin_service_client::AdminServiceClient::new(channel.clone());
        let answer = admin.get_statistics(GetStatisticsRequest::default());
        let answer = timeout(LONG, answer).await.expect("others wait").unwrap().into_inner();
        usize::try_from(answer.open_streams).unwrap()
    };
    assert_eq!(open().await, 0);
    let before = process.resident_mib();
    let mut streams = Vec::new();
    for _ in 0..CONNECTIONS {
        let client = Client::connect(&format!("http://{address}")).await.unwrap();
        for _ in 0..STREAMS {
            let mut asking = Asking::open_bare(client.filter_service()).await;
            asking.send(asked()).await;
            streams.push(asking);
        }
    }
    until("not all streams are open", async || open().await == CONNECTIONS * STREAMS).await;
    let idle = process.resident_mib();
    assert!(idle - before < 400, "{before} MiB have become {idle}: 40 KiB a stream");
    // A batch is on its way on each when they are all given up.
    for asking in &mut streams {
        asking.send(filter_request::Message::Batch(phones(1, &[PHONE; 500]))).await;
    }
    drop(streams);
    until("streams are still open", async || open().await == 0).await;
    let after = process.resident_mib();
    assert!(after - before < 400, "{before} MiB have become {after}");
}
