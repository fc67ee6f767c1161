//! Planes against a plain set.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, as it should"
)]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::page::Page;
use super::plane::Plane;
use super::plane_buckets::Memory;
use super::plane_compare::Portable;
use super::plane_leaf::{Leaf, hash, step};

fn changed(plane: &Plane, changes: &BTreeMap<u64, bool>) -> Plane {
    plane.with_changes(changes.iter().map(|(&id, &insert)| (id, insert)))
}

fn plane(ids: impl Iterator<Item = u64>) -> Plane {
    let ids: BTreeSet<u64> = ids.collect();
    Plane::empty().with_changes(ids.into_iter().map(|id| (id, true)))
}

/// A generator of numbers that a failing test can be repeated with.
fn random(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ state >> 31).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB) ^ mixed >> 33
    }
}

#[track_caller]
fn assert_same(plane: &Plane, model: &BTreeSet<u64>, strangers: &[u64]) {
    assert_eq!(plane.len(), model.len() as u64);
    assert_eq!(plane.is_empty(), model.is_empty());
    assert!(plane.ids().eq(model.iter().copied()), "ids differ");
    let asked: Vec<u64> = model.iter().chain(strangers).copied().collect();
    assert_probe(plane, model, &asked);
}

#[track_caller]
fn assert_probe(plane: &Plane, model: &BTreeSet<u64>, asked: &[u64]) {
    let mut out = vec![!0; asked.len().div_ceil(64)];
    plane.probe(asked, &mut out);
    let mut portable = vec![!0; out.len()];
    plane.probe_by(Portable, asked, &mut portable);
    assert!(portable == out, "not every way to compare gives the same answers");
    let bytes: Vec<u8> =
        std::iter::once(0).chain(asked.iter().flat_map(|id| id.to_le_bytes())).collect();
    let mut received = vec![!0; out.len()];
    plane.probe(bytes[1..].as_chunks::<8>().0, &mut received);
    assert!(received == out, "a column as it travels, at an odd address, is answered otherwise");
    for (at, id) in asked.iter().enumerate() {
        assert_eq!(out[at / 64] >> (at % 64) & 1 != 0, model.contains(id), "probe of {id}");
        assert_eq!(plane.contains(*id), model.contains(id), "contains of {id}");
    }
    if let Some(last) = out.last().filter(|_| !asked.len().is_multiple_of(64)) {
        assert_eq!(last >> (asked.len() % 64), 0, "bits past the end");
    }
}

/// Page indices whose hashes share their highest bits under this seed: at any
/// size of the table they stand in one leaf and begin in one bucket.
fn aimed(seed: u64, count: usize) -> Vec<u64> {
    let mut random = random(9);
    let indices = std::iter::from_fn(|| Some(random() >> 16));
    indices.filter(|index| hash(*index, seed) >> 52 == 0x5a5).take(count).collect()
}

/// How many buckets the search for each page visits at most.
fn longest_search(plane: &Plane) -> usize {
    let searches = plane.pages().map(|(index, _)| {
        let (at, rest) = step(hash(index, plane.seed), plane.root.len());
        let branch = &plane.root[at];
        let (at, fraction) = step(rest, branch.len());
        let stands_in = |distance: &usize| {
            branch[at].bucket(fraction, *distance).slots().iter().any(|page| page.index() == index)
        };
        1 + (0..).find(stands_in).unwrap()
    });
    searches.max().unwrap()
}

/// F19: whoever knows a plane's seed can aim at one bucket. Answers stay right,
/// the table does not grow for it, and a search ends within the leaf.
#[test]
fn pages_aimed_at_one_bucket_stay_apart() {
    const SEED: u64 = 0x0123_4567_89ab_cdef;
    let indices = aimed(SEED, 800);
    let (members, strangers) = indices.split_at(400);
    let model: BTreeSet<u64> = members.iter().map(|index| index << 16 | 7).collect();
    let plane = Plane::seeded(SEED).with_changes(model.iter().map(|id| (*id, true)));
    let strangers: Vec<u64> = strangers.iter().map(|index| index << 16 | 7).collect();
    assert_same(&plane, &model, &strangers);
    let longest = longest_search(&plane);
    assert!((50..=400).contains(&longest), "{longest} buckets: they were to be aimed");
    assert!(plane.memory_bytes() < 1 << 16, "{} bytes", plane.memory_bytes());
    // Half of them leave again, and no one is lost behind a gap.
    let gone: BTreeMap<u64, bool> = model.iter().step_by(2).map(|id| (*id, false)).collect();
    let left = model.iter().copied().filter(|id| !gone.contains_key(id)).collect();
    assert_same(&changed(&plane, &gone), &left, &strangers);
}

