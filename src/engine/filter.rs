//! The filter: verdicts for a whole batch, stage by stage, from one view (A6, A11).
//!
//! Recipients are read and resolved once, whatever the number of scopes. Then,
//! scope by scope, each stage runs over the whole column: probe the verdict
//! plane, then, only for the refused and only when asked, the reason planes.

use bytes::Bytes;
use roaring::RoaringTreemap;

use super::{
    audience::{AudienceError, count, read_audience},
    audience_screen::{Screen, Screened},
    column::ColumnId,
    erased::Erased,
    explain::Refused,
    plane_probe,
    recipients::{Reading, Recipients},
    seen::Seen,
    view::{Answering, View},
};
use crate::domain::{
    address::{Region, in_e164_range, plausible, plausible_throughout},
    contact::ContactKind,
    reason::Reason,
    scope::{BrandId, Regime, ScopeRules},
};

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
    /// The audience cannot be read.
    Audience(AudienceError),
}

impl From<AudienceError> for FilterError {
    fn from(error: AudienceError) -> Self {
        Self::Audience(error)
    }
}

/// The verdicts on a batch in one scope.
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
#[derive(Clone, Debug)]
pub struct Question {
    /// The brand of all scopes.
    pub brand: BrandId,
    /// The scopes' positions in the view's policy, in the order of the answers.
    pub scopes: Vec<usize>,
    /// The kind of the recipients.
    pub kind: ContactKind,
    /// The region of national phone spellings.
    pub region: Option<Region>,
    /// Whether reasons are asked for.
    pub reasons: bool,
    /// Whether each contact is permitted once a stream and scope.
    pub deduplicate: bool,
}

impl Question {
    /// How recipients must be read for the regimes of all scopes.
    fn reading(&self, view: &View) -> Reading {
        let regimes = || self.scopes.iter().filter_map(|at| view.rules(*at)).map(|it| it.regime);
        Reading {
            brand: self.brand,
            kind: self.kind,
            region: self.region,
            permits_unknown: regimes().any(Regime::permits_unknown),
            refuses_unknown: regimes().any(|regime| !regime.permits_unknown()),
        }
    }
}

/// What a stream keeps between batches.
#[derive(Default)]
pub struct Session {
    /// The recipients of the batch at hand.
    recipients: Recipients,
    seen: Seen,
    /// One bit a recipient: permitted in the scope at hand.
    words: Vec<u64>,
    refused: Refused,
}

impl Session {
    /// Takes a column of lines as the recipients at hand.
    pub fn read_lines(&mut self, lines: &Bytes, question: &Question, view: &View) {
        self.recipients.read_lines(lines, question.reading(view), view);
    }

    /// Takes a column of integers as it travels, eight bytes each, little-endian, as the recipients
    /// at hand. It is held until other recipients are taken, or until [`Session::shrink`].
    ///
    /// # Panics
    /// If its length is not a multiple of eight.
    pub fn read_column(&mut self, column: &Bytes, question: &Question, view: &View) {
        self.recipients.read_column(column, question.reading(view), view);
    }

    /// Takes integers as the recipients at hand.
    pub fn read_ids(&mut self, ids: impl Iterator<Item = u64>, question: &Question, view: &View) {
        self.recipients.read_ids(ids, question.reading(view), view);
    }

    /// Decides on the recipients at hand, for each scope of the question.
    ///
    /// # Errors
    /// [`FilterError`]; nothing is permitted then, in any scope, and nobody is
    /// remembered.
    pub fn filter(
        &mut self,
        view: &View,
        question: &Question,
    ) -> Result<Vec<Verdicts>, FilterError> {
        let bytes = self.recipients.len().div_ceil(8);
        self.decide(view, question, |words| {
            let mut bits = Vec::with_capacity(words.len() * 8);
            words.iter().for_each(|word| bits.extend_from_slice(&word.to_le_bytes()));
            bits.truncate(bytes);
            bits
        })
    }

