//! `generate recipients`: a list as campaign managers bring it.
//!
//! Customers, their phones in every spelling that people use, their cities;
//! some twice, some garbage. A part of them is in the population that
//! `generate consents` makes up from the same seed, the rest are strangers.

use std::io::{self, Write};

use indicatif::ProgressBar;

use super::{OutArgs, PeopleArgs, people::People, random::Random};

/// Arguments of `generate recipients`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    who: PeopleArgs,
    /// How many rows
    #[arg(long, default_value_t = 2_000_000,
          value_parser = clap::value_parser!(u64).range(..=MAX_ROWS))]
    rows: u64,
    /// The share of phones that belong to the people, from 0 to 1
    #[arg(long, default_value_t = 0.5, value_parser = share)]
    hit_rate: f64,
    /// Sort by number instead of shuffling
    #[arg(long)]
    sorted: bool,
    #[command(flatten)]
    pub(super) out: OutArgs,
}

/// Sorting keeps sixteen bytes a row in memory.
const MAX_ROWS: u64 = 100_000_000;

/// Randomness of the rows.
const ROW_STREAM: u64 = 21;
/// Rows without a phone number in them, per mille.
const GARBAGE_SHARE: u64 = 20;

const GARBAGE: [&str; 12] = [
    "",
    "-",
    "yok",
    "N/A",
    "0532",
    "+90",
    "5321234567.0",
    "9.05321E+11",
    "0532 ABC 45 67",
    "#REF!",
    "0532 123 45 67 dahili 5",
    "info@example.com",
];
const CITIES: [&str; 8] = [
    "Ankara",
    "\"İstanbul, Kadıköy\"",
    "İzmir",
    "Bursa",
    "Muğla",
    "Oslo",
    "\"\"\"Nuova\"\" Sofia\"",
    "",
];

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().map_err(|error| error.to_string())?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("not between 0 and 1".to_owned()) }
}

/// Writes the list.
///
/// # Errors
/// The output cannot be written.
pub fn write(args: &Args, output: &mut impl Write, bar: &ProgressBar) -> io::Result<()> {
    let list = List::new(args);
    writeln!(output, "customer,phone,city")?;
    let mut order: Vec<(u64, u64)> = Vec::new();
    if args.sorted {
        order = (0..args.rows).map(|row| (list.phone(row).unwrap_or_default(), row)).collect();
        order.sort_unstable();
    }
    let shuffled = (0..args.rows).skip(order.len());
    for row in order.into_iter().map(|(_, row)| row).chain(shuffled) {
        list.write_row(row, output)?;
        if row % 10_000 == 0 {
            bar.tick();
        }
    }
    Ok(())
}

struct List {
    people: People,
    count: u64,
    seed: u64,
    hits_per_million: u64,
}

impl List {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share lies between 0 and 1"
    )]
    fn new(args: &Args) -> Self {
        let PeopleArgs { people: count, seed } = args.who;
        let hits_per_million = (args.hit_rate * 1e6).round() as u64;
        Self { people: People::new(seed), count, seed, hits_per_million }
    }

    /// The number in a row; `None` for garbage.
    fn phone(&self, row: u64) -> Option<u64> {
        self.draw(row).0
    }

    /// The number in a row, and the randomness for its spelling.
    fn draw(&self, row: u64) -> (Option<u64>, Random) {
        let mut random = Random::of(self.seed, ROW_STREAM, row);
        if random.chance(GARBAGE_SHARE) {
            return (None, random);
        }
        let is_hit = random.below(1_000_000) < self.hits_per_million;
        // Drawn with replacement: people stand in the list twice.
        let number = random.below(self.count);
        let phone = if is_hit {
            Some(self.people.phone(number))
        } else {
            self.people.mobile(self.count + number)
        };
        (phone, random)
    }

    fn write_row(&self, row: u64, output: &mut impl Write) -> io::Result<()> {
        let (phone, mut random) = self.draw(row);
        write!(output, "C{row:08},")?;
        match phone {
            Some(phone) => write_spelling(output, phone, &mut random)?,
            None => write!(output, "{}", random.pick(&GARBAGE))?,
        }
        writeln!(output, ",{}", random.pick(&CITIES))
    }
}

/// Writes a number in one of the spellings that people use.
fn write_spelling(output: &mut impl Write, phone: u64, random: &mut Random) -> io::Result<()> {
    const TURKEY: u64 = 90;
    const NATIONAL: u64 = 10_000_000_000;
    let national = phone % NATIONAL;
    if phone / NATIONAL != TURKEY {
        return match random.below(2) {
            0 => write!(output, "+{phone}"),
            _ => write!(output, "00{phone}"),
        };
    }
    let part = |divisor: u64, size: u64| national / divisor % size;
    let (operator, subscriber) = (part(10_000_000, 1000), part(10_000, 1000));
    let (tens, ones) = (part(100, 100), part(1, 100));
    match random.below(16) {
        0 => write!(output, "+90{national}"),
        1..4 => write!(output, "90{national}"),
        4..7 => write!(output, "0{national}"),
        7..9 => write!(output, "{national}"),
        9 => write!(output, "0 ({operator}) {subscriber:03} {tens:02} {ones:02}"),
        10 => write!(output, "0090{national}"),
        // A typing error so common that it is accepted.
        11 => write!(output, "+900{national}"),
        _ => write!(output, "+90 {operator} {subscriber:03} {tens:02} {ones:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generate(hit_rate: f64, sorted: bool) -> Vec<String> {
        let who = PeopleArgs { people: 1000, seed: 1 };
        let out = OutArgs { out: "-".into() };
        let mut bytes = Vec::new();
        let args = Args { who, rows: 5000, hit_rate, sorted, out };
        write(&args, &mut bytes, &ProgressBar::hidden()).unwrap();
        String::from_utf8(bytes).unwrap().lines().skip(1).map(str::to_owned).collect()
    }

    #[test]
    fn sorting_changes_the_order_and_nothing_else() {
        let (mut sorted, mut shuffled) = (generate(0.5, true), generate(0.5, false));
        assert_ne!(sorted, shuffled);
        sorted.sort_unstable();
        shuffled.sort_unstable();
        assert_eq!(sorted, shuffled);
        assert_eq!(sorted.len(), 5000);
    }

    #[test]
    fn the_hit_rate_is_kept() {
        let list = |hit_rate| List {
            people: People::new(1),
            count: 1000,
            seed: 1,
            hits_per_million: hit_rate,
        };
        let people = People::new(1);
        let known: Vec<u64> = (0..1000).map(|number| people.phone(number)).collect();
        let hits = |rate| {
            let list = list(rate);
            (0..5000).filter_map(|row| list.phone(row)).filter(|it| known.contains(it)).count()
        };
        assert_eq!(hits(0), 0);
        assert!((2300..2600).contains(&hits(500_000)), "{}", hits(500_000));
    }

    #[test]
    fn a_number_is_spelt_as_people_do() {
        let mut random = Random::of(1, 1, 1);
        let spellings: Vec<String> = (0..200)
            .map(|_| {
                let mut bytes = Vec::new();
                write_spelling(&mut bytes, 905_321_234_567, &mut random).unwrap();
                String::from_utf8(bytes).unwrap()
            })
            .collect();
        for expected in [
            "+905321234567",
            "905321234567",
            "05321234567",
            "5321234567",
            "0 (532) 123 45 67",
            "00905321234567",
            "+9005321234567",
        ] {
            assert!(spellings.iter().any(|spelling| spelling == expected), "{expected}");
        }
    }
}
