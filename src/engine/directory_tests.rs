//! The directory against a plain map, and under a reader.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, as it should"
)]

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::directory::{Directory, DirectoryError, DirectoryView, MAX_ORDINAL, NONE};

/// A fingerprint as good as xxh3 gives.
fn fingerprint(number: u64) -> u128 {
    xxhash_rust::xxh3::xxh3_128_with_seed(&number.to_le_bytes(), 7)
}

fn resolve(view: &DirectoryView, numbers: std::ops::Range<u64>) -> Vec<u64> {
    let asked: Vec<u128> = numbers.map(fingerprint).collect();
    let mut out = vec![5; asked.len()];
    view.resolve(&asked, &mut out);
    out
}

#[test]
fn a_directory_is_a_map_while_it_grows_and_forgets() {
    let mut directory = Directory::new();
    let mut model = HashMap::new();
    for step in 0..200_000_u64 {
        directory.insert(fingerprint(step), step as u32).unwrap();
        model.insert(step, step);
        if step % 20_000 == 9_999 {
            let gone: Vec<u64> = (0..40).map(|at| step - at * at * 6).collect();
            let known = gone.iter().filter(|number| model.remove(number).is_some()).count();
            let gone: Vec<u128> = gone.into_iter().map(fingerprint).collect();
            assert_eq!(directory.remove(&gone), Ok(known as u64));
            assert_eq!(directory.remove(&gone), Ok(0));
        }
    }
    assert_eq!(directory.len(), model.len() as u64);
    let resolved = resolve(&directory.handle(), 0..210_001);
    for (number, ordinal) in (0..).zip(resolved) {
        assert_eq!(ordinal, model.get(&number).copied().unwrap_or(NONE), "number {number}");
        let single = directory.get(fingerprint(number)).map(u64::from);
        assert_eq!(single, model.get(&number).copied());
    }
}

#[test]
fn a_fingerprint_has_one_ordinal_until_it_is_removed() {
    let mut directory = Directory::new();
    directory.insert(9, 1).unwrap();
    assert_eq!(directory.insert(9, 2), Err(DirectoryError::Taken(1)));
    assert_eq!(directory.insert(8, u32::MAX), Err(DirectoryError::Ordinal(u32::MAX)));
    directory.insert(8, MAX_ORDINAL).unwrap();
    assert_eq!(directory.get(8), Some(MAX_ORDINAL));
    assert_eq!(directory.remove(&[9]), Ok(1));
    directory.insert(9, 3).unwrap();
    assert_eq!((directory.get(9), directory.len()), (Some(3), 2));
}

/// A11: what a view has it keeps, whatever the writer does.
#[test]
fn many_entries_at_once_are_the_same_as_one_by_one() {
    let mut directory = Directory::new();
    let entries: Vec<(u128, u32)> = (0..70_000).map(|n| (fingerprint(n), n as u32)).collect();
    for part in [&entries[..10], &entries[10..10], &entries[10..50_000]] {
        directory.insert_all(part).unwrap();
    }
    directory.insert(entries[50_000].0, 50_000).unwrap();
    directory.insert_all(&entries[50_001..]).unwrap();
    assert_eq!(directory.len(), 70_000);
    assert!(resolve(&directory.handle(), 0..70_000).into_iter().eq(0..70_000));
    assert_eq!(directory.insert_all(&entries[7..8]), Err(DirectoryError::Taken(7)));
    assert_eq!(directory.insert_all(&[(5, u32::MAX)]), Err(DirectoryError::Ordinal(u32::MAX)));
    assert_eq!(directory.len(), 70_000);
    assert!(directory.memory_bytes() < 70_000 * 32 + 200_000);
}

#[test]
fn a_view_keeps_its_entries_through_growth_and_removal() {
    let mut directory = Directory::new();
    for number in 0..20_000 {
        directory.insert(fingerprint(number), number as u32).unwrap();
    }
    let view = directory.handle();
    let all: Vec<u128> = (0..20_000).map(fingerprint).collect();
    assert_eq!(directory.remove(&all), Ok(20_000));
    for number in 20_000..90_000 {
        directory.insert(fingerprint(number), number as u32).unwrap();
    }
    assert!(resolve(&view, 0..20_000).into_iter().eq(0..20_000));
    assert!(resolve(&directory.handle(), 0..20_000).into_iter().all(|found| found == NONE));
    assert!(resolve(&directory.handle(), 20_000..90_000).into_iter().eq(20_000..90_000));
}

