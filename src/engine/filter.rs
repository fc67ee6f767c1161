//! The filter: verdicts for a whole batch, stage by stage, from one view (A6, A11).
//!
//! Each stage runs over the whole column: resolve, probe the verdict plane,
//! then, only for the refused and only when asked, probe the reason planes.

use bytes::Bytes;
use hashbrown::HashSet as FastSet;
use roaring::RoaringTreemap;
use xxhash_rust::xxh3::Xxh3DefaultBuilder;

use super::{
    erased::Erased,
    plane::Plane,
    recipients::{Reading, Recipients},
    view::{KindPlanes, View},
};
use crate::domain::{
    address::{in_e164_range, plausible},
    contact::ContactKind,
    plane::PlaneRole,
    reason::Reason,
    scope::{Regime, ScopeRules},
    secret::Fingerprint,
};

/// Addresses that one stream remembers in order to permit each once; some 20
/// to 40 bytes each in a hash table (A7).
pub const MAX_SEEN_TEXTS: usize = 4 << 20;
/// Phones that one stream remembers, in a compressed bitmap (A7).
pub const MAX_SEEN_PHONES: u64 = 64 << 20;
/// Contact IDs that one stream remembers. They may be scattered over all of
/// u64, and then cost the bitmap some 200 bytes each (A7).
pub const MAX_SEEN_CONTACT_IDS: u64 = 2 << 20;
/// Recipients whose buffers a stream keeps from batch to batch.
const KEPT: usize = 65_536;

/// Why a batch has no verdicts. Nothing in it is permitted (A1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterError {
    /// The stream has more distinct contacts than deduplication remembers.
    SeenLimit,
    /// The planes contradict each other: refused, for no reason known.
    Contradiction,
    /// The view has no such scope.
    NoScope,
}

/// The verdicts on a batch.
#[derive(Debug, Default)]
pub struct Verdicts {
    /// How many recipients there were.
    pub recipients: usize,
    /// How many are permitted.
    pub permitted: u64,
    /// One bit a recipient, least significant first; a portable Roaring bitmap
    /// for an audience.
    pub bits: Vec<u8>,
    /// With reasons: one a recipient, in order; ascending for an audience.
    pub reasons: Vec<u8>,
    /// With reasons: how often each was given, by its number.
    pub counts: [u64; Reason::TABLE],
}

/// What a stream asks of every batch.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// The scope's position in the view's policy.
    pub scope: usize,
    /// The kind of the recipients.
    pub kind: ContactKind,
    /// Whether reasons are asked for.
    pub reasons: bool,
    /// Whether each contact is permitted once a stream.
    pub deduplicate: bool,
}

/// What a stream keeps between batches.
#[derive(Default)]
pub struct Session {
    /// The recipients of the batch at hand.
    recipients: Recipients,
    seen_ids: RoaringTreemap,
    /// Fingerprints are uniform already; a fast hasher spreads them enough.
    seen_texts: FastSet<Fingerprint, Xxh3DefaultBuilder>,
    words: Vec<u64>,
    refused: Refused,
}

/// The refused recipients of a batch whose reason is still open.
#[derive(Default)]
struct Refused {
    ids: Vec<u64>,
    places: Vec<u32>,
    words: Vec<u64>,
}

impl Session {
    /// Takes a column of lines as the recipients at hand, marks of erasures
    /// included.
    pub fn read_lines(&mut self, lines: &Bytes, reading: Reading, rules: &ScopeRules, view: &View) {
        self.recipients.read_lines(lines, reading, view);
        if view.needs_erased(rules.regime) {
            self.recipients.read_erased(rules.scope.brand, reading, Some(lines), view);
        }
    }

    /// Takes a column of integers as the recipients at hand, marks of erasures
    /// included.
    pub fn read_ids(
        &mut self,
        ids: impl Iterator<Item = u64>,
        reading: Reading,
        rules: &ScopeRules,
        view: &View,
    ) {
        self.recipients.read_ids(ids, reading);
        if view.needs_erased(rules.regime) {
            self.recipients.read_erased(rules.scope.brand, reading, None, view);
        }
    }

