//! P9 and P10: single durable withdrawals, alone and while lists are filtered.
//!
//! They withdraw from people whom no list asks about, and who consent anew
//! before every run.

use std::{
    cell::Cell,
    convert::Infallible,
    ops::Range,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use sendgate::{
    client::{Client, FilterStream, Recipients},
    clock::Clock,
    proto::v1::{CheckRequest, ConsentEvent, Outcome, RecordRequest},
};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::Side;
use crate::{
    compare::{
        Context,
        baseline::Baseline,
        findings::{Findings, Row, Samples, Target},
        load::{Batches, Driver},
        population::{Population, Refused},
        rocks::{Loop, Rows},
        stores::{self, Holding},
    },
    failure::Failure,
    server::Server,
};

/// People who consent anew, in a round.
const EACH: usize = 12_000;
/// Withdrawals one after the other, in a round.
const SINGLE: usize = 300;
/// Withdrawals a second while lists are filtered.
const RATE: u32 = 1_000;
/// Commits of the bare loop beside a filter; then it begins anew.
const COMMITS: usize = 10_000;
/// Recipients of the list.
const LIST: usize = 4_000_000;
/// How often the list is sent in a round: about a second.
const PASSES: usize = 8;

/// What is withdrawn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// The consent in one scope.
    Scope,
    /// All consents of the contact: planes of 64 scopes change.
    Contact,
}

/// What all of it needs.
struct Bench<'a> {
    population: &'a Population,
    rounds: usize,
    /// The next person to withdraw from.
    next: Cell<u64>,
    client: Client,
    driver: Driver,
    batches: Arc<Batches>,
}

impl Bench<'_> {
    /// The withdrawal of a person from whom none was made yet.
    fn withdrawal(&self, reach: Reach) -> (u64, ConsentEvent) {
        let person = self.next.replace(self.next.get() + 1);
        let phone = self.population.phone(person);
        (phone, stores::withdrawal(phone, reach == Reach::Contact))
    }
}

/// Measures the targets against a server that holds the phones.
pub async fn run(
    context: &Context,
    server: &Server,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let population = &context.population;
    let list = population.list(1, LIST, Refused::Strangers);
    let bench = Bench {
        population,
        rounds: context.rounds,
        next: Cell::new(population.spare()),
        client: Client::connect(server.endpoint()).await?,
        driver: Driver::connect(server.endpoint(), server.pid(), true).await?,
        batches: Arc::new(Batches::phones(population, &list, false)),
    };
    consent_anew(&bench).await?;
    if context.wants(&["P9"]) {
        idle(&bench, &context.cache, server, findings).await?;
        loaded(&bench, findings).await?;
    }
    if context.wants(&["P10"]) {
        beside(&bench, Reach::Scope, ("in one scope", 0.85), findings).await?;
        let whole = ("of whole contacts, over 64 scopes", 0.7);
        beside(&bench, Reach::Contact, whole, findings).await?;
        least(&bench, &context.cache, findings).await?;
    }
    Ok(())
}

async fn consent_anew(bench: &Bench<'_>) -> Result<(), Failure> {
    let now = Clock::System.now();
    let first = bench.next.get();
    let scope = Holding::Phones.scope();
    let items = |range: Range<u64>| {
        let phones = range.map(|person| bench.population.phone(first + person));
        phones.map(|phone| stores::consent(&scope, true, phone, now)).collect()
    };
    let count = (bench.rounds + 1) * EACH;
    stores::import_chunks(&bench.client, count as u64, items, |_| ()).await
}

/// Records one withdrawal; returns once it is acknowledged.
async fn withdraw(client: &Client, event: ConsentEvent) -> Result<Duration, Failure> {
    let begun = Instant::now();
    let request = RecordRequest { events: vec![event] };
    let answer = client.consent_service().record(request).await?.into_inner();
    let taken = begun.elapsed();
    match answer.results.as_slice() {
        [result] if result.outcome() == Outcome::Applied => Ok(taken),
        other => Err(format!("a withdrawal was not applied: {other:?}").into()),
    }
}

