//! P1, P1b, P1c, P2 and P12: the engine's planes in process, on one core, beside
//! what anybody would write first: a flat bitset over the span of the numbers,
//! and a hashbrown set. Neither prefetches.

use std::{hint::black_box, time::Instant};

use hashbrown::HashSet;
use roaring::RoaringTreemap;
use sendgate::engine::plane::Plane;

use super::populations::Population;
use crate::{
    compare::{
        Context,
        findings::{Findings, Row, Samples, Target},
        flat::{FlatBitset, PagedBitset},
        population::BATCH,
    },
    failure::Failure,
};

/// Recipients of each list.
const LIST: usize = 4_000_000;

/// One way to answer a batch, 64 answers to a word.
type Way<'a> = &'a dyn Fn(&[u64], &mut [u64]);

/// Measures the targets.
pub fn run(context: &Context, findings: &mut Findings) -> Result<(), Failure> {
    let many = usize::try_from(context.population.permitted)?;
    let few = many / 20;
    if context.wants(&["P1", "P2", "P12"]) {
        direct(context, many, findings)?;
    }
    if context.wants(&["P1b", "P12"]) {
        for (members, due) in [(many, 1.1), (few, 1.6)] {
            let population = Population::countries(members, LIST);
            let name = format!("B, {members} phones of 12 countries");
            if context.wants(&["P1b"]) {
                let due = [Target::AtMost(due), Target::AtMost(0.25)];
                against_set("P1b", &name, &population, context.rounds, due, findings)?;
            }
            if context.wants(&["P12"]) {
                let plane = plane_of(&population.members);
                memory(&name, &plane, &population.members, Target::AtMost(1.6), findings);
            }
        }
    }
    if context.wants(&["P1c"]) {
        for members in [many, few] {
            let population = Population::scattered(members, LIST);
            let name = format!("{members} integers over all of u64");
            let due = [Target::AtMost(1.3), Target::AtMost(2.0)];
            against_set("P1c", &name, &population, context.rounds, due, findings)?;
        }
    }
    Ok(())
}

/// P1, P2, and P12 of population A.
fn direct(context: &Context, members: usize, findings: &mut Findings) -> Result<(), Failure> {
    let rounds = context.rounds;
    let a = Population::turkish(members, LIST);
    let plane = plane_of(&a.members);
    let name = format!("A, {members} Turkish mobiles");
    if context.wants(&["P12"]) {
        memory(&name, &plane, &a.members, Target::AtMost(1.1), findings);
    }
    let flat = FlatBitset::of(a.members.iter().copied());
    let ways: [Way<'_>; 2] = [&|ids, out| plane.probe(ids, out), &|ids, out| {
        probe_each(ids, out, |id| flat.contains(id));
    }];
    if context.wants(&["P1"]) {
        let [ours, theirs] = race(&a.list, rounds, ways)?;
        let what = format!("{name}, random / flat bitset");
        findings.costs("P1", what, [&ours, &theirs], "ns", Target::AtMost(1.3));
    }
    if context.wants(&["P2"]) {
        let list = sorted(&a.list);
        let [ours, theirs] = race(&list, rounds, ways)?;
        let what = format!("{name}, sorted / flat bitset");
        findings.costs("P2", what, [&ours, &theirs], "ns", Target::AtMost(2.0));
        let b = Population::countries(members, LIST);
        let plane_b = plane_of(&b.members);
        // In turn with A's own list, so that both see the same machine.
        let list_b = sorted(&b.list);
        let roaring_b: RoaringTreemap = sorted(&b.members).into_iter().collect();
        let paged_b = PagedBitset::of(b.members.iter().copied());
        let [mut of_b, mut of_a, mut of_paged, mut of_roaring] =
            [(); 4].map(|()| Samples::default());
        for _ in 0..rounds {
            let ways: [Way<'_>; 3] = [
                &|ids, out| plane_b.probe(ids, out),
                &|ids, out| probe_each(ids, out, paged_b.search()),
                &|ids, out| probe_each(ids, out, |id| roaring_b.contains(id)),
            ];
            let [b, paged, roaring] = race(&list_b, 1, ways)?;
            let [a] = race(&list, 1, [&|ids: &[u64], out: &mut [u64]| plane.probe(ids, out)])?;
            of_b.add(b.median());
            of_a.add(a.median());
            of_paged.add(paged.median());
            of_roaring.add(roaring.median());
        }
        let what = format!("B, {members} phones of 12 countries, sorted / A, sorted");
        findings.costs("P2", what, [&of_b, &of_a], "ns", Target::AtMost(2.0));
        findings.took("a bitset for each page, B, sorted", &of_paged, "ns", None);
        findings.took("Roaring, B, sorted, one after the other", &of_roaring, "ns", None);
    }
    Ok(())
}

