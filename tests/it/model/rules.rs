//! Rules R2 to R9 as they are written ([`super::rights`] has R11): a list of what was accepted, and every
//! answer computed anew from the whole list.
//!
//! It is slow and plain on purpose. It shares no type and no function with the
//! server's domain, so that the two can only agree by both being right.

use std::cmp::Reverse;

use sendgate::proto::v1::{Reason, RejectCode};

use super::rights::Marks;
use super::words::{
    Level, Regime, Row, Said, Scope, TABLE, Time, Type, What, row_of, shape, stored_time,
};

/// An event that was accepted, with its stored time.
#[derive(Clone, Debug)]
pub struct Accepted {
    pub said: Said,
    pub time: Time,
    pub revision: u64,
}

/// A consent event of the list, taken apart.
#[derive(Clone, Copy)]
pub struct Consent {
    pub granted: bool,
    pub types: Option<Type>,
    pub level: Level,
    pub until: Option<Time>,
    pub time: Time,
}

impl Consent {
    /// The order of R4, but for the digest, which no verdict depends on.
    fn rank(&self) -> (Time, bool, Reverse<Time>) {
        (self.time, !self.granted, Reverse(self.until.unwrap_or(Time::MAX)))
    }

    fn covers(&self, recipient_type: Type, channel: &str, purpose: &str) -> bool {
        self.types.is_none_or(|each| each == recipient_type)
            && self.level.channel.is_none_or(|each| each == channel)
            && self.level.purpose.is_none_or(|each| each == purpose)
    }

    /// 0 for the purpose level, 1 for the channel level, 2 for the contact level.
    fn width(&self) -> u8 {
        u8::from(self.level.channel.is_none()) + u8::from(self.level.purpose.is_none())
    }
}

/// What becomes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Recorded; whether it is current now. Nobody but the digest knows which of
    /// two is current that differ in nothing a verdict depends on.
    Recorded(u64, Option<bool>),
    Repeat(u64),
    KeyReused(u64),
    Rejected(RejectCode),
}

#[derive(Debug)]
pub struct Model {
    pub accepted: Vec<Accepted>,
    pub revision: u64,
    pub clock: Time,
    /// The greatest time that the clock has shown (R6).
    pub high_water: Time,
    pub recorded: Time,
    pub marks: Marks,
}

impl Model {
    pub fn new(revision: u64, clock: Time) -> Self {
        let (accepted, marks) = (Vec::new(), Marks::default());
        Self { accepted, revision, clock, high_water: clock, recorded: clock, marks }
    }

    pub fn set_clock(&mut self, clock: Time) {
        self.clock = clock;
        self.high_water = self.high_water.max(clock);
    }

    /// R2: what becomes of an event.
    pub fn record(&mut self, said: &Said) -> Answer {
        let recorded = self.clock.max(self.recorded);
        let time = match shape(said).and_then(|()| stored_time(said, recorded)) {
            Ok(time) => time,
            Err(code) => return Answer::Rejected(code),
        };
        let mut key_reused = false;
        if said.key.is_empty() {
            let same = self.accepted.iter().rev().find(|each| each.said == *said);
            if let Some(same) = same
                && (!self.time_is_ours(same) || self.in_force(same))
            {
                return Answer::Repeat(same.revision);
            }
        } else {
            let under_key = self
                .accepted
                .iter()
                .filter(|each| each.said.key == said.key && each.said.shares_key_scope(said));
            let under_key: Vec<&Accepted> = under_key.collect();
            if let Some(same) = under_key.iter().find(|each| each.said == *said) {
                return Answer::Repeat(same.revision);
            }
            key_reused = !under_key.is_empty();
            if key_reused && !said.only_suppresses() {
                return Answer::Rejected(RejectCode::AlreadyExists);
            }
        }
        if self.is_from_before_an_erasure(said, time) {
            return Answer::Rejected(RejectCode::Erased);
        }
        let is_current = self.becomes_current(said, time);
        self.revision += 1;
        self.recorded = recorded;
        let revision = self.revision;
        self.accepted.push(Accepted { said: said.clone(), time, revision });
        self.hear(said, time);
        if key_reused {
            Answer::KeyReused(revision)
        } else {
            Answer::Recorded(revision, is_current)
        }
    }

