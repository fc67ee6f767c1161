//! Between the network and the services: connections, TLS, HTTP/2 and their
//! limits (F14, F15, F18).

mod connection;
mod connections;
mod files;
mod framing;
mod incoming;
mod pace;
mod pem;
mod places;
mod tls;
mod traffic;

use std::{convert::Infallible, future::Future, sync::Arc};

use tokio::net::TcpListener;
use tonic::{
    body::Body,
    codegen::http::{Request, Response},
    transport::{Error, Server},
};
use tower::Service;

use self::pace::PaceLayer;
pub use self::{
    connection::Peer,
    connections::Connections,
    pem::TlsError,
    tls::{Tls, TlsFiles},
};
use crate::caps::{self, Limits};

/// Serves until `stop`, and then until open streams have ended.
///
/// # Errors
/// None that a connection causes.
pub async fn serve<S>(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    limits: Limits,
    connections: Arc<Connections>,
    services: S,
    stop: impl Future<Output = ()>,
) -> Result<(), Error>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    // Every option of HTTP/2 is stated: what is left out, tonic passes on as
    // "none", which removes the defaults that hyper holds for safe.
    Server::builder()
        .accept_http1(false)
        .max_concurrent_streams(caps::STREAMS)
        .http2_max_pending_accept_reset_streams(Some(caps::PENDING_RESETS))
        .http2_max_local_error_reset_streams(Some(caps::ERROR_RESETS))
        .http2_max_header_list_size(caps::HEADER_BYTES)
        .max_frame_size(caps::FRAME_BYTES)
        .initial_stream_window_size(caps::STREAM_WINDOW)
        .initial_connection_window_size(caps::CONNECTION_WINDOW)
        // Would override the windows.
        .http2_adaptive_window(Some(false))
        .http2_keepalive_interval(Some(caps::KEEPALIVE))
        .http2_keepalive_timeout(Some(caps::KEEPALIVE_ANSWER))
        // Left out: an age of connections, because a new call of tonic's own
        // client failed on a connection that was asked to end while a stream was
        // open on it (streams have an age instead); a timeout of calls, because
        // `pace` times messages and some acts are long; a limit of calls on a
        // connection, which its streams are; what TCP needs, which the listener
        // sets.
        .layer(PaceLayer::new(&limits))
        .serve_with_incoming_shutdown(
            services,
            incoming::accept(listener, tls, limits, connections),
            stop,
        )
        .await
}
