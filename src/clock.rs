//! The clock: the only place that asks what time it is.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

/// A source of time, in ms since 1970-01-01T00:00:00Z.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's clock, which may be set back at any moment.
    System,
    /// A time that a test sets.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The time.
    #[must_use]
    pub fn now(&self) -> i64 {
        match self {
            Self::System => system(),
            Self::Manual(time) => time.load(Ordering::SeqCst),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the clock that the others ask")]
fn system() -> i64 {
    match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        // Before 1970: as far back as a clock can say. Consents then count
        // against the high-water mark (R6).
        Err(_) => 0,
    }
}
