//! Batches whose right answers are known.

use std::{fmt, thread};

use roaring::RoaringTreemap;
use sendgate::{
    caps,
    cli::generate::random::Random,
    client::{Audience, Recipients, ScopeVerdicts, Verdicts},
    proto::v1::Reason,
};

use super::{
    people::{Column, Person, Population},
    spelling::write_phone,
};
use crate::failure::Failure;

/// Randomness of the batches; one stream for each.
const BATCH_STREAM: u64 = 101;
/// Room for the frame around a column in a message.
const FRAME: usize = 64 << 10;

/// In which order the recipients of a batch come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Order {
    /// As they were drawn
    Random,
    /// By address, ascending
    Sorted,
}

/// A batch and its right answer.
#[derive(Clone, Debug)]
pub struct Batch {
    /// As it travels.
    pub recipients: Recipients,
    /// How many recipients it has.
    pub count: usize,
    /// The right verdicts, by scope.
    truth: Vec<Truth>,
    order: Vec<Person>,
}

/// The right verdicts in a scope.
#[derive(Clone, Debug)]
struct Truth {
    permitted: Permitted,
    /// A byte a recipient; none if reasons are not asked for.
    reasons: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Permitted {
    Bits(Vec<u8>),
    Members(RoaringTreemap),
}

/// A verdict that is not the truth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The scope's place in the options.
    pub scope: usize,
    /// The recipient's place in the batch.
    pub recipient: usize,
    /// Who it is.
    pub address: String,
    /// What the server should have said.
    pub expected: Reason,
    /// What it said.
    pub got: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scope, recipient, address, expected, got } = self;
        let expected = expected.as_str_name().trim_start_matches("REASON_");
        write!(
            formatter,
            "recipient {recipient} ({address}) in scope {scope}: expected {expected}, got {got}"
        )
    }
}

/// Makes batches of a population.
#[derive(Clone, Debug)]
pub struct Batches {
    /// Whom they are drawn from.
    pub population: Population,
    /// Recipients of a batch; of an audience, which travels in parts, in all.
    pub size: usize,
    /// How many of a million are permitted in the first scope.
    pub hits_per_million: u64,
    /// The order of the recipients.
    pub order: Order,
    /// How many scopes are asked about.
    pub scopes: usize,
    /// Whether reasons are asked for.
    pub reasons: bool,
    /// The same seed makes the same batches.
    pub seed: u64,
}

impl Batches {
    /// As many distinct batches as take up this many bytes, and two at least.
    ///
    /// # Errors
    /// An audience does not fit the server's caps.
    pub fn pool(&self, bytes: usize) -> Result<Vec<Batch>, Failure> {
        let size_of = |batches: &[Batch]| batches.iter().map(Batch::bytes).sum::<usize>();
        let mut pool = self.make(0)?;
        let made = size_of(&pool).max(1);
        let numbers: Vec<u64> = (1..2.max(bytes.div_ceil(made) as u64)).collect();
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let shares = numbers.chunks(numbers.len().div_ceil(threads).max(1));
        let made: Vec<_> = thread::scope(|scope| {
            let make = |share: &[u64]| share.iter().map(|number| self.make(*number)).collect();
            let makers: Vec<_> = shares.map(|share| scope.spawn(move || make(share))).collect();
            makers.into_iter().map(|maker| maker.join()).collect()
        });
        for share in made {
            let share: Result<Vec<Vec<Batch>>, Failure> =
                share.map_err(|_| "a thread that makes batches failed")?;
            pool.extend(share?.into_iter().flatten());
        }
        Ok(pool)
    }

    /// Batch `number`, or the parts of audience `number`; no two are alike.
    ///
    /// # Errors
    /// As [`pool`](Self::pool).
    pub fn make(&self, number: u64) -> Result<Vec<Batch>, Failure> {
        let mut random = Random::of(self.seed, BATCH_STREAM, number);
        let draw = |_| {
            let permitted = random.below(1_000_000) < self.hits_per_million;
            self.population.draw(&mut random, permitted)
        };
        let mut people: Vec<Person> = (0..self.size).map(draw).collect();
        if self.order == Order::Sorted {
            match self.population.column() {
                Column::Emails => {
                    people.sort_by_cached_key(|person| self.population.address(*person));
                }
                _ => people.sort_by_cached_key(|person| self.population.integer(*person)),
            }
        }
        self.of(people, &mut random)
    }

    /// A batch of these people, or the parts of an audience of them.
    ///
    /// # Errors
    /// As [`pool`](Self::pool).
    pub fn of(&self, people: Vec<Person>, random: &mut Random) -> Result<Vec<Batch>, Failure> {
        if self.population.column() == Column::Roaring {
            return self.audience(people);
        }
        let recipients = self.recipients(&people, random)?;
        Ok(vec![self.with_truth(recipients, people)])
    }

