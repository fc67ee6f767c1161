//! P8: one recipient a call, beside an echo of the same messages.

use std::{sync::Arc, time::Instant};

use hdrhistogram::Histogram;
use sendgate::{
    client::Client,
    proto::v1::{CheckRequest, Contact},
};
use tokio::task::JoinSet;

use crate::{
    compare::{
        Context,
        baseline::Baseline,
        findings::{Findings, Samples, Target},
        population::{Population, Refused},
        stores::{BRAND, Holding},
    },
    failure::Failure,
    server::Server,
};

/// Rounds for each that is asked for: percentiles of single calls need more
/// turns than rates do.
const TURNS: usize = 3;
/// How many calls are in flight, and how many are made in a turn.
const WAYS: [(&str, usize, usize); 2] = [("one at a time", 1, 2_000), ("64 in flight", 64, 16_000)];

/// The percentiles of all turns, in µs.
#[derive(Default)]
struct Side {
    p50: Samples,
    p99: Samples,
}

/// A call and its answer.
type Call = (CheckRequest, bool);

/// Measures the target against a server that holds the phones.
pub async fn run(
    context: &Context,
    server: &Server,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let calls = Arc::new(calls(&context.population));
    let echo = Baseline::echo()?;
    let ours_at = Client::connect(server.endpoint()).await?;
    let echo_at = Client::connect(echo.endpoint()).await?;
    for (name, in_flight, count) in WAYS {
        let (mut ours, mut theirs) = (Side::default(), Side::default());
        for turn in 0..=context.rounds * TURNS {
            let from = turn * count;
            for (side, client, checked) in
                [(&mut ours, &ours_at, true), (&mut theirs, &echo_at, false)]
            {
                let latencies = ask(client, &calls, from, count, in_flight, checked).await?;
                // The first turn only warms up.
                if turn > 0 {
                    side.p50.add(latencies.value_at_quantile(0.5) as f64 / 1e3);
                    side.p99.add(latencies.value_at_quantile(0.99) as f64 / 1e3);
                }
            }
        }
        for (percentile, ours, theirs) in
            [("p50", &ours.p50, &theirs.p50), ("p99", &ours.p99, &theirs.p99)]
        {
            let what = format!("Check {name}, {percentile} / tonic echo");
            findings.costs("P8", what, [ours, theirs], "µs", Target::AtMost(1.15));
        }
    }
    Ok(())
}

fn calls(population: &Population) -> Vec<Call> {
    let list = population.list(5, 200_000, Refused::Strangers);
    let call = |person: &u64| {
        let contact = Contact {
            kind: Holding::Phones.kind().into(),
            address: format!("+{}", population.phone(*person)),
            default_region: String::new(),
        };
        let request = CheckRequest {
            brand: BRAND.to_owned(),
            scope: Some(Holding::Phones.scope()),
            contact: Some(contact),
            ..Default::default()
        };
        (request, population.is_permitted(*person))
    };
    list.people.iter().map(call).collect()
}

/// Makes `count` calls, so many at a time; their latencies in ns.
async fn ask(
    client: &Client,
    calls: &Arc<Vec<Call>>,
    from: usize,
    count: usize,
    in_flight: usize,
    checked: bool,
) -> Result<Histogram<u64>, Failure> {
    let mut callers = JoinSet::new();
    for caller in 0..in_flight {
        let (client, calls) = (client.filter_service(), Arc::clone(calls));
        callers.spawn(async move {
            let mut client = client;
            let mut latencies = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3)?;
            let mine = calls.iter().cycle().skip((from + caller) % calls.len());
            for (request, permitted) in mine.step_by(in_flight).take(count / in_flight) {
                let request = request.clone();
                let begun = Instant::now();
                let answer = client.check(request).await?.into_inner();
                latencies.saturating_record(begun.elapsed().as_nanos() as u64);
                if checked && answer.permitted != *permitted {
                    return Err(Failure::from("a call was answered wrongly"));
                }
            }
            Ok(latencies)
        });
    }
    let mut all = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3)?;
    while let Some(latencies) = callers.join_next().await {
        all.add(latencies??)?;
    }
    Ok(all)
}