#[test]
fn a_leaf_that_is_aimed_at_leaves_the_huge_pages() {
    const SEED: u64 = 0x0123_4567_89ab_cdef;
    let mut random = random(5);
    let mut model: BTreeSet<u64> = (0..4_000).map(|_| random()).collect();
    let large = Plane::seeded(SEED).with_changes(model.iter().map(|id| (*id, true)));
    assert!(large.leaves().all(|leaf| leaf.memory() == Memory::Huge));
    let indices = aimed(SEED, 800);
    let (members, strangers) = indices.split_at(400);
    let mut crowded = large;
    for id in members.iter().map(|index| index << 16 | 7) {
        crowded = crowded.with_changes(std::iter::once((id, true)));
        model.insert(id);
    }
    let left = crowded.leaves().filter(|leaf| leaf.memory() == Memory::Ordinary);
    assert_eq!(left.map(Leaf::len).filter(|pages| *pages >= 400).count(), 1);
    let strangers: Vec<u64> = strangers.iter().map(|index| index << 16 | 7).collect();
    assert_same(&crowded, &model, &strangers);
}

/// F19: whoever does not know the seed aims in vain, by a seed that they guess
/// or by numbers that are regular.
#[test]
fn nobody_aims_at_a_seed_that_they_do_not_know() {
    let aimed = aimed(1, 2_000);
    let strided =
        |stride: u64| (0..2_000_u64).map(move |at| at.wrapping_mul(stride) >> 16).collect();
    let inverse = 0xf1de_83e1_9937_733d_u64;
    let regular: [Vec<u64>; 4] =
        [strided(1 << 16), strided(1 << 28), strided(1 << 40), strided(inverse)];
    let mut seeds = random(77);
    for indices in std::iter::once(aimed).chain(regular) {
        let members: BTreeSet<u64> = indices.iter().map(|index| index << 16 | 7).collect();
        for _ in 0..20 {
            let plane = Plane::seeded(seeds()).with_changes(members.iter().map(|id| (*id, true)));
            let longest = longest_search(&plane);
            assert!(longest <= 12, "{longest} buckets");
        }
    }
}

/// IDs that meet often: few pages, the ends of pages and of u64, and clusters of all densities.
fn id() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (0..4_u64, 0..2_600_u64).prop_map(|(page, low)| (((905_320_000_000 >> 16) + page) << 16) | low),
        2 => (0..300_u64, prop::sample::select(vec![0, 1, 255, 256, 65_535])).prop_map(|(page, low)| page << 16 | low),
        1 => any::<u64>(),
        1 => prop::sample::select(vec![0, 1, 65_535, 65_536, u64::MAX, u64::MAX - 65_536]),
    ]
}

