//! The server put together: books, writer, services, listener, and their end.

use std::{fmt, io, net::SocketAddr, path::PathBuf, sync::Arc};

use tokio::{
    net::TcpListener,
    sync::{Semaphore, oneshot, watch},
    task::JoinHandle,
};
use tonic::transport::{Server as Transport, server::TcpIncoming};
use tonic_health::ServingStatus;

use crate::{
    caps,
    clock::Clock,
    reader::Reader,
    recovery,
    service::{Services, Streams},
    store::StoreError,
    writer::{Limits, Published, Writer},
};

/// What a server needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The folder of the store; made if it is missing.
    pub folder: PathBuf,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The clock.
    pub clock: Clock,
}

/// Why a server did not start, or ended.
#[derive(Debug)]
pub enum AppError {
    /// The store is refused or failed.
    Store(StoreError),
    /// The address cannot be listened on.
    Listen(SocketAddr, io::Error),
    /// The system gave no thread, or the services could not be built.
    Start(String),
    /// The writer ended: what the disk holds is unknown until a restart (A10).
    Writer,
}

impl fmt::Display for AppError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(formatter),
            Self::Listen(address, error) => write!(
                formatter,
                "cannot listen on {address}: {error}. Another server may have the port; choose one \
                 with --listen"
            ),
            Self::Start(what) => write!(formatter, "the server could not start: {what}"),
            Self::Writer => formatter.write_str(
                "the ledger could not be written, so the server stopped. Look at the disk, then start \
                 it again: it recovers what was acknowledged",
            ),
        }
    }
}

impl std::error::Error for AppError {}

impl From<StoreError> for AppError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// A running server.
pub struct Server {
    address: SocketAddr,
    revision: u64,
    stop: oneshot::Sender<()>,
    transport: JoinHandle<Result<(), tonic::transport::Error>>,
    writer: Writer,
    health: tonic_health::server::HealthReporter,
}

impl Server {
    /// Opens the store, brings it up to date, and serves. It answers from the
    /// first request on: nothing listens before the store is ready. Needs a
    /// runtime of several threads: long batches leave the one they are on.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn start(config: Config) -> Result<Self, AppError> {
        let Config { folder, listen, clock } = config;
        let books = tokio::task::spawn_blocking(move || recovery::open(&folder, clock))
            .await
            .map_err(|error| AppError::Start(error.to_string()))??;
        let listener =
            TcpListener::bind(listen).await.map_err(|error| AppError::Listen(listen, error))?;
        let address = listener.local_addr().map_err(|error| AppError::Listen(listen, error))?;

        let revision = books.view.revision;
        let reader = Reader::new(Arc::clone(&books.store));
        let published = Arc::new(Published::new(books.view.clone()));
        let limits = Limits {
            queued_tasks: caps::QUEUED_TASKS,
            queued_changes: caps::QUEUED_CHANGES,
            group_changes: caps::GROUP_CHANGES,
        };
        let writer = Writer::start(books, Arc::clone(&published), limits)
            .map_err(|error| AppError::Start(error.to_string()))?;
        let services = Services {
            published,
            writer: writer.handle(),
            reader,
            streams: Arc::new(Streams::default()),
            room: Arc::new(Semaphore::new(caps::FILTER_KIB)),
        };
        let (health, health_service) = tonic_health::server::health_reporter();
        let mut routes = services.routes().map_err(|error| AppError::Start(error.to_string()))?;
        routes.add_service(health_service);
        set_health(&health, ServingStatus::Serving).await;

        let (stop, stopped) = oneshot::channel();
        let transport = Transport::builder()
            .max_concurrent_streams(caps::STREAMS)
            .http2_max_local_error_reset_streams(Some(caps::ERROR_RESETS))
            .http2_max_header_list_size(caps::HEADER_BYTES)
            .http2_keepalive_interval(Some(caps::KEEPALIVE))
            .http2_keepalive_timeout(Some(caps::KEEPALIVE_ANSWER))
            .initial_stream_window_size(caps::STREAM_WINDOW)
            .initial_connection_window_size(caps::CONNECTION_WINDOW)
            .add_routes(routes.routes())
            .serve_with_incoming_shutdown(
                TcpIncoming::from(listener).with_nodelay(Some(true)),
                async {
                    // An error means that the server was dropped: stop as well.
                    drop(stopped.await);
                },
            );
        let transport = tokio::spawn(transport);
        Ok(Self { address, revision, stop, transport, writer, health })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The revision that it started from.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Turns true once the writer has failed.
    pub fn failed(&self) -> watch::Receiver<bool> {
        self.writer.ended()
    }

    /// Says that it is not serving, lets open streams end, writes a checkpoint,
    /// and ends.
    ///
    /// # Errors
    /// The writer had failed: [`AppError::Writer`].
    pub async fn stop(self) -> Result<(), AppError> {
        set_health(&self.health, ServingStatus::NotServing).await;
        let failed = *self.writer.ended().borrow();
        // An error means that the transport has ended already.
        let _ = self.stop.send(());
        let mut transport = self.transport;
        // After a failed write there is nothing to wait for (A10).
        if failed || tokio::time::timeout(caps::DRAIN, &mut transport).await.is_err() {
            transport.abort();
        }
        let writer = self.writer;
        // Joining a thread waits; not on a thread that serves others.
        let stopped = tokio::task::spawn_blocking(move || writer.stop()).await;
        if matches!(stopped, Ok(Ok(()))) { Ok(()) } else { Err(AppError::Writer) }
    }
}

async fn set_health(health: &tonic_health::server::HealthReporter, status: ServingStatus) {
    for service in
        ["", "sendgate.v1.FilterService", "sendgate.v1.ConsentService", "sendgate.v1.AdminService"]
    {
        health.set_service_status(service, status).await;
    }
}
