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
use std::sync::Arc;

use sendgate::domain::{
    contact::ContactKind,
    plane::PlaneRole,
    policy::{Names, Policy, STARTER},
    reason::Reason,
    scope::Regime,
    secret::Secret,
    time::Now,
};
use sendgate::engine::{
    directory::Directory,
    filter::{Question, Session},
    plane::Plane,
    view::{Directories, Place, Planes, View},
};

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

/// A view with this plane as the permitted or refused contacts of every scope
/// for phones.
fn view(plane: &Plane) -> View {
    let policy = Policy::read(STARTER, Names::default()).unwrap();
    let mut planes = Planes::empty(policy.scopes().len());
    for scope in 0..policy.scopes().len() {
        planes.replace(Place::Scope(scope), ContactKind::Phone, PlaneRole::Verdict, plane.clone());
        planes.replace(
            Place::Scope(scope),
            ContactKind::Phone,
            PlaneRole::Reason(Reason::OptedOut),
            plane.clone(),
        );
    }
    View {
        epoch: "0123456789abcdef0123456789abcdef".into(),
        revision: 1,
        now: Now { consents: 0, suppressions: 0 },
        policy: Arc::new(policy),
        policy_revision: 1,
        planes: Arc::new(planes),
        directories: Directories {
            email: Directory::new().handle(),
            external_id: Directory::new().handle(),
            emails: 0,
            external_ids: 0,
            bytes: 0,
        },
        erased: Arc::default(),
        secret: Secret::from_bytes(&[7; Secret::BYTES]).unwrap(),
    }
}

fn filter(criterion: &mut Criterion) {
    let population = Population::turkish(2_000_000, 1_000_000);
    let plane = Plane::empty().with_changes(population.members.iter().map(|&id| (id, true)));
    let view = view(&plane);
    let brand = view.policy.brand("main").unwrap();
    let scopes_of = |regime: Regime| -> Vec<usize> {
        let scopes = view.policy.scopes().iter().enumerate();
        scopes.filter(|(_, rules)| rules.regime == regime).map(|(at, _)| at).take(16).collect()
    };
    let mut group = criterion.benchmark_group("filter");
    group.sample_size(20).throughput(Throughput::Elements(BATCH as u64));
    let opt_in = scopes_of(Regime::OptIn);
    let opt_out = scopes_of(Regime::OptOut);
    for (name, scopes, reasons) in [
        ("opt_in, reasons false", &opt_in[..1], false),
        ("opt_in, reasons true", &opt_in[..1], true),
        ("opt_out, reasons false", &opt_out[..1], false),
        ("opt_out, reasons true", &opt_out[..1], true),
        ("16 scopes, bits", &opt_in[..], false),
        ("16 scopes, reasons", &opt_in[..], true),
    ] {
        let question = Question {
            brand,
            scopes: scopes.to_vec(),
            kind: ContactKind::Phone,
            region: None,
            reasons,
            deduplicate: false,
        };
        let mut batches = population.list.chunks_exact(BATCH).cycle();
        let mut session = Session::default();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let batch = black_box(batches.next().unwrap());
                session.read_ids(batch.iter().copied(), &question, &view);
                session.filter(&view, &question).unwrap()
            });
        });
    }
}

criterion_group!(benches, probe, change, filter);
criterion_main!(benches);
