//! R11 as it is written: what an erasure leaves, what brings somebody back, and
//! what a rectification moves.
//!
//! Readings that the rules leave open, each the one that sends less:
//! - An entry ERASED belongs to its brand or to all brands, as every entry does
//!   (R7): a lift names one of the two, and does not end the other.
//! - What ends a mark brings back the blocks that it stood for: a lift as much
//!   as a later grant, or to lift ERASED would lift the others unseen.
//! - A lift of ERASED lets nothing in that was refused before it.
//! - Blocks of all brands come back, and then hold in all, once one brand is
//!   granted something, or ERASED is lifted in all of them.
//! - A rectification moves grants that stand. One that a withdrawal at a wider
//!   level has overtaken stays behind.

use sendgate::proto::v1::{Reason, RejectCode};

use super::{
    rules::{Accepted, Answer, Consent, Model},
    words::{Level, Precision, Role, Said, Stated, Time, What, row_of},
};

type Brand = Option<&'static str>;

/// What an erasure leaves; nothing takes the marks and their lifts away.
#[derive(Debug, Default)]
pub struct Marks {
    erasures: Vec<(Brand, usize, Time)>,
    lifts: Vec<(Brand, usize, Time)>,
    /// What was said of entries that a grant cannot end.
    blocks: Vec<Accepted>,
}

impl Marks {
    /// R7, of the entry ERASED of a brand or of all.
    pub fn active_since(&self, brand: Option<&str>, who: usize) -> Option<Time> {
        let of = |list: &[(Brand, usize, Time)]| {
            let of_entry = list.iter().filter(|each| (each.0, each.1) == (brand, who));
            of_entry.map(|each| each.2).max()
        };
        of(&self.erasures).filter(|since| of(&self.lifts).is_none_or(|lifted| *since >= lifted))
    }

    /// The latest erasure that concerned what is known of a contact in a brand.
    fn erased_at(&self, brand: Brand, who: usize) -> Option<Time> {
        let concerns =
            |each: &&(Brand, usize, Time)| each.1 == who && (each.0 == brand || each.0.is_none());
        self.erasures.iter().filter(concerns).map(|each| each.2).max()
    }

    /// For a failure's message.
    pub fn history(&self, who: usize) -> String {
        let of = |list: &[(Brand, usize, Time)]| {
            let of_person: Vec<(Brand, Time)> =
                list.iter().filter(|each| each.1 == who).map(|each| (each.0, each.2)).collect();
            format!("{of_person:?}")
        };
        format!("erased {}, lifted {}", of(&self.erasures), of(&self.lifts))
    }
}

/// What an erasure did.
#[derive(Debug, PartialEq, Eq)]
pub struct Erased {
    pub revision: u64,
    pub events: u64,
    pub survivors: u32,
}

/// What a rectification did.
#[derive(Debug, PartialEq, Eq)]
pub struct Rectified {
    /// The revision of the withdrawal; 0 if it was refused.
    pub revision: u64,
    pub moved: u32,
    pub kept: u32,
}

impl Model {
    /// A consent from before an erasure brings nobody back.
    pub fn is_from_before_an_erasure(&self, said: &Said, time: Time) -> bool {
        matches!(said.what, What::Consent { .. })
            && self.marks.erased_at(said.brand, said.who).is_some_and(|erased| time <= erased)
    }

    /// What an accepted event means for the marks of its contact.
    pub fn hear(&mut self, said: &Said, time: Time) {
        let (brand, who) = (said.brand, said.who);
        let lifts_mark = matches!(said.what, What::Lift { reason: Reason::Erased, .. });
        let is_grant = matches!(said.what, What::Consent { granted: true, .. });
        if lifts_mark {
            self.marks.lifts.push((brand, who, time));
        }
        if !lifts_mark && !is_grant {
            return;
        }
        // A grant in a brand frees the blocks of all brands too; a lift in all
        // brands those of every one.
        let origin = self.revision;
        let (free, rest) = std::mem::take(&mut self.marks.blocks).into_iter().partition(|each| {
            let of = each.said.brand;
            each.said.who == who && (of == brand || (is_grant && of.is_none()) || brand.is_none())
        });
        self.marks.blocks = rest;
        for Accepted { said, time, .. } in what_counts(free) {
            self.revision += 1;
            let time_said = Some(Stated { at: time, precision: Precision::Millisecond });
            let said = Said { time: time_said, key: "", source: "", origin, ..said };
            self.accepted.push(Accepted { said, time, revision: self.revision });
        }
    }

    pub fn erase(&mut self, brand: Brand, who: usize) -> Erased {
        self.recorded = self.clock.max(self.recorded);
        self.revision += 1;
        let concerned =
            |each: &Accepted| each.said.who == who && (brand.is_none() || each.said.brand == brand);
        let (gone, rest): (Vec<Accepted>, Vec<Accepted>) =
            std::mem::take(&mut self.accepted).into_iter().partition(concerned);
        self.accepted = rest;
        let events = gone.len() as u64;
        self.marks.blocks.extend(gone.into_iter().filter(|each| outlives(&each.said.what)));
        self.marks.erasures.push((brand, who, self.recorded));
        let mut entries = Vec::new();
        for each in self.marks.blocks.iter().filter(|each| concerned(each)) {
            if !entries.contains(&entry(&each.said)) {
                entries.push(entry(&each.said));
            }
        }
        let survivors = u32::try_from(entries.len()).unwrap();
        Erased { revision: self.revision, events, survivors }
    }

