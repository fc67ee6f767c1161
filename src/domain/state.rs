//! What is known of one contact, as far as it can still matter to a decision.
//!
//! A state is a join of everything recorded: adding the same events in any
//! order, with any repeats, ends in the same state (A5; see [`MAX_SPANS`] for
//! the one exception, which only suppresses more). That is why a record
//! yields to a greater one by a total order (R4), and why suppressions keep
//! the spans that could still decide rather than the last one that arrived.

use super::{
    decide::ends_by_later_grant,
    event::ChangeKind,
    reason::Reason,
    scope::{ChannelId, Level, TypeSelector, Width},
};

/// Whether a consent was given or withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    /// Given.
    Granted = 1,
    /// Withdrawn.
    Withdrawn = 2,
}

/// First half of the SHA-256 of an event's content, as the caller gave it. The
/// last word between two records that R4 cannot tell apart otherwise.
pub type ContentDigest = [u8; 16];

/// The current consent record of one level and type selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsentRecord {
    /// The level.
    pub level: Level,
    /// The types it speaks of.
    pub selector: TypeSelector,
    /// Given or withdrawn.
    pub status: Status,
    /// The stored time (R2).
    pub consent_time: i64,
    /// The end that the event itself states; grants only.
    pub valid_until: Option<i64>,
    /// Digest of the event's content.
    pub content: ContentDigest,
    /// The event's revision.
    pub revision: u64,
}

impl ConsentRecord {
    /// Whether R4 prefers `self` to `other`, a record of the same level and type.
    #[must_use]
    pub fn supersedes(&self, other: &Self) -> bool {
        let end = |record: &Self| record.valid_until.unwrap_or(i64::MAX);
        (self.consent_time, self.status)
            .cmp(&(other.consent_time, other.status))
            .then_with(|| end(other).cmp(&end(self)))
            .then_with(|| other.content.cmp(&self.content))
            .is_gt()
    }
}

/// The greatest time of a grant that the registry was seen to hold, at one
/// level and selector (R12). It stays when another record becomes current.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registered {
    /// The level.
    pub level: Level,
    /// The type.
    pub selector: TypeSelector,
    /// The stored time of the grant.
    pub consent_time: i64,
}

/// One suppression's time: from `since` on, until `expires_at` or a lift.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Since when.
    pub since: i64,
    /// When it ends by itself.
    pub expires_at: Option<i64>,
    /// The event's revision.
    pub revision: u64,
}

impl Span {
    fn end(&self) -> i64 {
        self.expires_at.unwrap_or(i64::MAX)
    }

    /// Whether whenever `other` is active, `self` is too, and says no less.
    fn outlasts(&self, other: &Self) -> bool {
        self.since >= other.since && self.end() >= other.end()
    }
}

/// A suppression entry (R7): what was said of one channel (or all) and reason,
/// in one brand or in all, depending on whose state it stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuppressionEntry {
    /// The channel, or any.
    pub channel: ChannelId,
    /// The reason; one for which [`Reason::is_suppression`] holds.
    pub reason: Reason,
    /// The greatest time of a lift of this entry, with the lift's revision.
    pub lifted: Option<(i64, u64)>,
    /// The spans that may still block, `since` ascending and ends descending:
    /// a span that another one outlasts can never decide anything.
    pub spans: Vec<Span>,
}

impl SuppressionEntry {
    /// The active span with the greatest `since`, at clock time `now` (R7).
    #[must_use]
    pub fn active(&self, now: i64) -> Option<&Span> {
        // Among spans not over yet, the last has the greatest since.
        self.spans.iter().rev().find(|span| span.end() > now)
    }

    fn settle(&mut self) {
        if let Some((lifted, _)) = self.lifted {
            self.spans.retain(|span| span.since >= lifted);
        }
        self.spans.sort_by_key(|span| (span.since, span.end()));
        let mut kept: Vec<Span> = Vec::with_capacity(self.spans.len());
        for span in self.spans.drain(..) {
            kept.retain(|earlier| !span.outlasts(earlier));
            kept.push(span);
        }
        if let [oldest, next, ..] = *kept
            && kept.len() > MAX_SPANS
        {
            // Joined, the two block no less than before (A1).
            kept.splice(..2, [Span { expires_at: oldest.expires_at, ..next }]);
        }
        self.spans = kept;
    }
}

