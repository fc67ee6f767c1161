//! How long a plane takes to answer, and to change.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench that goes wrong must stop"
)]

mod populations;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use populations::Population;
use sendgate::engine::plane::Plane;

/// Recipients in one batch.
const BATCH: usize = 16_384;

fn probe(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("probe");
    group.sample_size(20).throughput(Throughput::Elements(BATCH as u64));
    for (name, population) in [
        ("phones A 2M", Population::turkish(2_000_000, 1_000_000)),
        ("phones B 2M", Population::countries(2_000_000, 1_000_000)),
        ("scattered 1M", Population::scattered(1_000_000, 1_000_000)),
    ] {
        let plane = Plane::empty().with_changes(population.members.iter().map(|&id| (id, true)));
        let mut batches = population.list.chunks_exact(BATCH).cycle();
        let mut out = vec![0; BATCH / 64];
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                if let Some(batch) = batches.next() {
                    plane.probe(black_box(batch), &mut out);
                }
            });
        });
    }
}

fn change(criterion: &mut Criterion) {
    let population = Population::turkish(20_000_000, 100_000);
    let plane = Plane::empty().with_changes(population.members.iter().map(|&id| (id, true)));
    let mut ids = population.list.iter().cycle();
    criterion.bench_function("one change to phones A 20M", |bencher| {
        bencher.iter(|| plane.with_changes(ids.next().map(|&id| (id, id % 2 == 0)).into_iter()));
    });
}

criterion_group!(benches, probe, change);
criterion_main!(benches);
