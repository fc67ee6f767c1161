//! What one connection keeps in the server's memory: requests that have not
//! come whole, and answers that its peer has not read.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Waker},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;

use crate::caps::{self, Limits};

/// Bytes that all connections keep, one way.
#[derive(Default)]
pub(super) struct Totals {
    received: AtomicUsize,
    unread: AtomicUsize,
}

impl Totals {
    /// Bytes of unfinished requests.
    pub fn received(&self) -> usize {
        self.received.load(Ordering::Relaxed)
    }

    /// Bytes of answers that are not read yet.
    pub fn unread(&self) -> usize {
        self.unread.load(Ordering::Relaxed)
    }
}

/// One connection's.
pub(super) struct Traffic {
    totals: Arc<Totals>,
    received: AtomicUsize,
    unread: Mutex<Unread>,
    most: usize,
    most_of_all: usize,
}

/// Answers on their way.
#[derive(Default)]
struct Unread {
    bytes: usize,
    /// When each piece was handed to the transport: the first is the oldest.
    pieces: BTreeMap<u64, Instant>,
    next: u64,
    /// Streams that wait until others of the connection have been read.
    waiting: Vec<Waker>,
}

impl Traffic {
    pub fn new(totals: &Arc<Totals>, limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            totals: Arc::clone(totals),
            received: AtomicUsize::new(0),
            unread: Mutex::default(),
            most: limits.connection_bytes,
            most_of_all: limits.transport_bytes,
        })
    }

    /// Whether a connection that keeps `own` of `all` bytes may keep no more.
    /// One message is always allowed: who keeps little is not held up by others.
    fn is_full(&self, own: usize, all: usize) -> bool {
        own > caps::MESSAGE_BYTES.min(self.most) && (own > self.most || all > self.most_of_all)
    }

    /// Whether a stream must wait before it makes another answer; it is woken
    /// when one has been read.
    pub fn must_wait(&self, context: &Context<'_>) -> bool {
        let mut unread = self.unread();
        let is_full = self.is_full(unread.bytes, self.totals.unread.load(Ordering::Relaxed));
        // A stream may be asked many times before it is woken.
        if is_full && !unread.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
            unread.waiting.push(context.waker().clone());
        }
        is_full
    }

    /// An answer as it goes to the transport: it counts until it is written.
    pub fn track(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        if bytes.is_empty() {
            return bytes;
        }
        let mut unread = self.unread();
        let id = unread.next;
        unread.next += 1;
        unread.bytes += bytes.len();
        unread.pieces.insert(id, Instant::now());
        self.totals.unread.fetch_add(bytes.len(), Ordering::Relaxed);
        drop(unread);
        Bytes::from_owner(Piece { id, bytes, traffic: Arc::clone(self) })
    }

    /// Whether the peer has left an answer unread for this long.
    pub fn is_stalled(&self, idle: Duration) -> bool {
        self.unread().pieces.values().next().is_some_and(|handed| handed.elapsed() > idle)
    }

    fn unread(&self) -> MutexGuard<'_, Unread> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer on its way, or what is left of it.
struct Piece {
    id: u64,
    bytes: Bytes,
    traffic: Arc<Traffic>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let mut unread = self.traffic.unread();
        unread.pieces.remove(&self.id);
        unread.bytes -= self.bytes.len();
        self.traffic.totals.unread.fetch_sub(self.bytes.len(), Ordering::Relaxed);
        let waiting = std::mem::take(&mut unread.waiting);
        drop(unread);
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// What one request has received and not finished.
pub(super) struct Received {
    bytes: usize,
    traffic: Arc<Traffic>,
}

impl Received {
    pub fn nothing(traffic: Arc<Traffic>) -> Self {
        Self { bytes: 0, traffic }
    }

