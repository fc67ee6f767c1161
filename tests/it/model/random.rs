//! Random events: dense enough in persons, times and keys that they collide.

use rand::{RngExt, rngs::StdRng, seq::IndexedRandom};
use sendgate::proto::v1::{ContactKind, Reason};

use super::{
    people::{BRANDS, PURPOSES, Person, channels, known},
    words::{DAY, Level, Precision, Role, Said, Stated, TABLE, Time, Type, What},
};

const SECOND: Time = 1_000;
const MINUTE: Time = 60 * SECOND;
const HOUR: Time = 60 * MINUTE;

pub struct Generator {
    pub random: StdRng,
    known: Vec<usize>,
    kinds: Vec<ContactKind>,
    said: Vec<Said>,
}

impl Generator {
    pub fn new(random: StdRng, people: &[Person]) -> Self {
        let kinds = people.iter().map(|person| person.kind).collect();
        Self { random, known: known(people), kinds, said: Vec::new() }
    }

    /// The next event: something new, or something said before, word for word
    /// or nearly.
    pub fn next(&mut self, clock: Time, wanted: impl Fn(&What) -> bool) -> Said {
        loop {
            let before = self.said.choose(&mut self.random).cloned();
            let said = match (self.random.random_range(0..100), before) {
                (0..10, Some(said)) => said,
                (10..35, Some(said)) => self.vary(said, clock),
                _ => self.fresh(clock),
            };
            if wanted(&said.what) {
                self.said.push(said.clone());
                return said;
            }
        }
    }

    /// Nearly the same: what rules about equal times and equal keys are for.
    fn vary(&mut self, mut said: Said, clock: Time) -> Said {
        match self.random.random_range(0..4) {
            0 => said.source = self.pick(&["web", "call centre"]),
            1 => said.time = said.time.or_else(|| Some(self.stated(said.who, clock))),
            _ => {
                said.what = match said.what {
                    What::Consent { granted: true, types, level, .. } => {
                        let granted = self.chance(60);
                        let until = granted.then(|| self.end(clock));
                        What::Consent { granted, types, level, until }
                    }
                    What::Suppression { channel, reason, .. } if self.chance(60) => {
                        said.role = self.pick(&[Role::Staff, Role::System]);
                        What::Lift { channel, reason }
                    }
                    What::Suppression { channel, reason, .. } => {
                        What::Suppression { channel, reason, end: Some(self.end(clock)) }
                    }
                    What::Lift { channel, reason } => {
                        What::Suppression { channel, reason, end: Some(self.end(clock)) }
                    }
                    other => other,
                }
            }
        }
        said
    }

