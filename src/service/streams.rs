//! The filter streams that are open.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use dashmap::DashMap;

use crate::domain::scope::BrandId;

/// A registry of the open streams. Streams come and go on many threads.
#[derive(Default)]
pub struct Streams {
    open: DashMap<u64, BrandId>,
    next: AtomicU64,
}

impl Streams {
    /// Enters a stream; it leaves when the ticket is dropped.
    pub(super) fn enter(self: &Arc<Self>, brand: BrandId) -> Ticket {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.open.insert(id, brand);
        Ticket { id, streams: Arc::clone(self) }
    }

    /// Streams open now.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.open.len() as u64
    }
}

/// A stream's place in the registry.
pub(super) struct Ticket {
    id: u64,
    streams: Arc<Streams>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.streams.open.remove(&self.id);
    }
}