    /// Decides on the recipients at hand.
    ///
    /// # Errors
    /// [`FilterError`]; nothing is permitted then.
    pub fn filter(&mut self, view: &View, question: Question) -> Result<Verdicts, FilterError> {
        let (rules, planes) = scope(view, question)?;
        let count = self.recipients.len();
        self.words.clear();
        self.words.resize(count.div_ceil(64), 0);
        if let Some(plane) = planes.plane(PlaneRole::Verdict) {
            plane.probe(&self.recipients.ids, &mut self.words);
        }
        if rules.regime != Regime::OptIn {
            self.words.iter_mut().for_each(|word| *word = !*word);
        }
        mask_tail(&mut self.words, count);
        for (word, invalid) in self.words.iter_mut().zip(&self.recipients.invalid) {
            *word &= !invalid;
        }

        let mut verdicts = Verdicts { recipients: count, ..Verdicts::default() };
        let mut open = Vec::new();
        if question.reasons {
            open.resize(count, 0);
        }
        self.refuse_erased(&view.erased, &mut open);
        if question.deduplicate {
            self.refuse_seen(question.kind, &mut open)?;
        }
        verdicts.permitted = self.words.iter().map(|word| u64::from(word.count_ones())).sum();
        verdicts.bits = self.words.iter().flat_map(|word| word.to_le_bytes()).collect();
        verdicts.bits.truncate(count.div_ceil(8));
        if question.reasons {
            self.explain(&mut open, planes, rules)?;
            open.iter().for_each(|reason| {
                if let Some(count) = verdicts.counts.get_mut(usize::from(*reason)) {
                    *count += 1;
                }
            });
            verdicts.reasons = open;
        }
        Ok(verdicts)
    }

    /// Decides on an audience: a bitmap in, the permitted bitmap out.
    ///
    /// # Errors
    /// [`FilterError`]; nothing is permitted then.
    pub fn filter_audience(
        &mut self,
        view: &View,
        question: Question,
        audience: &RoaringTreemap,
    ) -> Result<Verdicts, FilterError> {
        let (rules, planes) = scope(view, question)?;
        let by_member = question.reasons || !view.erased.is_empty();
        let (mut verdicts, permitted) = if by_member {
            let reading = Reading { kind: question.kind, region: None, regime: rules.regime };
            self.read_ids(audience.iter(), reading, rules, view);
            let verdicts = self.filter(view, question)?;
            let words = &self.words;
            let permitted = audience
                .iter()
                .enumerate()
                .filter(|(at, _)| words.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1))
                .map(|(_, member)| member)
                .collect();
            (verdicts, permitted)
        } else {
            let mut permitted = permitted_of(audience, planes, rules, question.kind);
            if question.deduplicate {
                permitted -= &self.seen_ids;
                self.seen_ids |= &permitted;
                self.check_seen(question.kind)?;
            }
            let recipients = usize::try_from(audience.len()).unwrap_or(usize::MAX);
            let verdicts =
                Verdicts { recipients, permitted: permitted.len(), ..Verdicts::default() };
            (verdicts, permitted)
        };
        verdicts.bits.clear();
        // Writing into memory fails only for want of it, which aborts anyway;
        // a short bitmap would not parse, so the client permits nobody.
        drop(permitted.serialize_into(&mut verdicts.bits));
        Ok(verdicts)
    }

    /// Gives back the memory of a long batch: a stream may stay open for days.
    pub fn shrink(&mut self) {
        self.recipients.shrink(KEPT);
        self.words.shrink_to(KEPT / 64);
        self.refused.ids.shrink_to(KEPT);
        self.refused.places.shrink_to(KEPT);
    }

    fn refuse_erased(&mut self, erased: &Erased, reasons: &mut [u8]) {
        for (at, marks) in self.recipients.erased.iter().enumerate() {
            if erased.refuses(marks) {
                refuse(&mut self.words, reasons, at, Reason::Erased);
            }
        }
    }

    fn refuse_seen(&mut self, kind: ContactKind, reasons: &mut [u8]) -> Result<(), FilterError> {
        for at in 0..self.words.len() {
            let mut left = self.words.get(at).copied().unwrap_or(0);
            while left != 0 {
                let place = at * 64 + left.trailing_zeros() as usize;
                left &= left - 1;
                let is_new = if kind.is_direct() {
                    self.recipients.ids.get(place).is_none_or(|id| self.seen_ids.insert(*id))
                } else {
                    // By fingerprint also where an ordinal is known: an address
                    // may become registered between two batches.
                    let text = self.recipients.fingerprints.get(place);
                    text.is_none_or(|text| self.seen_texts.insert(*text))
                };
                if !is_new {
                    refuse(&mut self.words, reasons, place, Reason::Duplicate);
                }
            }
        }
        self.check_seen(kind)
    }

    fn check_seen(&self, kind: ContactKind) -> Result<(), FilterError> {
        let ids = if kind == ContactKind::Phone { MAX_SEEN_PHONES } else { MAX_SEEN_CONTACT_IDS };
        let over = self.seen_texts.len() > MAX_SEEN_TEXTS || self.seen_ids.len() > ids;
        if over { Err(FilterError::SeenLimit) } else { Ok(()) }
    }

    /// Fills in the reason of every recipient that has none yet.
    fn explain(
        &mut self,
        reasons: &mut [u8],
        planes: &KindPlanes,
        rules: &ScopeRules,
    ) -> Result<(), FilterError> {
        let refused = &mut self.refused;
        refused.ids.clear();
        refused.places.clear();
        let ids = self.recipients.ids.iter();
        for (at, (reason, id)) in reasons.iter_mut().zip(ids).enumerate() {
            let permitted = self.words.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1);
            if permitted {
                *reason = Reason::Permitted as u8;
            } else if self.recipients.is_invalid(at) {
                *reason = Reason::InvalidRecipient as u8;
            } else if *reason == 0 {
                refused.ids.push(*id);
                refused.places.push(at as u32);
            }
        }
        for (reason, plane) in planes.reasons() {
            refused.settle(reason, plane, reasons);
        }
        if rules.regime == Regime::OptIn {
            refused.rest(reasons, Reason::NoConsent);
        } else if !refused.ids.is_empty() {
            return Err(FilterError::Contradiction);
        }
        Ok(())
    }
}

