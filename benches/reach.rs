//! How long it takes to count contacts without a list.

#![allow(clippy::unwrap_used, reason = "a bench that goes wrong must stop")]

mod populations;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use populations::Population;
use sendgate::engine::{plane::Plane, reach::count};

/// Contacts in each plane; `SENDGATE_BENCH_CONTACTS` gives another number.
const CONTACTS: usize = 20_000_000;

fn plane(members: impl Iterator<Item = u64>) -> Plane {
    Plane::empty().with_changes(members.map(|id| (id, true)))
}

/// Makes a population of so many contacts.
type Make = fn(usize) -> Population;

/// Every second member at random, and the neighbours of the others.
fn half(members: &[u64]) -> Plane {
    let mut other: Vec<u64> =
        members.iter().map(|id| id + (id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 63)).collect();
    other.dedup();
    plane(other.into_iter())
}

fn reach(criterion: &mut Criterion) {
    let contacts = std::env::var("SENDGATE_BENCH_CONTACTS").ok();
    let contacts = contacts.and_then(|text| text.parse().ok()).unwrap_or(CONTACTS);
    let populations: [(&str, Make, usize); 3] = [
        ("phones A", |members| Population::turkish(members, 0), contacts),
        ("phones B", |members| Population::countries(members, 0), contacts),
        ("scattered", |members| Population::scattered(members, 0), contacts / 10),
    ];
    let mut group = criterion.benchmark_group("reach");
    group.sample_size(10);
    for (name, make, contacts) in populations {
        let members = make(contacts).members;
        let (one, other) = (plane(members.iter().copied()), half(&members));
        drop(members);
        group.bench_function(format!("{contacts} {name}, one scope"), |bencher| {
            bencher.iter(|| count(vec![black_box(&one)], &[]));
        });
        group.bench_function(format!("{contacts} {name}, in both of two"), |bencher| {
            bencher.iter(|| count(vec![black_box(&one), &other], &[]));
        });
        group.bench_function(format!("{contacts} {name}, in one and not in another"), |bencher| {
            bencher.iter(|| count(vec![black_box(&one)], &[&other]));
        });
    }
}

criterion_group!(benches, reach);
criterion_main!(benches);
