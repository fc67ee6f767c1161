//! Bits that flip in memory are found, wherever they are; and what was not damaged is not reported.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, as it should"
)]

use super::faults::{bits, flip};
use super::page::{DENSE_MIN, Page};
use super::plane::Plane;

/// A generator of numbers that a failing test can be repeated with.
fn random(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed;
    move |below| {
        state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        (state >> 33) as usize % below
    }
}

/// A plane whose pages have these numbers of members, spread over each page.
fn plane(counts: &[usize]) -> Plane {
    let ids = counts.iter().enumerate().flat_map(|(page, count)| {
        let step = 65_536 / count;
        (0..*count)
            .map(move |at| ((905_320_000_000 >> 16) + page as u64) << 16 | (at * step) as u64)
    });
    Plane::empty().with_changes(ids.map(|id| (id, true)))
}

/// The places of the parts that are damaged.
fn damaged(plane: &Plane) -> Vec<u64> {
    let mut found = Vec::new();
    let mut at = Some(0);
    while let Some(place) = at {
        let checked = plane.check(place);
        if !checked.is_sound {
            found.push(place);
        }
        at = checked.next;
    }
    found
}

/// Of every form: small, thin around each change of its index, dense, and full.
const COUNTS: [usize; 12] = [1, 2, 3, 4, 5, 15, 16, 17, 700, DENSE_MIN - 1, DENSE_MIN, 65_536];

#[test]
fn every_flip_is_found_and_undone_it_is_not() {
    let mut random = random(5);
    let whole: Vec<usize> = COUNTS.iter().copied().cycle().take(96).collect();
    let plane = plane(&whole);
    assert!(damaged(&plane).is_empty());
    let pages: Vec<(u64, usize)> = plane.pages().map(|(index, page)| (index, bits(page))).collect();
    let mut flips = 0;
    for round in 0..6 {
        for (index, bits) in &pages {
            // An index is a thousandth of the bits of most pages, so it is aimed at.
            let bit = if round == 0 { random(48) } else { random(*bits) };
            let page: *const Page = plane.page(*index).unwrap();
            flip(&plane, *index, bit);
            let found = damaged(&plane);
            assert_eq!(found.len(), 1, "bit {bit} of page {index}, seed 5");
            assert!(plane.is_one_part(found[0], plane.place(*index)));
            if bit < 48 {
                // SAFETY: the page stands where it stood; only its index has changed.
                let changed = unsafe { &*page }.index();
                assert_ne!(changed, *index);
                restore_index(&plane, page, bit);
            } else {
                flip(&plane, *index, bit);
            }
            flips += 1;
        }
    }
    assert_eq!(flips, 576);
    assert!(damaged(&plane).is_empty());
}

/// A search does not find a page whose index has changed.
fn restore_index(plane: &Plane, page: *const Page, bit: usize) {
    let words = page.cast_mut().cast::<u64>();
    // SAFETY: as in `faults`; a page is two words, and its index stands in the one that is not
    // what the page points to or holds.
    let index = unsafe { &*page }.index();
    for at in 0..2 {
        // SAFETY: as above.
        let word = unsafe { words.add(at).read_volatile() };
        if word >> 16 == index {
            // SAFETY: as above.
            unsafe { words.add(at).write_volatile(word ^ 1 << (16 + bit)) };
            assert!(plane.page(index ^ 1 << bit).is_some());
            return;
        }
    }
}

#[test]
fn sums_follow_changes_of_every_kind() {
    let mut random = random(9);
    let mut plane = Plane::empty();
    for round in 0..60 {
        // Few pages and many, so that they change form, and leaves and branches are split.
        let pages = if round % 2 == 0 { 5 } else { 3_000 };
        let mut ids: Vec<u64> = (0..6_000)
            .map(|_| {
                (random(pages) as u64) << 16
                    | random(if round % 3 == 0 { 9 } else { 65_536 }) as u64
            })
            .collect();
        ids.sort_unstable();
        ids.dedup();
        let inserts = round % 5 != 4;
        plane = plane.with_changes(ids.into_iter().map(|id| (id, inserts || id % 3 == 0)));
        assert!(damaged(&plane).is_empty(), "round {round}");
    }
    let mut pages: Vec<Page> = plane.pages().map(|(_, page)| page.clone()).collect();
    pages.sort_unstable_by_key(Page::index);
    assert!(damaged(&Plane::from_pages(pages.into_iter())).is_empty());
}

#[test]
fn damage_is_still_found_after_the_page_and_its_neighbours_have_changed() {
    // In a thin page, the lowest bit of a member between two others: nothing but the sum tells.
    // In a dense one, any bit.
    for (members, bit) in [(700, 48 + 16 * (64 + 100)), (4_000, 48 + 7)] {
        let plane = plane(&[members; 300]);
        let first = plane.pages().map(|(index, _)| index).min().unwrap();
        flip(&plane, first, bit);
        assert_eq!(damaged(&plane).len(), 1);
        let fewer = (0..65_536).step_by(17).map(|low| (first << 16 | low, false));
        let shrunk = plane.with_changes(fewer);
        assert_eq!(damaged(&shrunk).len(), 1, "a change must not vouch for damage");
        let grown = shrunk.with_changes((0..20_000).map(|page| (page << 16, true)));
        assert!(grown.parts() > shrunk.parts());
        assert!(!damaged(&grown).is_empty(), "a split must not vouch for damage");
    }
}

#[test]
fn a_part_put_back_is_as_it_was() {
    let plane = plane(&COUNTS.repeat(40));
    let expected: Vec<u64> = plane.ids().collect();
    let whole: Vec<Page> = plane.pages().map(|(_, page)| page.clone()).collect();
    // A copy of its own, as clones share what they hold.
    let whole: Vec<Page> =
        whole.iter().map(|it| Page::from_bytes(it.index(), &it.to_bytes()).unwrap()).collect();
    let index = whole[100].index();
    flip(&plane, index, 48 + 3);
    let [place] = damaged(&plane).try_into().unwrap();
    let there = |page: &&Page| plane.is_one_part(plane.place(page.index()), place);
    let repaired = plane.with_parts([(place, whole.iter().filter(there).cloned().collect())]);
    assert!(damaged(&repaired).is_empty());
    assert_eq!(repaired.len(), expected.len() as u64);
    assert!(repaired.ids().eq(expected));
}