/// Spans kept per entry (A7). Bounces and complaints outlast their elders, so
/// real entries hold one or two; past the cap the two oldest are joined.
pub const MAX_SPANS: usize = 32;

/// The records of one contact within one brand, or of all brands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContactState {
    consents: Vec<ConsentRecord>,
    registered: Vec<Registered>,
    suppressions: Vec<SuppressionEntry>,
}

impl ContactState {
    /// The state made of these parts, as they were stored.
    #[must_use]
    pub fn from_parts(
        consents: Vec<ConsentRecord>,
        registered: Vec<Registered>,
        suppressions: Vec<SuppressionEntry>,
    ) -> Self {
        Self { consents, registered, suppressions }
    }

    /// The current records, at most one a level and selector.
    #[must_use]
    pub fn consents(&self) -> &[ConsentRecord] {
        &self.consents
    }

    /// What the registry holds, at most one a level and selector.
    #[must_use]
    pub fn registered(&self) -> &[Registered] {
        &self.registered
    }

    /// The greatest time of a registered grant of a level and selector.
    #[must_use]
    pub fn registered_at(&self, level: Level, selector: TypeSelector) -> Option<i64> {
        let same = |each: &&Registered| each.level == level && each.selector == selector;
        self.registered.iter().find(same).map(|each| each.consent_time)
    }

    /// The suppression entries, at most one a channel and reason.
    #[must_use]
    pub fn suppressions(&self) -> &[SuppressionEntry] {
        &self.suppressions
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.consents.is_empty() && self.suppressions.is_empty()
    }

    /// The current record of a level and selector.
    #[must_use]
    pub fn current(&self, level: Level, selector: TypeSelector) -> Option<&ConsentRecord> {
        self.consents.iter().find(|each| each.level == level && each.selector == selector)
    }

    /// Adds what an event says, recorded as `revision` with the stored time and
    /// content. False if it changes nothing.
    pub fn enter(
        &mut self,
        kind: &ChangeKind,
        time: i64,
        content: ContentDigest,
        revision: u64,
    ) -> bool {
        match kind {
            ChangeKind::Consent(consent) => {
                let (level, selector) = (consent.level, consent.selector);
                let granted = consent.status == Status::Granted;
                let registered = granted
                    && consent.is_in_iys()
                    && self.register(Registered { level, selector, consent_time: time });
                self.record(ConsentRecord {
                    level,
                    selector,
                    status: consent.status,
                    consent_time: time,
                    valid_until: consent.valid_until,
                    content,
                    revision,
                }) || registered
            }
            ChangeKind::Suppression(entry) => {
                let span = Span { since: time, expires_at: entry.expires_at, revision };
                self.suppress(entry.channel, entry.reason, span)
            }
            ChangeKind::Lift(lift) => self.lift(lift.channel, lift.reason, time, revision),
        }
    }

    /// Adds a consent record. False if a record that R4 prefers stays current.
    pub fn record(&mut self, record: ConsentRecord) -> bool {
        let slot = self
            .consents
            .iter_mut()
            .find(|each| each.level == record.level && each.selector == record.selector);
        match slot {
            None => self.consents.push(record),
            Some(current) if record.supersedes(current) => *current = record,
            Some(_) => return false,
        }
        true
    }

    /// Adds that the registry holds a grant. False if it was seen to hold a
    /// later one.
    pub fn register(&mut self, registered: Registered) -> bool {
        let slot = self
            .registered
            .iter_mut()
            .find(|each| each.level == registered.level && each.selector == registered.selector);
        match slot {
            None => self.registered.push(registered),
            Some(known) if registered.consent_time > known.consent_time => *known = registered,
            Some(_) => return false,
        }
        true
    }

    /// Adds a suppression. False if it changes nothing: a lift already ended
    /// it, or a span that says no less is there.
    pub fn suppress(&mut self, channel: ChannelId, reason: Reason, span: Span) -> bool {
        let entry = self.entry(channel, reason);
        if entry.lifted.is_some_and(|(lifted, _)| span.since < lifted)
            || entry.spans.iter().any(|each| each.outlasts(&span))
        {
            return false;
        }
        entry.spans.push(span);
        entry.settle();
        true
    }