/// A population against a hashbrown set of the same numbers: time and memory.
fn against_set(
    target: &'static str,
    name: &str,
    population: &Population,
    rounds: usize,
    [time, space]: [Target; 2],
    findings: &mut Findings,
) -> Result<(), Failure> {
    let plane = plane_of(&population.members);
    let set: HashSet<u64> = population.members.iter().copied().collect();
    let [ours, theirs] = race(
        &population.list,
        rounds,
        [&|ids: &[u64], out: &mut [u64]| plane.probe(ids, out), &|ids, out| {
            probe_each(ids, out, |id| set.contains(&id));
        }],
    )?;
    let what = format!("{name}, random / hashbrown set");
    findings.costs(target, what, [&ours, &theirs], "ns", time);
    let each = |bytes: usize| bytes as f64 / population.members.len() as f64;
    findings.row(Row {
        target,
        what: format!("{name}, memory a member / hashbrown set"),
        ours: each(plane.memory_bytes()),
        theirs: each(set.allocation_size()),
        unit: "B",
        due: space,
        spread: [0.0; 2],
    });
    Ok(())
}

/// P12: memory against the portable Roaring size.
fn memory(name: &str, plane: &Plane, members: &[u64], due: Target, findings: &mut Findings) {
    let roaring: RoaringTreemap = members.iter().copied().collect();
    let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
    findings.row(Row {
        target: "P12",
        what: format!("{name}, memory / portable Roaring"),
        ours: mib(plane.memory_bytes()),
        theirs: mib(roaring.serialized_size()),
        unit: "MiB",
        due,
        spread: [0.0; 2],
    });
}

/// The plain loop: one answer after the other.
fn probe_each(ids: &[u64], out: &mut [u64], mut contains: impl FnMut(u64) -> bool) {
    for (group, word) in ids.chunks(64).zip(out) {
        *word = 0;
        for (bit, id) in group.iter().enumerate() {
            *word |= u64::from(contains(*id)) << bit;
        }
    }
}

/// The time of each way in ns a recipient, over interleaved rounds. All must
/// find as many.
fn race<const N: usize>(
    list: &[u64],
    rounds: usize,
    ways: [Way<'_>; N],
) -> Result<[Samples; N], Failure> {
    let mut times = [(); N].map(|()| Samples::default());
    let mut words = vec![0; BATCH / 64];
    let mut permitted = None;
    for round in 0..=rounds {
        for (way, times) in ways.iter().zip(&mut times) {
            let mut found = 0;
            let begun = Instant::now();
            for batch in list.chunks(BATCH) {
                let (out, _) = words.split_at_mut(batch.len().div_ceil(64));
                way(black_box(batch), out);
                found += black_box(out).iter().map(|word| word.count_ones()).sum::<u32>();
            }
            let taken = begun.elapsed();
            if *permitted.get_or_insert(found) != found {
                return Err("two ways in process answer differently".into());
            }
            // The first round only warms the caches.
            if round > 0 {
                times.add(taken.as_secs_f64() * 1e9 / list.len() as f64);
            }
        }
    }
    Ok(times)
}

fn plane_of(members: &[u64]) -> Plane {
    Plane::empty().with_changes(members.iter().map(|id| (*id, true)))
}

fn sorted(list: &[u64]) -> Vec<u64> {
    let mut list = list.to_vec();
    list.sort_unstable();
    list
}