    /// Counts what is there now; false if that is too much.
    pub fn set(&mut self, bytes: usize) -> bool {
        let Traffic { totals, received, .. } = &*self.traffic;
        let (own, all) = if bytes >= self.bytes {
            let more = bytes - self.bytes;
            let own = received.fetch_add(more, Ordering::Relaxed) + more;
            (own, totals.received.fetch_add(more, Ordering::Relaxed) + more)
        } else {
            let less = self.bytes - bytes;
            received.fetch_sub(less, Ordering::Relaxed);
            totals.received.fetch_sub(less, Ordering::Relaxed);
            (0, 0)
        };
        self.bytes = bytes;
        !self.traffic.is_full(own, all)
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(connection_bytes: usize, transport_bytes: usize) -> Limits {
        Limits { connection_bytes, transport_bytes, ..Limits::default() }
    }

    fn must_wait(traffic: &Traffic) -> bool {
        traffic.must_wait(&Context::from_waker(Waker::noop()))
    }

    #[test]
    fn answers_count_until_the_last_piece_of_them_is_gone() {
        let totals = Arc::default();
        let traffic = Traffic::new(&totals, &limits(10, 100));
        let mut first = traffic.track(Bytes::from_static(b"0123456789"));
        assert!(!must_wait(&traffic), "ten bytes are just inside");
        let second = traffic.track(Bytes::from_static(b"x"));
        assert!(must_wait(&traffic), "eleven are outside");
        // The transport cuts frames off, and drops what is written.
        let written = first.split_to(4);
        drop(written);
        assert!(must_wait(&traffic));
        drop(first);
        assert!(!must_wait(&traffic));
        drop(second);
        assert_eq!(totals.unread.load(Ordering::Relaxed), 0);
        assert!(traffic.unread().pieces.is_empty());
    }

    #[test]
    fn one_connection_is_not_held_up_by_what_others_keep() {
        let totals = Arc::default();
        let limits = limits(2 * caps::MESSAGE_BYTES, 3 * caps::MESSAGE_BYTES);
        let greedy: Vec<_> = (0..4).map(|_| Traffic::new(&totals, &limits)).collect();
        let mut kept: Vec<Received> =
            greedy.iter().map(|traffic| Received::nothing(Arc::clone(traffic))).collect();
        let over = caps::MESSAGE_BYTES + 1;
        let fits: Vec<bool> = kept.iter_mut().map(|received| received.set(over)).collect();
        assert_eq!(fits, [true, true, false, false]);
        let modest = Traffic::new(&totals, &limits);
        let mut small = Received::nothing(modest);
        assert!(small.set(caps::MESSAGE_BYTES));
        drop((kept, small));
        assert_eq!(totals.received.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn unfinished_messages_may_keep_so_many_bytes() {
        const MESSAGE: usize = caps::MESSAGE_BYTES;
        let limits = Limits {
            connection_bytes: 2 * MESSAGE,
            transport_bytes: 3 * MESSAGE,
            ..Limits::default()
        };
        let totals = Arc::default();
        let [mut one, mut other] =
            [(); 2].map(|()| Received::nothing(Traffic::new(&totals, &limits)));
        for (bytes, fits) in
            [(2 * MESSAGE - 1, true), (2 * MESSAGE, true), (2 * MESSAGE + 1, false)]
        {
            assert_eq!(one.set(bytes), fits, "{bytes} of one connection");
        }
        // With what the other keeps these are three messages, but for a byte.
        other.set(MESSAGE + 1);
        for (bytes, fits) in
            [(2 * MESSAGE - 2, true), (2 * MESSAGE - 1, true), (2 * MESSAGE, false)]
        {
            assert_eq!(one.set(bytes), fits, "{bytes} of all connections");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_unread_answer_says_whether_the_peer_has_stalled() {
        let traffic = Traffic::new(&Arc::default(), &Limits::default());
        let idle = Duration::from_secs(60);
        let old = traffic.track(Bytes::from_static(b"a"));
        tokio::time::advance(Duration::from_secs(50)).await;
        let new = traffic.track(Bytes::from_static(b"b"));
        assert!(!traffic.is_stalled(idle));
        tokio::time::advance(Duration::from_secs(20)).await;
        assert!(traffic.is_stalled(idle));
        drop(old);
        assert!(!traffic.is_stalled(idle));
        drop(new);
    }
}
