//! `generate consents`: the daily file of İYS for made-up people.
//!
//! It tells a plausible history: a first load, with the block of old consents
//! that the law dates to 1 May 2015; years of single changes, some of them
//! late or two in one second; a campaign that many answer with a refusal; some
//! of whom come back; and operators closing lines.

use std::{
    fmt,
    io::{self, Write},
};

use indicatif::ProgressBar;
use jiff::{Timestamp, tz::Offset};

use super::{
    OutArgs, PeopleArgs,
    people::{People, Person},
    random::Random,
};

/// Arguments of `generate consents`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    who: PeopleArgs,
    #[command(flatten)]
    pub(super) out: OutArgs,
}

const HEADER: &str =
    "creationDate,transactionId,recipient,recipientType,type,status,consentDate,source";

/// The sources that senders set.
const SENDER_SOURCES: [&str; 8] = [
    "HS_WEB",
    "HS_MOBIL",
    "HS_FIZIKSEL_ORTAM",
    "HS_ISLAK_IMZA",
    "HS_CAGRI_MERKEZI",
    "HS_EORTAM",
    "HS_ETKINLIK",
    "HS_SOSYAL_MEDYA",
];
/// The sources that the registry sets when people use its own ways.
const REGISTRY_SOURCES: [&str; 5] =
    ["IYS_WEB", "IYS_MOBIL", "IYS_KISAMESAJ", "IYS_CM", "IYS_EPOSTA"];

/// Consents from before the law count as of this second.
const BEFORE_THE_LAW: Stamp = Stamp(1_430_438_400);

const DAY: u64 = 86_400;

/// A chapter of the history. Its rows stand in the order of their creation.
struct Chapter {
    /// The randomness of the chapter.
    stream: u64,
    /// When it begins: Turkey's wall clock, counted as if it were UTC.
    begins: u64,
    /// How long it takes, in seconds.
    lasts: u64,
    /// How many people take part, per mille.
    share: u64,
    plot: Plot,
}

/// What happens in a chapter to those who take part.
enum Plot {
    FirstLoad,
    Change,
    RefuseCampaign,
    ComeBack,
    CloseLine,
}

const HISTORY: [Chapter; 5] = [
    Chapter {
        stream: 11,
        begins: 1_595_116_800, // 2020-07-19
        lasts: 3 * DAY,
        share: 1000,
        plot: Plot::FirstLoad,
    },
    Chapter {
        stream: 12,
        begins: 1_596_240_000, // 2020-08-01
        lasts: 1700 * DAY,
        share: 130,
        plot: Plot::Change,
    },
    Chapter {
        stream: 13,
        begins: 1_746_813_600, // 2025-05-09 18:00, after a campaign
        lasts: DAY / 6,
        share: 40,
        plot: Plot::RefuseCampaign,
    },
    Chapter {
        stream: 13, // the same randomness: some of the same people
        begins: 1_747_000_800,
        lasts: 20 * DAY,
        share: 5,
        plot: Plot::ComeBack,
    },
    Chapter {
        stream: 15,
        begins: 1_749_513_600, // 2025-06-10
        lasts: DAY / 24,
        share: 10,
        plot: Plot::CloseLine,
    },
];

/// Writes the file.
///
/// # Errors
/// The output cannot be written.
pub fn write(args: &Args, output: &mut impl Write, bar: &ProgressBar) -> io::Result<()> {
    let PeopleArgs { people: count, seed } = args.who;
    let people = People::new(seed);
    let mut story = Story { output, line: Vec::new() };
    writeln!(story.output, "{HEADER}")?;
    for chapter in &HISTORY {
        for number in 0..count {
            let mut random = Random::of(seed, chapter.stream, number);
            if random.chance(chapter.share) {
                let passed = u128::from(chapter.lasts) * u128::from(number) / u128::from(count);
                let now = chapter.begins + u64::try_from(passed).unwrap_or_default();
                let person = people.person(number);
                story.tell(&chapter.plot, &person, Stamp(now), &mut random)?;
            }
            if number % 10_000 == 0 {
                bar.tick();
            }
        }
    }
    Ok(())
}

