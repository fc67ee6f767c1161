//! Pages: every form at the edges of its counts, and bytes good and bad.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, as it should"
)]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::page::{DENSE_MIN, MAX_PAGE_INDEX, PAGE_IDS, Page};
use super::page_bytes::PageError;
use super::page_edit::Scratch;

/// Counts on both sides of every change of form, of Roaring's container and of the count code.
const EDGES: [usize; 24] = [
    1,
    2,
    4,
    5,
    6,
    15,
    16,
    17,
    31,
    32,
    33,
    127,
    128,
    255,
    256,
    DENSE_MIN - 1,
    DENSE_MIN,
    DENSE_MIN + 1,
    4_096,
    4_097,
    PAGE_IDS - 3,
    PAGE_IDS - 2,
    PAGE_IDS - 1,
    PAGE_IDS,
];

/// `count` values, spread over the page, or next to each other from `from` on.
fn values(count: usize, from: Option<u16>) -> BTreeSet<u16> {
    match from {
        Some(from) => (0..count).map(|step| from.wrapping_add(step as u16)).collect(),
        // An odd factor is a permutation of the u16, so the values differ.
        None => (0..count).map(|step| (step as u16).wrapping_mul(40_503)).collect(),
    }
}

fn page(index: u64, values: &BTreeSet<u16>) -> Page {
    let mut page = Page::FREE;
    let changes: Vec<_> = values.iter().map(|&low| (index << 16 | u64::from(low), true)).collect();
    assert_eq!(page.edit(index, &changes, &mut Scratch::default()).grown, values.len() as i64);
    page
}

#[track_caller]
fn assert_same(page: &Page, values: &BTreeSet<u16>) {
    assert_eq!(page.len(), values.len());
    assert!(page.values().eq(values.iter().copied()));
    for low in 0..=u16::MAX {
        assert_eq!(page.contains(low), values.contains(&low), "value {low}");
    }
}

#[test]
fn every_form_holds_exactly_its_values() {
    for count in EDGES {
        for from in [None, Some(0), Some(60_000)] {
            let values = values(count, from);
            for index in [0, 13_814_000, MAX_PAGE_INDEX] {
                let page = page(index, &values);
                assert_eq!(page.index(), index);
                assert_same(&page, &values);
            }
        }
    }
}

#[test]
fn single_changes_cross_every_edge_both_ways() {
    let mut scratch = Scratch::default();
    for count in EDGES {
        let mut values = values(count, None);
        let mut page = page(7, &values);
        let older = page.clone();
        let unchanged = values.clone();
        for (low, insert) in
            [(40_503_u16.wrapping_mul(count as u16), true), (40_503, false), (0, false)]
        {
            let grown = if insert { values.insert(low) } else { values.remove(&low) };
            let sign = if insert { 1 } else { -1 };
            let change = [(7 << 16 | u64::from(low), insert)];
            assert_eq!(page.edit(7, &change, &mut scratch).grown, i64::from(grown) * sign);
            assert_eq!(page.edit(7, &change, &mut scratch).grown, 0, "a change repeated is none");
            if values.is_empty() {
                assert!(page.is_free());
                break;
            }
            assert_same(&page, &values);
        }
        assert_same(&older, &unchanged);
    }
}

#[test]
fn bytes_are_what_roaring_reads_and_come_back() {
    for count in EDGES {
        let values = values(count, None);
        let bytes = page(9, &values).to_bytes();
        let roaring = roaring::RoaringBitmap::deserialize_from(bytes.as_slice()).unwrap();
        assert!(roaring.iter().eq(values.iter().map(|&low| u32::from(low))));
        let back = Page::from_bytes(9, &bytes).unwrap();
        assert_eq!(back.index(), 9);
        assert_same(&back, &values);
    }
}

#[test]
fn damaged_bytes_are_refused_by_name() {
    let array = page(1, &values(100, None)).to_bytes();
    let bitset = page(1, &values(5_000, None)).to_bytes();
    assert_eq!(Page::from_bytes(1 << 48, &array).unwrap_err(), PageError::Index(1 << 48));
    assert_eq!(Page::from_bytes(1, &[]).unwrap_err(), PageError::Header);
    assert_eq!(Page::from_bytes(1, &array[..15]).unwrap_err(), PageError::Header);
    assert_eq!(Page::from_bytes(1, &array[..215]).unwrap_err(), PageError::Length(216, 215));
    for at in (0..10).chain(12..16) {
        let mut bytes = array.clone();
        bytes[at] ^= 1;
        assert_eq!(Page::from_bytes(1, &bytes).unwrap_err(), PageError::Header, "byte {at}");
    }
    let mut swapped = array.clone();
    swapped.swap(16, 18);
    swapped.swap(17, 19);
    assert_eq!(Page::from_bytes(1, &swapped).unwrap_err(), PageError::Order);
    let mut repeated = array;
    repeated.copy_within(16..18, 18);
    assert_eq!(Page::from_bytes(1, &repeated).unwrap_err(), PageError::Order);
    let mut flipped = bitset;
    flipped[1_000] ^= 4;
    assert!(matches!(Page::from_bytes(1, &flipped).unwrap_err(), PageError::Count(5_000, _)));
}

proptest! {
    #[test]
    fn garbage_is_an_error_or_a_page_that_writes_the_same_bytes(
        mut bytes in prop::collection::vec(any::<u8>(), 0..9_000),
        header in any::<bool>(),
        count in 0..9_000_usize,
    ) {
        if header && bytes.len() >= 16 {
            let fit = ((bytes.len() - 16) / 2).clamp(1, 4_096);
            let count = if count % 2 == 0 { fit } else { count.max(1) };
            bytes[..16].copy_from_slice(&[58, 48, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0]);
            bytes[10..12].copy_from_slice(&((count - 1) as u16).to_le_bytes());
        }
        if let Ok(page) = Page::from_bytes(3, &bytes) {
            prop_assert_eq!(page.to_bytes(), bytes);
        }
    }
}