/// P9 on a server without other work, beside RocksDB committing the same rows;
/// and whether a stream that is open already honours it at once.
async fn idle(
    bench: &Bench<'_>,
    cache: &Path,
    server: &Server,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let (_folder, bare) = bare(bench, cache, (bench.rounds + 1) * SINGLE).await?;
    // A stream that is open before the first withdrawal.
    let other = Client::connect(server.endpoint()).await?;
    let options = Batches::options(Holding::Phones, false);
    let mut stream = FilterStream::open(&other, options, 1).await?;
    let (mut ours, mut theirs) = (Samples::default(), Samples::default());
    let (mut ours50, mut theirs50) = (Samples::default(), Samples::default());
    for round in 0..=bench.rounds {
        let mut taken = Vec::new();
        for _ in 0..SINGLE {
            let (phone, event) = bench.withdrawal(Reach::Scope);
            taken.push(withdraw(&bench.client, event).await?);
            stream.send((), Recipients::Phones(std::iter::once(phone).collect()))?;
            let answer = stream.next().await?.ok_or("the stream ended")?;
            if answer.1.scope(0).is_permitted(0) {
                return Err("an acknowledged withdrawal was not honoured by an open stream".into());
            }
        }
        let commits = bare.commit(round * SINGLE, (round + 1) * SINGLE, 1)?;
        if round > 0 {
            ours.add(quantile(&taken, 0.99));
            theirs.add(quantile(&commits, 0.99));
            ours50.add(quantile(&taken, 0.5));
            theirs50.add(quantile(&commits, 0.5));
        }
    }
    stream.close();
    while stream.next().await?.is_some() {}
    findings.took("sendgate, one withdrawal, p50", &ours50, "µs", None);
    findings.took("RocksDB, one synced commit of the same rows, p50", &theirs50, "µs", None);
    let what = "a withdrawal acknowledged, idle, p99 / one synced RocksDB commit, p99";
    findings.costs("P9", what, [&ours, &theirs], "µs", Target::AtMost(3.0));
    Ok(())
}

/// RocksDB alone, about to commit the rows of so many withdrawals.
async fn bare(bench: &Bench<'_>, cache: &Path, count: usize) -> Result<(TempDir, Loop), Failure> {
    let folder = stores::scratch(cache)?;
    let store = folder.path().join("store");
    let scratch = stores::start(&store).await?;
    let items = |range: Range<u64>| {
        let phones = range.map(|person| bench.population.phone(person));
        phones.map(|phone| stores::item(stores::withdrawal(phone, true))).collect()
    };
    let client = Client::connect(scratch.endpoint()).await?;
    stores::import_chunks(&client, count as u64, items, |_| ()).await?;
    scratch.stop()?;
    let bare = Loop::start(Rows::read(&store)?, &store, &folder.path().join("bare"))?;
    Ok((folder, bare))
}

/// P9 while lists are filtered at full speed on the same core.
async fn loaded(bench: &Bench<'_>, findings: &mut Findings) -> Result<(), Failure> {
    let mut p99 = Samples::default();
    for round in 0..=bench.rounds {
        let mut taken = Vec::new();
        let load = bench.driver.run(&bench.batches, PASSES);
        tokio::pin!(load);
        loop {
            let (_, event) = bench.withdrawal(Reach::Scope);
            tokio::select! {
                ended = &mut load => {
                    ended?;
                    break;
                }
                latency = withdraw(&bench.client, event) => taken.push(latency?),
            }
        }
        if round > 0 {
            p99.add(quantile(&taken, 0.99) / 1e3);
        }
    }
    findings.row(Row {
        target: "P9",
        what: "a withdrawal acknowledged while phones are filtered, p99 / 10 ms".to_owned(),
        ours: p99.median(),
        theirs: 10.0,
        unit: "ms",
        due: Target::AtMost(1.0),
        spread: [p99.spread(), 0.0],
    });
    Ok(())
}

