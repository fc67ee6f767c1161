//! Calls as HTTP/2 carries them: paths that name nothing, and deadlines, which
//! the server keeps whatever the client does.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::{Request, body::Body, client::conn::http2, header::CONTENT_TYPE};
use hyper_util::rt::{TokioExecutor, TokioIo};
use sendgate::{
    caps::Limits,
    proto::v1::{CheckRequest, RecipientType, Revision, WatchRequest},
};
use tokio::{net::TcpStream, time::timeout};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::{
    raw::{FILTER, LONG, message},
    support::{TestServer, phone, scope},
};

/// Makes a call without a client library that would help; returns its end, and
/// whether that came with the headers.
async fn call<B>(server: &TestServer, path: &str, deadline: Option<&str>, body: B) -> (Status, bool)
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + Unpin,
    B: 'static,
{
    let stream = TcpStream::connect(server.address()).await.unwrap();
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::post(format!("http://{}{path}", server.address()))
        .header(CONTENT_TYPE, "application/grpc")
        .header("te", "trailers");
    if let Some(deadline) = deadline {
        request = request.header("grpc-timeout", deadline);
    }
    let answer = sender.send_request(request.body(body).unwrap());
    let answer = timeout(LONG, answer).await.expect("no answer").unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    assert_eq!(answer.headers()[CONTENT_TYPE], "application/grpc", "{path}");
    if let Some(status) = Status::from_header_map(answer.headers()) {
        return (status, true);
    }
    let rest = timeout(LONG, answer.into_body().collect()).await.expect("no end").unwrap();
    (Status::from_header_map(rest.trailers().unwrap()).unwrap(), false)
}

fn reason(status: &Status) -> (Code, String) {
    (status.code(), status.get_details_error_info().unwrap().reason)
}

/// A body that never ends.
fn endless() -> impl Body<Data = Bytes, Error = std::convert::Infallible> + Send + Unpin {
    StreamBody::new(tokio_stream::pending())
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_that_name_no_method_are_unimplemented() {
    let server = TestServer::start().await;
    for path in [
        "/",
        "/sendgate.v1.FilterService",
        "/sendgate.v1.FilterService/",
        "/sendgate.v1.FilterService/check",
        "/sendgate.v1.FilterService/Check/",
        "/sendgate.v1.NoService/Check",
        "//Check",
        "/grpc.health.v1.Health/No",
    ] {
        let (status, with_headers) = call(&server, path, None, Full::new(Bytes::new())).await;
        assert_eq!(status.code(), Code::Unimplemented, "{path}: {status:?}");
        assert!(with_headers, "{path}");
    }
}

/// A check at the revision after the last: it waits for that some seconds.
async fn waiting(server: &TestServer) -> Full<Bytes> {
    let asked = CheckRequest {
        brand: "main".to_owned(),
        contact: Some(phone("+905321234567")),
        scope: Some(scope(RecipientType::Individual, "sms", "marketing")),
        ..CheckRequest::default()
    };
    let revision = server.filter().check(asked.clone()).await.unwrap().into_inner().revision;
    let later = revision.map(|revision| Revision { revision: revision.revision + 1, ..revision });
    Full::new(message(&CheckRequest { minimum_revision: later, ..asked }).into())
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlines_end_calls_on_the_server() {
    let server = TestServer::start().await;
    let check = "/sendgate.v1.FilterService/Check";
    let watching = message(&WatchRequest { brand: "main".to_owned(), ..WatchRequest::default() });

    let soon = Some("300m");
    let watch = "/sendgate.v1.ConsentService/Watch";
    let ends = [
        // The request does not come, the answer does not begin, and does not end.
        (call(&server, FILTER, soon, endless()).await, false),
        (call(&server, check, soon, endless()).await, true),
        (call(&server, check, soon, waiting(&server).await).await, true),
        (call(&server, watch, soon, Full::new(Bytes::from(watching))).await, false),
    ];
    for (at, ((status, with_headers), due)) in ends.into_iter().enumerate() {
        assert_eq!(reason(&status), (Code::DeadlineExceeded, "DEADLINE".to_owned()), "{at}");
        assert_eq!(with_headers, due, "{at}");
    }
    // The age of streams, which ends no such call, comes sooner.
    let limits = Limits { stream_age: Duration::from_millis(50), ..Limits::default() };
    let server = TestServer::limited(limits).await;
    let (status, _) = call(&server, check, soon, waiting(&server).await).await;
    assert_eq!(reason(&status), (Code::DeadlineExceeded, "DEADLINE".to_owned()));

    let (status, _) = call(&server, check, Some("soon"), endless()).await;
    assert_eq!(reason(&status), (Code::InvalidArgument, "TIMEOUT_UNREADABLE".to_owned()));
}