    pub fn rectify(&mut self, brand: &'static str, from: usize, to: usize) -> Rectified {
        let number = self.revision + 1;
        let stands = self.standing_grants(brand, from);
        let is_free = |grant: &&Consent| {
            let records: Vec<Consent> = self.consents(Some(brand), to).collect();
            !records.iter().any(|record| speaks_of(record, grant))
        };
        let is_blocked = |grant: &&Consent| self.is_person_blocked(brand, from, grant);
        let free: Vec<Consent> =
            stands.iter().filter(is_free).filter(|each| !is_blocked(each)).copied().collect();

        let said = |who, what, time| Said {
            brand: Some(brand),
            who,
            what,
            time,
            key: "",
            source: "",
            role: Role::Staff,
            origin: number,
        };
        let nothing_more = What::Consent {
            granted: false,
            types: None,
            level: Level { channel: None, purpose: None },
            until: None,
        };
        let withdrawn = self.record(&said(from, nothing_more, None));
        let mut moved = 0;
        for grant in free {
            let Consent { granted, types, level, until, time } = grant;
            let what = What::Consent { granted, types, level, until };
            let time = Stated { at: time, precision: Precision::Millisecond };
            match self.record(&said(to, what, Some(time))) {
                Answer::Recorded(..) => moved += 1,
                Answer::Rejected(RejectCode::Erased) => {}
                other => panic!("a grant that moves is {other:?}"),
            }
        }
        let revision = match withdrawn {
            Answer::Recorded(revision, _) => revision,
            Answer::Rejected(RejectCode::Erased) => 0,
            other => panic!("the withdrawal of a wrong address is {other:?}"),
        };
        let kept = u32::try_from(stands.len()).unwrap() - moved;
        Rectified { revision, moved, kept }
    }

    /// Whether somebody is blocked, as a person, in what a grant permits. A
    /// bounce is of the address and stays with it.
    fn is_person_blocked(&self, brand: &'static str, who: usize, grant: &Consent) -> bool {
        let of_persons = [
            (Reason::LegalBlock, false),
            (Reason::Restricted, false),
            (Reason::SpamComplaint, true),
            (Reason::ManualBlock, false),
            (Reason::Objected, true),
        ];
        of_persons.into_iter().any(|(reason, ended_by_grant)| {
            [Some(brand), None].into_iter().any(|brand| {
                [grant.level.channel, None].into_iter().any(|channel| {
                    self.active_since(brand, who, channel, reason)
                        .is_some_and(|since| !(ended_by_grant && grant.time > since))
                })
            })
        })
    }

    /// The current grants that nothing wider has overtaken, one a place: of two
    /// that differ in nothing a verdict depends on, one.
    fn standing_grants(&self, brand: &'static str, who: usize) -> Vec<Consent> {
        let current = self.current(Some(brand), who);
        let mut stands: Vec<Consent> = Vec::new();
        for grant in current.iter().filter(|each| each.granted) {
            let overtaken = current
                .iter()
                .any(|other| !other.granted && speaks_of(other, grant) && other.time >= grant.time);
            let is_twin =
                |other: &Consent| (other.level, other.types) == (grant.level, grant.types);
            if !overtaken && !stands.iter().any(is_twin) {
                stands.push(*grant);
            }
        }
        stands
    }
}

/// Whether a record of any width speaks of what was granted.
fn speaks_of(record: &Consent, grant: &Consent) -> bool {
    (record.types.is_none() || record.types == grant.types)
        && (record.level.channel.is_none() || record.level.channel == grant.level.channel)
        && (record.level.purpose.is_none() || record.level.purpose == grant.level.purpose)
}

/// The entry that an event is of: brand, channel, reason.
fn entry(said: &Said) -> (Brand, Option<&'static str>, Reason) {
    match said.what {
        What::Suppression { channel, reason, .. } | What::Lift { channel, reason } => {
            (said.brand, channel, reason)
        }
        What::Consent { .. } => panic!("a consent is of no entry"),
    }
}

/// Of what was said of entries, that which still says something: the greatest
/// lift of each, and the blocks that it does not end and no other outlasts.
fn what_counts(said: Vec<Accepted>) -> Vec<Accepted> {
    let end = |each: &Accepted| match each.said.what {
        What::Suppression { end, .. } => Some(end.unwrap_or(Time::MAX)),
        _ => None,
    };
    let mut counts: Vec<Accepted> = Vec::new();
    for each in &said {
        let beside = || said.iter().filter(|other| entry(&other.said) == entry(&each.said));
        let says_nothing = match end(each) {
            None => beside().any(|other| end(other).is_none() && other.time > each.time),
            Some(ends) => beside().any(|other| match end(other) {
                None => other.time > each.time,
                Some(later) => {
                    (other.time, later) != (each.time, ends)
                        && other.time >= each.time
                        && later >= ends
                }
            }),
        };
        let is_twin = |other: &Accepted| {
            (entry(&other.said), other.time, end(other))
                == (entry(&each.said), each.time, end(each))
        };
        if !says_nothing && !counts.iter().any(is_twin) {
            counts.push(each.clone());
        }
    }
    counts
}

/// Whether it is of an entry that a grant cannot end.
fn outlives(what: &What) -> bool {
    match what {
        What::Consent { .. } => false,
        What::Suppression { reason, .. } | What::Lift { reason, .. } => {
            !row_of(*reason).ended_by_grant
        }
    }
}