/// P10: filtering with and without withdrawals that arrive at a fixed rate.
async fn beside(
    bench: &Bench<'_>,
    reach: Reach,
    (name, due): (&str, f64),
    findings: &mut Findings,
) -> Result<(), Failure> {
    let Bench { driver, batches, .. } = bench;
    let (mut with, mut without) = (Side::default(), Side::default());
    let mut rates = Samples::default();
    for round in 0..=bench.rounds {
        without.add(round, driver.run(batches, PASSES).await?);
        let acknowledged = Cell::new(0);
        let begun = Instant::now();
        let taken = tokio::select! {
            taken = driver.run(batches, PASSES) => taken?,
            ended = arrive(bench, reach, &acknowledged) => match ended? {},
        };
        with.add(round, taken);
        if round > 0 {
            rates.add(f64::from(acknowledged.get()) / begun.elapsed().as_secs_f64());
        }
    }
    let what = format!("phones while {RATE} withdrawals/s {name} arrive / without");
    findings.row(Row {
        target: "P10",
        what: format!("withdrawals {name} acknowledged a second / {RATE} a second"),
        ours: rates.median(),
        theirs: RATE.into(),
        unit: "1/s",
        due: Target::AtLeast(0.95),
        spread: [rates.spread(), 0.0],
    });
    findings.rates("P10", what, [&with.wall, &without.wall], Target::AtLeast(due));
    Ok(())
}

/// What P10 leaves to anybody: a flat bitset filters, while on its core as many
/// calls are echoed as withdrawals would arrive, and RocksDB alone commits the
/// rows of each with a sync.
async fn least(bench: &Bench<'_>, cache: &Path, findings: &mut Findings) -> Result<(), Failure> {
    let (_folder, bare) = bare(bench, cache, COMMITS).await?;
    let flat = Baseline::flat_bitset(bench.population)?;
    let client = Client::connect(flat.endpoint()).await?;
    let driver = Driver::connect(flat.endpoint(), flat.pid(), true).await?;
    let (mut with, mut without) = (Side::default(), Side::default());
    let mut rates = Samples::default();
    for round in 0..=bench.rounds {
        without.add(round, driver.run(&bench.batches, PASSES).await?);
        let begun_commits = Cell::new(0);
        let begun = Instant::now();
        let taken = tokio::select! {
            taken = driver.run(&bench.batches, PASSES) => taken?,
            ended = commit(&bare, &client, &begun_commits) => match ended? {},
        };
        with.add(round, taken);
        let ended = bare.ended()?;
        if round > 0 {
            rates.add(ended as f64 / begun.elapsed().as_secs_f64());
        }
        for _ in ended..begun_commits.get() {
            bare.end()?;
        }
    }
    without.tell("tonic over a flat bitset, phones, alone", findings);
    let what = "the same, while on its core a bare RocksDB commits and calls are echoed";
    with.tell(what, findings);
    findings.took("such commits a second", &rates, "1/s", None);
    Ok(())
}

/// Commits and calls at a fixed rate.
async fn commit(bare: &Loop, client: &Client, begun: &Cell<usize>) -> Result<Infallible, Failure> {
    let mut due = tokio::time::interval(Duration::from_secs(1) / RATE);
    let mut calls = JoinSet::new();
    loop {
        tokio::select! {
            _ = due.tick() => {
                let at = begun.replace(begun.get() + 1) % COMMITS;
                bare.begin(at, at + 1, 1)?;
                let mut client = client.filter_service();
                calls.spawn(async move { client.check(CheckRequest::default()).await });
            }
            Some(call) = calls.join_next() => drop(call??),
        }
    }
}

/// Withdrawals that arrive whether or not the earlier ones are done.
async fn arrive(
    bench: &Bench<'_>,
    reach: Reach,
    acknowledged: &Cell<u32>,
) -> Result<Infallible, Failure> {
    let mut due = tokio::time::interval(Duration::from_secs(1) / RATE);
    let mut calls = JoinSet::new();
    loop {
        tokio::select! {
            _ = due.tick() => {
                let (client, event) = (bench.client.clone(), bench.withdrawal(reach).1);
                calls.spawn(async move { withdraw(&client, event).await });
            }
            Some(call) = calls.join_next() => {
                call??;
                acknowledged.set(acknowledged.get() + 1);
            }
        }
    }
}

/// A quantile of some times, in µs.
fn quantile(taken: &[Duration], quantile: f64) -> f64 {
    let mut sorted = taken.to_vec();
    sorted.sort_unstable();
    let at = (sorted.len() as f64 * quantile) as usize;
    let time = sorted.get(at.min(sorted.len().saturating_sub(1)));
    time.map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
}
