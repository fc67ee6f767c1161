//! A token that was shown, for as long as a call of its holder goes on.

use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::Notify;

use super::Grant;

/// Why a token no longer counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// It was revoked.
    Revoked,
    /// Its time is over.
    Expired,
}

/// A grant that calls go on under. Its end reaches all of them: those that work
/// by one atomic load, those that wait by a notice.
#[derive(Debug)]
pub struct Credential {
    grant: Grant,
    over: AtomicU8,
    notice: Notify,
}

const VALID: u8 = 0;
const REVOKED: u8 = 1;
const EXPIRED: u8 = 2;

impl Credential {
    pub(super) fn new(grant: Grant) -> Self {
        Self { grant, over: AtomicU8::new(VALID), notice: Notify::new() }
    }

    /// What it allows.
    #[must_use]
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// Whether it was ended.
    #[must_use]
    pub fn over(&self) -> Option<Over> {
        match self.over.load(Ordering::Acquire) {
            REVOKED => Some(Over::Revoked),
            EXPIRED => Some(Over::Expired),
            _ => None,
        }
    }

    /// Ends it for good: what is over does not come back when the clock is set
    /// back.
    pub(super) fn end(&self, over: Over) {
        let over = match over {
            Over::Revoked => REVOKED,
            Over::Expired => EXPIRED,
        };
        let was = self.over.compare_exchange(VALID, over, Ordering::AcqRel, Ordering::Acquire);
        if was.is_ok() {
            self.notice.notify_waiters();
        }
    }

    /// Returns once it is over.
    pub async fn ended(&self) -> Over {
        loop {
            let notice = self.notice.notified();
            tokio::pin!(notice);
            // Listening first: an end between the look and the wait is heard.
            notice.as_mut().enable();
            if let Some(over) = self.over() {
                return over;
            }
            notice.await;
        }
    }
}
