//! Phone numbers as people write them in Turkey.

use std::fmt::Write;

use sendgate::cli::generate::random::Random;

const NATIONAL: u64 = 10_000_000_000;

/// Appends a Turkish number in one of its common spellings. Half of them are
/// E.164; the rest need the default region or are spaced.
pub fn write_phone(line: &mut String, phone: u64, random: &mut Random) {
    let national = phone % NATIONAL;
    let part = |divisor: u64, size: u64| national / divisor % size;
    let (operator, subscriber) = (part(10_000_000, 1000), part(10_000, 1000));
    let (tens, ones) = (part(100, 100), part(1, 100));
    // Writing to a string does not fail.
    let _ = match random.below(8) {
        0 => write!(line, "0{national}"),
        1 => write!(line, "90{national}"),
        2 => write!(line, "+90 {operator} {subscriber:03} {tens:02} {ones:02}"),
        3 => write!(line, "(0{operator}) {subscriber:03} {tens:02} {ones:02}"),
        _ => write!(line, "+{phone}"),
    };
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_number_is_written_in_five_ways() {
        let mut random = Random::of(1, 1, 1);
        let spellings: BTreeSet<String> = (0..200)
            .map(|_| {
                let mut line = String::new();
                write_phone(&mut line, 905_321_234_567, &mut random);
                line
            })
            .collect();
        let expected = [
            "(0532) 123 45 67",
            "+90 532 123 45 67",
            "+905321234567",
            "05321234567",
            "905321234567",
        ];
        assert_eq!(spellings, expected.map(str::to_owned).into());
    }
}