    /// Adds a lift, also one that arrives before its suppression. False if a
    /// later lift is there already.
    pub fn lift(&mut self, channel: ChannelId, reason: Reason, time: i64, revision: u64) -> bool {
        let entry = self.entry(channel, reason);
        if entry.lifted.is_some_and(|(lifted, _)| lifted >= time) {
            return false;
        }
        entry.lifted = Some((time, revision));
        entry.settle();
        true
    }

    /// The entries that a grant cannot end: what an erasure leaves (R11). Lifts
    /// stay with them, or a span said again would block anew.
    #[must_use]
    pub fn survivors(&self) -> Vec<SuppressionEntry> {
        self.suppressions
            .iter()
            .filter(|entry| !ends_by_later_grant(entry.reason))
            .cloned()
            .collect()
    }

    /// The time of the latest lift of an erasure's mark after `time`.
    #[must_use]
    pub fn erasure_lifted_after(&self, time: i64) -> Option<i64> {
        let erased = self.suppressions.iter().filter(|entry| entry.reason == Reason::Erased);
        let lifts = erased.filter_map(|entry| entry.lifted).map(|(lifted, _)| lifted);
        lifts.max().filter(|lifted| *lifted > time)
    }

    /// Brings entries back that outlived an erasure.
    pub fn restore(&mut self, survivors: Vec<SuppressionEntry>) {
        for survivor in survivors {
            if let Some((time, revision)) = survivor.lifted {
                self.lift(survivor.channel, survivor.reason, time, revision);
            }
            for span in survivor.spans {
                self.suppress(survivor.channel, survivor.reason, span);
            }
        }
    }

    /// Whether a withdrawal stored at `time` is still in force: nothing it
    /// covers was granted since. Then the same withdrawal without a time of
    /// its own says nothing new; otherwise it must count again.
    #[must_use]
    pub fn withdrawal_in_force(&self, level: Level, selector: TypeSelector, time: i64) -> bool {
        let stands = self.current(level, selector).is_some_and(|current| {
            current.status == Status::Withdrawn && current.consent_time >= time
        });
        stands
            && !self.consents.iter().any(|other| {
                other.status == Status::Granted
                    && other.consent_time > time
                    && level.covers(other.level.channel(), other.level.purpose())
                    && (selector == TypeSelector::Any || selector == other.selector)
            })
    }

    /// Whether a suppression stored as `span` is still in force at clock time
    /// `now`; see [`ContactState::withdrawal_in_force`]. Another span of the
    /// entry does not speak for it: that one may end earlier.
    #[must_use]
    pub fn suppression_in_force(
        &self,
        channel: ChannelId,
        reason: Reason,
        span: &Span,
        now: i64,
    ) -> bool {
        let entry =
            self.suppressions.iter().find(|each| each.channel == channel && each.reason == reason);
        let stands = entry.is_some_and(|entry| {
            span.end() > now && entry.lifted.is_none_or(|(lifted, _)| span.since >= lifted)
        });
        let granted_since = || {
            self.consents.iter().any(|record| {
                record.status == Status::Granted
                    && record.consent_time > span.since
                    && channel.covers(record.level.channel())
            })
        };
        stands && !(ends_by_later_grant(reason) && granted_since())
    }

    fn entry(&mut self, channel: ChannelId, reason: Reason) -> &mut SuppressionEntry {
        let position = self
            .suppressions
            .iter()
            .position(|entry| entry.channel == channel && entry.reason == reason)
            .unwrap_or_else(|| {
                self.suppressions.push(SuppressionEntry {
                    channel,
                    reason,
                    lifted: None,
                    spans: Vec::new(),
                });
                self.suppressions.len() - 1
            });
        #[expect(clippy::indexing_slicing, reason = "the position was found or pushed above")]
        &mut self.suppressions[position]
    }
}

/// The reason that a withdrawal at a level of this width gives (R9).
#[must_use]
pub fn opt_out_reason(width: Width) -> Reason {
    match width {
        Width::Contact => Reason::ContactOptOut,
        Width::Channel => Reason::ChannelOptOut,
        Width::Purpose => Reason::OptedOut,
    }
}
