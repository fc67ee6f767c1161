//! P3, P5 and P7: filtering phones over gRPC, beside a flat bitset behind the
//! same transport, and Redis.

use std::sync::Arc;

use sendgate::cli::generate::random::Random;

use super::{NO_POSTGRES, NO_REDIS, Side, best};
use crate::{
    compare::{
        Context,
        baseline::Baseline,
        findings::{Findings, Samples, Target},
        load::{Batches, Driver},
        peers::{
            postgres::{self, Postgres},
            redis::{Commands, Members, Question, Redis},
        },
        population::{BATCH, Refused, SEED},
        stores::Holding,
    },
    data::spelling::write_phone,
    failure::Failure,
    server::Server,
};

/// Recipients of the list.
const LIST: usize = 4_000_000;
/// How often the list is sent in a round.
const PASSES: usize = 3;
/// Recipients that Redis is asked about in a round: some tenths of a second.
const REDIS_LIST: usize = 400_000;
/// Recipients that PostgreSQL is asked about in a round.
const POSTGRES_LIST: usize = 10 * BATCH;
/// Recipients of the lists of lines and of reasons.
const SHORT_LIST: usize = 2_000_000;
/// Randomness of spellings.
const SPELLING_STREAM: u64 = 132;

const QUESTIONS: [(&str, Question); 5] = [
    ("SMISMEMBER of 100", Question::SetMembers(100)),
    ("SMISMEMBER of 1,000", Question::SetMembers(1_000)),
    ("GETBIT", Question::Bit),
    ("BITFIELD_RO of 100", Question::Bits(100)),
    ("BITFIELD_RO of 1,000", Question::Bits(1_000)),
];

/// Measures the targets against a server that holds the phones.
pub async fn run(
    context: &Context,
    server: &Server,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let population = &context.population;
    let flat = Baseline::flat_bitset(population)?;
    let table = Baseline::flat_reasons(population)?;
    let echo = Baseline::echo()?;
    let list = population.list(1, LIST, Refused::Strangers);
    let phones = Arc::new(Batches::phones(population, &list, false));
    let lines = population.list(2, SHORT_LIST, Refused::Strangers);
    let lines = Arc::new(Batches::lines(Holding::Phones, population, &lines, |person| {
        let mut line = String::new();
        let mut random = Random::of(SEED, SPELLING_STREAM, person);
        write_phone(&mut line, population.phone(person), &mut random);
        line
    }));
    let known = population.list(3, SHORT_LIST, Refused::Known);
    let reasons = Arc::new(Batches::phones(population, &known, true));
    let mut redis = Redis::start(&context.cache, Members::Phones, population)?;
    let asked = list.people.get(..REDIS_LIST).unwrap_or_default();
    let commands = |(_, question)| Redis::commands(question, Members::Phones, population, asked);
    let commands: Vec<Commands> =
        if redis.is_some() { QUESTIONS.into_iter().map(commands).collect() } else { Vec::new() };

    let postgres = Postgres::start(&context.cache, population).await?;
    let joined = list.people.get(..POSTGRES_LIST).unwrap_or_default();
    let joins: Vec<Vec<i64>> = joined
        .chunks(BATCH)
        .map(|people| people.iter().map(|person| population.phone(*person)).collect::<Vec<_>>())
        .map(|phones| postgres::numbers(&phones))
        .collect();
    let truth: Vec<bool> = joined.iter().map(|person| population.is_permitted(*person)).collect();
    let [mut arrays, mut copies] = [(); 2].map(|()| Samples::default());

    let ours_at = Driver::connect(server.endpoint(), server.pid(), true).await?;
    let flat_at = Driver::connect(flat.endpoint(), flat.pid(), true).await?;
    let table_at = Driver::connect(table.endpoint(), table.pid(), true).await?;
    let echo_at = Driver::connect(echo.endpoint(), echo.pid(), false).await?;
    let [mut ours, mut bitset, mut nothing, mut spelt, mut explained, mut tabled] =
        [(); 6].map(|()| Side::default());
    let mut asked: Vec<Side> = commands.iter().map(|_| Side::default()).collect();
    for round in 0..=context.rounds {
        ours.add(round, ours_at.run(&phones, PASSES).await?);
        bitset.add(round, flat_at.run(&phones, PASSES).await?);
        nothing.add(round, echo_at.run(&phones, PASSES).await?);
        spelt.add(round, ours_at.run(&lines, PASSES).await?);
        explained.add(round, ours_at.run(&reasons, PASSES).await?);
        tabled.add(round, table_at.run(&reasons, PASSES).await?);
        if let Some(redis) = &mut redis {
            for (side, commands) in asked.iter_mut().zip(&commands) {
                side.add(round, redis.ask(commands)?);
            }
        }
        if let Some(postgres) = &postgres {
            let joined = [postgres.join_arrays(&joins).await?, postgres.join_copies(&joins).await?];
            for (samples, (taken, answers)) in [&mut arrays, &mut copies].into_iter().zip(joined) {
                if answers != truth {
                    return Err("PostgreSQL answered otherwise than the truth".into());
                }
                if round > 0 {
                    samples.add(taken);
                }
            }
        }
    }

    ours.tell("sendgate, phones", findings);
    bitset.tell("tonic over a flat bitset, phones", findings);
    nothing.tell("tonic echo, phones", findings);
    spelt.tell("sendgate, lines of phones", findings);
    explained.tell("sendgate, phones with reasons", findings);
    tabled.tell("tonic over a byte for each number, phones with reasons", findings);
    for ((name, _), side) in QUESTIONS.iter().zip(&asked) {
        side.tell(&format!("Redis {name}"), findings);
    }
    if let Some(postgres) = postgres {
        let version = postgres.version().await?;
        for (how, samples) in [("unnest", &arrays), ("COPY", &copies)] {
            let name = format!("PostgreSQL {version}, {how} joined with its index");
            findings.took(name, samples, "ns", None);
        }
        postgres.stop().await?;
    } else {
        findings.skip("P3", NO_POSTGRES);
    }
    let due = Target::AtLeast(0.85);
    findings.rates("P3", "phones / tonic over a flat bitset", [&ours.wall, &bitset.wall], due);
    let processors = [&ours.cpu, &bitset.cpu];
    findings.rates("P3", "the same, by the servers' processor time", processors, due);
    let what = "half suppressed, with reasons / P3";
    findings.rates("P7", what, [&explained.wall, &ours.wall], Target::AtLeast(0.6));
    if redis.is_none() {
        findings.skip("P3", NO_REDIS);
        findings.skip("P5", NO_REDIS);
    }
    let is_set = |question| matches!(question, Question::SetMembers(_));
    if let Some((name, side)) = best(&QUESTIONS, &asked, is_set) {
        let sides = [&ours.wall, &side.wall];
        findings.rates("P3", format!("phones / Redis {name}"), sides, Target::AtLeast(30.0));
        let sides = [&spelt.wall, &side.wall];
        findings.rates(
            "P5",
            format!("lines of phones / Redis {name}"),
            sides,
            Target::AtLeast(12.0),
        );
    }
    let is_field = |question| matches!(question, Question::Bits(_));
    if let Some((name, side)) = best(&QUESTIONS, &asked, is_field) {
        let sides = [&ours.wall, &side.wall];
        findings.rates("P3", format!("phones / Redis {name}"), sides, Target::AtLeast(20.0));
    }
    Ok(())
}
