//! What a collector of OpenTelemetry gets of a server that was built with traces.

use std::{
    convert::Infallible,
    net::SocketAddr,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http_body_util::{BodyExt, Full};
use prost::Message;
use sendgate::{
    caps,
    proto::v1::{
        AnswerForm, ContactKind, RecordRequest, consent_service_client::ConsentServiceClient,
        filter_request, filter_service_client::FilterServiceClient,
    },
};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Code, Request,
    body::Body,
    codegen::{BoxFuture, Bytes, Service, http},
    server::NamedService,
    transport::{Channel, Server},
};

use crate::{
    process::{Process, connect, sendgate},
    support::{START, grant, lines, options, phones},
};

/// An `ExportTraceServiceRequest`, as far as it is looked at here.
#[derive(Message)]
struct Export {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<Attribute>,
}

#[derive(Message)]
struct ScopeSpans {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<Attribute>,
}

#[derive(Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Value>,
}

#[derive(Message)]
struct Value {
    #[prost(string, optional, tag = "1")]
    text: Option<String>,
    #[prost(int64, optional, tag = "3")]
    number: Option<i64>,
}

fn text<'a>(attributes: &'a [Attribute], key: &str) -> Option<&'a str> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    found.value.as_ref()?.text.as_deref()
}

impl Span {
    fn number(&self, key: &str) -> Option<i64> {
        let found = self.attributes.iter().find(|attribute| attribute.key == key)?;
        found.value.as_ref()?.number
    }
}

/// A collector that hands on the bytes of every export.
#[derive(Clone)]
struct Collector(mpsc::UnboundedSender<Bytes>);

impl NamedService for Collector {
    const NAME: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";
}

impl Service<http::Request<Body>> for Collector {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let exports = self.0.clone();
        Box::pin(async move {
            let framed = request.into_body().collect().await.unwrap().to_bytes();
            drop(exports.send(framed.slice(5..)));
            // An empty message, and that all is well.
            let trailers = http::HeaderMap::from_iter([(
                http::HeaderName::from_static("grpc-status"),
                http::HeaderValue::from_static("0"),
            )]);
            let body = Full::new(Bytes::from_static(&[0; 5]));
            let body = body.with_trailers(async move { Some(Ok(trailers)) });
            let answer = http::Response::builder().header("content-type", "application/grpc");
            Ok(answer.body(Body::new(body)).unwrap())
        })
    }
}

/// A collector, and what it gets.
async fn collector() -> (SocketAddr, mpsc::UnboundedReceiver<Bytes>) {
    let (exports, received) = mpsc::unbounded_channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = Server::builder().add_service(Collector(exports));
    tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(listener)));
    (address, received)
}

/// A server that is told to send its traces there.
fn serve(endpoint: &str) -> (tempfile::TempDir, Process, SocketAddr) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = sendgate();
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"OTEL_") {
            command.env_remove(name);
        }
    }
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
    let (process, address) = Process::serve_by(command, folder.path(), "127.0.0.1:0").unwrap();
    (folder, process, address)
}

fn terminate(process: &Process) {
    let id = rustix::process::Pid::from_raw(process.id().try_into().unwrap()).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
}

async fn end(process: Process) -> (std::process::ExitStatus, String) {
    tokio::task::spawn_blocking(|| process.end()).await.unwrap()
}

const PHONE: &str = "+905321234567";
const NUMBER: u64 = 905_321_234_567;
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// Records a grant, in a trace of the caller's; returns the revision.
async fn record(channel: Channel) -> u64 {
    let mut request = Request::new(RecordRequest { events: vec![grant(PHONE, START)] });
    let headers = request.metadata_mut();
    headers.insert("traceparent", format!("00-{TRACE}-{CALLER}-01").parse().unwrap());
    headers.insert("tracestate", "who=ada.lovelace".parse().unwrap());
    let recorded = ConsentServiceClient::new(channel).record(request).await.unwrap().into_inner();
    recorded.revision.unwrap().revision
}