/// A batch of changes: single ones and runs of neighbours.
fn batch() -> impl Strategy<Value = BTreeMap<u64, bool>> {
    prop::collection::vec(
        (id(), prop_oneof![3 => Just(1_u64), 1 => 1..3_000_u64], any::<bool>()),
        0..40,
    )
    .prop_map(|runs| {
        let expand = |(id, len, insert): (u64, u64, bool)| {
            (0..len).filter_map(move |step| id.checked_add(step)).map(move |id| (id, insert))
        };
        runs.into_iter().flat_map(expand).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_plane_is_a_set_under_any_changes(
        batches in prop::collection::vec(batch(), 1..6),
        strangers in prop::collection::vec(id(), 200),
    ) {
        let mut model = BTreeSet::new();
        let mut plane = Plane::empty();
        for changes in batches {
            let (older, older_model) = (plane.clone(), model.clone());
            plane = changed(&plane, &changes);
            for (&id, &insert) in &changes {
                if insert { model.insert(id); } else { model.remove(&id); }
            }
            assert_same(&plane, &model, &strangers);
            assert_same(&older, &older_model, &strangers);
            let stored: BTreeMap<u64, Vec<u8>> =
                plane.pages().map(|(index, page)| (index, page.to_bytes())).collect();
            let loaded = Plane::from_pages(
                stored.iter().map(|(&index, bytes)| Page::from_bytes(index, bytes).unwrap()),
            );
            assert_same(&loaded, &model, &strangers);
        }
    }
}

/// 40,000 pages make branches split and the root grow; taking most of them away closes gaps.
#[test]
fn scattered_ids_come_and_go_in_bulk_and_one_by_one() {
    let mut random = random(1);
    let ids: BTreeSet<u64> = (0..40_000).map(|_| random()).collect();
    let strangers: Vec<u64> = (0..40_000).map(|_| random()).collect();
    let bulk = plane(ids.iter().copied());
    assert_same(&bulk, &ids, &strangers);

    let mut single = Plane::empty();
    for &id in ids.iter().take(5_000) {
        single = single.with_changes(std::iter::once((id, true)));
    }
    assert_same(&single, &ids.iter().take(5_000).copied().collect(), &strangers);

    let rest: BTreeSet<u64> = ids.iter().copied().filter(|id| id % 8 == 0).collect();
    let gone = ids.difference(&rest).map(|&id| (id, false)).collect();
    let mut thinned = changed(&bulk, &gone);
    assert_same(&thinned, &rest, &strangers);
    assert_same(&bulk, &ids, &strangers);
    for &id in &rest {
        thinned = thinned.with_changes(std::iter::once((id, false)));
    }
    assert_same(&thinned, &BTreeSet::new(), &strangers);
}

/// Small planes cannot pay back the 2 MiB that a pool begins with.
#[test]
fn large_planes_are_in_huge_pages_and_small_ones_are_not() {
    let mut random = random(3);
    let ids: BTreeSet<u64> = (0..40_000).map(|_| random()).collect();
    let all = |plane: &Plane, memory| plane.leaves().all(|leaf| leaf.memory() == memory);
    let large = plane(ids.iter().copied());
    assert!(all(&large, Memory::Huge));
    let small = plane(ids.iter().copied().take(500));
    assert!(all(&small, Memory::Ordinary));
    // One change at a time: what there was before is split, and taken along.
    let mut grown = small;
    for &id in ids.iter().skip(500).take(4_000) {
        grown = grown.with_changes(std::iter::once((id, true)));
    }
    assert!(all(&grown, Memory::Huge));
    assert_same(&grown, &ids.into_iter().take(4_500).collect(), &[]);
}

#[test]
fn probe_answers_any_length_and_order_alike() {
    let mut random = random(2);
    // Dense, thin and inline pages side by side, so that one group meets all forms.
    let mut draw = move || match random() % 4 {
        0 => 900_000_000_000 + random() % 65_536,
        1 => 905_320_000_000 + random() % 600_000,
        2 => 905_400_000_000 + random() % 20_000_000,
        _ => random(),
    };
    let ids: BTreeSet<u64> = (0..30_000).map(|_| draw()).collect();
    let plane = plane(ids.iter().copied());
    let mut asked: Vec<u64> = ids.iter().copied().step_by(3).collect();
    asked.extend((0..10_000).map(|_| draw()));
    for len in [0, 1, 2, 63, 64, 65, 127, 128, 129, asked.len()] {
        assert_probe(&plane, &ids, &asked[asked.len() - len..]);
    }
    asked.sort_unstable();
    assert_probe(&plane, &ids, &asked);
    let mut mixed: Vec<u64> = asked.iter().step_by(97).chain(&asked).copied().collect();
    mixed.rotate_left(31);
    assert_probe(&plane, &ids, &mixed);
}

/// From all in one page to each in its own: both ways to look a group up.
#[test]
fn probe_answers_sorted_lists_with_any_gap() {
    let mut next = random(11);
    let pages = [3, 40, 900, 30_000].into_iter().cycle().zip(0..40_u64);
    let model: BTreeSet<u64> = pages
        .flat_map(|(members, page)| (0..members).map(move |_| page).collect::<Vec<_>>())
        .map(|page| page << 16 | next() & 0xFFFF)
        .collect();
    let plane = plane(model.iter().copied());
    for gap in [1, 90, 1_000, 5_000, 7_000, 20_000, 65_000, 70_000] {
        let asked: Vec<u64> = (0..30 << 16).step_by(gap).take(1_000).collect();
        assert_probe(&plane, &model, &asked);
        let near = asked.iter().filter_map(|id| model.range(id..).next().copied());
        assert_probe(&plane, &model, &near.collect::<Vec<_>>());
    }
}

#[test]
#[should_panic(expected = "one bit of answer for each ID")]
fn probe_refuses_a_short_answer() {
    Plane::empty().probe(&[1; 65], &mut [0]);
}

#[test]
fn a_change_shares_all_pages_but_one() {
    let ids = (0..100_u64).flat_map(|page| (0..6_000).map(move |low| (page << 16) | (low * 10)));
    let plane = plane(ids);
    let next = plane.with_changes(std::iter::once((5, true)));
    let copied = next.pages().filter(|(index, page)| {
        plane.page(*index).is_none_or(|old| old.counter() != page.counter())
    });
    assert_eq!(copied.map(|(index, _)| index).collect::<Vec<_>>(), [0]);
}

#[test]
fn memory_follows_the_members() {
    assert!(Plane::empty().memory_bytes() < 1_000);
    let dense = plane((0..1_000_000).map(|id| 905_320_000_000 + id * 10));
    let bytes = dense.memory_bytes();
    assert!((1_250_000..1_400_000).contains(&bytes), "{bytes}");
}
