//! Who is in the data of a comparison, and lists whose answers are known.
//!
//! People are numbered, and the number says what is recorded of them: truth
//! needs no set in memory.

use sendgate::{
    cli::generate::{people::People, random::Random},
    proto::v1::Reason,
};

/// The seed of everything; part of the name of what is cached.
pub const SEED: u64 = 20_240_613;
/// Recipients of one message.
pub const BATCH: usize = 16_384;
/// The share of a list that is permitted.
pub const HIT_RATE: f64 = 0.5;
/// Randomness of the lists; one stream for each.
const LIST_STREAM: u64 = 131;

/// The people of a comparison.
#[derive(Clone, Debug)]
pub struct Population {
    people: People,
    /// How many may be written to: those numbered below.
    pub permitted: u64,
}

/// Who the refused half of a list is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Strangers, of whom nothing is recorded.
    Strangers,
    /// People who withdrew or are suppressed.
    Known,
}

/// Recipients in order, with what is known of each.
pub struct List {
    /// Their numbers.
    pub people: Vec<u64>,
}

impl Population {
    /// So many permitted people, a tenth as many refused ones, and strangers.
    pub fn new(permitted: u64) -> Self {
        Self { people: People::new(SEED), permitted }
    }

    /// How many people have withdrawn or are suppressed, in turn: their numbers
    /// follow those of the permitted ones.
    pub fn refused(&self) -> u64 {
        self.permitted / 10
    }

    /// The number of the first person of whom nothing is recorded, and whom no
    /// list asks about.
    pub fn spare(&self) -> u64 {
        self.permitted + self.refused()
    }

    /// A person's phone: a Turkish mobile.
    pub fn phone(&self, person: u64) -> u64 {
        self.people.mobile(person).unwrap_or_default()
    }

    /// A person's e-mail.
    pub fn email(&self, person: u64) -> String {
        self.people.person(person).email
    }

    /// The phones of all who may be written to.
    pub fn permitted_phones(&self) -> impl Iterator<Item = u64> {
        (0..self.permitted).map(|person| self.phone(person))
    }

    /// Whether a person may be written to.
    pub fn is_permitted(&self, person: u64) -> bool {
        person < self.permitted
    }

    /// The reason that is recorded for a person.
    pub fn reason(&self, person: u64) -> Reason {
        match person.checked_sub(self.permitted) {
            None => Reason::Permitted,
            Some(refused) if refused >= self.refused() => Reason::NoConsent,
            Some(refused) if refused % 2 == 0 => Reason::OptedOut,
            Some(_) => Reason::ManualBlock,
        }
    }

    /// List `number`, half of it permitted, in random order.
    pub fn list(&self, number: u64, size: usize, refused: Refused) -> List {
        let mut random = Random::of(SEED, LIST_STREAM, number);
        let strangers = 2 * self.permitted;
        let people = (0..size).map(|_| {
            let is_permitted = random.below(1_000_000) < (HIT_RATE * 1e6) as u64;
            match refused {
                _ if is_permitted => random.below(self.permitted),
                Refused::Strangers => strangers + random.below(self.permitted),
                Refused::Known => self.permitted + random.below(self.refused()),
            }
        });
        List { people: people.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_says_what_is_recorded() {
        let population = Population::new(1_000);
        let reasons = [0, 999, 1_000, 1_001, 1_099, 1_100, 2_000].map(|it| population.reason(it));
        use Reason::{ManualBlock, NoConsent, OptedOut, Permitted};
        let expected =
            [Permitted, Permitted, OptedOut, ManualBlock, ManualBlock, NoConsent, NoConsent];
        assert_eq!(reasons, expected);
        assert!(
            (0..2_100)
                .all(|it| population.is_permitted(it) == (population.reason(it) == Permitted))
        );
    }

    #[test]
    fn half_of_a_list_is_permitted_and_the_rest_as_asked() {
        let population = Population::new(1_000);
        for (refused, people) in
            [(Refused::Strangers, 2_000..3_000), (Refused::Known, 1_000..1_100)]
        {
            let list = population.list(1, 10_000, refused).people;
            let permitted = list.iter().filter(|it| population.is_permitted(**it)).count();
            assert!((4_700..5_300).contains(&permitted), "{permitted}");
            assert!(list.iter().all(|it| *it < 1_000 || people.contains(it)));
            assert_ne!(list, population.list(2, 10_000, refused).people);
        }
    }
}
