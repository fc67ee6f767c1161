//! How many connections there are, in all and from each peer.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Room for connections.
pub(super) struct Places {
    counts: Mutex<Counts>,
    most: usize,
    most_of_peer: usize,
}

#[derive(Default)]
struct Counts {
    all: usize,
    by_peer: HashMap<IpAddr, usize>,
}

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    All,
    Peer,
}

impl Places {
    /// Room for `most` connections, and for `most_of_peer` of each peer.
    pub fn new(most: usize, most_of_peer: usize) -> Arc<Self> {
        Arc::new(Self { counts: Mutex::default(), most, most_of_peer })
    }

    /// Takes a place for a connection from this address.
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Result<Place, Full> {
        let peer = peer(address);
        let mut counts = self.counts();
        if counts.all >= self.most {
            return Err(Full::All);
        }
        let of_peer = counts.by_peer.entry(peer).or_default();
        if *of_peer >= self.most_of_peer {
            return Err(Full::Peer);
        }
        *of_peer += 1;
        counts.all += 1;
        Ok(Place { peer, places: Arc::clone(self) })
    }

    /// Connections that have one now.
    pub fn taken(&self) -> usize {
        self.counts().all
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who counts as one: an IPv4 address, also when written as IPv6, or the 64
/// bits of IPv6 that one customer of a network commonly has.
fn peer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
        address => address,
    }
}

/// A connection's place; free again when dropped.
pub(super) struct Place {
    peer: IpAddr,
    places: Arc<Places>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.places.counts();
        counts.all -= 1;
        if let Some(of_peer) = counts.by_peer.get_mut(&self.peer) {
            *of_peer -= 1;
            if *of_peer == 0 {
                counts.by_peer.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_peer_leaves_room_for_others_until_all_is_full() {
        let places = Places::new(3, 2);
        let first = places.take(address("10.0.0.1")).unwrap_or_else(|_| panic!("refused"));
        let second = places.take(address("::ffff:10.0.0.1"));
        assert!(second.is_ok());
        assert_eq!(places.take(address("10.0.0.1")).err(), Some(Full::Peer));
        let other = places.take(address("10.0.0.2"));
        assert!(other.is_ok());
        assert_eq!(places.take(address("10.0.0.3")).err(), Some(Full::All));
        drop(first);
        assert!(places.take(address("10.0.0.1")).is_ok());
        drop((second, other));
        assert!(places.counts().by_peer.is_empty(), "nobody is remembered who has left");
    }

    #[test]
    fn one_network_of_ipv6_is_one_peer() {
        let places = Places::new(10, 1);
        let _first = places.take(address("2001:db8::1"));
        assert_eq!(places.take(address("2001:db8::ffff:2")).err(), Some(Full::Peer));
        assert!(places.take(address("2001:db8:0:1::1")).is_ok());
    }
}