    fn recipients(&self, people: &[Person], random: &mut Random) -> Result<Recipients, Failure> {
        let integers = people.iter().map(|person| self.population.integer(*person));
        let mut text = String::new();
        match self.population.column() {
            Column::Phones | Column::Roaring => return Ok(Recipients::Phones(integers.collect())),
            Column::ContactIds => return Ok(Recipients::ContactIds(integers.collect())),
            Column::PhoneLines => {
                for phone in integers {
                    write_phone(&mut text, phone, random);
                    text.push('\n');
                }
            }
            Column::Emails => {
                for person in people {
                    text.push_str(&self.population.address(*person));
                    text.push('\n');
                }
            }
        }
        if text.len() + FRAME > caps::MESSAGE_BYTES {
            return Err(format!(
                "{} lines take {} bytes, more than a message may have: choose a smaller \
                 --batch-size",
                people.len(),
                text.len()
            )
            .into());
        }
        Ok(Recipients::Lines { text: text.into(), count: u32::try_from(people.len())? })
    }

    /// Splits an audience at pages of 65,536, as long as parts fit the caps.
    fn audience(&self, people: Vec<Person>) -> Result<Vec<Batch>, Failure> {
        let mut members: Vec<(u64, Person)> =
            people.into_iter().map(|person| (self.population.integer(person), person)).collect();
        members.sort_unstable_by_key(|(phone, _)| *phone);
        members.dedup_by_key(|(phone, _)| *phone);
        // A page takes two bytes a member and never more than a bitmap, and
        // its header.
        let page_bytes = |page: &[(u64, Person)]| (page.len() * 2).min(8_192) + 16;
        let scopes = self.scopes.max(1);
        let most_bytes = (caps::MESSAGE_BYTES - FRAME).min(caps::AUDIENCE_BYTES / scopes - FRAME);
        let most_members =
            usize::try_from(caps::AUDIENCE_MEMBERS)?.min(caps::BATCH_VERDICTS / scopes);
        let mut parts: Vec<Vec<(u64, Person)>> = Vec::new();
        let mut bytes = 0;
        for page in members.chunk_by(|(one, _), (other, _)| one >> 16 == other >> 16) {
            bytes += page_bytes(page);
            match parts.last_mut() {
                Some(part) if bytes < most_bytes && part.len() + page.len() <= most_members => {
                    part.extend_from_slice(page);
                }
                _ => {
                    bytes = page_bytes(page);
                    parts.push(page.to_vec());
                }
            }
        }
        let batch = |part: Vec<(u64, Person)>| {
            let members = RoaringTreemap::from_iter(part.iter().map(|(phone, _)| *phone));
            let audience = Audience::new(members).ok_or("an audience is too large")?;
            let people = part.into_iter().map(|(_, person)| person).collect();
            Ok(self.with_truth(Recipients::Roaring(audience), people))
        };
        parts.into_iter().map(batch).collect()
    }

    fn with_truth(&self, recipients: Recipients, order: Vec<Person>) -> Batch {
        let truth = (0..self.scopes).map(|scope| {
            let verdicts = order.iter().map(|person| Population::verdict(*person, scope));
            let permitted = match &recipients {
                Recipients::Roaring(audience) => {
                    let members = audience.members().iter().zip(verdicts.clone());
                    let permitted = members.filter(|(_, reason)| *reason == Reason::Permitted);
                    Permitted::Members(permitted.map(|(member, _)| member).collect())
                }
                _ => Permitted::Bits(bits(verdicts.clone())),
            };
            let reasons = verdicts.map(|reason| reason as u8);
            Truth { permitted, reasons: if self.reasons { reasons.collect() } else { Vec::new() } }
        });
        let truth = truth.collect();
        Batch { recipients, count: order.len(), truth, order }
    }
}

/// One bit a recipient, least significant first.
fn bits(verdicts: impl ExactSizeIterator<Item = Reason>) -> Vec<u8> {
    let mut bits = vec![0_u8; verdicts.len().div_ceil(8)];
    for (at, reason) in verdicts.enumerate() {
        if let Some(byte) = bits.get_mut(at / 8) {
            *byte |= u8::from(reason == Reason::Permitted) << (at % 8);
        }
    }
    bits
}

impl Batch {
    /// The bytes of its column.
    fn bytes(&self) -> usize {
        match &self.recipients {
            Recipients::Phones(values) | Recipients::ContactIds(values) => values.len() * 8,
            Recipients::Lines { text, .. } => text.len(),
            Recipients::Roaring(audience) => audience.bytes().len(),
        }
    }

    /// The first verdict that is not the truth.
    pub fn wrong(&self, verdicts: &Verdicts, population: &Population) -> Option<Wrong> {
        let mut scopes = self.truth.iter().zip(verdicts.scopes()).enumerate();
        scopes.find_map(|(scope, (truth, given))| self.wrong_in(scope, truth, given, population))
    }

