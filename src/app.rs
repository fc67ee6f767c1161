//! The server put together: books, writer, services, listener, and their end.

mod error;
mod heads;

use std::{
    net::SocketAddr,
    path::PathBuf,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::TcpListener,
    sync::{Semaphore, oneshot, watch},
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep, sleep_until},
};

pub use self::error::AppError;
use self::heads::Heads;
use crate::{
    audit::{Audit, Row, TokensInForce},
    caps::{self, Limits},
    clock::Clock,
    ending::vital,
    health::{Check, Health},
    http::{Http, Seen, Serving},
    reader::Reader,
    recovery,
    service::{PlanesMemory, Services, Streams, Tally},
    tokens::Tokens,
    transport::{self, Connections, Tls, TlsFiles},
    writer::{self, Published, Writer},
};

/// What a server needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The folder of the store; made if it is missing.
    pub folder: PathBuf,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where to tell of health and metrics over HTTP; none for nowhere.
    pub http: Option<SocketAddr>,
    /// The files of TLS; none to listen without.
    pub tls: Option<TlsFiles>,
    /// The limits of connections and streams.
    pub limits: Limits,
    /// The clock.
    pub clock: Clock,
}

/// A running server.
pub struct Server {
    address: SocketAddr,
    http: Option<(SocketAddr, Http)>,
    revision: u64,
    tls: Option<Arc<Tls>>,
    stopping: watch::Sender<bool>,
    cutting: watch::Sender<bool>,
    stop: oneshot::Sender<()>,
    heads: Arc<Heads>,
    /// What tells health.
    telling: JoinSet<()>,
    /// What happens from time to time. Both are aborted when dropped: they must
    /// not keep the store open.
    ticking: JoinSet<()>,
    /// Turns true when one of these or the transport has ended.
    ended: watch::Receiver<bool>,
    transport: JoinHandle<()>,
    writer: Writer,
    health: Arc<Health>,
    drain: Duration,
}

impl Server {
    /// Opens the store, brings it up to date, and serves. Calls are answered
    /// from the first one on: only health and metrics are told before the store
    /// is ready. Needs a runtime of several threads: long batches leave the one
    /// they are on.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn start(config: Config) -> Result<Self, AppError> {
        let Config { folder, listen, http, tls, limits, clock } = config;
        let started = clock.now();
        let (health, health_service) = Health::new().await;
        let health = Arc::new(health);
        let seen = Arc::new(Seen::new(started, folder.clone(), Arc::clone(&health)));
        let http = match http {
            Some(address) => Some(listen_http(address, &seen).await?),
            None => None,
        };
        let tls = tls.map(|files| Tls::open(files, clock.clone())).transpose();
        let tls = tls.map_err(AppError::Tls)?.map(Arc::new);
        let audit = Arc::new(Audit::new(&folder, clock.clone()));
        let opening = move || {
            let books = recovery::open(&folder, clock.clone())?;
            let tokens = Tokens::open(&folder, clock).map_err(AppError::Tokens)?;
            Ok::<_, AppError>((books, tokens))
        };
        let opened = tokio::task::spawn_blocking(opening).await;
        let (books, tokens) = opened.map_err(|error| AppError::Start(error.to_string()))??;
        let tokens = Arc::new(tokens);
        let listener =
            TcpListener::bind(listen).await.map_err(|error| AppError::Listen(listen, error))?;
        let address = listener.local_addr().map_err(|error| AppError::Listen(listen, error))?;