    /// R5 to R9: the verdict on a person.
    pub fn verdict(&self, who: usize, scope: &Scope) -> Reason {
        let effective = self.effective(who, scope);
        let is_expired = |consent: &Consent| {
            let default = scope.validity.map(|validity| consent.time + validity);
            let end = [consent.until, default].into_iter().flatten().min();
            end.is_some_and(|end| end <= self.high_water)
        };
        let granted = effective
            .filter(|consent| consent.granted && !is_expired(consent))
            .map(|consent| consent.time);
        if let Some(reason) = self.blocked(who, scope, granted) {
            return reason;
        }
        match (scope.regime, effective) {
            (Regime::Exempt, _) | (Regime::OptOut, None) => Reason::Permitted,
            (Regime::OptIn, None) => Reason::NoConsent,
            (_, Some(consent)) if consent.granted && is_expired(&consent) => Reason::Expired,
            (_, Some(consent)) if consent.granted => Reason::Permitted,
            (_, Some(consent)) => match consent.width() {
                0 => Reason::OptedOut,
                1 => Reason::ChannelOptOut,
                _ => Reason::ContactOptOut,
            },
        }
    }

    /// The ends that are still to come, for a clock that wants to hit them.
    pub fn ends(&self, validities: &[Time]) -> Vec<Time> {
        let of = |each: &Accepted| match each.said.what {
            What::Consent { granted: true, until, .. } => until
                .into_iter()
                .chain(validities.iter().map(|validity| each.time + validity))
                .collect(),
            What::Suppression { end, .. } => Vec::from_iter(end),
            _ => Vec::new(),
        };
        self.accepted.iter().flat_map(of).filter(|end| *end > self.clock).collect()
    }

    /// R5 on top of R4.
    fn effective(&self, who: usize, scope: &Scope) -> Option<Consent> {
        self.current(Some(scope.brand), who)
            .into_iter()
            .filter(|each| each.covers(scope.recipient_type, scope.channel, scope.purpose))
            .max_by_key(|each| (each.time, !each.granted, Reverse(each.width())))
    }

    /// R7: the strongest suppression that blocks the scope.
    fn blocked(&self, who: usize, scope: &Scope, granted: Option<Time>) -> Option<Reason> {
        let (is_opt_in, is_exempt) =
            (scope.regime == Regime::OptIn, scope.regime == Regime::Exempt);
        let blocks = |row: &&Row| {
            [Some(scope.brand), None].into_iter().any(|brand| {
                [Some(scope.channel), None].into_iter().any(|channel| {
                    let since = self.active_since(brand, who, channel, row.reason);
                    let ended = row.ended_by_grant && !is_exempt && granted > since;
                    since.is_some() && !ended
                })
            })
        };
        TABLE
            .iter()
            .filter(|row| row.blocks_opt_in || !is_opt_in)
            .filter(|row| row.blocks_exempt || !is_exempt)
            .find(blocks)
            .map(|row| row.reason)
    }

    /// The greatest `since` among the active suppressions of one entry.
    pub fn active_since(
        &self,
        brand: Option<&str>,
        who: usize,
        channel: Option<&'static str>,
        reason: Reason,
    ) -> Option<Time> {
        if reason == Reason::Erased {
            return self.marks.active_since(brand, who).filter(|_| channel.is_none());
        }
        let lifted = self.lifted(brand, who, channel, reason);
        self.suppressions(brand, who, channel, reason)
            .filter(|(since, end)| {
                lifted.is_none_or(|lifted| *since >= lifted) && *end > self.clock
            })
            .map(|(since, _)| since)
            .max()
    }

    fn of(&self, brand: Option<&str>, who: usize) -> impl Iterator<Item = &Accepted> {
        self.accepted.iter().filter(move |each| each.said.who == who && each.said.brand == brand)
    }

    /// `since` and end of every suppression ever set under an entry.
    fn suppressions(
        &self,
        brand: Option<&str>,
        who: usize,
        channel: Option<&'static str>,
        reason: Reason,
    ) -> impl Iterator<Item = (Time, Time)> {
        self.of(brand, who).filter_map(move |each| match each.said.what {
            What::Suppression { channel: named, reason: given, end }
                if named == channel && given == reason =>
            {
                Some((each.time, end.unwrap_or(Time::MAX)))
            }
            _ => None,
        })
    }

