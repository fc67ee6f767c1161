//! From bytes on the wire to contact IDs: packed columns and lines.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench that cannot begin must stop")]

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use prost::Message;
use sendgate::{
    domain::address::{Accept, Region, read_phone},
    proto::{Fixed64Column, RecipientBatch},
};

const RECIPIENTS: u64 = 16_384;

/// The same message as prost decodes it by itself: the plain baseline.
#[derive(Clone, PartialEq, Message)]
struct PlainBatch {
    #[prost(uint64, tag = "1")]
    batch_id: u64,
    #[prost(fixed64, repeated, tag = "2")]
    phones: Vec<u64>,
}

fn decode(criterion: &mut Criterion) {
    let phones: Vec<u64> = (0..RECIPIENTS).map(|n| 905_320_000_000 + n * 331).collect();
    let batch = RecipientBatch {
        batch_id: 1,
        phones: Fixed64Column::from(phones.as_slice()),
        ..RecipientBatch::default()
    };
    let bytes = Bytes::from(batch.encode_to_vec());
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(RECIPIENTS));
    group.bench_function("packed column, ours", |bencher| {
        bencher.iter(|| {
            let batch = RecipientBatch::decode(bytes.clone()).unwrap();
            batch.phones.iter().fold(0, u64::wrapping_add)
        });
    });
    group.bench_function("packed column, prost", |bencher| {
        bencher.iter(|| {
            let batch = PlainBatch::decode(bytes.clone()).unwrap();
            batch.phones.iter().copied().fold(0, u64::wrapping_add)
        });
    });
    let region: Region = "TR".parse().unwrap();
    for (name, line) in [("E.164", "+905321234567"), ("national", "0 (532) 123 45 67")] {
        group.bench_function(format!("phone line, {name}"), |bencher| {
            bencher.iter(|| {
                (0..RECIPIENTS).fold(0_u64, |sum, _| {
                    let line = std::hint::black_box(line.as_bytes());
                    sum ^ read_phone(line, Some(region), Accept::Valid).unwrap()
                })
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
