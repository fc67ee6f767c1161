//! `loadtest compare`: sendgate and what people use today, side by side.
//!
//! Every server runs on one core and its client on the other; what runs in
//! process runs on one core. Ours and theirs take turns, round by round, so that
//! a machine that drifts drifts for both; each figure is the median of its
//! rounds. Every answer is checked.

pub mod baseline;
mod child;
mod cores;
mod findings;
mod flat;
mod load;
mod peers;
mod population;
mod rocks;
mod stores;
mod targets;

use std::{path::PathBuf, process::ExitCode, thread};

use findings::Findings;
use population::{BATCH, HIT_RATE, Population, SEED};
use stores::Holding;

use crate::{
    document::{Document, Fact, Part},
    failure::Failure,
    machine,
    report::{self, Output},
};

/// Arguments of `loadtest compare`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Only these targets, such as P3,P4
    #[arg(long, value_delimiter = ',', value_name = "TARGETS")]
    only: Vec<String>,
    /// One million people instead of twenty, and fewer rounds
    #[arg(long)]
    quick: bool,
    /// Where data is kept from run to run
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// How often ours and theirs take turns
    #[arg(long, value_name = "N", default_value_t = 7,
          value_parser = clap::value_parser!(u8).range(1..))]
    pairs: u8,
    #[command(flatten)]
    output: Output,
}

/// What can be asked for.
const TARGETS: [&str; 15] = [
    "P1", "P1b", "P1c", "P2", "P3", "P4", "P5", "P6", "P7", "P8", "P9", "P10", "P11", "P12", "P13",
];

/// What all targets share.
struct Context {
    only: Vec<String>,
    cache: PathBuf,
    population: Population,
    rounds: usize,
}

impl Context {
    /// Whether one of these targets is asked for.
    fn wants(&self, targets: &[&str]) -> bool {
        let is_asked = |target: &&str| self.only.iter().any(|it| it.eq_ignore_ascii_case(target));
        self.only.is_empty() || targets.iter().any(is_asked)
    }
}

/// Compares, on a thread that stays on the client's core.
pub fn run(args: Args) -> Result<ExitCode, Failure> {
    cores::check()?;
    let work = move || {
        cores::pin(cores::CLIENT)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let document = runtime.block_on(compare(&args))?;
        report::show(&document, &args.output)
    };
    thread::spawn(work).join().map_err(|_| "the comparison failed in a way it should not")?
}

async fn compare(args: &Args) -> Result<Document, Failure> {
    let is_target = |it: &&String| TARGETS.iter().any(|target| target.eq_ignore_ascii_case(it));
    if let Some(unknown) = args.only.iter().find(|it| !is_target(it)) {
        return Err(
            format!("there is no target {unknown}; there are {}", TARGETS.join(", ")).into()
        );
    }
    let cache = args.cache.clone().map_or_else(stores::default_cache, Ok)?;
    std::fs::create_dir_all(&cache)?;
    let _taken = stores::take(&cache)?;
    let context = Context {
        only: args.only.clone(),
        cache: cache.canonicalize()?,
        population: Population::new(if args.quick { 1_000_000 } else { 20_000_000 }),
        rounds: args.pairs.into(),
    };
    let mut findings = Findings::new(&args.only);
    targets::engine::run(&context, &mut findings)?;
    let of_phones = ["P3", "P5", "P6", "P7", "P8"];
    if context.wants(&of_phones) {
        let server = stores::serve(&context.cache, Holding::Phones, &context.population).await?;
        if context.wants(&["P3", "P5", "P7"]) {
            targets::phones::run(&context, &server, &mut findings).await?;
        }
        if context.wants(&["P6"]) {
            targets::audience::run(&context, &server, &mut findings).await?;
        }
        if context.wants(&["P8"]) {
            targets::checks::run(&context, &server, &mut findings).await?;
        }
        server.stop()?;
    }
    if context.wants(&["P9", "P10"]) {
        let phones = stores::serve_copy(&context.cache, Holding::Phones, &context.population);
        let (_folder, server) = phones.await?;
        targets::withdrawals::run(&context, &server, &mut findings).await?;
        server.stop()?;
    }
    if context.wants(&["P4", "P13"]) {
        let server = stores::serve(&context.cache, Holding::Emails, &context.population).await?;
        targets::emails::run(&context, &server, &mut findings).await?;
        server.stop()?;
    }
    if context.wants(&["P11"]) {
        targets::imports::run(&context, &mut findings).await?;
    }
    let mut parts = findings.parts();
    if args.quick {
        let note = "A quick run shows that all of it works. The targets are for 20 million people: \
                    with one million, much stays in caches, and sparse pages cost more.";
        parts.push(Part::Note(note.to_owned()));
    }
    Ok(Document {
        title: "sendgate and its peers, side by side".to_owned(),
        facts: facts(&context),
        parts,
        holds: findings.hold(),
    })
}

fn facts(context: &Context) -> Vec<Fact> {
    let Context { population, rounds, .. } = context;
    let facts = [
        ("machine", machine::line()),
        ("commit", machine::COMMIT.to_owned()),
        ("load", format!("{} at the end", cores::load())),
        ("cores", format!("servers on {}, clients on {}", cores::SERVER, cores::CLIENT)),
        (
            "population",
            format!(
                "{} permitted and {} refused, random over 290 million Turkish mobiles",
                population.permitted,
                population.refused()
            ),
        ),
        (
            "lists",
            format!(
                "random order, {} % permitted, batches of {BATCH}, seed {SEED}",
                HIT_RATE * 100.0
            ),
        ),
        ("data", stores::age(&context.cache, population)),
        ("rounds", format!("{rounds}, ours and theirs in turn; medians")),
    ];
    facts.map(|(name, value)| Fact { name: name.to_owned(), value }).into()
}
