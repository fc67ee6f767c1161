//! Deciding on one change: repeated, refused, or entered into the contact's state.

use rand::{RngExt, rngs::StdRng};

use super::{
    books::Entry,
    edits::Reach,
    ends::grant_ends,
    group::{Group, Touched},
    item::Item,
    outcome::{Outcome, Rejection},
};
use crate::{
    domain::{
        contact::{Address, ContactKind, ContactRef},
        decide::ends_by_later_grant,
        event::{ChangeKind, TimeError},
        scope::{BrandId, ChannelId, Level, PurposeId, TypeSelector},
        state::Span,
    },
    store::{ContactKey, EventKind, EventRow, KeyRow},
};

impl Group<'_> {
    /// Decides on a change and remembers what it brings about.
    pub(super) fn decide(&mut self, item: &Item, salts: &mut StdRng) -> Outcome {
        match self.try_decide(item, salts) {
            Ok(outcome) => outcome,
            Err(rejection) => Outcome::Rejected(rejection),
        }
    }

    fn try_decide(&mut self, item: &Item, salts: &mut StdRng) -> Result<Outcome, Rejection> {
        let change = &item.change;
        let effective = change.effective_time(self.recorded).map_err(|error| match error {
            TimeError::Missing => Rejection::TimeMissing,
            TimeError::Ahead => Rejection::TimeAhead,
        })?;
        let (mut key, mut key_reused) = (item.key, false);
        if let Some(first) = self.keys.get(&item.key).copied() {
            if first.content == item.content.digest {
                if !self.says_something_new(item, &first) {
                    return Ok(Outcome::Duplicate(first.revision));
                }
            } else if change.only_suppresses() {
                // No opt-out is lost to somebody's numbering (R2). Said again
                // it is a repeat like any other.
                let reused_key = item.reused_key.unwrap_or(item.key);
                if let Some(first) = item.reused_key.and_then(|key| self.keys.get(&key)) {
                    return Ok(Outcome::Duplicate(first.revision));
                }
                (key, key_reused) = (reused_key, true);
            } else {
                return Err(Rejection::KeyTaken);
            }
        }
        self.refuse_erased(change, effective)?;
        let contact = self.contact(item)?;

        let (revision, applied) = self.enter(item, contact, effective, salts);
        self.keys.insert(
            key,
            KeyRow { revision, content: item.content.digest, effective_time: effective },
        );
        for (block, time) in self.reappear(change, contact, effective) {
            let item = Item::new(&self.books.view.secret, block);
            self.enter(&item, contact, time, salts);
            // It frees nothing more, but is known of from now on.
            self.reappear(&item.change, contact, time);
        }
        Ok(match (key_reused, applied) {
            (true, _) => Outcome::KeyReused(revision),
            (false, true) => Outcome::Applied(revision),
            (false, false) => Outcome::Superseded(revision),
        })
    }

    /// Enters a change into the contact's state and the ledger; returns its
    /// revision and whether it became current.
    fn enter(
        &mut self,
        item: &Item,
        contact: ContactRef,
        effective: i64,
        salts: &mut StdRng,
    ) -> (u64, bool) {
        let change = &item.change;
        let revision = self.tip.revision + 1;
        let applied = self.apply((change.brand, contact), item, effective, revision);
        let row = EventRow::new(
            self.tip.chain,
            EventKind::from(&change.kind),
            self.recorded,
            salts.random(),
            item.content.payload(contact, effective),
        );
        self.tip.revision = revision;
        self.tip.chain = row.hash(revision);
        self.tip.recorded_time = self.recorded;
        let contact_key = ContactKey::new(self.books.store.secret(), change.brand, contact);
        if change.rectification != 0 {
            self.linked.push((contact_key, change.rectification));
        }
        self.events.push((row, contact_key));
        (revision, applied)
    }

    /// Whether a repeat of the same words must count again: an opt-out without
    /// a time of its own is a new event once the first is no longer in force.
    fn says_something_new(&self, item: &Item, first: &KeyRow) -> bool {
        let change = &item.change;
        let timeless = change.event_key.is_empty()
            && change.only_suppresses()
            && change.time_is_ours(first.effective_time);
        if !timeless {
            return false;
        }
        let state = item
            .contact
            .or_else(|| self.registered_contact(&change.address))
            .and_then(|contact| self.states.get(&(change.brand, contact)));
        let Some(Touched { state, .. }) = state else { return true };
        !match &change.kind {
            ChangeKind::Consent(consent) => {
                state.withdrawal_in_force(consent.level, consent.selector, first.effective_time)
            }
            ChangeKind::Suppression(suppression) => {
                // Grants stand with their brand; an entry of all brands does
                // not see them, and rather counts once too often.
                let sees_grants =
                    change.brand != BrandId::ALL || !ends_by_later_grant(suppression.reason);
                let span = Span {
                    since: first.effective_time,
                    expires_at: suppression.expires_at,
                    revision: first.revision,
                };
                sees_grants
                    && state.suppression_in_force(
                        suppression.channel,
                        suppression.reason,
                        &span,
                        self.now.suppressions,
                    )
            }
            ChangeKind::Lift(_) => true,
        }
    }

    /// The contact of an item; an address that is new gets its ordinal now.
    ///
    /// The directory knows addresses by fingerprint. Before a second event is
    /// recorded under one, the whole address is compared, so that two
    /// registered addresses can never share a contact.
    fn contact(&mut self, item: &Item) -> Result<ContactRef, Rejection> {
        let address = &item.change.address;
        let kind = address.kind();
        let Some(text) = address.text() else {
            return item.contact.ok_or(Rejection::AddressClash);
        };
        let same = |contact, registered: Option<&str>| {
            if registered == Some(text) { Ok(contact) } else { Err(Rejection::AddressClash) }
        };
        if let Some(contact) = item.contact {
            return same(contact, self.addresses.get(&contact).map(String::as_str));
        }
        let fingerprint = self.books.view.secret.fingerprint(text.as_bytes());
        if let Some((ordinal, registered)) = self.registered.get(&(kind, fingerprint)) {
            return same(ContactRef { kind, id: *ordinal }, Some(registered));
        }
        let next = match kind {
            ContactKind::Email => &mut self.tip.next_email,
            _ => &mut self.tip.next_external_id,
        };
        let ordinal = *next;
        *next += 1;
        self.registered.insert((kind, fingerprint), (ordinal, text.to_owned()));
        Ok(ContactRef { kind, id: ordinal })
    }

    /// The contact of an address that this group has registered.
    fn registered_contact(&self, address: &Address) -> Option<ContactRef> {
        let fingerprint = self.books.view.secret.fingerprint(address.text()?.as_bytes());
        let (ordinal, _) = self.registered.get(&(address.kind(), fingerprint))?;
        Some(ContactRef { kind: address.kind(), id: *ordinal })
    }

    /// Enters the change into the contact's state; whether it became current.
    fn apply(&mut self, entry: Entry, item: &Item, effective: i64, revision: u64) -> bool {
        let kind = &item.change.kind;
        let touched = self.states.entry(entry).or_default();
        let changed = touched.state.enter(kind, effective, item.content.digest, revision);
        match kind {
            ChangeKind::Consent(consent) => {
                let (level, selector) = (consent.level, consent.selector);
                if changed {
                    // The ends of every grant that it covers: a withdrawal can
                    // take the registration from a later grant (R12).
                    let (reach, policy) = (Reach { level, selector }, &self.books.view.policy);
                    let ends = grant_ends(&touched.state, policy, entry.0, reach);
                    self.ends.extend(ends.map(|end| (end, entry)));
                    touched.reach.push(reach);
                }
                // The registration of an older grant changes the state, and
                // the record stays that of the newer one.
                let current = touched.state.current(level, selector);
                return current.is_some_and(|record| record.revision == revision);
            }
            ChangeKind::Suppression(suppression) if changed => {
                touched.reach.extend(channel_reach(suppression.channel));
                self.ends.extend(suppression.expires_at.map(|end| (end, entry)));
            }
            ChangeKind::Lift(lift) if changed => touched.reach.extend(channel_reach(lift.channel)),
            _ => {}
        }
        changed
    }
}

fn channel_reach(channel: ChannelId) -> Option<Reach> {
    Level::new(channel, PurposeId::ANY).map(|level| Reach { level, selector: TypeSelector::Any })
}
