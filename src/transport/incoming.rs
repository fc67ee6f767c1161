//! The listener: connections are counted, TLS is agreed on beside each other,
//! and whoever is slow or too many is refused without holding up anybody else.

use std::{fmt, io, net::SocketAddr, sync::Arc};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep, timeout_at},
};
use tokio_rustls::TlsAcceptor;

use super::{
    connection::{Carrier, Connection},
    connections::Connections,
    places::{Full, Place},
    tls::Tls,
    traffic::Traffic,
};
use crate::caps::{self, Limits};

/// Connections that wait for the HTTP/2 side to take them: it is quick.
const READY: usize = 64;

/// Accepts connections, until the receiver of those that may be served is dropped.
pub(super) fn accept(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    limits: Limits,
    connections: Arc<Connections>,
) -> mpsc::Receiver<Connection> {
    let (ready, incoming) = mpsc::channel(READY);
    let acceptor = Acceptor {
        listener,
        tls,
        connections,
        limits,
        ready,
        greeting: JoinSet::new(),
        refused: Refused::default(),
    };
    tokio::spawn(acceptor.run());
    incoming
}

struct Acceptor {
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    connections: Arc<Connections>,
    limits: Limits,
    ready: mpsc::Sender<Connection>,
    /// Connections on their way to be served; they end with the listener.
    greeting: JoinSet<Result<(), Refusal>>,
    refused: Refused,
}

impl Acceptor {
    async fn run(mut self) {
        loop {
            tokio::select! {
                () = self.ready.closed() => return,
                Some(greeted) = self.greeting.join_next() => {
                    if let Ok(Err(refusal)) = greeted {
                        self.refuse(&refusal);
                    }
                }
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, address)) => {
                        if let Err(refusal) = self.greet(stream, address) {
                            self.refuse(&refusal);
                        }
                    }
                    // The peer left before its turn.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                    // Out of files or memory: the same error would come at once.
                    Err(error) => {
                        self.refuse(&Refusal::System(error));
                        sleep(caps::ACCEPT_PAUSE).await;
                    }
                }
            }
        }
    }

    fn refuse(&mut self, refusal: &Refusal) {
        self.connections.refuse(refusal);
        self.refused.log(refusal);
    }

    /// Counts a connection, and lets it agree on TLS in a task of its own.
    fn greet(&mut self, stream: TcpStream, address: SocketAddr) -> Result<(), Refusal> {
        let place = self.connections.places.take(address.ip()).map_err(|full| match full {
            Full::All => Refusal::Connections,
            Full::Peer => Refusal::PeerConnections(address),
        })?;
        let turn = match &self.tls {
            None => None,
            Some(tls) => {
                let turn = Arc::clone(&self.connections.handshakes).try_acquire_owned();
                Some((tls.config(), turn.map_err(|_| Refusal::Handshakes)?))
            }
        };
        // An answer must not wait for the next one to fill a packet.
        stream.set_nodelay(true).map_err(Refusal::System)?;
        let traffic = Traffic::new(&self.connections.totals, &self.limits);
        let begin = Instant::now() + self.limits.handshake;
        let (ready, idle) = (self.ready.clone(), self.limits.stream_idle);
        let connection = move |carrier, place: Place| {
            Connection::new(carrier, address, place, traffic, begin, idle)
        };
        self.greeting.spawn(async move {
            let carrier = match turn {
                None => Carrier::Plain(stream),
                Some((config, _turn)) => {
                    let agreed = TlsAcceptor::from(config).accept(stream);
                    let agreed = timeout_at(begin, agreed).await;
                    let failed = |why: String| Refusal::Handshake(address, why);
                    let stream = agreed
                        .map_err(|_| failed("it took too long".to_owned()))?
                        .map_err(|error| failed(error.to_string()))?;
                    Carrier::Tls(Box::new(stream))
                }
            };
            // An error means that the server is stopping.
            drop(ready.send(connection(carrier, place)).await);
            Ok(())
        });
        Ok(())
    }
}

/// Why a connection was refused.
pub(super) enum Refusal {
    Connections,
    PeerConnections(SocketAddr),
    Handshakes,
    Handshake(SocketAddr, String),
    System(io::Error),
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connections => formatter.write_str("too many connections"),
            Self::PeerConnections(peer) => {
                write!(formatter, "too many connections from {}", peer.ip())
            }
            Self::Handshakes => formatter.write_str("too many TLS handshakes at once"),
            Self::Handshake(peer, why) => write!(formatter, "no TLS with {}: {why}", peer.ip()),
            Self::System(error) => error.fmt(formatter),
        }
    }
}

/// Logs refused connections: the first at once, and then how many there
/// were, with the last one's reason: a flood must not become one of the log.
#[derive(Default)]
struct Refused {
    unsaid: u64,
    said: Option<Instant>,
}

impl Refused {
    fn log(&mut self, refusal: &Refusal) {
        self.unsaid += 1;
        let now = Instant::now();
        if self.said.is_none_or(|said| now - said >= caps::REFUSALS_LOGGED) {
            tracing::warn!(count = self.unsaid, last = %refusal, "connections were refused");
            self.said = Some(now);
            self.unsaid = 0;
        }
    }
}