    /// Decides on an audience of at most `cap` members: a portable bitmap in,
    /// the permitted bitmap out, for each scope of the question.
    ///
    /// # Errors
    /// [`FilterError`]; nothing is permitted then, in any scope.
    pub fn filter_roaring(
        &mut self,
        view: &View,
        question: &Question,
        audience: &[u8],
        cap: u64,
    ) -> Result<Vec<Verdicts>, FilterError> {
        let asks_each = question.reasons || question.deduplicate;
        if asks_each || question.reading(view).needs_erased(view) {
            return self.filter_audience(view, question, &read_audience(audience, cap)?);
        }
        // Nothing is expanded before it is known how much that will be.
        count(audience, cap)?;
        let screened = question.scopes.iter().map(|scope| {
            let (rules, planes) = scope_of(view, *scope, question.kind)?;
            let screened = screened(audience, planes, rules, question.kind)?;
            Ok(Verdicts {
                recipients: usize::try_from(screened.members).unwrap_or(usize::MAX),
                permitted: screened.permitted,
                bits: screened.bytes,
                ..Verdicts::default()
            })
        });
        screened.collect()
    }

    /// Decides on an audience that was read into a bitmap, for each scope of
    /// the question.
    ///
    /// # Errors
    /// [`FilterError`]; nothing is permitted then, in any scope.
    pub fn filter_audience(
        &mut self,
        view: &View,
        question: &Question,
        audience: &RoaringTreemap,
    ) -> Result<Vec<Verdicts>, FilterError> {
        self.read_ids(audience.iter(), question, view);
        self.decide(view, question, |words| {
            let members = audience.iter().enumerate();
            let permitted = members.filter(|(at, _)| bit(words, *at)).map(|(_, member)| member);
            // Some of what ascends ascends as well.
            serialized(&RoaringTreemap::from_sorted_iter(permitted).unwrap_or_default())
        })
    }

    /// Takes back what the batch at hand added to whom the stream has permitted:
    /// it is not answered after all.
    pub fn forget(&mut self, kind: ContactKind) {
        self.seen.forget(&self.recipients, kind);
    }

    /// Gives back the memory of a long batch: a stream may stay open for days.
    pub fn shrink(&mut self) {
        self.recipients.shrink(KEPT);
        self.seen.shrink(KEPT);
        self.words.shrink_to(KEPT / 64);
        self.refused.shrink(KEPT);
    }

    /// Decides on the recipients at hand for each scope; `bits` makes of the
    /// permitted what the answer carries.
    fn decide(
        &mut self,
        view: &View,
        question: &Question,
        bits: impl Fn(&[u64]) -> Vec<u8>,
    ) -> Result<Vec<Verdicts>, FilterError> {
        self.seen.begin(question.scopes.len());
        let decided = (0..question.scopes.len()).map(|at| {
            let mut verdicts = self.decide_in(view, question, at)?;
            verdicts.bits = bits(&self.words);
            Ok(verdicts)
        });
        let decided: Result<Vec<Verdicts>, FilterError> = decided.collect();
        if decided.is_err() {
            // Nobody in it was permitted, in the scopes before either.
            self.forget(question.kind);
        }
        decided
    }

    /// Decides for the scope at this place of the question; who is permitted
    /// is left in `words`.
    fn decide_in(
        &mut self,
        view: &View,
        question: &Question,
        at: usize,
    ) -> Result<Verdicts, FilterError> {
        let position = question.scopes.get(at).ok_or(FilterError::NoScope)?;
        let (rules, planes) = scope_of(view, *position, question.kind)?;
        let count = self.recipients.len();
        self.words.clear();
        self.words.resize(count.div_ceil(64), 0);
        if let ([id], true) = (self.recipients.ids(), question.reasons) {
            // One alone would wait for each plane by itself.
            let reasons = planes.reasons().map(|(_, plane)| plane);
            plane_probe::ask_for(id.id(), planes.verdict().into_iter().chain(reasons));
        }
        if let Some(plane) = planes.verdict() {
            plane.probe(self.recipients.ids(), &mut self.words);
        }
        if rules.regime.permits_unknown() {
            self.words.iter_mut().for_each(|word| *word = !*word);
        }
        mask_tail(&mut self.words, count);
        let invalid = self.recipients.invalid(rules.regime);
        for (word, invalid) in self.words.iter_mut().zip(invalid) {
            *word &= !invalid;
        }

        let mut verdicts = Verdicts { recipients: count, ..Verdicts::default() };
        if question.reasons {
            let ids = self.recipients.ids();
            self.refused.gather(ids, &self.words, invalid, rules.regime, &mut verdicts);
        }
        if rules.regime.permits_unknown() {
            self.refuse_erased(&view.erased, &mut verdicts);
        }
        if question.deduplicate {
            self.refuse_seen(question.kind, at, &mut verdicts)?;
        }
        verdicts.permitted = self.words.iter().map(|word| u64::from(word.count_ones())).sum();
        if question.reasons {
            self.refused.explain(planes, rules.regime, &mut verdicts)?;
            if let Some(count) = verdicts.counts.get_mut(Reason::Permitted as usize) {
                *count = verdicts.permitted;
            }
        }
        Ok(verdicts)
    }