    /// The greatest time of a lift of an entry that is on record.
    fn lifted(
        &self,
        brand: Option<&str>,
        who: usize,
        channel: Option<&'static str>,
        reason: Reason,
    ) -> Option<Time> {
        self.of(brand, who)
            .filter(|each| each.said.what == What::Lift { channel, reason })
            .map(|each| each.time)
            .max()
    }

    pub fn consents(&self, brand: Option<&str>, who: usize) -> impl Iterator<Item = Consent> {
        self.of(brand, who).filter_map(|each| match each.said.what {
            What::Consent { granted, types, level, until } => {
                Some(Consent { granted, types, level, until, time: each.time })
            }
            _ => None,
        })
    }

    /// R4: the current record of every level and type.
    pub fn current(&self, brand: Option<&str>, who: usize) -> Vec<Consent> {
        let all: Vec<Consent> = self.consents(brand, who).collect();
        let same_place = |a: &Consent, b: &Consent| (a.level, a.types) == (b.level, b.types);
        let is_current = |each: &&Consent| {
            all.iter().all(|other| !same_place(other, each) || other.rank() <= each.rank())
        };
        all.iter().filter(is_current).copied().collect()
    }

    fn becomes_current(&self, said: &Said, time: Time) -> Option<bool> {
        let (brand, who) = (said.brand, said.who);
        match said.what {
            What::Consent { granted, types, level, until } => {
                let new = Consent { granted, types, level, until, time };
                let greatest = self
                    .consents(brand, who)
                    .filter(|each| each.level == level && each.types == types)
                    .map(|each| each.rank())
                    .max();
                let is_tie = greatest == Some(new.rank());
                (!is_tie).then_some(greatest < Some(new.rank()))
            }
            What::Suppression { channel, reason, end } => {
                let end = end.unwrap_or(Time::MAX);
                let is_lifted = self.lifted(brand, who, channel, reason) > Some(time);
                let says_no_less = |(since, other): (Time, Time)| since >= time && other >= end;
                let mut others = self.suppressions(brand, who, channel, reason);
                Some(!is_lifted && !others.any(says_no_less))
            }
            What::Lift { channel, reason } => {
                Some(self.lifted(brand, who, channel, reason) < Some(time))
            }
        }
    }

    /// Whether the stored time is the recording's and not the caller's, so that
    /// the same words may mean a new event.
    fn time_is_ours(&self, event: &Accepted) -> bool {
        let said = &event.said;
        said.only_suppresses() && said.time.is_none_or(|stated| stated.last() != event.time)
    }

    /// formats.md: an opt-out without a time is a duplicate while the same one
    /// is in force. It no longer is once it was lifted, has ended, or something
    /// that it covers was granted since.
    fn in_force(&self, event: &Accepted) -> bool {
        let (brand, who) = (event.said.brand, event.said.who);
        let granted_since = |within: &dyn Fn(&Consent) -> bool| {
            self.current(brand, who)
                .iter()
                .any(|each| each.granted && each.time > event.time && within(each))
        };
        match event.said.what {
            What::Consent { types, level, .. } => !granted_since(&|grant| {
                types.is_none_or(|types| grant.types == Some(types))
                    && level.channel.is_none_or(|channel| grant.level.channel == Some(channel))
                    && level.purpose.is_none_or(|purpose| grant.level.purpose == Some(purpose))
            }),
            What::Suppression { channel, reason, end } => {
                let is_lifted = self.lifted(brand, who, channel, reason) > Some(event.time);
                let has_ended = end.is_some_and(|end| end <= self.clock);
                let can_be_granted_away = row_of(reason).ended_by_grant;
                // The server does not look for grants in every brand, and rather
                // counts such an entry once too often.
                let may_be_granted_away = can_be_granted_away && brand.is_none();
                let is_granted_away = can_be_granted_away
                    && granted_since(&|grant| {
                        channel.is_none_or(|channel| grant.level.channel == Some(channel))
                    });
                !(is_lifted || has_ended || may_be_granted_away || is_granted_away)
            }
            What::Lift { .. } => true,
        }
    }
}
