//! How long the directory takes to resolve a batch, beside a hashbrown map, and to insert.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench that goes wrong must stop"
)]

mod populations;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hashbrown::HashMap;
use populations::SEED;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use sendgate::engine::directory::{Directory, NONE};
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// Addresses in one batch.
const BATCH: usize = 16_384;

/// Addresses in the directory; `SENDGATE_BENCH_EMAILS` gives another number.
const EMAILS: u32 = 20_000_000;

fn fingerprint(number: u32) -> u128 {
    xxh3_128_with_seed(&number.to_le_bytes(), SEED)
}

fn resolve(criterion: &mut Criterion) {
    let emails = std::env::var("SENDGATE_BENCH_EMAILS").ok().and_then(|text| text.parse().ok());
    let emails: u32 = emails.unwrap_or(EMAILS);
    let mut directory = Directory::new();
    let mut map = HashMap::new();
    for ordinal in 0..emails {
        directory.insert(fingerprint(ordinal), ordinal).expect("fingerprints differ");
        map.insert(fingerprint(ordinal), ordinal);
    }
    println!(
        "{emails} entries: {:.1} bytes each",
        directory.memory_bytes() as f64 / f64::from(emails)
    );
    let view = directory.handle();
    let mut rng = SmallRng::seed_from_u64(SEED);
    // Every second one is a stranger.
    let list: Vec<u128> =
        (0..64 * BATCH).map(|_| fingerprint(rng.random_range(0..2 * emails))).collect();

    let mut group = criterion.benchmark_group("directory");
    group.sample_size(20).throughput(Throughput::Elements(BATCH as u64));
    let mut out = vec![NONE; BATCH];
    let mut batches = list.chunks_exact(BATCH).cycle();
    group.bench_function("resolve", |bencher| {
        bencher.iter(|| {
            if let Some(batch) = batches.next() {
                view.resolve(black_box(batch), &mut out);
            }
        });
    });
    group.bench_function("hashbrown one by one", |bencher| {
        bencher.iter(|| {
            for (out, fingerprint) in out.iter_mut().zip(batches.next().unwrap_or_default()) {
                *out = map.get(fingerprint).map_or(NONE, |&ordinal| u64::from(ordinal));
            }
            black_box(&mut out);
        });
    });
}

criterion_group!(benches, resolve);
criterion_main!(benches);