        let revision = books.view.revision;
        let reader = Reader::new(Arc::clone(&books.store));
        let published = Arc::new(Published::of(&books));
        let queue = writer::Limits {
            queued_tasks: caps::QUEUED_TASKS,
            queued_changes: caps::QUEUED_CHANGES,
            group_changes: caps::GROUP_CHANGES,
        };
        let writer = Writer::start(books, Arc::clone(&published), queue)
            .map_err(|error| AppError::Start(error.to_string()))?;
        let heads = Arc::new(Heads {
            published: Arc::clone(&published),
            reader: reader.clone(),
            audit: Arc::clone(&audit),
        });
        heads.record("start")?;
        tell_tokens(&tokens, &audit)?;
        let (stopping, is_stopping) = watch::channel(false);
        let (cutting, is_cutting) = watch::channel(false);
        let connections = Arc::new(Connections::within(&limits));
        let (decided, restored) = (Arc::clone(&published), published.restoration());
        let services = Services {
            published,
            writer: writer.handle(),
            reader,
            streams: Arc::new(Streams::default()),
            tally: Arc::new(Tally::default()),
            planes_memory: Arc::new(PlanesMemory::default()),
            room: Arc::new(Semaphore::new(limits.filter_kib)),
            reaches: Arc::new(Semaphore::new(caps::REACHES)),
            exports: Arc::new(Semaphore::new(caps::EXPORTS)),
            watches: Arc::new(Semaphore::new(caps::WATCHES)),
            audit,
            tokens: Arc::clone(&tokens),
            started,
            stopping: is_stopping,
            cutting: is_cutting,
        };
        let serving = Serving {
            services: services.clone(),
            connections: Arc::clone(&connections),
            tls: tls.clone(),
        };
        seen.serving(serving);
        let routes = services.routes(health_service);
        let routes = routes.map_err(|error| AppError::Start(error.to_string()))?;
        let (mut telling, mut ticking) = (JoinSet::new(), JoinSet::new());
        if restored.is_some_and(|restored| restored.is_undecided()) {
            // It takes withdrawals, and filters nothing (A1).
            tracing::warn!(
                "the store was restored from a backup and filters nothing: replay what came after \
                 it, then `sendgate restore accept`"
            );
            health.fail(Check::Restore).await;
            let health = Arc::clone(&health);
            telling.spawn(async move {
                decided.decided().await;
                health.pass(Check::Restore).await;
            });
        }
        health.pass(Check::Store).await;
        let (mut ended, its) = (writer.ended(), Arc::clone(&health));
        telling.spawn(async move {
            // An error means that the writer is gone, which is the same.
            drop(ended.wait_for(|ended| *ended).await);
            its.fail(Check::Writer).await;
        });