/// Writes rows.
struct Story<'a> {
    output: &'a mut dyn Write,
    line: Vec<u8>,
}

/// What a row says besides whom and when it was created.
struct Said<'a> {
    iys_type: &'a str,
    status: &'a str,
    consented: Option<Stamp>,
    source: &'a str,
}

impl Story<'_> {
    fn tell(
        &mut self,
        plot: &Plot,
        person: &Person,
        now: Stamp,
        random: &mut Random,
    ) -> io::Result<()> {
        match plot {
            Plot::FirstLoad => self.first_load(person, now, random),
            Plot::Change => self.change(person, now, random),
            Plot::RefuseCampaign => self.refuse_campaign(person, now, random),
            Plot::ComeBack => self.come_back(person, now, random),
            Plot::CloseLine => self.close_line(person, now, random),
        }
    }

    fn first_load(&mut self, person: &Person, now: Stamp, random: &mut Random) -> io::Result<()> {
        let is_old = random.chance(350);
        for (iys_type, share) in [("ARAMA", 900), ("MESAJ", 980), ("EPOSTA", 880)] {
            if !random.chance(share) {
                continue;
            }
            let since = BEFORE_THE_LAW.later(DAY + random.below(1880 * DAY));
            // The registry knows some merchants only by their number.
            let is_undated = person.is_merchant && random.chance(400);
            let (consented, source) = match (is_undated, is_old) {
                (true, _) => (None, ""),
                (false, true) => (Some(BEFORE_THE_LAW), "HS_2015"),
                (false, false) => (Some(since), random.pick(&SENDER_SOURCES)),
            };
            let status = if random.chance(930) || is_old { "ONAY" } else { "RET" };
            self.row(person, now, &Said { iys_type, status, consented, source }, random)?;
        }
        Ok(())
    }

    fn change(&mut self, person: &Person, now: Stamp, random: &mut Random) -> io::Result<()> {
        let iys_type = random.pick(&["ARAMA", "MESAJ", "EPOSTA"]);
        let status = random.pick(&["ONAY", "RET", "RET"]);
        // Some are handed in late: they must not undo what was newer.
        let consented =
            if random.chance(100) { now.earlier(random.below(2000 * DAY)) } else { now };
        let consented = Some(consented);
        let source = random.pick(&REGISTRY_SOURCES);
        if random.chance(50) {
            // Both in one second and, from the same randomness, under one
            // transaction: the refusal counts.
            let status = if status == "RET" { "ONAY" } else { "RET" };
            let twin = Said { iys_type, status, consented, source };
            self.row(person, now, &twin, &mut random.clone())?;
        }
        self.row(person, now, &Said { iys_type, status, consented, source }, random)
    }

    fn refuse_campaign(
        &mut self,
        person: &Person,
        now: Stamp,
        random: &mut Random,
    ) -> io::Result<()> {
        let source = "IYS_KISAMESAJ";
        let consented = Some(now);
        self.row(person, now, &Said { iys_type: "MESAJ", status: "RET", consented, source }, random)
    }

    fn come_back(&mut self, person: &Person, now: Stamp, random: &mut Random) -> io::Result<()> {
        let source = random.pick(&SENDER_SOURCES);
        let consented = Some(now);
        self.row(
            person,
            now,
            &Said { iys_type: "MESAJ", status: "ONAY", consented, source },
            random,
        )
    }

    fn close_line(&mut self, person: &Person, now: Stamp, random: &mut Random) -> io::Result<()> {
        for iys_type in ["ARAMA", "MESAJ"] {
            let source = "IYS_AHS_HAT_KAPATMA";
            self.row(
                person,
                now,
                &Said { iys_type, status: "RET", consented: None, source },
                random,
            )?;
        }
        Ok(())
    }

    fn row(
        &mut self,
        person: &Person,
        now: Stamp,
        said: &Said<'_>,
        random: &mut Random,
    ) -> io::Result<()> {
        let Said { iys_type, status, consented, source } = said;
        let kind = if person.is_merchant { "TACIR" } else { "BIREYSEL" };
        self.line.clear();
        write!(self.line, "{now},")?;
        for _ in 0..4 {
            write!(self.line, "{:016x}", random.next_u64())?;
        }
        self.line.push(b',');
        if *iys_type == "EPOSTA" {
            write_email(&mut self.line, &person.email, random)?;
        } else {
            write_phone(&mut self.line, person.phone, random)?;
        }
        write!(self.line, ",{kind},{iys_type},{status},")?;
        if let Some(consented) = consented {
            write!(self.line, "{consented}")?;
        }
        writeln!(self.line, ",{source}")?;
        self.output.write_all(&self.line)
    }
}

