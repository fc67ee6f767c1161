//! Made-up people: the same person for the same seed and number.

use super::random::{Permutation, Random};

/// Prefixes of Turkish mobile operators, after the country code. Of 561 only a
/// part is allocated, so its numbers would mostly be refused; it is left out.
const OPERATORS: [u64; 29] = [
    501, 505, 506, 507, 530, 531, 532, 533, 534, 535, 536, 537, 538, 539, 541, 542, 543, 544, 545,
    546, 547, 548, 549, 551, 552, 553, 554, 555, 559,
];
/// Numbers of one operator prefix.
const NUMBERS_PER_PREFIX: u64 = 10_000_000;
/// All of their numbers: 290 million.
const TURKISH_MOBILES: u64 = OPERATORS.len() as u64 * NUMBERS_PER_PREFIX;

/// The most people that there can be. As many again must be left over, who are
/// strangers to them.
pub const MAX_PEOPLE: u64 = 100_000_000;

/// Streams of randomness of their own, so that a phone says nothing of the rest.
const PHONE_STREAM: u64 = 1;
const PERSON_STREAM: u64 = 2;
/// People with a phone from abroad, per mille.
const FOREIGNERS: u64 = 40;
/// Businesses, per mille.
const MERCHANTS: u64 = 80;

const FIRST_NAMES: [&str; 24] = [
    "ayse", "fatma", "emine", "hatice", "zeynep", "elif", "meryem", "sultan", "mehmet", "mustafa",
    "ahmet", "ali", "huseyin", "hasan", "ibrahim", "omer", "kari", "lars", "ivan", "maria", "anna",
    "hans", "john", "mary",
];
const LAST_NAMES: [&str; 16] = [
    "yilmaz", "kaya", "demir", "celik", "sahin", "yildiz", "ozturk", "aydin", "arslan", "dogan",
    "kilic", "aslan", "hansen", "petrov", "muller", "smith",
];
const MAIL_DOMAINS: [&str; 8] = [
    "gmail.com",
    "hotmail.com",
    "outlook.com",
    "yahoo.com",
    "icloud.com",
    "mynet.com",
    "example.com.tr",
    "posta.example",
];

/// People by number, each with a phone of their own.
#[derive(Clone, Debug)]
pub struct People {
    seed: u64,
    mobiles: Permutation,
}

/// One person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The E.164 number.
    pub phone: u64,
    /// The e-mail address in its canonical form.
    pub email: String,
    /// Whether they are a business in the registry.
    pub is_merchant: bool,
}

impl People {
    /// The people of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, mobiles: Permutation::new(TURKISH_MOBILES, seed) }
    }

    /// The Turkish mobile of person `number`: random in order, and nobody
    /// else's. `None` beyond 290 million.
    #[must_use]
    pub fn mobile(&self, number: u64) -> Option<u64> {
        let place = self.mobiles.get(number)?;
        let prefix = usize::try_from(place / NUMBERS_PER_PREFIX).ok()?;
        let prefix = OPERATORS.get(prefix)?;
        Some((90_000 + prefix) * NUMBERS_PER_PREFIX + place % NUMBERS_PER_PREFIX)
    }

    /// The phone of person `number`: a few are from abroad.
    #[must_use]
    pub fn phone(&self, number: u64) -> u64 {
        let mut random = Random::of(self.seed, PHONE_STREAM, number);
        let is_foreign = random.chance(FOREIGNERS);
        match self.mobile(number) {
            Some(mobile) if !is_foreign => mobile,
            _ => foreign_phone(&mut random),
        }
    }

    /// Person `number`.
    #[must_use]
    pub fn person(&self, number: u64) -> Person {
        let mut random = Random::of(self.seed, PERSON_STREAM, number);
        let (first, last) = (random.pick(&FIRST_NAMES), random.pick(&LAST_NAMES));
        let label = if random.chance(30) { "+promo" } else { "" };
        let domain = random.pick(&MAIL_DOMAINS);
        Person {
            phone: self.phone(number),
            email: format!("{first}.{last}{number}{label}@{domain}"),
            is_merchant: random.chance(MERCHANTS),
        }
    }
}

/// Ranges of Norway, Bulgaria, Germany and the United States: country code and
/// prefix, and how many digits follow.
const FOREIGN_RANGES: [(u64, u32); 20] = [
    (4740, 6),
    (4741, 6),
    (4745, 6),
    (4790, 6),
    (4791, 6),
    (4799, 6),
    (35987, 7),
    (35988, 7),
    (35989, 7),
    (35998, 7),
    (49160, 7),
    (49170, 7),
    (49171, 7),
    (49175, 7),
    (1_212_230, 4),
    (1_305_240, 4),
    (1_415_320, 4),
    (1_646_480, 4),
    (1_917_560, 4),
    (1_202_730, 4),
];

fn foreign_phone(random: &mut Random) -> u64 {
    let index = usize::try_from(random.below(FOREIGN_RANGES.len() as u64)).unwrap_or_default();
    let (prefix, digits) = FOREIGN_RANGES.get(index).copied().unwrap_or_default();
    prefix * 10_u64.pow(digits) + random.below(10_u64.pow(digits))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn everybody_has_a_turkish_mobile_of_their_own() {
        let people = People::new(7);
        let mobiles: BTreeSet<u64> = (0..50_000).filter_map(|n| people.mobile(n)).collect();
        assert_eq!(mobiles.len(), 50_000);
        assert!(mobiles.iter().all(|mobile| (905_010_000_000..905_620_000_000).contains(mobile)));
        assert_eq!(people.mobile(TURKISH_MOBILES), None);
    }

    #[test]
    fn the_same_seed_makes_up_the_same_people() {
        assert_eq!(People::new(7).person(3), People::new(7).person(3));
        assert_ne!(People::new(7).person(3), People::new(8).person(3));
    }

    #[test]
    fn phones_from_abroad_have_the_length_of_their_country() {
        let mut random = Random::of(1, 1, 1);
        for _ in 0..1000 {
            let phone = foreign_phone(&mut random).to_string();
            let length = match phone.as_str() {
                norway if norway.starts_with("47") => 10,
                bulgaria if bulgaria.starts_with("359") => 12,
                germany if germany.starts_with("49") => 12,
                america if america.starts_with('1') => 11,
                _ => 0,
            };
            assert_eq!(phone.len(), length, "{phone}");
        }
    }
}
