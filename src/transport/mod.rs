//! Between the network and the services: connections, TLS, HTTP/2 and their
//! limits (F14, F15, F18).

mod connection;
mod connections;
mod expiry;
mod files;
mod framing;
mod incoming;
mod pace;
mod pem;
mod places;
mod tls;
mod traffic;

use std::{convert::Infallible, future::Future, pin::pin, sync::Arc};

use hyper::{server::conn::http2, service::Service};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::net::TcpListener;
use tonic::{
    body::Body,
    codegen::http::{Request, Response},
};

use self::pace::Paced;
pub use self::{
    connections::Connections,
    pem::TlsError,
    tls::{Tls, TlsFiles},
};
use crate::caps::{self, Limits};

/// Serves until `stop`, and then until open streams have ended. Connections
/// outlive it if it is dropped before.
///
/// hyper serves, which tonic's server would do as well: its layers between the
/// two cost a short call several thousand instructions.
pub async fn serve<S>(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    limits: Limits,
    connections: Arc<Connections>,
    services: S,
    stop: impl Future<Output = ()>,
) where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .max_concurrent_streams(caps::STREAMS)
        .max_pending_accept_reset_streams(caps::PENDING_RESETS)
        .max_local_error_reset_streams(caps::ERROR_RESETS)
        .max_header_list_size(caps::HEADER_BYTES)
        .max_frame_size(caps::FRAME_BYTES)
        .initial_stream_window_size(caps::STREAM_WINDOW)
        .initial_connection_window_size(caps::CONNECTION_WINDOW)
        .keep_alive_interval(caps::KEEPALIVE)
        .keep_alive_timeout(caps::KEEPALIVE_ANSWER);
    // Left out: adaptive windows, which would override these; an age of
    // connections, because a new call of tonic's own client failed on a
    // connection that was asked to end while a stream was open on it (streams
    // have an age instead); a limit of calls on a connection, which its streams
    // are; what TCP needs, which the listener sets.
    let open = GracefulShutdown::new();
    let mut incoming = incoming::accept(listener, tls, limits.clone(), connections);
    let mut stop = pin!(stop);
    loop {
        let connection = tokio::select! {
            () = &mut stop => break,
            connection = incoming.recv() => connection,
        };
        // The listener is over before its time. Nobody waits for streams now: the
        // server ends with it (A10).
        let Some(connection) = connection else { return };
        let services = Paced::new(services.clone(), connection.peer(), &limits);
        let serving = open.watch(http.serve_connection(TokioIo::new(connection), services));
        tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::debug!(%error, "a connection ended");
            }
        });
    }
    // Nobody can connect any more.
    drop(incoming);
    open.shutdown().await;
}
