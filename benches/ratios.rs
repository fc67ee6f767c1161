//! Prints the engine's targets P1, P1b, P1c, P2 and P12 as ratios against plain baselines taken in
//! the same run, the repetitions interleaved, each figure the median.
//!
//! `cargo bench --bench ratios [-- --quick]`. The baselines are what anybody would write first: a
//! flat bitset over the span of the numbers, and a hashbrown set; neither prefetches.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench that goes wrong must stop"
)]

mod populations;

use std::hint::black_box;
use std::time::Instant;

use hashbrown::HashSet;
use populations::{HIT_RATE, Population, SEED};
use roaring::RoaringTreemap;
use sendgate::engine::plane::Plane;

/// Recipients asked for at a time, as in one message of a stream.
const BATCH: usize = 16_384;

/// A bit for every number between the smallest and the largest.
struct FlatBitset {
    first: u64,
    words: Vec<u64>,
}

impl FlatBitset {
    fn of(members: &[u64]) -> FlatBitset {
        let (first, last) = (members[0], members[members.len() - 1]);
        let mut words = vec![0; ((last - first) / 64 + 1) as usize];
        for id in members {
            words[((id - first) / 64) as usize] |= 1 << ((id - first) % 64);
        }
        FlatBitset { first, words }
    }

    fn contains(&self, id: u64) -> bool {
        let at = id.wrapping_sub(self.first);
        self.words.get((at / 64) as usize).is_some_and(|word| word >> (at % 64) & 1 != 0)
    }
}

/// The plain loop: one answer after the other, 64 to a word.
fn probe_each(ids: &[u64], out: &mut [u64], contains: impl Fn(u64) -> bool) {
    for (group, word) in ids.chunks(64).zip(out) {
        *word = 0;
        for (bit, id) in group.iter().enumerate() {
            *word |= u64::from(contains(*id)) << bit;
        }
    }
}

/// One way to answer a batch.
type Way<'a> = (&'a str, &'a dyn Fn(&[u64], &mut [u64]));

/// Median ns per recipient of each way, over `rounds` interleaved rounds. The ways must agree.
fn race(list: &[u64], rounds: usize, ways: &[Way]) -> Vec<f64> {
    let mut times = vec![Vec::new(); ways.len()];
    let mut out = vec![0; BATCH / 64];
    let mut permitted = None;
    for round in 0..=rounds {
        for ((name, way), times) in ways.iter().zip(&mut times) {
            let mut found = 0;
            let start = Instant::now();
            for batch in list.chunks(BATCH) {
                let out = &mut out[..batch.len().div_ceil(64)];
                way(black_box(batch), out);
                found += black_box(out).iter().map(|word| word.count_ones()).sum::<u32>();
            }
            let ns = start.elapsed().as_nanos() as f64 / list.len() as f64;
            assert_eq!(*permitted.get_or_insert(found), found, "{name} answers differently");
            // The first round only warms the caches.
            if round > 0 {
                times.push(ns);
            }
        }
    }
    times
        .into_iter()
        .map(|mut times| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        })
        .collect()
}

fn plane_of(members: &[u64]) -> Plane {
    Plane::empty().with_changes(members.iter().map(|&id| (id, true)))
}

fn set_of(members: &[u64]) -> HashSet<u64> {
    members.iter().copied().collect()
}

fn report(target: &str, what: &str, ours: f64, unit: &str, base: f64, limit: f64) {
    let ratio = ours / base;
    let verdict = if ratio <= limit { "ok" } else { "MISSED" };
    println!(
        "{target:4} {what:48} {ours:8.2} {unit} / {base:8.2} {unit} = {ratio:5.2} (<= {limit}) {verdict}"
    );
}

/// P1 to P2 for a population against a hashbrown set: time and memory.
fn against_set(target: &str, what: &str, population: &Population, rounds: usize, limits: [f64; 2]) {
    let plane = plane_of(&population.members);
    let set = set_of(&population.members);
    let times = race(
        &population.list,
        rounds,
        &[
            ("plane", &|ids, out| plane.probe(ids, out)),
            ("set", &|ids, out| probe_each(ids, out, |id| set.contains(&id))),
        ],
    );
    report(target, &format!("{what}, random / hashbrown set"), times[0], "ns", times[1], limits[0]);
    let bytes = |total: usize| total as f64 / population.members.len() as f64;
    let (ours, theirs) = (bytes(plane.memory_bytes()), bytes(set.allocation_size()));
    report(
        target,
        &format!("{what}, bytes a member / hashbrown set"),
        ours,
        "B ",
        theirs,
        limits[1],
    );
}

/// P12: memory against the portable Roaring size.
fn memory(what: &str, plane: &Plane, members: &[u64], limit: f64) {
    let roaring: RoaringTreemap = members.iter().copied().collect();
    let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
    let (ours, portable) = (mib(plane.memory_bytes()), mib(roaring.serialized_size()));
    report("P12", &format!("{what}, memory / portable Roaring"), ours, "MiB", portable, limit);
}

fn main() {
    let quick = std::env::args().any(|arg| arg == "--quick");
    let (many, few, listed, rounds) = if quick {
        (2_000_000, 100_000, 400_000, 5)
    } else {
        (20_000_000, 1_000_000, 4_000_000, 9)
    };
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name\t: ")).unwrap_or("unknown");
    println!("machine: {cpu}; seed {SEED}; hit rate {HIT_RATE}; {listed} recipients in batches of");
    println!("{BATCH}; medians of {rounds} interleaved rounds; ours / baseline = ratio (target)");

    let sorted = |list: &[u64]| {
        let mut list = list.to_vec();
        list.sort_unstable();
        list
    };
    let a = Population::turkish(many, listed);
    let plane = plane_of(&a.members);
    let flat = FlatBitset::of(&a.members);
    let ways: [Way; 2] = [
        ("plane", &|ids, out| plane.probe(ids, out)),
        ("flat", &|ids, out| probe_each(ids, out, |id| flat.contains(id))),
    ];
    let random = race(&a.list, rounds, &ways);
    report("P1", &format!("A {many}, random / flat bitset"), random[0], "ns", random[1], 1.3);

    let b = Population::countries(many, listed);
    let plane_b = plane_of(&b.members);
    let (list_a, list_b) = (sorted(&a.list), sorted(&b.list));
    let ordered = race(&list_a, rounds, &ways);
    report("P2", &format!("A {many}, sorted / flat bitset"), ordered[0], "ns", ordered[1], 2.0);
    let ordered_b = race(&list_b, rounds, &[("plane", &|ids, out| plane_b.probe(ids, out))]);
    report("P2", &format!("B {many}, sorted / A sorted"), ordered_b[0], "ns", ordered[0], 2.0);
    memory(&format!("A {many}"), &plane, &a.members, 1.1);
    memory(&format!("B {many}"), &plane_b, &b.members, 1.6);
    drop((plane, plane_b, flat, a));

    against_set("P1b", &format!("B {many}"), &b, rounds, [1.1, 0.25]);
    drop(b);
    let b = Population::countries(few, listed);
    against_set("P1b", &format!("B {few}"), &b, rounds, [1.6, 0.25]);
    memory(&format!("B {few}"), &plane_of(&b.members), &b.members, 1.6);
    for members in [many, few] {
        let scattered = Population::scattered(members, listed);
        against_set("P1c", &format!("scattered {members}"), &scattered, rounds, [1.3, 2.0]);
    }
}
