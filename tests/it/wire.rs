//! The bytes on the wire: every legal encoding of a batch means the same, and
//! an illegal one ends the stream without a verdict.

use bytes::{BufMut, Bytes};
use prost::Message;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use sendgate::{
    caps,
    proto::v1::{self, AnswerForm, ContactKind, FilterResponse, Reason, filter_response},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Code, Status, Streaming,
    client::Grpc,
    codec::{Codec, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    transport::Channel,
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_prost::ProstDecoder;

use crate::support::{START, TestServer, grant, options, reasons};

/// Sends bytes as they are, and reads what every client reads.
pub struct RawCodec;

pub struct RawEncoder;

impl Encoder for RawEncoder {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = FilterResponse;
    type Encoder = RawEncoder;
    type Decoder = ProstDecoder<FilterResponse>;

    fn encoder(&mut self) -> RawEncoder {
        RawEncoder
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(tonic::codec::BufferSettings::default())
    }
}

/// A filter stream whose requests are written by hand.
pub struct RawStream {
    requests: mpsc::Sender<Bytes>,
    pub answers: Streaming<FilterResponse>,
}

impl RawStream {
    pub async fn open(channel: Channel, options: &v1::FilterOptions) -> Self {
        let (requests, stream) = mpsc::channel(4);
        let mut grpc = Grpc::new(channel).max_decoding_message_size(32 << 20);
        grpc.ready().await.unwrap();
        let path = PathAndQuery::from_static("/sendgate.v1.FilterService/Filter");
        let request = tonic::Request::new(ReceiverStream::new(stream));
        let answers = grpc.streaming(request, path, RawCodec).await.unwrap().into_inner();
        requests.send(field(1, &options.encode_to_vec()).into()).await.unwrap();
        Self { requests, answers }
    }

    /// Sends one message and returns its answer, or the status that ended the stream.
    pub async fn ask(&mut self, message: Vec<u8>) -> Result<v1::BatchAnswer, Status> {
        drop(self.requests.send(message.into()).await);
        match self.answers.message().await?.and_then(|response| response.message) {
            Some(filter_response::Message::Answer(answer)) => Ok(answer),
            other => panic!("{other:?} instead of an answer"),
        }
    }
}

pub const VARINT: u64 = 0;
const FIXED64: u64 = 1;
pub const BYTES: u64 = 2;
pub const GROUP: u64 = 3;
pub const GROUP_END: u64 = 4;
const FIXED32: u64 = 5;

/// Field numbers of `RecipientBatch`, as in `filter.proto`.
pub const BATCH_ID: u64 = 1;
pub const PHONES: u64 = 2;
const CONTACT_IDS: u64 = 3;
pub const LINES: u64 = 4;
pub const COUNT: u64 = 6;

pub fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// As [`varint`], with a zero in front that no encoder needs and every decoder takes.
fn long_varint(value: u64) -> Vec<u8> {
    let mut bytes = varint(value);
    *bytes.last_mut().unwrap() |= 0x80;
    bytes.push(0);
    bytes
}

pub fn tag(number: u64, wire_type: u64) -> Vec<u8> {
    varint(number << 3 | wire_type)
}

/// A length-delimited field.
pub fn field(number: u64, value: &[u8]) -> Vec<u8> {
    [tag(number, BYTES), varint(value.len() as u64), value.to_vec()].concat()
}

/// A message of the stream that carries this batch.
pub fn message(batch: &[Vec<u8>]) -> Vec<u8> {
    field(2, &batch.concat())
}

fn column(values: &[u64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

pub fn packed(number: u64, values: &[u64]) -> Vec<u8> {
    field(number, &column(values))
}

pub fn unpacked(number: u64, values: &[u64]) -> Vec<u8> {
    let one = |value: &u64| [tag(number, FIXED64), value.to_le_bytes().to_vec()].concat();
    values.iter().flat_map(one).collect()
}

/// Fields that no version knows, one of each wire type, a group included.
fn unknown() -> Vec<u8> {
    [
        [tag(99, VARINT), varint(u64::MAX)].concat(),
        [tag(100, FIXED64), vec![0xff; 8]].concat(),
        field(101, b"newer than this server"),
        [tag(102, GROUP), tag(7, VARINT), varint(5), tag(102, GROUP_END)].concat(),
        [tag(103, FIXED32), vec![0xff; 4]].concat(),
    ]
    .concat()
}

/// Pieces of random lengths, each packed or not, with unknown fields between some.
fn mixture(number: u64, mut values: &[u64], random: &mut StdRng) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    while !values.is_empty() {
        let (piece, rest) = values.split_at(random.random_range(0..=values.len().min(9)));
        pieces.push(match random.random_range(0..3) {
            0 => unpacked(number, piece),
            _ => packed(number, piece),
        });
        if random.random_range(0..4) == 0 {
            pieces.push(unknown());
        }
        values = rest;
    }
    pieces
}

/// The same values in the ways that protobuf allows.
fn encodings(number: u64, values: &[u64]) -> Vec<(String, Vec<u8>)> {
    let (first, second) = values.split_at(values.len() / 3);
    let (first_packed, second_packed) = (packed(number, first), packed(number, second));
    let chunks = |size| values.chunks(size).map(|chunk| packed(number, chunk)).collect::<Vec<_>>();
    let bytes = column(values);
    let long_length = [tag(number, BYTES), long_varint(bytes.len() as u64), bytes].concat();
    let named = [
        ("one chunk", message(&[packed(number, values)])),
        ("chunks of one", message(&chunks(1))),
        ("chunks of seven", message(&chunks(7))),
        ("unpacked", message(&[unpacked(number, values)])),
        ("packed, then unpacked", message(&[first_packed.clone(), unpacked(number, second)])),
        ("unpacked, then packed", message(&[unpacked(number, first), second_packed.clone()])),
        (
            "an empty chunk in between",
            message(&[first_packed.clone(), packed(number, &[]), second_packed.clone()]),
        ),
        (
            "unknown fields in between",
            message(&[
                unknown(),
                first_packed.clone(),
                unknown(),
                second_packed.clone(),
                unknown(),
            ]),
        ),
        ("a length written longer than need be", message(&[long_length])),
        // A message field that is sent twice is merged.
        ("a batch in two parts", [message(&[first_packed]), message(&[second_packed])].concat()),
    ];
    let mut random = StdRng::seed_from_u64(0x5e4d);
    let mixtures = (0..40)
        .map(|round| (format!("mixture {round}"), message(&mixture(number, values, &mut random))));
    named.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).chain(mixtures).collect()
}

const GRANTED: u64 = 905_321_234_567;

/// A server that knows one grant, and options of a stream that asks about it.
async fn server() -> (TestServer, v1::FilterOptions) {
    let server = TestServer::start().await;
    let events = vec![grant(&GRANTED.to_string(), START)];
    server.consent().record(v1::RecordRequest { events }).await.unwrap();
    (server, options(ContactKind::Phone, "sms", AnswerForm::Reasons))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_legal_encoding_of_phones_gives_the_same_answer() {
    let (server, options) = server().await;
    let mut stream = RawStream::open(server.channel(), &options).await;
    let numbers: Vec<u64> =
        (0..60).map(|i| if i % 7 == 3 { GRANTED } else { 905_330_000_000 + i }).collect();
    for (name, bytes) in encodings(PHONES, &numbers) {
        let answer = stream.ask(bytes).await.unwrap();
        let expected = numbers.iter().map(|number| match *number {
            GRANTED => Reason::Permitted,
            _ => Reason::NoConsent,
        });
        assert!(reasons(&answer).into_iter().eq(expected), "{name}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_legal_encoding_of_contact_ids_gives_the_same_answer() {
    let (server, options) = server().await;
    let options = v1::FilterOptions {
        scopes: vec![crate::support::scope(v1::RecipientType::Individual, "push", "marketing")],
        contact_kind: ContactKind::ContactId.into(),
        ..options
    };
    let granted = v1::Contact {
        kind: ContactKind::ContactId.into(),
        address: u64::MAX.to_string(),
        ..v1::Contact::default()
    };
    let event =
        v1::ConsentEvent { contact: Some(granted), channel: "push".to_owned(), ..grant("", START) };
    server.consent().record(v1::RecordRequest { events: vec![event] }).await.unwrap();
    let mut stream = RawStream::open(server.channel(), &options).await;
    // The largest ID has every byte set: nothing in a column may mean more than itself.
    let ids = [0, u64::MAX, 1, u64::MAX, u64::MAX - 1, 0x0807_0605_0403_0201];
    for (name, bytes) in encodings(CONTACT_IDS, &ids) {
        let answer = stream.ask(bytes).await.unwrap();
        let [scope] = answer.scopes.as_slice() else { panic!("{name}: {answer:?}") };
        assert_eq!(scope.permitted.as_ref(), [0b1010], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_illegal_encoding_ends_the_stream_without_a_verdict() {
    let (server, options) = server().await;
    let good = packed(PHONES, &[GRANTED]);
    let raw = |number, wire_type, rest: &[u8]| [tag(number, wire_type), rest.to_vec()].concat();
    let cut = |bytes: &[u8], by: usize| bytes[..bytes.len() - by].to_vec();
    let illegal = [
        ("seven bytes packed", field(PHONES, &column(&[GRANTED])[..7])),
        ("nine bytes packed", field(PHONES, &[column(&[GRANTED]), vec![0]].concat())),
        ("a varint for a phone", raw(PHONES, VARINT, &varint(GRANTED))),
        ("four bytes for a phone", raw(PHONES, FIXED32, &[1, 2, 3, 4])),
        ("a group for a phone", raw(PHONES, GROUP, &tag(PHONES, GROUP_END))),
        ("a varint for a contact ID", raw(CONTACT_IDS, VARINT, &varint(7))),
        ("a varint for lines", raw(LINES, VARINT, &varint(7))),
        ("bytes for a batch ID", field(BATCH_ID, b"7")),
        ("four bytes for a count", raw(COUNT, FIXED32, &[1, 0, 0, 0])),
        ("a packed column cut in a value", cut(&good, 3)),
        ("a packed column cut before a value", cut(&good, 8)),
        ("an unpacked value cut", cut(&unpacked(PHONES, &[GRANTED]), 1)),
        ("a length beyond the end", raw(PHONES, BYTES, &[varint(1 << 40), vec![0; 16]].concat())),
        ("a length of all bits", raw(PHONES, BYTES, &[varint(u64::MAX), vec![0; 16]].concat())),
        ("a length that does not end", raw(PHONES, BYTES, &[0x80; 11])),
        ("a tag cut", vec![0x92]),
        ("field number zero", raw(0, VARINT, &[1])),
        ("the end of a group that none began", tag(9, GROUP_END)),
        ("a wire type that does not exist", tag(9, 7)),
    ];
    for (name, bytes) in illegal {
        let mut stream = RawStream::open(server.channel(), &options).await;
        let before = stream.ask(message(std::slice::from_ref(&good))).await.unwrap();
        assert_eq!(reasons(&before), [Reason::Permitted], "{name}");
        // A good column before the fault must not be answered either.
        let status = stream.ask(message(&[good.clone(), bytes])).await.expect_err(name);
        assert_eq!(status.code(), Code::Internal, "{name}: {status}");
        assert!(stream.answers.message().await.unwrap().is_none(), "{name}: the stream lives");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_4_mib_is_answered_and_one_more_byte_is_out_of_range() {
    let (server, options) = server().await;
    // An unknown field fills the message up to its size.
    let filled = |size: usize| {
        let bytes = message(&[packed(PHONES, &[GRANTED])]);
        let head = tag(99, BYTES).len() + varint(size as u64).len();
        let message = [field(99, &vec![7; size - bytes.len() - head]), bytes].concat();
        assert_eq!(message.len(), size);
        message
    };
    let mut stream = RawStream::open(server.channel(), &options).await;
    let answer = stream.ask(filled(caps::MESSAGE_BYTES)).await.unwrap();
    assert_eq!(reasons(&answer), [Reason::Permitted]);
    let status = stream.ask(filled(caps::MESSAGE_BYTES + 1)).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
}

const SERVICES: [&str; 3] =
    ["sendgate.v1.AdminService", "sendgate.v1.ConsentService", "sendgate.v1.FilterService"];

#[tokio::test(flavor = "multi_thread")]
async fn health_says_serving_for_each_service_and_for_the_whole() {
    let (server, _) = server().await;
    let mut health = HealthClient::new(server.channel());
    for service in SERVICES.into_iter().chain([""]) {
        let request = HealthCheckRequest { service: service.to_owned() };
        let response = health.check(request).await.unwrap().into_inner();
        assert_eq!(response.status(), ServingStatus::Serving, "{service}");
    }
    let request = HealthCheckRequest { service: "sendgate.v1.NoService".to_owned() };
    assert_eq!(health.check(request).await.unwrap_err().code(), Code::NotFound);
}

/// Asks reflection of one version for the names of the services, and for the
/// file that declares `FilterService`.
macro_rules! reflection_test {
    ($name:ident, $version:ident) => {
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            use tonic_reflection::pb::$version::{
                ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
                server_reflection_request::MessageRequest as Ask,
                server_reflection_response::MessageResponse as Told,
            };
            let (server, _) = server().await;
            let questions = [
                Ask::ListServices(String::new()),
                Ask::FileContainingSymbol("sendgate.v1.FilterService".to_owned()),
            ];
            let requests = questions.map(|question| ServerReflectionRequest {
                host: String::new(),
                message_request: Some(question),
            });
            let mut client = ServerReflectionClient::new(server.channel());
            let answers = client.server_reflection_info(tokio_stream::iter(requests)).await;
            let mut answers = answers.unwrap().into_inner();
            let listed = answers.message().await.unwrap().unwrap().message_response;
            let Some(Told::ListServicesResponse(listed)) = listed else { panic!("{listed:?}") };
            let names: Vec<&str> = listed.service.iter().map(|each| each.name.as_str()).collect();
            for service in SERVICES.into_iter().chain(["grpc.health.v1.Health"]) {
                assert!(names.contains(&service), "{service} is not in {names:?}");
            }
            let file = answers.message().await.unwrap().unwrap().message_response;
            let Some(Told::FileDescriptorResponse(file)) = file else { panic!("{file:?}") };
            assert!(!file.file_descriptor_proto.is_empty());
        }
    };
}

reflection_test!(reflection_v1_lists_the_services, v1);
reflection_test!(reflection_v1alpha_lists_the_services, v1alpha);