/// Filters a batch with the recorded number and another one, and one that is
/// refused because it has two columns.
async fn filter(channel: Channel) {
    let asked = options(ContactKind::Phone, "sms", AnswerForm::PermittedBits);
    let mut refused = lines(2, &[PHONE]);
    refused.phones = [NUMBER].as_slice().into();
    let requests = [
        filter_request::Message::Options(asked),
        filter_request::Message::Batch(phones(1, &[NUMBER, NUMBER + 1])),
        filter_request::Message::Batch(refused),
    ];
    let requests =
        requests.map(|message| sendgate::proto::v1::FilterRequest { message: Some(message) });
    let mut client = FilterServiceClient::new(channel);
    let mut answers = client.filter(tokio_stream::iter(requests)).await.unwrap().into_inner();
    while answers.message().await.unwrap().is_some() {}
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_calls_batches_and_commits_and_no_address() {
    let (collector, mut received) = collector().await;
    let (_folder, process, address) = serve(&format!("http://{collector}"));
    let channel = connect(address).await;
    let revision = record(channel.clone()).await;
    filter(channel.clone()).await;
    let events = vec![grant(PHONE, START); caps::RECORD_EVENTS + 1];
    let mut client = ConsentServiceClient::new(channel.clone());
    let too_many = client.record(RecordRequest { events }).await.unwrap_err();
    drop(client);
    drop(channel);
    // What waits is sent when the server stops.
    terminate(&process);
    let (status, log) = end(process).await;
    assert!(status.success(), "{log}");
    let mut exports = Vec::new();
    while let Ok(Some(export)) = timeout(Duration::from_secs(1), received.recv()).await {
        exports.push(export);
    }

    for export in &exports {
        let bytes = String::from_utf8_lossy(export);
        for secret in ["5321234567", "lovelace", "127.0.0.1"] {
            assert!(!bytes.contains(secret), "{secret}: {bytes}");
        }
    }
    let exports: Vec<_> = exports.into_iter().map(|it| Export::decode(it).unwrap()).collect();
    let resources: Vec<_> = exports.iter().flat_map(|export| &export.resource_spans).collect();
    for resource in &resources {
        let attributes = &resource.resource.as_ref().unwrap().attributes;
        assert_eq!(text(attributes, "service.name"), Some("sendgate"));
    }
    let scopes = resources.iter().flat_map(|resource| &resource.scope_spans);
    let spans: Vec<&Span> = scopes.flat_map(|scope| &scope.spans).collect();
    let numbers = spans.iter().flat_map(|span| &span.attributes);
    let mut numbers = numbers.filter_map(|attribute| attribute.value.as_ref()?.number);
    assert!(numbers.all(|number| number != NUMBER as i64), "{spans:?}");
    let named = |name: &str| -> Vec<&Span> {
        spans.iter().copied().filter(|span| span.name == name).collect()
    };

    let calls = named("sendgate.v1.ConsentService/Record");
    let codes: Vec<_> = calls.iter().map(|call| call.number("rpc.grpc.status_code")).collect();
    assert_eq!(codes, [Some(0), Some(too_many.code() as i64)], "{spans:?}");
    assert_eq!(text(&calls[0].attributes, "rpc.method"), Some("Record"));
    assert_eq!((hex(&calls[0].trace), hex(&calls[0].parent)), (TRACE.into(), CALLER.into()));
    assert_eq!(calls[1].parent, Vec::<u8>::new(), "this one's caller named no trace");

    let [stream] = named("sendgate.v1.FilterService/Filter")[..] else { panic!("{spans:?}") };
    assert_eq!(stream.number("rpc.grpc.status_code"), Some(Code::Ok as i64));
    let [answered, refused] = named("batch")[..] else { panic!("{spans:?}") };
    for batch in [answered, refused] {
        assert_eq!((&batch.trace, &batch.parent), (&stream.trace, &stream.id));
        assert_eq!(batch.number("revision"), Some(revision as i64));
    }
    assert_eq!(answered.number("recipients"), Some(2));
    assert_eq!(answered.number("permitted"), Some(1));
    assert_eq!(text(&refused.attributes, "error"), Some("BATCH_ERROR_CODE_SEVERAL_COLUMNS"));
    assert_eq!(refused.number("permitted"), None);

    let [commit] = named("commit")[..] else { panic!("{spans:?}") };
    assert_eq!(commit.number("changes"), Some(1));
    assert_eq!(commit.number("revision"), Some(revision as i64));
    assert_eq!(spans.len(), 6, "{spans:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_never_answers_delays_the_stop_by_a_bound_and_nothing_else() {
    // Its backlog takes connections, and nobody reads from them.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (_folder, process, address) = serve(&format!("http://{}", silent.local_addr().unwrap()));
    let channel = connect(address).await;
    let patience = Duration::from_secs(30);
    timeout(patience, record(channel.clone())).await.unwrap();
    // More batches than spans may wait.
    for _ in 0..1_500 {
        timeout(patience, filter(channel.clone())).await.unwrap();
    }
    drop(channel);
    let begun = Instant::now();
    terminate(&process);
    let (status, log) = end(process).await;
    assert!(status.success(), "{log}");
    assert!(log.contains("the last traces could not be sent"), "{log}");
    assert!(begun.elapsed() < caps::DRAIN + caps::TRACES_END + caps::CUT, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_gone_or_cannot_be_keeps_nobody_from_being_answered() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (endpoint, is_tried) in
        [(format!("http://{gone}"), true), (format!("https://{gone}"), false), ("?".into(), false)]
    {
        let (_folder, process, address) = serve(&endpoint);
        let channel = connect(address).await;
        record(channel.clone()).await;
        filter(channel.clone()).await;
        drop(channel);
        terminate(&process);
        let (status, log) = end(process).await;
        assert!(status.success(), "{endpoint}: {log}");
        assert_eq!(log.contains("traces could not be sent"), is_tried, "{endpoint}: {log}");
    }
}
