//! Ends: consents and suppressions that end by themselves, when their time comes (R6).

use super::{
    books::{Books, Entry},
    edits::Edits,
    outcome::WriteError,
};
use crate::{
    domain::{contact::ContactRef, time::Now},
    store::{Batch, StoreError},
};

impl Books {
    /// Brings the view's time up to the clock and applies what ended since.
    /// The view is not published by this.
    ///
    /// # Errors
    /// The disk failed (A10).
    pub(super) fn advance(&mut self) -> Result<Now, WriteError> {
        let before = self.view.now;
        let now = self.now();
        let clock_stepped_back = now.suppressions < before.suppressions;
        let is_due = self.next_end.is_some_and(|next| next <= now.consents);
        if is_due || clock_stepped_back {
            let mut edits = Edits::default();
            let entries = self.ended_between(before, now)?;
            self.decide_stored(&entries, now, &mut edits)?;
            self.next_end = self.next_end_after(now)?;
            if !edits.is_empty() {
                // Durable before visible (A2): after a crash and a clock set
                // back, what was shown as ended must stay ended.
                self.tip.high_water = now.consents;
                let mut batch = Batch::new(&self.store);
                batch.tip(&self.tip)?;
                batch.commit()?;
                self.apply(edits);
            }
        }
        self.view.now = now;
        Ok(now)
    }

    /// Applies what ended while the store was closed, before anything is served.
    ///
    /// # Errors
    /// The disk failed.
    pub fn catch_up(&mut self) -> Result<(), StoreError> {
        let now = self.now();
        let mut edits = Edits::default();
        let entries = self.ended_between(self.view.now, now)?;
        self.decide_stored(&entries, now, &mut edits)?;
        self.next_end = self.next_end_after(now)?;
        self.apply(edits);
        self.view.now = now;
        Ok(())
    }

    fn now(&self) -> Now {
        let clock = self.clock.now();
        let high_water = self.view.now.consents.max(self.tip.high_water);
        Now { consents: clock.max(high_water), suppressions: clock }
    }

    /// The contacts with an end that lies between two instants, on either of
    /// the two time lines.
    fn ended_between(&self, before: Now, now: Now) -> Result<Vec<Entry>, StoreError> {
        let times = [before.consents, before.suppressions, now.consents, now.suppressions];
        let unmoved = before.consents == now.consents;
        let (from, until) = if unmoved {
            // Only suppressions moved: the clock stands behind the high water.
            (before.suppressions.min(now.suppressions), before.suppressions.max(now.suppressions))
        } else {
            let [a, b, c, d] = times;
            (a.min(b).min(c).min(d), a.max(b).max(c).max(d))
        };
        let mut entries = Vec::new();
        for end in self.store.ends(from, until)? {
            let (_, key, id) = end?;
            let kind =
                key.kind().ok_or_else(|| StoreError::refused("an end names no kind of contact"))?;
            entries.push((key.brand(), ContactRef { kind, id }));
        }
        Ok(entries)
    }

    fn next_end_after(&self, now: Now) -> Result<Option<i64>, StoreError> {
        let from = now.consents.min(now.suppressions);
        let next = self.store.ends(from, i64::MAX)?.next().transpose()?;
        Ok(next.map(|(due, ..)| due))
    }
}
