//! Messages that nobody honest sends, to the real binary: each has its code, and
//! what the process takes for them stays near the caps (F16).

use std::{fs, path::Path};

use prost::Message;
use sendgate::{
    caps,
    proto::v1::{
        self, AnswerForm, BatchErrorCode, ContactKind, Reason, RecordRequest,
        consent_service_client::ConsentServiceClient, filter_service_client::FilterServiceClient,
    },
};
use tonic::{Code, client::Grpc, codegen::http::uri::PathAndQuery, transport::Channel};

use crate::{
    process::{Process, connect},
    support::{START, batch_error, grant, lines, options, phones, reasons},
    wire::{
        BYTES, COUNT, GROUP, GROUP_END, LINES, PHONES, RawCodec, RawStream, VARINT, field, message,
        packed, tag, varint,
    },
};

const GRANTED: u64 = 905_321_234_567;
/// Field number of `RecipientBatch`, as in `filter.proto`.
const ROARING: u64 = 5;

/// Kilobytes of a process, by their name in its status.
fn kilobytes(process: &Process, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap().trim().trim_end_matches(" kB").parse().unwrap()
}

/// Lets the highest mark of a process begin anew from what it has now.
fn forget_peak(process: &Process) {
    fs::write(format!("/proc/{}/clear_refs", process.id()), "5").unwrap();
}

/// What may come on top for one hostile message at a time: the message itself in
/// the transport's buffer and in the batch, flow-control windows, and threads
/// that had not run before.
const ROOM_KIB: u64 = (8 * caps::MESSAGE_BYTES as u64) >> 10;

/// A server that knows one grant, warmed up: what it needs at all is there.
async fn server(folder: &Path) -> (Process, Channel) {
    let (process, address) = Process::serve(folder).unwrap();
    let channel = connect(address).await;
    let mut consent = ConsentServiceClient::new(channel.clone());
    let events = vec![grant(&format!("+{GRANTED}"), START)];
    consent.record(RecordRequest { events }).await.unwrap();
    let mut stream = RawStream::open(channel.clone(), &asked()).await;
    let batch = phones(1, &vec![GRANTED; caps::BATCH_RECIPIENTS]);
    let answer = stream.ask(field(2, &batch.encode_to_vec())).await.unwrap();
    assert_eq!(answer.scopes[0].permitted_count as usize, caps::BATCH_RECIPIENTS);
    (process, channel)
}

fn asked() -> v1::FilterOptions {
    options(ContactKind::Phone, "sms", AnswerForm::Reasons)
}

/// A Roaring bitmap that says it has so many maps of 2^32 members each, and has
/// the first of them, of so many containers that are one run each.
fn claim(maps: u64, containers: u16) -> Vec<u8> {
    let mut bytes = [&maps.to_le_bytes()[..], &[0; 4]].concat();
    bytes.extend((u32::from(containers) << 16 | 12_347).to_le_bytes());
    bytes.extend(vec![0xff; usize::from(containers) / 8 + 1]);
    (0..=containers).for_each(|key| bytes.extend([key.to_le_bytes(), [0xff; 2]].concat()));
    if containers >= 3 {
        (0..=containers).for_each(|_| bytes.extend([0; 4]));
    }
    (0..=containers).for_each(|_| bytes.extend([1, 0, 0, 0, 0xff, 0xff]));
    bytes
}

/// Batches that are refused and leave the stream alive.
#[tokio::test(flavor = "multi_thread")]
async fn claims_of_more_than_there_is_are_refused_without_room_for_it() {
    use BatchErrorCode::{BadRoaring, CountMismatch, TooManyRecipients};
    let folder = tempfile::tempdir().unwrap();
    let (process, channel) = server(folder.path()).await;
    let roaring = |bytes: &[u8]| message(&[field(ROARING, bytes)]);
    let count = |count: u64| [tag(COUNT, VARINT), varint(count)].concat();
    let empty_lines = vec![b'\n'; caps::MESSAGE_BYTES - 64];
    let cases = [
        ("2^40 members", TooManyRecipients, roaring(&claim(1 << 8, u16::MAX))),
        ("2^40 maps", BadRoaring, roaring(&claim(1 << 40, 0))),
        ("2^64 maps", BadRoaring, roaring(&u64::MAX.to_le_bytes())),
        ("a container count of all bits", BadRoaring, {
            let head = [&1_u64.to_le_bytes()[..], &[0; 4], &12_346_u32.to_le_bytes()].concat();
            roaring(&[&head[..], &[0xff; 64]].concat())
        }),
        ("four million lines", TooManyRecipients, {
            message(&[field(LINES, &empty_lines), count(empty_lines.len() as u64)])
        }),
        ("four thousand million lines", CountMismatch, {
            message(&[field(LINES, b"x"), count(u32::MAX.into())])
        }),
    ];
    let before = kilobytes(&process, "VmRSS");
    forget_peak(&process);
    let mut stream = RawStream::open(channel, &asked()).await;
    for (name, code, bytes) in cases {
        let answer = stream.ask(bytes).await.unwrap();
        assert_eq!(batch_error(&answer), code, "{name}: {answer:?}");
        let next = stream.ask(message(&[packed(PHONES, &[GRANTED])])).await.unwrap();
        assert_eq!(reasons(&next), [Reason::Permitted], "after {name}");
        let grown = kilobytes(&process, "VmHWM").saturating_sub(before);
        println!("{name}: at most {grown} KiB more so far");
        assert!(grown < ROOM_KIB, "{name}: {grown} KiB more than before");
    }
}