    fn wrong_in(
        &self,
        scope: usize,
        truth: &Truth,
        given: &ScopeVerdicts,
        population: &Population,
    ) -> Option<Wrong> {
        let is_right = match &truth.permitted {
            Permitted::Bits(bits) => bits == given.permitted_bits(),
            Permitted::Members(members) => Some(members) == given.permitted_members(),
        };
        if is_right && truth.reasons == given.reasons() {
            return None;
        }
        let integers: Vec<u64> = match &self.recipients {
            Recipients::Roaring(audience) => audience.members().iter().collect(),
            _ => Vec::new(),
        };
        let said = |at: usize| {
            let permitted = match (given.permitted_members(), integers.get(at)) {
                (Some(members), Some(integer)) => members.contains(*integer),
                _ => given.is_permitted(at),
            };
            let reason = given.reason(at).as_str_name().trim_start_matches("REASON_");
            match (permitted, given.reasons().is_empty()) {
                (true, _) => "PERMITTED".to_owned(),
                (false, true) => "suppressed".to_owned(),
                (false, false) => reason.to_owned(),
            }
        };
        let people = self.order.iter().enumerate();
        let mut wrong = people.filter_map(|(recipient, person)| {
            let expected = Population::verdict(*person, scope);
            let got = said(recipient);
            let right = match got.as_str() {
                "suppressed" => expected != Reason::Permitted,
                named => expected.as_str_name().strip_prefix("REASON_") == Some(named),
            };
            let address = population.address(*person);
            (!right).then_some(Wrong { scope, recipient, address, expected, got })
        });
        wrong.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::people::Refused;

    fn batches(column: Column) -> Batches {
        Batches {
            population: Population::new(column, 1000, Refused::Mixed, 3),
            size: 4099,
            hits_per_million: 250_000,
            order: Order::Random,
            scopes: 2,
            reasons: true,
            seed: 3,
        }
    }

    #[test]
    fn a_batch_knows_who_consents() {
        for order in [Order::Random, Order::Sorted] {
            let batches = Batches { order, ..batches(Column::Phones) };
            let batch = batches.make(0).unwrap().remove(0);
            let Recipients::Phones(phones) = &batch.recipients else { panic!("phones") };
            let known: Vec<u64> = (0..1000)
                .map(|number| batches.population.integer(batches.population.consenting(number)))
                .collect();
            let Permitted::Bits(bits) = &batch.truth[0].permitted else { panic!("bits") };
            let mut permitted = 0;
            for (at, phone) in phones.iter().enumerate() {
                let bit = bits[at / 8] >> (at % 8) & 1 == 1;
                assert_eq!(known.contains(&phone), bit);
                assert_eq!(batch.truth[0].reasons[at] == Reason::Permitted as u8, bit);
                permitted += usize::from(bit);
            }
            assert!((900..1150).contains(&permitted), "{permitted}");
            assert_eq!(phones.iter().is_sorted(), order == Order::Sorted);
        }
    }

    #[test]
    fn no_two_batches_are_alike_and_a_seed_makes_the_same_again() {
        let pool = batches(Column::Phones).pool(200_000).unwrap();
        assert_eq!(pool.len(), 200_000_usize.div_ceil(4099 * 8));
        let orders: Vec<&Vec<Person>> = pool.iter().map(|batch| &batch.order).collect();
        assert_ne!(orders[0], orders[1]);
        assert_eq!(orders[0], &batches(Column::Phones).pool(1).unwrap()[0].order);
    }

    #[test]
    fn lines_have_their_recipients_in_order() {
        for column in [Column::Emails, Column::PhoneLines] {
            let batch = batches(column).make(1).unwrap().remove(0);
            let Recipients::Lines { text, count } = &batch.recipients else { panic!("lines") };
            let lines = text.split(|byte| *byte == b'\n').count() - 1;
            assert_eq!((lines, *count), (4099, 4099));
        }
    }

    #[test]
    fn an_audience_travels_in_parts_within_the_caps() {
        let batches = Batches {
            population: Population::new(Column::Roaring, 10_000_000, Refused::Strangers, 3),
            size: 2_000_000,
            ..batches(Column::Roaring)
        };
        let parts = batches.make(0).unwrap();
        assert!(parts.len() > 1);
        let mut pages = std::collections::BTreeSet::new();
        for part in &parts {
            let Recipients::Roaring(audience) = &part.recipients else { panic!("roaring") };
            assert!(audience.bytes().len() * 2 <= caps::AUDIENCE_BYTES);
            assert!(part.count * 2 <= caps::BATCH_VERDICTS);
            assert_eq!(audience.members().len() as usize, part.count);
            let own: Vec<u64> = audience.members().iter().map(|phone| phone >> 16).collect();
            assert!(own.iter().all(|page| !pages.contains(page)), "a page is in two parts");
            pages.extend(own);
        }
    }
}
