//! Who is who. People are numbered, and a number says everything: truth needs
//! no set in memory.
//!
//! | numbers | who |
//! |---|---|
//! | from 0 | consent, as many as the population has |
//! | from 100 M | leavers: workloads that write grant and withdraw theirs |
//! | from 120 M | refused by a record: withdrawn, bounced, complained |
//! | from 190 M | strangers, of whom nothing is ever recorded |
//!
//! The ranges do not depend on the size, so a population may grow in a store.

use sendgate::{
    cli::generate::{
        people::{MAX_PEOPLE, People},
        random::Random,
    },
    proto::v1::{ContactKind, Reason},
};

const LEAVERS_FROM: u64 = MAX_PEOPLE;
/// The most leavers that there can be.
pub const MAX_LEAVERS: u64 = 20_000_000;
const RECORDED_FROM: u64 = LEAVERS_FROM + MAX_LEAVERS;
const STRANGERS_FROM: u64 = 190_000_000;
/// The most people who are refused by a record.
const MAX_RECORDED: u64 = STRANGERS_FROM - RECORDED_FROM;
const MAX_STRANGERS: u64 = 100_000_000;

/// How recipients are named in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Column {
    /// E.164 numbers as integers
    Phones,
    /// Integers of the caller's, scattered over all of u64
    ContactIds,
    /// Lines of e-mail addresses
    Emails,
    /// Lines of phone numbers in the spellings that people use in Turkey
    PhoneLines,
    /// Phones as Roaring bitmaps
    Roaring,
}

impl Column {
    /// What names the contacts.
    pub fn kind(self) -> ContactKind {
        match self {
            Self::Phones | Self::PhoneLines | Self::Roaring => ContactKind::Phone,
            Self::ContactIds => ContactKind::ContactId,
            Self::Emails => ContactKind::Email,
        }
    }

    /// The channel of the starter policy that reaches them.
    pub fn channel(self) -> &'static str {
        match self.kind() {
            ContactKind::Email => "email",
            ContactKind::ContactId => "push",
            _ => "sms",
        }
    }
}

/// Who the refused recipients are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Refused {
    /// Nothing is known of them
    Strangers,
    /// They withdrew, bounced or complained, a quarter each way
    Suppressed,
    /// Half of them are strangers
    Mixed,
}

/// A numbered person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Person(pub u64);

/// People of whom some consent.
#[derive(Clone, Debug)]
pub struct Population {
    people: People,
    seed: u64,
    column: Column,
    size: u64,
    refused: Refused,
}

impl Population {
    /// A population of which `size` people consent.
    pub fn new(column: Column, size: u64, refused: Refused, seed: u64) -> Self {
        Self { people: People::new(seed), seed, column, size: size.clamp(1, MAX_PEOPLE), refused }
    }

    /// How recipients are named.
    pub fn column(&self) -> Column {
        self.column
    }

    /// How many consent.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What it was made up from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// How many are refused by a record.
    pub fn recorded(&self) -> u64 {
        if self.refused == Refused::Strangers { 0 } else { self.size.min(MAX_RECORDED) }
    }

    /// One who consents, in the first scope at least.
    pub fn consenting(&self, number: u64) -> Person {
        Person(number % self.size)
    }

    /// One who is refused by a record.
    pub fn refused_by_record(&self, number: u64) -> Person {
        Person(RECORDED_FROM + number % self.size.min(MAX_RECORDED))
    }

    /// One whom a workload grants and withdraws.
    pub fn leaver(&self, number: u64) -> Person {
        Person(LEAVERS_FROM + number % MAX_LEAVERS)
    }

    /// One of whom nothing is known.
    pub fn stranger(&self, number: u64) -> Person {
        Person(STRANGERS_FROM + number % MAX_STRANGERS)
    }

