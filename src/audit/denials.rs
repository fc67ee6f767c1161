//! How many denials there were, and how many get a row: a flood of them must not
//! fill the disk.

use std::sync::atomic::{AtomicU64, Ordering};

use super::LeftOut;
use crate::caps;

/// Why calls are denied, as their ErrorInfo says.
const REASONS: [&str; 6] = [
    "TOKEN_MISSING",
    "TOKEN_UNKNOWN",
    "TOKEN_EXPIRED",
    "TOKEN_REVOKED",
    "ROLE_NOT_GRANTED",
    "BRAND_NOT_GRANTED",
];

/// Denials since the start, and since the last minute began.
#[derive(Debug, Default)]
pub(super) struct Denials {
    by_reason: [AtomicU64; REASONS.len()],
    strangers: AtomicU64,
    /// Apart from strangers, who can make as many denials as they like.
    tokens: AtomicU64,
}

impl Denials {
    /// Denials since the start, by reason.
    pub fn by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        REASONS.into_iter().zip(self.by_reason.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    /// Counts a denial, and says whether it gets a row.
    pub fn has_room(&self, reason: &str, has_token: bool) -> bool {
        let counts = REASONS.iter().zip(&self.by_reason);
        for (_, count) in counts.filter(|(it, _)| **it == reason) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let count = if has_token { &self.tokens } else { &self.strangers };
        count.fetch_add(1, Ordering::Relaxed) < caps::AUDITED_DENIALS
    }

    /// Begins a new minute; returns what the last left out, if anything.
    pub fn begin_anew(&self) -> Option<LeftOut> {
        let over = |count: &AtomicU64| {
            count.swap(0, Ordering::Relaxed).saturating_sub(caps::AUDITED_DENIALS)
        };
        let left_out =
            LeftOut { of_strangers: over(&self.strangers), of_tokens: over(&self.tokens) };
        (left_out != LeftOut { of_strangers: 0, of_tokens: 0 }).then_some(left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_strangers_hide_nobody() {
        let denials = Denials::default();
        let rows = |count, has_token| {
            (0..count).filter(|_| denials.has_room("TOKEN_UNKNOWN", has_token)).count()
        };
        let room = usize::try_from(caps::AUDITED_DENIALS).unwrap();
        assert_eq!(rows(room, false), room);
        assert_eq!(rows(1_000, false), 0);
        assert_eq!(rows(2, true), 2);
        let expected = LeftOut { of_strangers: 1_000, of_tokens: 0 };
        assert_eq!(denials.begin_anew(), Some(expected));
        assert_eq!(denials.begin_anew(), None);
        assert_eq!(rows(room + 1, true), room);
        assert_eq!(denials.begin_anew(), Some(LeftOut { of_strangers: 0, of_tokens: 1 }));
        let counted = denials.by_reason().find(|(reason, _)| *reason == "TOKEN_UNKNOWN");
        assert_eq!(counted.map(|(_, count)| count), Some(2 * caps::AUDITED_DENIALS + 1_003));
    }
}
