//! The listener for those who run the server: `/livez`, `/readyz` and
//! `/metrics` over HTTP/1.1.
//!
//! It listens before the store is opened, and asks for no token: it shows
//! counts, and names of brands and scopes, and never an address
//! (`docs/security.md`). It answers once a connection, so that one limit of
//! time bounds whatever a peer does with it.

mod seen;

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode, body::Incoming, header, server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};

pub use self::seen::{Seen, Serving};
use crate::{caps, health::Check};

/// The running listener. It ends when stopped or dropped.
pub struct Http {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Http {
    /// Starts answering.
    #[must_use]
    pub fn start(listener: TcpListener, seen: Arc<Seen>) -> Self {
        let (stop, stopped) = oneshot::channel();
        Self { stop, task: tokio::spawn(accept(listener, seen, stopped)) }
    }

    /// Ends it, with whatever answer is under way: afterwards nothing of the
    /// server is in its hands.
    pub async fn stop(self) {
        drop(self.stop);
        // A panic there has been printed.
        drop(self.task.await);
    }
}

async fn accept(listener: TcpListener, seen: Arc<Seen>, mut stopped: oneshot::Receiver<()>) {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            Some(_) = open.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if open.len() < caps::HTTP_CONNECTIONS => {
                    open.spawn(serve(stream, Arc::clone(&seen)));
                }
                // Closed at once: probes come again.
                Ok(_) => {}
                // No file or memory for it: the same error would come at once.
                Err(_) => sleep(caps::ACCEPT_PAUSE).await,
            }
        }
    }
    open.shutdown().await;
}

/// Answers one request.
async fn serve(stream: TcpStream, seen: Arc<Seen>) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let response = respond(&seen, request.method(), request.uri());
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(caps::HTTP_HEADER_BYTES)
        .timer(TokioTimer::new())
        .header_read_timeout(caps::HTTP_TIME)
        .serve_connection(TokioIo::new(stream), answer);
    // What a peer did wrong is answered by hyper or by the end of it.
    drop(timeout(caps::HTTP_TIME, connection).await);
}

fn respond(seen: &Seen, method: &Method, uri: &hyper::Uri) -> Response<Full<Bytes>> {
    let is_verbose = uri.query() == Some("verbose");
    let (status, body) = match uri.path() {
        "/livez" | "/readyz" | "/metrics" if !matches!(*method, Method::GET | Method::HEAD) => {
            (StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".to_owned())
        }
        // Whoever gets an answer has it from a process that lives.
        "/livez" => (StatusCode::OK, "ok\n".to_owned()),
        "/readyz" => ready(seen, is_verbose),
        // It walks planes and asks the system.
        "/metrics" => (StatusCode::OK, tokio::task::block_in_place(|| seen.page())),
        _ => (StatusCode::NOT_FOUND, "there are /livez, /readyz and /metrics\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let text = "text/plain; version=0.0.4; charset=utf-8";
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(text));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
    }
    response
}

fn ready(seen: &Seen, is_verbose: bool) -> (StatusCode, String) {
    let failing = seen.health().failing();
    let status = if failing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let line = |check: Check| match (failing.contains(&check), is_verbose) {
        (true, true) => format!("[-] {}: {}\n", check.name(), check.trouble()),
        (true, false) => format!("{}\n", check.trouble()),
        (false, true) => format!("[+] {}\n", check.name()),
        (false, false) => String::new(),
    };
    let body: String = Check::ALL.into_iter().map(line).collect();
    (status, if body.is_empty() { "ready\n".to_owned() } else { body })
}
