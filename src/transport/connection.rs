//! A connection as the HTTP/2 side sees it. It ends itself when the peer never
//! begins to speak, or leaves answers unread.

use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    task::coop::unconstrained,
    time::{Instant, Sleep, sleep_until},
};
use tokio_rustls::server::TlsStream;

use super::{places::Place, traffic::Traffic};
use crate::caps;

/// Bytes that every HTTP/2 connection begins with. A keepalive watches over a
/// connection only once they are there.
const PREFACE: usize = 24;
/// How often unread answers are looked at, as a share of the time they have.
const LOOKS: u32 = 4;

/// Who is at the other end.
#[derive(Clone)]
pub(super) struct Peer {
    pub address: SocketAddr,
    pub traffic: Arc<Traffic>,
}

/// What carries the bytes.
pub(super) enum Carrier {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Carrier {
    /// What lies below TLS.
    fn socket(&mut self) -> Pin<&mut TcpStream> {
        Pin::new(match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_mut().0,
        })
    }
}

/// A connection that may be served.
pub(super) struct Connection {
    carrier: Carrier,
    peer: Peer,
    /// Bytes of the preface that have not come.
    preface_left: usize,
    timer: Pin<Box<Sleep>>,
    /// Time that an answer may stay unread.
    idle: Duration,
    /// It has said its last, and waits for the peer to hang up.
    is_lingering: bool,
    _place: Place,
}

impl Connection {
    /// A connection whose peer must begin to speak HTTP/2 by `begin`.
    pub fn new(
        carrier: Carrier,
        address: SocketAddr,
        place: Place,
        traffic: Arc<Traffic>,
        begin: Instant,
        idle: Duration,
    ) -> Self {
        Self {
            carrier,
            peer: Peer { address, traffic },
            preface_left: PREFACE,
            timer: Box::pin(sleep_until(begin)),
            idle,
            is_lingering: false,
            _place: place,
        }
    }

    pub fn peer(&self) -> Peer {
        self.peer.clone()
    }

    /// What the carrier says; an error in the place of waiting once the peer has
    /// had its time. While bytes come and go there is nothing to look at.
    fn or_end<T>(
        &mut self,
        said: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if said.is_pending() {
            self.look(context)?;
        }
        said
    }

    /// An error once the peer has had its time.
    fn look(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let peer = self.peer.address;
        let ended = |why| {
            tracing::info!(%peer, why, "a connection was closed");
            Err(io::Error::new(io::ErrorKind::TimedOut, why))
        };
        while self.is_time_over(context) {
            if self.preface_left > 0 {
                return ended("it did not begin to speak HTTP/2");
            }
            if self.peer.traffic.is_stalled(self.idle) {
                return ended("it left an answer unread");
            }
            let pause = (self.idle / LOOKS).max(Duration::from_millis(1));
            self.timer.as_mut().reset(Instant::now() + pause);
        }
        Ok(())
    }

    /// Whether the timer has run out; wakes the task if it has not. It is asked
    /// outside of tokio's budget: a peer that floods uses that up, and a timer
    /// within it would then not be looked at.
    fn is_time_over(&mut self, context: &mut Context<'_>) -> bool {
        pin!(unconstrained(self.timer.as_mut())).poll(context).is_ready()
    }

    /// Drops what still comes until the peer hangs up, or has had its time. A
    /// socket that is closed while bytes come answers them with a reset, and a
    /// reset takes from the peer what it has not read yet: the last answers, and
    /// the error that says why a stream ended.
    fn linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.is_time_over(context) {
            return Poll::Ready(());
        }
        let mut dropped = [0; 4 << 10];
        loop {
            let mut dropped = ReadBuf::new(&mut dropped);
            // It ends in any case: a budget is there for so many reads.
            ready!(self.carrier.socket().poll_read(context, &mut dropped)).ok();
            if dropped.filled().is_empty() {
                return Poll::Ready(());
            }
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = match &mut self.carrier {
            Carrier::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Carrier::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        };
        let came = buffer.filled().len() - before;
        self.preface_left = self.preface_left.saturating_sub(came);
        self.or_end(read, context)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = match &mut self.carrier {
            Carrier::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Carrier::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        };
        self.or_end(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = match &mut self.carrier {
            Carrier::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Carrier::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        };
        self.or_end(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.carrier {
            Carrier::Plain(stream) => stream.is_write_vectored(),
            Carrier::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = match &mut self.carrier {
            Carrier::Plain(stream) => Pin::new(stream).poll_flush(context),
            Carrier::Tls(stream) => Pin::new(stream).poll_flush(context),
        };
        self.or_end(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_lingering {
            let said = match &mut self.carrier {
                Carrier::Plain(stream) => Pin::new(stream).poll_shutdown(context),
                Carrier::Tls(stream) => Pin::new(stream).poll_shutdown(context),
            };
            ready!(self.or_end(said, context))?;
            self.is_lingering = true;
            self.timer.as_mut().reset(Instant::now() + caps::LINGER);
        }
        self.linger(context).map(Ok)
    }
}