/// Messages that end their stream, with their codes.
#[tokio::test(flavor = "multi_thread")]
async fn malformed_and_oversize_messages_end_their_stream_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let (process, channel) = server(folder.path()).await;
    let mut witness = RawStream::open(channel.clone(), &asked()).await;
    let ten_million = packed(PHONES, &vec![GRANTED; 10_000_000]);
    let groups = |depth: usize| {
        let (open, close) = (tag(99, GROUP), tag(99, GROUP_END));
        message(&[packed(PHONES, &[GRANTED]), open.repeat(depth), close.repeat(depth)])
    };
    let cases = [
        ("ten million recipients", Code::OutOfRange, message(&[ten_million])),
        ("a length of 2^40", Code::Internal, {
            message(&[[tag(PHONES, BYTES), varint(1 << 40)].concat()])
        }),
        ("a length of 2^63", Code::Internal, {
            message(&[[tag(ROARING, BYTES), varint(1 << 63), vec![0; 64]].concat()])
        }),
        ("a batch longer than its message", Code::Internal, {
            [tag(2, BYTES), varint(1 << 30), packed(PHONES, &[GRANTED])].concat()
        }),
        ("groups in groups", Code::Internal, groups(200_000)),
        ("groups that do not end", Code::Internal, message(&[tag(99, GROUP).repeat(200_000)])),
        ("nothing but bits", Code::Internal, vec![0xff; 4_096]),
        ("options with a name that is not UTF-8", Code::Internal, field(1, &field(1, b"\xff\xfe"))),
    ];
    let before = kilobytes(&process, "VmRSS");
    forget_peak(&process);
    for (name, code, bytes) in cases {
        let mut stream = RawStream::open(channel.clone(), &asked()).await;
        let status = stream.ask(bytes).await.expect_err(name);
        assert_eq!(status.code(), code, "{name}: {status}");
        assert!(stream.answers.message().await.unwrap().is_none(), "{name}: the stream lives");
        let next = witness.ask(message(&[packed(PHONES, &[GRANTED])])).await.unwrap();
        assert_eq!(reasons(&next), [Reason::Permitted], "after {name}");
        let grown = kilobytes(&process, "VmHWM").saturating_sub(before);
        println!("{name}: at most {grown} KiB more so far");
        assert!(grown < ROOM_KIB, "{name}: {grown} KiB more than before");
    }
}

/// The same of the other calls, whose decoders are generated: no code but these,
/// and the server goes on.
#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_of_every_call_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (mut process, channel) = server(folder.path()).await;
    let services = [
        ("FilterService", &["Filter", "Check", "Describe", "Reach"][..]),
        (
            "ConsentService",
            &[
                "Record", "Import", "Suppress", "Lift", "History", "Explain", "Export", "Watch",
                "Erase", "Rectify",
            ][..],
        ),
        ("AdminService", &["ApplyPolicy"][..]),
    ];
    let oversize = field(99, &vec![7; caps::MESSAGE_BYTES]);
    for (service, calls) in services {
        for call in calls {
            let path: PathAndQuery = format!("/sendgate.v1.{service}/{call}").parse().unwrap();
            for (name, bytes) in [
                ("cut", vec![0x0a, 0x20, 0x01]),
                ("bits", vec![0xff; 100]),
                // Field 1 is a message or a text in all of them.
                ("a number for a message", [tag(1, VARINT), varint(7)].concat()),
                ("groups in groups", [tag(99, GROUP).repeat(1_000)].concat()),
                ("oversize", oversize.clone()),
            ] {
                let mut grpc = Grpc::new(channel.clone());
                grpc.ready().await.unwrap();
                let requests = tonic::Request::new(tokio_stream::iter([bytes.into()]));
                let answer = grpc.streaming(requests, path.clone(), RawCodec).await;
                let status = match answer {
                    Err(status) => status,
                    Ok(answer) => answer.into_inner().message().await.expect_err(name),
                };
                let due = if name == "oversize" { Code::OutOfRange } else { Code::Internal };
                assert_eq!(status.code(), due, "{call}, {name}: {status}");
            }
        }
    }
    let mut client = FilterServiceClient::new(channel);
    let (requests, stream) = tokio::sync::mpsc::channel(4);
    for message in [
        v1::filter_request::Message::Options(asked()),
        v1::filter_request::Message::Batch(lines(1, &["+905321234567"])),
    ] {
        requests.send(v1::FilterRequest { message: Some(message) }).await.unwrap();
    }
    let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
    let answer = client.filter(stream).await.unwrap().into_inner().message().await.unwrap();
    assert!(answer.is_some(), "the server goes on");
    let log = process.kill_for_log();
    assert!(!log.contains("panicked"), "{log}");
}