/// F19: equal lower halves share a home bucket at any size.
#[test]
fn keys_aimed_at_one_bucket_are_refused_at_the_bound() {
    let mut directory = Directory::new();
    let mut refused = None;
    for key in 0..100_u32 {
        let aimed = u128::from(key) << 64 | 77;
        if let Err(error) = directory.insert(aimed, key) {
            refused = Some((key, error));
            break;
        }
    }
    assert_eq!(refused, Some((32, DirectoryError::Crowded)));
    assert_eq!(directory.len(), 32);
    for key in 0..32_u32 {
        assert_eq!(directory.get(u128::from(key) << 64 | 77), Some(key));
    }
    assert!(directory.memory_bytes() < 2 << 20);
    directory.insert(fingerprint(1), 50).unwrap();
    assert_eq!(directory.get(fingerprint(1)), Some(50));
}

/// F19: whichever 64 bits two fingerprints share, they have two ordinals.
#[test]
fn fingerprints_that_share_64_bits_are_two_identities() {
    let (first, other) = (fingerprint(1), fingerprint(2));
    for shift in [0, 8, 32, 64] {
        let shared = u128::from(u64::MAX) << shift;
        let twin = first & shared | other & !shared;
        assert_ne!(first, twin);
        let mut directory = Directory::new();
        directory.insert(first, 1).unwrap();
        assert_eq!(directory.get(twin), None);
        let mut out = [5; 2];
        directory.handle().resolve(&[twin, first], &mut out);
        assert_eq!(out, [NONE, 1]);
        directory.insert(twin, 2).unwrap();
        directory.handle().resolve(&[twin, first], &mut out);
        assert_eq!(out, [2, 1]);
        assert_eq!(directory.remove(&[first]), Ok(1));
        assert_eq!((directory.get(first), directory.get(twin)), (None, Some(2)));
    }
    // Twins in all of the 106 bits that are kept are found to be taken; whose
    // they are the writer sees by the whole address.
    let mut directory = Directory::new();
    directory.insert(first, 1).unwrap();
    for bit in 96..118 {
        assert_eq!(directory.insert(first ^ 1 << bit, 2), Err(DirectoryError::Taken(1)));
    }
    assert_eq!(directory.len(), 1);
}

#[test]
fn entries_take_at_most_32_bytes() {
    let mut directory = Directory::new();
    for number in 0..1_500_000 {
        directory.insert(fingerprint(number), number as u32).unwrap();
        if number >= 1_000_000 && number % 20_000 == 0 {
            let each = directory.memory_bytes() as f64 / directory.len() as f64;
            assert!(each <= 32.0, "{each} bytes at {number}");
        }
    }
}

/// Stops the reader also when the writer fails, so that the test ends.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_reader_never_sees_a_wrong_ordinal_while_the_writer_works() {
    const NUMBERS: u64 = 4_000;
    let mut directory = Directory::new();
    let shared = std::sync::Mutex::new(directory.handle());
    let done = AtomicBool::new(false);
    let seen = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let view = shared.lock().unwrap().clone();
                // Ordinal = generation × NUMBERS + number, so a wrong one betrays itself.
                for (number, ordinal) in (0..).zip(resolve(&view, 0..NUMBERS)) {
                    assert!(ordinal == NONE || ordinal % NUMBERS == number, "{number}: {ordinal}");
                    seen.fetch_add(u64::from(ordinal != NONE), Ordering::Relaxed);
                }
            }
        });
        let stop = Stop(&done);
        for generation in 0..60 {
            for number in 0..NUMBERS {
                directory
                    .insert(fingerprint(number), (generation * NUMBERS + number) as u32)
                    .unwrap();
                if number % 500 == 0 {
                    *shared.lock().unwrap() = directory.handle();
                }
            }
            // A machine that gives the reader no turn (memcheck runs one thread at a
            // time) must not let the test pass, or fail, without a single reading.
            while seen.load(Ordering::Relaxed) == 0 && !reader.is_finished() {
                std::thread::yield_now();
            }
            let gone: Vec<u128> = (0..NUMBERS).map(fingerprint).collect();
            assert_eq!(directory.remove(&gone), Ok(NUMBERS));
        }
        drop(stop);
        reader.join().unwrap();
    });
}