    pub fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        *from.choose(&mut self.random).unwrap()
    }

    /// Where the clock goes next; often onto an end, or just before one.
    pub fn next_clock(&mut self, clock: Time, ends: &[Time]) -> Time {
        let near = ends.iter().filter(|end| **end < clock + 2 * DAY).copied();
        let near: Vec<Time> = near.collect();
        match self.random.random_range(0..100) {
            0..35 if !near.is_empty() => self.pick(&near),
            35..45 if !near.is_empty() => self.pick(&near) - 1,
            45..55 => clock - self.pick(&[1, 10 * MINUTE, 5 * HOUR]),
            55..60 => clock,
            _ => clock + self.pick(&[1, SECOND, MINUTE, HOUR, 7 * HOUR]),
        }
    }

    fn fresh(&mut self, clock: Time) -> Said {
        let who = self.who();
        let channels = channels(self.kinds[who]);
        let what = match self.random.random_range(0..100) {
            0..42 => self.grant(channels, clock),
            42..65 => self.withdrawal(channels, clock),
            65..88 => self.suppression(channels, clock),
            _ => self.lift(channels),
        };
        let is_consent = matches!(what, What::Consent { .. });
        let needs_time = matches!(what, What::Lift { .. } | What::Consent { granted: true, .. });
        let timeless = self.chance(if needs_time { 1 } else { 35 });
        Said {
            brand: (is_consent || self.chance(75)).then(|| self.pick(&BRANDS)),
            who,
            what,
            time: (!timeless).then(|| self.stated(who, clock)),
            key: if self.chance(35) { self.pick(&["k1", "k2"]) } else { "" },
            source: if self.chance(70) { "" } else { "web" },
            role: self.role(),
            origin: 0,
        }
    }

    fn role(&mut self) -> Role {
        self.pick(&[Role::Staff, Role::Staff, Role::System, Role::System, Role::Customer])
    }

    /// Half of all events concern every fifth contact.
    fn who(&mut self) -> usize {
        let step = self.pick(&[1, 5]);
        self.known[self.random.random_range(0..self.known.len() / step) * step]
    }

    /// A contact to erase, strangers too, in one brand or in all.
    pub fn erasure(&mut self) -> (Option<&'static str>, usize) {
        let stranger = self.random.random_range(0..self.kinds.len());
        let who = if self.chance(90) { self.who() } else { stranger };
        (self.chance(65).then(|| self.pick(&BRANDS)), who)
    }

    /// A wrong contact and the right one, strangers too.
    pub fn rectification(&mut self) -> (&'static str, usize, usize) {
        let from = self.who();
        let of_kind = |who: &usize| *who != from && self.kinds[*who] == self.kinds[from];
        let others: Vec<usize> = (0..self.kinds.len()).filter(of_kind).collect();
        (self.pick(&BRANDS), from, self.pick(&others))
    }

    fn grant(&mut self, channels: &[&'static str], clock: Time) -> What {
        What::Consent {
            granted: true,
            types: (!self.chance(1)).then(|| self.pick(&[Type::Individual, Type::Merchant])),
            level: Level {
                channel: Some(self.pick(channels)),
                purpose: (!self.chance(1)).then(|| self.pick(&PURPOSES)),
            },
            until: self.chance(30).then(|| self.end(clock)),
        }
    }

    fn withdrawal(&mut self, channels: &[&'static str], clock: Time) -> What {
        let (channel, purpose) = match self.random.random_range(0..100) {
            0..40 => (true, true),
            40..70 => (true, false),
            70..98 => (false, false),
            _ => (false, true),
        };
        What::Consent {
            granted: false,
            types: self.chance(50).then(|| self.pick(&[Type::Individual, Type::Merchant])),
            level: Level {
                channel: channel.then(|| self.pick(channels)),
                purpose: purpose.then(|| self.pick(&PURPOSES)),
            },
            until: self.chance(1).then_some(clock + DAY),
        }
    }

    fn suppression(&mut self, channels: &[&'static str], clock: Time) -> What {
        let reason = self.reason();
        // A soft bounce without an end is refused; and blocks that never end
        // would soon hide all weaker ones.
        let has_end = self.chance(if reason == Reason::SoftBounce { 95 } else { 65 });
        What::Suppression {
            channel: self.chance(60).then(|| self.pick(channels)),
            reason,
            end: has_end.then(|| self.end(clock)),
        }
    }

    fn lift(&mut self, channels: &[&'static str]) -> What {
        let reason = if self.chance(35) { Reason::Erased } else { self.reason() };
        let narrow = self.chance(if reason == Reason::Erased { 3 } else { 60 });
        What::Lift { channel: narrow.then(|| self.pick(channels)), reason }
    }

    /// ERASED, which nobody can set, is the first row and comes up seldom.
    fn reason(&mut self) -> Reason {
        let first = usize::from(!self.chance(2));
        TABLE[self.random.random_range(first..TABLE.len())].reason
    }

    fn end(&mut self, clock: Time) -> Time {
        clock + self.pick(&[-HOUR, 0, 1, MINUTE, HOUR, 5 * HOUR, DAY, 3 * DAY])
    }

    fn stated(&mut self, who: usize, clock: Time) -> Stated {
        let precision = match self.random.random_range(0..100) {
            0..60 => Precision::Millisecond,
            60..80 => Precision::Second,
            80..92 => Precision::Minute,
            _ => Precision::Day,
        };
        let of_contact = self.said.iter().filter(|said| said.who == who);
        let before: Vec<Time> =
            of_contact.filter_map(|said| said.time).map(|time| time.at).collect();
        let at = match self.random.random_range(0..100) {
            0..35 if !before.is_empty() => self.pick(&before),
            35..55 => clock - self.random.random_range(0..72) * HOUR,
            55..75 => clock - self.pick(&[0, 1, SECOND, MINUTE, 90 * SECOND]),
            // A grant may lie five minutes ahead, and not a millisecond more.
            75..90 => clock + self.pick(&[1, SECOND, 5 * MINUTE, 5 * MINUTE + 1, DAY]),
            _ => clock - DAY - self.random.random_range(0..DAY),
        };
        Stated { at, precision }
    }
}