    /// Draws a recipient who is permitted in the first scope, or one who is not.
    pub fn draw(&self, random: &mut Random, permitted: bool) -> Person {
        let number = random.next_u64();
        let by_record = match self.refused {
            Refused::Strangers => false,
            Refused::Suppressed => true,
            Refused::Mixed => random.chance(500),
        };
        match (permitted, by_record) {
            (true, _) => self.consenting(number),
            (false, true) => self.refused_by_record(number),
            (false, false) => self.stranger(number),
        }
    }

    /// Whether a consenting person does so in a scope. Everybody does in the
    /// first; a quarter does not in each further one, so that answers of
    /// different scopes differ.
    pub fn consents_in(person: Person, scope: usize) -> bool {
        scope == 0 || !(person.0 + scope as u64).is_multiple_of(4)
    }

    /// The verdict on a person in a scope. That on a leaver depends on what was
    /// done to them: they are in no batch.
    pub fn verdict(person: Person, scope: usize) -> Reason {
        match person.0 {
            ..LEAVERS_FROM if Self::consents_in(person, scope) => Reason::Permitted,
            _ => recorded_reason(person).unwrap_or(Reason::NoConsent),
        }
    }

    /// The integer that names a person: the E.164 number, or an integer
    /// scattered over all of u64.
    pub fn integer(&self, person: Person) -> u64 {
        match self.column {
            // Nobody is numbered beyond the mobiles that there are.
            Column::Phones | Column::PhoneLines | Column::Roaring => {
                self.people.mobile(person.0).unwrap_or_default()
            }
            Column::ContactIds => scatter(person.0 ^ self.seed << 32),
            Column::Emails => person.0,
        }
    }

    /// The canonical address of a person.
    pub fn address(&self, person: Person) -> String {
        match self.column.kind() {
            ContactKind::Email => self.people.person(person.0).email,
            ContactKind::Phone => format!("+{}", self.integer(person)),
            _ => self.integer(person).to_string(),
        }
    }
}

/// Why somebody is refused by a record, if one is.
pub fn recorded_reason(person: Person) -> Option<Reason> {
    let reasons =
        [Reason::OptedOut, Reason::ContactOptOut, Reason::HardBounce, Reason::SpamComplaint];
    let is_recorded = (RECORDED_FROM..STRANGERS_FROM).contains(&person.0);
    let reason = usize::try_from(person.0 % 4).ok().and_then(|at| reasons.get(at));
    reason.copied().filter(|_| is_recorded)
}

/// A reversible mix (that of SplitMix64): different integers stay different.
fn scatter(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn nobody_is_two_people() {
        for column in [Column::Phones, Column::ContactIds, Column::Emails] {
            let population = Population::new(column, 1000, Refused::Mixed, 7);
            let everybody = (0..1000).flat_map(|number| {
                [
                    population.consenting(number),
                    population.refused_by_record(number),
                    population.leaver(number),
                    population.stranger(number),
                ]
            });
            let addresses: BTreeSet<String> =
                everybody.map(|person| population.address(person)).collect();
            assert_eq!(addresses.len(), 4000, "{column:?}");
        }
    }

    #[test]
    fn a_number_says_who_somebody_is() {
        let population = Population::new(Column::Phones, 1000, Refused::Mixed, 7);
        let reasons = |at: fn(&Population, u64) -> Person, scope| -> BTreeSet<i32> {
            let people = (0..1000).map(|number| at(&population, number));
            people.map(|person| Population::verdict(person, scope).into()).collect()
        };
        let one = |reason: Reason| BTreeSet::from([i32::from(reason)]);
        assert_eq!(reasons(Population::consenting, 0), one(Reason::Permitted));
        assert_eq!(reasons(Population::consenting, 1).len(), 2);
        assert_eq!(reasons(Population::stranger, 0), one(Reason::NoConsent));
        assert_eq!(reasons(Population::refused_by_record, 0).len(), 4);
        // A population may grow in a store without a stranger becoming known.
        let larger = Population::new(Column::Phones, 2000, Refused::Mixed, 7);
        assert_eq!(population.stranger(5), larger.stranger(5));
    }
}
