//! A plane against a Roaring audience, page by page.

#![allow(
    clippy::indexing_slicing,
    reason = "hot path: `keep` writes no farther than the members it made room for"
)]

use roaring::{RoaringBitmap, RoaringTreemap};

use super::page::{Form, Page};
use super::plane::Plane;

/// Members of an audience in one page from which the page is made a bitmap and the two are ANDed
/// as a whole; with fewer, each is looked up. Roaring keeps that many in a bitset or in runs.
const WHOLE: usize = 4_096;

impl Plane {
    /// The members of `audience` that are in the plane.
    ///
    /// Work and memory follow the containers of the audience: a run of 65,536 members costs no
    /// more than a bitset.
    pub fn intersect(&self, audience: &RoaringTreemap) -> RoaringTreemap {
        let both = audience.bitmaps().map(|(high, half)| (high, self.intersect_half(high, half)));
        RoaringTreemap::from_bitmaps(both.filter(|(_, half)| !half.is_empty()))
    }

    /// The members of `audience`, which holds the lower halves of IDs, that are in the plane.
    fn intersect_half(&self, high: u32, audience: &RoaringBitmap) -> RoaringBitmap {
        let mut pages = RoaringBitmap::new();
        let mut found = Vec::new();
        let mut buffer = [0; WHOLE - 1];
        let mut members = audience.iter();
        while let Some(first) = members.next() {
            let (start, end) = (first & !0xFFFF, first | 0xFFFF);
            let page = self.page(u64::from(high) << 16 | u64::from(start >> 16));
            let count = audience.range_cardinality(start..=end) as usize;
            if let (Some(rest), Some(page)) = (buffer.get_mut(..count - 1), page) {
                let rest = members.next_many(rest);
                keep(page, std::iter::once(first).chain(rest.iter().copied()), count, &mut found);
                continue;
            }
            if let Some(page) = page {
                pages |= bitmap_of(page, start);
            }
            let Some(next) = end.checked_add(1) else { break };
            members.advance_to(next);
        }
        let mut both = audience & pages;
        // What was found ascends, so it is taken as a whole.
        both |= RoaringBitmap::from_sorted_iter(found).unwrap_or_default();
        both
    }
}

/// Appends those of `count` members that are in the page. Which are is as good as random, so each
/// is written and then kept or not, without a branch.
fn keep(page: &Page, members: impl Iterator<Item = u32>, count: usize, found: &mut Vec<u32>) {
    let mut kept = found.len();
    found.resize(kept + count, 0);
    for member in members {
        found[kept] = member;
        kept += usize::from(page.contains(member as u16));
    }
    found.truncate(kept);
}

/// The members of a page as a bitmap, `start` being the lower half of its first ID.
fn bitmap_of(page: &Page, start: u32) -> RoaringBitmap {
    match page.form() {
        Form::Dense(words) => {
            RoaringBitmap::from_lsb0_bytes(start, words.map(u64::to_le_bytes).as_flattened())
        }
        _ => RoaringBitmap::from_sorted_iter(page.values().map(|low| start | u32::from(low)))
            .unwrap_or_default(),
    }
}
