//! P11: an import into the full ledger, beside RocksDB writing the same rows and
//! PostgreSQL keeping the current consents.

use std::{
    ops::Range,
    path::Path,
    time::{Duration, Instant},
};

use sendgate::client::Client;

use crate::{
    compare::{
        Context,
        findings::{Findings, Samples, Target},
        peers::postgres::Postgres,
        population::Population,
        rocks::{self, Loop, Rows},
        stores::{self, Holding},
    },
    failure::Failure,
};

/// Events of one import.
const EVENTS: u64 = 200_000;
/// Events that PostgreSQL takes in a round.
const POSTGRES_EVENTS: u64 = 40_000;
/// Events of one commit of the bare loop: larger groups are no faster.
const GROUP: usize = 10_000;
/// When everybody consented.
const CONSENTED_MS: i64 = 1_700_000_000_000;
/// Each round makes stores anew, so there are fewer.
const ROUNDS: usize = 3;

/// What a round took, in ns an event.
struct Round {
    first: f64,
    second: f64,
    bare_first: f64,
    bare_second: f64,
    sorted: f64,
    bytes: f64,
}

/// Measures the target.
pub async fn run(context: &Context, findings: &mut Findings) -> Result<(), Failure> {
    let population = &context.population;
    let mut postgres = Postgres::start(&context.cache, population).await?;
    if let Some(postgres) = &mut postgres {
        postgres.make_consents().await?;
    }
    let [mut first, mut second, mut bare_first, mut bare_second, mut sorted, mut theirs, mut bytes] =
        [(); 7].map(|()| Samples::default());
    for round in 0..ROUNDS.min(context.rounds) as u64 {
        let taken = import_twice(&context.cache, population).await?;
        first.add(taken.first);
        second.add(taken.second);
        bare_first.add(taken.bare_first);
        bare_second.add(taken.bare_second);
        sorted.add(taken.sorted);
        bytes.add(taken.bytes);
        if let Some(postgres) = &mut postgres {
            let from = round * POSTGRES_EVENTS;
            let phones = (from..from + POSTGRES_EVENTS).map(|person| population.phone(person));
            let begun = Instant::now();
            postgres.insert(&phones.collect::<Vec<_>>(), CONSENTED_MS).await?;
            theirs.add(each(begun.elapsed(), POSTGRES_EVENTS));
        }
    }
    findings.took("sendgate, import into an empty brand", &first, "ns", None);
    findings.took("sendgate, import into a brand with as many", &second, "ns", None);
    findings.took("RocksDB, the rows of the first import", &bare_first, "ns", None);
    findings.took("RocksDB, the rows of the second import", &bare_second, "ns", None);
    let what = "RocksDB, the rows of the first import as sorted files, without a log";
    findings.took(what, &sorted, "ns", None);
    findings.took("bytes of an event's rows", &bytes, "B", None);
    let what = "import / RocksDB WriteBatch loop of the same rows";
    findings.rates("P11", what, [&second, &bare_second], Target::AtLeast(0.6));
    let what = "first load of an empty brand / the same loop";
    findings.rates("P11", what, [&first, &bare_first], Target::AtLeast(1.5));
    if let Some(postgres) = postgres {
        findings.took("PostgreSQL INSERT ... ON CONFLICT of 1,000", &theirs, "ns", None);
        let what = "import / PostgreSQL INSERT ... ON CONFLICT of 1,000";
        findings.rates("P11", what, [&second, &theirs], Target::AtLeast(10.0));
        postgres.stop().await?;
    } else {
        findings.skip("P11", super::NO_POSTGRES);
    }
    Ok(())
}

/// Imports into a new store, then as many again; and the rows of both once more
/// by the bare loop.
async fn import_twice(cache: &Path, population: &Population) -> Result<Round, Failure> {
    let folder = stores::scratch(cache)?;
    let store = folder.path().join("store");
    let server = stores::start(&store).await?;
    let client = Client::connect(server.endpoint()).await?;
    let import = async |from: u64| -> Result<f64, Failure> {
        // Made before the clock starts.
        let mut items: Vec<_> = (from..from + EVENTS)
            .map(|person| {
                let phone = population.phone(person);
                Some(stores::consent(&Holding::Phones.scope(), true, phone, CONSENTED_MS))
            })
            .collect();
        let chunk = |range: Range<u64>| {
            let range = range.start as usize..range.end as usize;
            items.get_mut(range).unwrap_or_default().iter_mut().filter_map(Option::take).collect()
        };
        let begun = Instant::now();
        stores::import_chunks(&client, EVENTS, chunk, |_| ()).await?;
        Ok(each(begun.elapsed(), EVENTS))
    };
    let first = import(0).await?;
    let second = import(EVENTS).await?;
    server.stop()?;
    let rows = Rows::read(&store)?;
    let (events, bytes) = (usize::try_from(EVENTS)?, rows.bytes_each());
    if rows.len() != 2 * events {
        return Err(format!("the ledger has the rows of {} events", rows.len()).into());
    }
    let sorted = rocks::ingest(&rows, 0..events, &store, &folder.path().join("sorted"))?;
    let sorted = each(sorted, EVENTS);
    let bare = Loop::start(rows, &store, &folder.path().join("bare"))?;
    let taken = |range: Range<usize>| {
        let groups = bare.commit(range.start, range.end, GROUP);
        groups.map(|groups| each(groups.iter().sum(), EVENTS))
    };
    let (bare_first, bare_second) = (taken(0..events)?, taken(events..2 * events)?);
    Ok(Round { first, second, bare_first, bare_second, sorted, bytes })
}

fn each(taken: Duration, events: u64) -> f64 {
    taken.as_secs_f64() * 1e9 / events as f64
}