impl Refused {
    /// Gives the members of a reason plane their reason and keeps the others.
    fn settle(&mut self, reason: Reason, plane: &Plane, reasons: &mut [u8]) {
        self.words.clear();
        self.words.resize(self.ids.len().div_ceil(64), 0);
        plane.probe(&self.ids, &mut self.words);
        let mut kept = 0;
        for at in 0..self.ids.len() {
            let member = self.words.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1);
            let (Some(id), Some(place)) = (self.ids.get(at).copied(), self.places.get(at).copied())
            else {
                break;
            };
            if member {
                if let Some(slot) = reasons.get_mut(place as usize) {
                    *slot = reason as u8;
                }
            } else {
                if let Some(slot) = self.ids.get_mut(kept) {
                    *slot = id;
                }
                if let Some(slot) = self.places.get_mut(kept) {
                    *slot = place;
                }
                kept += 1;
            }
        }
        self.ids.truncate(kept);
        self.places.truncate(kept);
    }

    fn rest(&mut self, reasons: &mut [u8], reason: Reason) {
        for place in &self.places {
            if let Some(slot) = reasons.get_mut(*place as usize) {
                *slot = reason as u8;
            }
        }
        self.ids.clear();
    }
}

impl View {
    /// Whether a batch in a scope of this regime must look for marks of
    /// erasures: where unknown is permitted, and erasures exist.
    #[must_use]
    pub fn needs_erased(&self, regime: Regime) -> bool {
        regime != Regime::OptIn && !self.erased.is_empty()
    }
}

fn scope(view: &View, question: Question) -> Result<(&ScopeRules, &KindPlanes), FilterError> {
    let rules = view.rules(question.scope);
    let planes = view.planes.of(question.scope, question.kind);
    rules.zip(planes).ok_or(FilterError::NoScope)
}

fn permitted_of(
    audience: &RoaringTreemap,
    planes: &KindPlanes,
    rules: &ScopeRules,
    kind: ContactKind,
) -> RoaringTreemap {
    let in_plane = planes
        .plane(PlaneRole::Verdict)
        .map_or_else(RoaringTreemap::new, |plane| plane.intersect(audience));
    if rules.regime == Regime::OptIn {
        // No number outside the range was ever granted, but A1 does not lean on that.
        return match kind {
            ContactKind::Phone
                if [in_plane.min(), in_plane.max()]
                    .into_iter()
                    .flatten()
                    .any(|id| !in_e164_range(id)) =>
            {
                in_plane.iter().filter(|id| in_e164_range(*id)).collect()
            }
            _ => in_plane,
        };
    }
    let permitted = audience - in_plane;
    match kind {
        ContactKind::Phone => permitted.iter().filter(|id| plausible(*id)).collect(),
        _ => permitted,
    }
}

/// Clears the bits past the last recipient.
fn mask_tail(words: &mut [u64], count: usize) {
    if let Some(last) = words.last_mut()
        && !count.is_multiple_of(64)
    {
        *last &= (1 << (count % 64)) - 1;
    }
}

fn refuse(words: &mut [u64], reasons: &mut [u8], at: usize, reason: Reason) {
    let Some(word) = words.get_mut(at / 64) else { return };
    if *word >> (at % 64) & 1 == 0 {
        return;
    }
    *word &= !(1 << (at % 64));
    if let Some(slot) = reasons.get_mut(at) {
        *slot = reason as u8;
    }
}