/// The registry keeps E.164; now and then a sender's spelling slips through.
fn write_phone(line: &mut Vec<u8>, phone: u64, random: &mut Random) -> io::Result<()> {
    match random.below(2000) {
        0 => write!(line, "+90 {}", phone % 10_000_000_000),
        1 => write!(line, "+{phone}0000"),
        _ => write!(line, "+{phone}"),
    }
}

/// A few addresses in a hundred are odd, and a few in a thousand are none.
fn write_email(line: &mut Vec<u8>, email: &str, random: &mut Random) -> io::Result<()> {
    match random.below(1000) {
        0 => write!(line, "{}", email.replace(".com", "")),
        1 => write!(line, "\"{email}, {email}\""),
        2 => write!(line, "şükrü.{email}"),
        3..13 => write!(line, " {email} "),
        13..33 => write!(line, "{}", email.to_ascii_uppercase()),
        _ => write!(line, "{email}"),
    }
}

/// A second of Turkey's wall clock, counted as if it were UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Stamp(u64);

impl Stamp {
    fn later(self, seconds: u64) -> Self {
        Self(self.0 + seconds)
    }

    /// Never before the law: İYS refuses such dates.
    fn earlier(self, seconds: u64) -> Self {
        Self(self.0.saturating_sub(seconds)).max(BEFORE_THE_LAW)
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let second = i64::try_from(self.0).ok().and_then(|it| Timestamp::from_second(it).ok());
        let time = Offset::UTC.to_datetime(second.unwrap_or_default());
        write!(
            formatter,
            "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
            time.year(),
            time.month(),
            time.day(),
            time.hour(),
            time.minute(),
            time.second()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generate(people: u64, seed: u64) -> String {
        let who = PeopleArgs { people, seed };
        let out = OutArgs { out: "-".into() };
        let mut bytes = Vec::new();
        write(&Args { who, out }, &mut bytes, &ProgressBar::hidden()).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_seed_makes_the_same_file() {
        assert_eq!(generate(300, 4), generate(300, 4));
        assert_ne!(generate(300, 4), generate(300, 5));
    }

    #[test]
    fn a_person_has_about_three_permissions() {
        let rows = generate(10_000, 1).lines().count();
        assert!((28_500..31_500).contains(&rows), "{rows}");
    }

    #[test]
    fn every_part_of_the_history_is_told() {
        let text = generate(10_000, 1);
        let count = |needle: &str| text.lines().filter(|line| line.contains(needle)).count();
        assert!(count("2015-05-01 00:00:00,HS_2015") > 5_000);
        assert!(count("RET,,IYS_AHS_HAT_KAPATMA") > 100);
        assert!(count("2025-05-09 ") > 300, "the campaign");
        assert!(count("TACIR") > 1_000);
        assert!(count("ONAY,,\n") + count("ONAY,,") > 100, "merchants without dates");
        assert!(count("@gmail.com, ") > 0, "two e-mails in a cell");
    }
}