    fn refuse_erased(&mut self, erased: &Erased, verdicts: &mut Verdicts) {
        for (at, marks) in self.recipients.erased.iter().enumerate() {
            if erased.refuses(marks) {
                refuse(&mut self.words, verdicts, at, Reason::Erased);
            }
        }
    }

    fn refuse_seen(
        &mut self,
        kind: ContactKind,
        scope: usize,
        verdicts: &mut Verdicts,
    ) -> Result<(), FilterError> {
        let seen = self.seen.scope_mut(scope).ok_or(FilterError::NoScope)?;
        for at in 0..self.words.len() {
            let mut left = self.words.get(at).copied().unwrap_or(0);
            while left != 0 {
                let place = at * 64 + left.trailing_zeros() as usize;
                left &= left - 1;
                if !seen.insert(&self.recipients, kind, place) {
                    refuse(&mut self.words, verdicts, place, Reason::Duplicate);
                }
            }
        }
        seen.added(&self.words);
        self.check_seen(kind)
    }

    fn check_seen(&self, kind: ContactKind) -> Result<(), FilterError> {
        if self.seen.is_over(kind) { Err(FilterError::SeenLimit) } else { Ok(()) }
    }
}

fn scope_of(
    view: &View,
    scope: usize,
    kind: ContactKind,
) -> Result<(&ScopeRules, Answering<'_>), FilterError> {
    view.rules(scope).zip(view.answering(scope, kind)).ok_or(FilterError::NoScope)
}

/// Screens an audience for one scope.
fn screened(
    audience: &[u8],
    planes: Answering<'_>,
    rules: &ScopeRules,
    kind: ContactKind,
) -> Result<Screened, AudienceError> {
    let permits_unknown = rules.regime.permits_unknown();
    let is_phone = kind == ContactKind::Phone;
    let may = |id| !is_phone || if permits_unknown { plausible(id) } else { in_e164_range(id) };
    // The range is longer than what is asked about at once: both ends tell.
    let in_range = |first, last| {
        let [first, last] = [first, last].map(in_e164_range);
        (first == last).then_some(first)
    };
    let may_all = |first, last| match (is_phone, permits_unknown) {
        (false, _) => Some(true),
        (true, true) => plausible_throughout(first, last),
        (true, false) => in_range(first, last),
    };
    Screen { plane: planes.verdict(), permits_members: !permits_unknown, may_all, may }
        .screen(audience)
}

fn serialized(bitmap: &RoaringTreemap) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(bitmap.serialized_size());
    // Writing into memory fails only for want of it, which aborts anyway; a
    // short bitmap would not parse, so the client permits nobody.
    drop(bitmap.serialize_into(&mut bytes));
    bytes
}

fn bit(words: &[u64], at: usize) -> bool {
    words.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
}

/// Clears the bits past the last recipient.
pub(super) fn mask_tail(words: &mut [u64], count: usize) {
    if let Some(last) = words.last_mut()
        && !count.is_multiple_of(64)
    {
        *last &= (1 << (count % 64)) - 1;
    }
}

/// Refuses a recipient that was permitted; with reasons, for this one.
fn refuse(words: &mut [u64], verdicts: &mut Verdicts, at: usize, reason: Reason) {
    let Some(word) = words.get_mut(at / 64) else { return };
    if *word >> (at % 64) & 1 == 0 {
        return;
    }
    *word &= !(1 << (at % 64));
    if let Some(slot) = verdicts.reasons.get_mut(at)
        && let Some(count) = verdicts.counts.get_mut(reason as usize)
    {
        *slot = reason as u8;
        *count += 1;
    }
}
