//! `/livez` and `/readyz`, and that gRPC's health service says the same.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use sendgate::{
    app::{AppError, Config, Server},
    caps::{self, Limits},
    clock::Clock,
    health::{Check, Health},
    http::{Http, Seen},
    proto::v1::{AnswerForm, ContactKind},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::support::{Asking, TestServer, options, phones};

/// What the listener says to this request, and whether it was 200 OK.
pub async fn get(address: SocketAddr, path: &str) -> (bool, String) {
    let (head, body) = ask(address, &format!("GET {path} HTTP/1.1\r\nhost: it\r\n\r\n")).await;
    (head.starts_with("HTTP/1.1 200 "), body)
}

/// Sends these bytes and reads to the end; the head of the answer, and the rest.
async fn ask(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A listener that is full or refuses may close before it has read.
    drop(stream.write_all(request.as_bytes()).await);
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer).await);
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (head.to_owned(), body.to_owned())
}

async fn grpc(server: &TestServer, service: &str) -> ServingStatus {
    let request = HealthCheckRequest { service: service.to_owned() };
    HealthClient::new(server.channel()).check(request).await.unwrap().into_inner().status()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_serves_lives_and_is_ready() {
    let server = TestServer::start().await;
    assert_eq!(get(server.http(), "/livez").await, (true, "ok\n".to_owned()));
    assert_eq!(get(server.http(), "/readyz").await, (true, "ready\n".to_owned()));
    let all = "[+] store\n[+] restore\n[+] writer\n[+] running\n";
    assert_eq!(get(server.http(), "/readyz?verbose").await, (true, all.to_owned()));
    assert_eq!(grpc(&server, "").await, ServingStatus::Serving);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_paths_methods_and_heads_are_refused() {
    let server = TestServer::start().await;
    let status = async |request: &str| {
        let (head, body) = ask(server.http(), request).await;
        (head.split(' ').nth(1).unwrap_or_default().to_owned(), head.to_lowercase(), body)
    };
    for path in ["/", "/metrics/", "/livezz", "/..%2fmetrics", "/sendgate.v1.AdminService/Purge"] {
        assert_eq!(status(&format!("GET {path} HTTP/1.1\r\nhost: it\r\n\r\n")).await.0, "404");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let request =
            format!("{method} /metrics HTTP/1.1\r\nhost: it\r\ncontent-length: 0\r\n\r\n");
        let (code, head, _) = status(&request).await;
        assert_eq!(code, "405", "{method}");
        assert!(head.contains("allow: get, head"), "{head}");
    }
    let (code, head, body) = status("HEAD /livez HTTP/1.1\r\nhost: it\r\n\r\n").await;
    assert_eq!((code.as_str(), body.as_str()), ("200", ""));
    assert!(head.contains("content-length: 3"), "{head}");
    assert_eq!(status("nonsense\r\n\r\n").await.0, "400");
    let head = |bytes: usize| {
        let lines = "x: y\r\n".repeat(20);
        format!("GET /livez HTTP/1.1\r\nhost: {}\r\n{lines}\r\n", "a".repeat(bytes))
    };
    assert_eq!(status(&head(caps::HTTP_HEADER_BYTES - 1_024)).await.0, "200");
    assert_eq!(status(&head(caps::HTTP_HEADER_BYTES + 1_024)).await.0, "431");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_above_the_cap_are_closed_and_those_that_end_make_room() {
    let server = TestServer::start().await;
    let mut idle = Vec::new();
    for _ in 0..caps::HTTP_CONNECTIONS {
        idle.push(TcpStream::connect(server.http()).await.unwrap());
    }
    assert_eq!(get(server.http(), "/livez").await, (false, String::new()), "one too many");
    idle.pop();
    let answered = async {
        while !get(server.http(), "/livez").await.0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), answered).await.expect("no room came free");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_check_alone_makes_it_not_ready_and_says_why() {
    let (health, _service) = Health::new().await;
    let health = Arc::new(health);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let seen = Seen::new(0, folder.path().to_owned(), Arc::clone(&health));
    let http = Http::start(listener, Arc::new(seen));
    // As it begins: the store is not open yet.
    let (is_ready, body) = get(address, "/readyz").await;
    assert!(!is_ready && body.starts_with("recovering"), "{body}");
    assert!(get(address, "/livez").await.0);
    health.pass(Check::Store).await;
    assert!(get(address, "/readyz").await.0);
    for check in Check::ALL {
        health.fail(check).await;
        let (is_ready, body) = get(address, "/readyz").await;
        assert_eq!((is_ready, body), (false, format!("{}\n", check.trouble())));
        let (_, body) = get(address, "/readyz?verbose").await;
        assert_eq!(body.matches("[+] ").count(), Check::ALL.len() - 1, "{body}");
        assert!(body.contains(&format!("[-] {}: {}\n", check.name(), check.trouble())), "{body}");
        let (_, page) = get(address, "/metrics").await;
        let failing = format!("sendgate_check_failing{{check=\"{}\"}} 1\n", check.name());
        assert!(page.contains("\nsendgate_ready 0\n") && page.contains(&failing), "{page}");
        health.pass(check).await;
    }
    http.stop().await;
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_streams_drain_it_lives_and_is_not_ready_and_watchers_hear_of_it() {
    let mut server = TestServer::start().await;
    let address = server.http();
    let request = HealthCheckRequest { service: "sendgate.v1.FilterService".to_owned() };
    let watching = HealthClient::new(server.connect().await).watch(request).await;
    let mut watching = watching.unwrap().into_inner();
    let first = watching.message().await.unwrap().unwrap().status();
    assert_eq!(first, ServingStatus::Serving);

    let options = options(ContactKind::Phone, "sms", AnswerForm::Reasons);
    let mut asking = Asking::open(&server, options).await;
    asking.ask(phones(1, &[905_321_234_567])).await;
    let stopping = tokio::spawn(async move { server.stop().await });
    let next = tokio::time::timeout(Duration::from_secs(60), watching.message()).await;
    let next = next.expect("watchers hear nothing").unwrap().unwrap().status();
    assert_eq!(next, ServingStatus::NotServing);
    let (is_ready, body) = get(address, "/readyz").await;
    assert_eq!((is_ready, body.as_str()), (false, "the server is stopping\n"));
    assert!(get(address, "/livez").await.0);
    asking.end().await;
    drop(watching);
    stopping.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_a_clear_error_before_the_store_is_touched() {
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = other.local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        folder: folder.path().join("data"),
        listen: "127.0.0.1:0".parse().unwrap(),
        http: Some(address),
        tls: None,
        limits: Limits::default(),
        clock: Clock::System,
    };
    let Err(error) = Server::start(config).await else { panic!("it took the other's port") };
    assert!(matches!(error, AppError::ListenHttp(at, _) if at == address));
    let text = error.to_string();
    assert!(text.contains(&address.to_string()) && text.contains("--http-listen"), "{text}");
    assert!(!folder.path().join("data").exists());
}
