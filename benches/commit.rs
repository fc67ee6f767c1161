//! A durable change, from the queue to the acknowledgement: one at a time, and
//! in groups. The disk's sync is part of it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench that cannot begin must stop")]

use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sendgate::{
    caps,
    clock::Clock,
    domain::{
        contact::Address,
        event::{Actor, ActorRole, Change, ChangeKind, Consent},
        scope::{Level, TypeSelector},
        state::Status,
    },
    recovery,
    writer::{Limits, Published, Writer},
};

/// A withdrawal of everything, by another number each time.
fn withdrawals(
    next: &mut u64,
    count: usize,
    brand: sendgate::domain::scope::BrandId,
) -> Vec<Change> {
    (0..count)
        .map(|_| {
            *next += 1;
            Change {
                brand,
                address: Address::Phone(905_320_000_000 + *next),
                stated: None,
                source: "bench".to_owned(),
                actor: Actor { role: ActorRole::System, id: String::new() },
                event_key: String::new(),
                rectification: 0,
                kind: ChangeKind::Consent(Consent {
                    selector: TypeSelector::Any,
                    level: Level::CONTACT,
                    status: Status::Withdrawn,
                    valid_until: None,
                    legal_basis: String::new(),
                    notice: Default::default(),
                    collected_by: String::new(),
                    evidence: Default::default(),
                    registered_with: String::new(),
                }),
            }
        })
        .collect()
}

fn commit(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let books = recovery::open(folder.path(), Clock::System).unwrap();
    let brand = books.view.policy.brand("main").unwrap();
    let published = Arc::new(Published::of(&books));
    let limits = Limits {
        queued_tasks: caps::QUEUED_TASKS,
        queued_changes: caps::QUEUED_CHANGES,
        group_changes: caps::GROUP_CHANGES,
    };
    let writer = Writer::start(books, published, limits).unwrap();
    let handle = writer.handle();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut next = 0;
    let mut group = criterion.benchmark_group("commit");
    group.sample_size(20);
    for count in [1, 100, 10_000] {
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("{count} withdrawals"), |bencher| {
            bencher.iter_batched(
                || withdrawals(&mut next, count, brand),
                |changes| runtime.block_on(handle.submit(changes)).unwrap(),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
    writer.stop(Arc::default()).unwrap();
}

criterion_group!(benches, commit);
criterion_main!(benches);