        let (stop, stopped) = oneshot::channel();
        let (ending, ended) = watch::channel(false);
        if let Some(tls) = &tls {
            ticking.spawn(vital(ending.clone(), Arc::clone(tls).keep(limits.tls_reload)));
        }
        let drain = limits.drain;
        let transport =
            transport::serve(listener, tls.clone(), limits, connections, routes, async {
                // An error means that the server was dropped: stop as well.
                drop(stopped.await);
            });
        let transport = tokio::spawn(vital(ending.clone(), transport));
        ticking.spawn(vital(ending.clone(), Arc::clone(&heads).keep()));
        ticking.spawn(vital(ending, expire(tokens)));
        Ok(Self {
            address,
            http,
            revision,
            tls,
            stopping,
            cutting,
            stop,
            heads,
            telling,
            ticking,
            ended,
            transport,
            writer,
            health,
            drain,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it tells of health and metrics.
    #[must_use]
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(|(address, _)| *address)
    }

    /// The revision that it started from.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Takes the files of TLS anew, for the connections that come from now on.
    pub async fn reload_certificates(&self) {
        let Some(tls) = self.tls.clone() else { return };
        // A panic there has been printed.
        drop(tokio::task::spawn_blocking(move || tls.reload(true)).await);
    }

    /// Returns once a part has ended that the server cannot do without.
    pub async fn failed(&self) {
        let (mut writer, mut others) = (self.writer.ended(), self.ended.clone());
        // An error means that the part is gone, which is the same.
        tokio::select! {
            _ = writer.wait_for(|ended| *ended) => {}
            _ = others.wait_for(|ended| *ended) => {}
        }
    }

    /// The revision of what it serves now.
    #[must_use]
    pub fn current_revision(&self) -> u64 {
        self.heads.published.load().revision
    }

    /// Returns once the writer has answered.
    ///
    /// # Errors
    /// The writer has ended.
    pub async fn ping_writer(&self) -> Result<(), AppError> {
        self.writer.handle().ping().await.map_err(|_| AppError::Writer)
    }

    /// Says that it is not serving, lets open streams end, writes a checkpoint,
    /// and ends, all within the deadline.
    ///
    /// # Errors
    /// The writer had failed, or another part: [`AppError::Writer`] and
    /// [`AppError::Part`].
    pub async fn stop(self) -> Result<(), AppError> {
        self.stop_or_hurry(std::future::pending()).await
    }

    /// As [`stop`](Self::stop). Once `hurry` is there, it waits for no stream
    /// and leaves the checkpoint as it is: what was acknowledged is in the
    /// ledger (A2), and the next start takes longer.
    ///
    /// # Errors
    /// As for [`stop`](Self::stop).
    pub async fn stop_or_hurry(mut self, hurry: impl Future<Output = ()>) -> Result<(), AppError> {
        let deadline = Instant::now() + self.drain;
        let failed = *self.writer.ended().borrow() || *self.ended.borrow();
        // To its end: what still said that filters serve would come after this.
        self.telling.shutdown().await;
        self.health.fail(Check::Running).await;
        if *self.writer.ended().borrow() {
            self.health.fail(Check::Writer).await;
        }
        // After a failure there is nothing to wait for (A10).
        let mut is_hurried = failed;
        let mut hurry = pin!(hurry);
        // Streams that would go on for ever end now.
        self.stopping.send_replace(true);
        // An error means that the transport has ended already.
        let _ = self.stop.send(());
        let mut transport = self.transport;
        // Half of the time is for the streams, the other for the checkpoint.
        let is_cut = is_hurried
            || tokio::select! {
                _ = &mut transport => false,
                () = sleep(self.drain / 2) => true,
                () = &mut hurry => {
                    is_hurried = true;
                    true
                }
            };
        if is_cut {
            // What clients still keep open ends now, between two batches, and the
            // audit log is told. After a failure, too: connections outlive the
            // transport, and their streams would be answered from the last view.
            self.cutting.send_replace(true);
            drop(tokio::time::timeout(caps::CUT, &mut transport).await);
        }
        transport.abort();
        // Until here tokens expired in open streams.
        self.ticking.shutdown().await;
        let flag = Arc::new(AtomicBool::new(is_hurried));
        let (writer, heads, hurried) = (self.writer, self.heads, Arc::clone(&flag));
        // Joining a thread waits; not on a thread that serves others.
        let mut stopping = tokio::task::spawn_blocking(move || {
            let stopped = writer.stop(hurried);
            heads.record_or_log("stop");
            stopped
        });
        let stopped = loop {
            tokio::select! {
                stopped = &mut stopping => break stopped,
                () = &mut hurry, if !is_hurried => is_hurried = true,
                () = sleep_until(deadline), if !is_hurried => is_hurried = true,
            }
            flag.store(true, Ordering::Relaxed);
        };
        if let Some((_, http)) = self.http {
            http.stop().await;
        }
        match stopped {
            Ok(Ok(())) if failed => Err(AppError::Part),
            Ok(Ok(())) => Ok(()),
            _ => Err(AppError::Writer),
        }
    }
}

/// Says who may call, however the tokens came to be: a hand may have changed
/// their file since the last stop.
fn tell_tokens(tokens: &Tokens, audit: &Audit) -> Result<(), AppError> {
    let required = !tokens.are_open();
    let tokens: Vec<String> = tokens.list().iter().map(ToString::to_string).collect();
    if required {
        tracing::info!(tokens = tokens.len(), "every call needs a token");
    } else {
        tracing::warn!(
            "there are no tokens: whoever reaches this address may do everything. Create the first \
             with `sendgate token create`"
        );
    }
    audit.record(&Row::Tokens(TokensInForce { required, tokens })).map_err(AppError::Audit)
}

/// Ends the open streams of tokens whose time is over.
async fn expire(tokens: Arc<Tokens>) {
    let mut seconds = tokio::time::interval(caps::TOKEN_EXPIRY);
    loop {
        seconds.tick().await;
        tokens.expire();
    }
}

/// Begins to tell of health and metrics.
async fn listen_http(
    address: SocketAddr,
    seen: &Arc<Seen>,
) -> Result<(SocketAddr, Http), AppError> {
    let failed = |error| AppError::ListenHttp(address, error);
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((address, Http::start(listener, Arc::clone(seen))))
}
