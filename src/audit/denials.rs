//! How many denials get a row: a flood of them must not fill the disk.

use std::sync::atomic::{AtomicU64, Ordering};

use super::LeftOut;
use crate::caps;

/// Denials since the last minute began.
#[derive(Debug, Default)]
pub(super) struct Denials {
    strangers: AtomicU64,
    /// Apart from strangers, who can make as many denials as they like.
    tokens: AtomicU64,
}

impl Denials {
    /// Counts a denial, and says whether it gets a row.
    pub fn has_room(&self, has_token: bool) -> bool {
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
        let rows = |count, has_token| (0..count).filter(|_| denials.has_room(has_token)).count();
        let room = usize::try_from(caps::AUDITED_DENIALS).unwrap();
        assert_eq!(rows(room, false), room);
        assert_eq!(rows(1_000, false), 0);
        assert_eq!(rows(2, true), 2);
        let expected = LeftOut { of_strangers: 1_000, of_tokens: 0 };
        assert_eq!(denials.begin_anew(), Some(expected));
        assert_eq!(denials.begin_anew(), None);
        assert_eq!(rows(room + 1, true), room);
        assert_eq!(denials.begin_anew(), Some(LeftOut { of_strangers: 0, of_tokens: 1 }));
    }
}
