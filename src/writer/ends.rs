//! Ends: consents and suppressions that end by themselves, when their time comes (R6).

use std::sync::Arc;

use super::{
    books::{Books, Entry},
    due::Masks,
    edits::{Edits, Reach},
    outcome::WriteError,
};
use crate::{
    domain::{
        policy::Policy,
        scope::{BrandId, RecipientType, Scope, TypeSelector, Width},
        state::{ConsentRecord, ContactState},
        time::Now,
        validity::grant_end,
    },
    engine::view::Planes,
    store::{Batch, StoreError},
};

impl Books {
    /// Brings the view's time up to the clock and applies what ended since.
    /// The view is not published by this.
    ///
    /// # Errors
    /// The disk failed (A10).
    pub(super) fn advance(&mut self) -> Result<Now, WriteError> {
        let now = self.now();
        let clock_stepped_back = now.suppressions < self.view.now.suppressions;
        let is_due = self.next_end.is_some_and(|next| next <= now.consents);
        if is_due || clock_stepped_back {
            let (masks, entries) = self.what_ended(now)?;
            let masked = !masks.is_empty();
            // Decisions are noted as differences from the planes, so the masks
            // come first: a contact may stand in one and have ended again since.
            self.apply_masks(masks);
            let mut edits = Edits::default();
            self.decide_stored(&entries, now, &mut edits)?;
            if masked || !edits.is_empty() {
                self.remember_high_water(now)?;
                self.apply(edits);
            }
        }
        self.due.settled(now.consents);
        self.view.now = now;
        Ok(now)
    }

    /// Applies what ended while the store was closed, before anything is served.
    ///
    /// # Errors
    /// The disk failed.
    pub fn catch_up(&mut self) -> Result<(), StoreError> {
        let now = self.now();
        self.due.reset(self.view.now.consents);
        let (_, mut entries) = self.what_ended(now)?;
        // A page may know of the end of a block that a clock set back still has
        // before it.
        for end in self.store.ends(now.suppressions, self.pages.saved.clock_until)? {
            let (_, key, contact) = end?;
            entries.push((key.brand(), contact));
        }
        let mut edits = Edits::default();
        self.decide_stored(&entries, now, &mut edits)?;
        if !edits.is_empty() {
            self.remember_high_water(now)?;
            self.apply(edits);
        }
        self.view.now = now;
        Ok(())
    }

    /// Durable before visible (A2): after a crash and a clock set back, what
    /// was shown as ended must stay ended.
    fn remember_high_water(&mut self, now: Now) -> Result<(), StoreError> {
        self.tip.high_water = now.consents;
        let mut batch = Batch::new(&self.store);
        batch.tip(&self.tip)?;
        batch.commit()
    }

    fn now(&self) -> Now {
        let clock = self.clock.now();
        let high_water = self.view.now.consents.max(self.tip.high_water);
        Now { consents: clock.max(high_water), suppressions: clock }
    }

    /// What ends from the view's instant to another: masks for what was
    /// prepared, and the contacts to decide on for the rest.
    fn what_ended(&mut self, now: Now) -> Result<(Masks, Vec<Entry>), StoreError> {
        let before = self.view.now;
        let in_step = before.consents == before.suppressions && now.consents == now.suppressions;
        let (masks, mut entries, from, until) = if in_step {
            let taken = self.due.take(now.consents);
            (taken.masks, taken.entries, taken.unprepared_from, now.consents)
        } else {
            // The clock stands behind the high water, or did: the two time
            // lines differ, and nothing is prepared for that.
            self.due.reset(now.consents);
            let mut from = before.suppressions.min(now.suppressions);
            let mut until = before.suppressions.max(now.suppressions);
            if now.consents > before.consents {
                from = from.min(before.consents);
                until = until.max(now.consents);
            }
            (Masks::default(), Vec::new(), from, until)
        };
        for end in self.store.ends(from, until)? {
            let (_, key, contact) = end?;
            entries.push((key.brand(), contact));
        }
        let next =
            self.store.ends(now.consents.min(now.suppressions), i64::MAX)?.next().transpose()?;
        self.next_end = next.map(|(due, ..)| due);
        Ok((masks, entries))
    }

    fn apply_masks(&mut self, masks: Masks) {
        if !masks.is_empty() {
            let mut planes = Planes::clone(&self.view.planes);
            masks.apply(&self.view.policy, &mut planes, &mut self.dirty);
            self.view.planes = Arc::new(planes);
        }
    }

    /// Notes for the prepared ends what a commit recorded.
    pub(super) fn note_commit(
        &mut self,
        touched: impl Iterator<Item = Entry>,
        ends: impl Iterator<Item = (i64, Entry)>,
    ) {
        for entry in touched {
            self.due.touched(entry);
        }
        let now = self.view.now.consents.min(self.view.now.suppressions);
        // What has ended already was decided on as ended.
        for (due, entry) in ends.filter(|(due, _)| *due > now) {
            self.due.ends(due, entry);
            self.next_end = Some(self.next_end.map_or(due, |next| next.min(due)));
        }
    }
}

/// The ends of a contact's grants within a reach, as a policy makes them now.
/// Those in scopes that the policy does not have are none: no verdict waits for
/// them, and a policy that brings the scope back brings them too.
pub fn grant_ends(
    state: &ContactState,
    policy: &Policy,
    brand: BrandId,
    reach: Reach,
) -> impl Iterator<Item = i64> {
    let grants = state.consents().iter().filter(move |record| {
        reach.level.covers(record.level.channel(), record.level.purpose())
            && (reach.selector == TypeSelector::Any || reach.selector == record.selector)
    });
    grants.filter_map(move |record| {
        let rules = policy.rules(&scope_of(brand, record)?)?;
        grant_end(state, record, rules)
    })
}

/// The scope of a purpose-level grant, whose policy may set an end.
fn scope_of(brand: BrandId, record: &ConsentRecord) -> Option<Scope> {
    let recipient_type = match record.selector {
        TypeSelector::Individual => RecipientType::Individual,
        TypeSelector::Merchant => RecipientType::Merchant,
        TypeSelector::Any => return None,
    };
    (record.level.width() == Width::Purpose).then_some(Scope {
        brand,
        recipient_type,
        channel: record.level.channel(),
        purpose: record.level.purpose(),
    })
}
