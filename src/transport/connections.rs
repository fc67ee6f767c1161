//! Who is connected, and who was refused: what the listener shares with those
//! who watch it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use tokio::sync::Semaphore;

use super::{files, incoming::Refusal, places::Places, traffic::Totals};
use crate::caps::Limits;

/// The connections of one server.
pub struct Connections {
    pub(super) places: Arc<Places>,
    pub(super) totals: Arc<Totals>,
    pub(super) handshakes: Arc<Semaphore>,
    most_handshakes: usize,
    refused: [AtomicU64; REASONS.len()],
}

/// Why a connection may be refused, in the order of its counts.
const REASONS: [&str; 5] =
    ["connections", "peer_connections", "handshakes", "handshake_failed", "system"];

impl Connections {
    /// Room for connections, as far as the system has files for them.
    #[must_use]
    pub fn within(limits: &Limits) -> Self {
        let most = files::connections(limits.connections);
        Self {
            places: Places::new(most, limits.peer_connections),
            totals: Arc::default(),
            handshakes: Arc::new(Semaphore::new(limits.handshakes)),
            most_handshakes: limits.handshakes,
            refused: Default::default(),
        }
    }

    /// How many there are, by what they do.
    pub fn by_state(&self) -> impl Iterator<Item = (&'static str, usize)> {
        let greeting = self.most_handshakes.saturating_sub(self.handshakes.available_permits());
        let serving = self.places.taken().saturating_sub(greeting);
        [("handshake", greeting), ("serving", serving)].into_iter()
    }

    /// How many were refused since the start, by why.
    pub fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        REASONS.into_iter().zip(self.refused.iter().map(|count| count.load(Relaxed)))
    }

    /// Bytes that they keep in memory, by where they go.
    pub fn bytes(&self) -> impl Iterator<Item = (&'static str, usize)> {
        [("received", self.totals.received()), ("unread", self.totals.unread())].into_iter()
    }

    pub(super) fn refuse(&self, refusal: &Refusal) {
        let [all, peer, handshakes, handshake, system] = &self.refused;
        let count = match refusal {
            Refusal::Connections => all,
            Refusal::PeerConnections(_) => peer,
            Refusal::Handshakes => handshakes,
            Refusal::Handshake(..) => handshake,
            Refusal::System(_) => system,
        };
        count.fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_counts_under_its_reason() {
        let connections = Connections::within(&Limits::default());
        let peer = "127.0.0.1:1".parse().unwrap();
        let refusals = [
            Refusal::Connections,
            Refusal::PeerConnections(peer),
            Refusal::Handshakes,
            Refusal::Handshake(peer, String::new()),
            Refusal::System(std::io::Error::other("no files")),
        ];
        for (at, refusal) in refusals.iter().enumerate() {
            (0..=at).for_each(|_| connections.refuse(refusal));
        }
        let counts: Vec<u64> = connections.refused().map(|(_, count)| count).collect();
        assert_eq!(counts, [1, 2, 3, 4, 5]);
    }

    #[test]
    fn who_agrees_on_tls_is_not_being_served_yet() {
        let connections = Connections::within(&Limits::default());
        let address = "127.0.0.1".parse().unwrap();
        let _places: Vec<_> = (0..3).map(|_| connections.places.take(address).ok()).collect();
        let _turn = connections.handshakes.try_acquire().unwrap();
        let states: Vec<_> = connections.by_state().collect();
        assert_eq!(states, [("handshake", 1), ("serving", 2)]);
    }
}
