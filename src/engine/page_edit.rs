//! Changing a page: a new version of it, or the same memory when nobody else holds it.

#![allow(
    clippy::indexing_slicing,
    reason = "hot path of bulk changes: a u16 shifted by 6 always indexes the 1,024 words"
)]

use super::page::{DENSE_MIN, Page, Values, Words};
use super::plane_sum::mix;

/// Buffers that outlive one page, so that bulk changes do not allocate for each.
#[derive(Default)]
pub(super) struct Scratch {
    values: Vec<u16>,
    thin: Vec<u16>,
}

/// What changes of a page add up to.
#[derive(Clone, Copy, Default)]
pub(super) struct Edited {
    /// By how much the number of members grew.
    pub(super) grown: i64,
    /// By how much the sum of the members grew, wrapping (`plane_sum`).
    pub(super) sum: u64,
}

impl Edited {
    /// Notes a contact ID that came (1), went (-1) or stayed as it was (0).
    #[inline(always)]
    fn note(&mut self, id: u64, step: i64) {
        self.grown += step;
        self.sum = self.sum.wrapping_add(mix(id).wrapping_mul(step as u64));
    }
}

impl Page {
    /// Applies `changes` (ascending unique contact IDs of the page `index`; true inserts, false
    /// removes). `self` is that page or a free slot, and becomes one if no member is left.
    /// Returns what the changes add up to.
    pub(super) fn edit(
        &mut self,
        index: u64,
        changes: &[(u64, bool)],
        scratch: &mut Scratch,
    ) -> Edited {
        let before = if self.is_free() { 0 } else { self.len() };
        match std::mem::replace(self, Page::FREE).into_words() {
            Ok(mut words) => {
                let edited = flip(words.make_mut(), changes);
                let after = before.wrapping_add_signed(edited.grown as isize);
                *self = if after >= DENSE_MIN {
                    Page::from_words(index, after, words)
                } else {
                    let bits = Values::Bits { words: &words, next: 0, rest: 0 };
                    scratch.values.clear();
                    scratch.values.extend(bits);
                    Page::from_values(index, &scratch.values, &mut scratch.thin)
                };
                edited
            }
            Err(page) => {
                scratch.values.clear();
                let edited = if page.is_free() {
                    merge(&[], changes, &mut scratch.values)
                } else {
                    let Values::Array(values) = page.values() else { return Edited::default() };
                    merge(values.as_slice(), changes, &mut scratch.values)
                };
                *self = Page::from_values(index, &scratch.values, &mut scratch.thin);
                edited
            }
        }
    }
}

/// Sets and clears bits.
fn flip(words: &mut Words, changes: &[(u64, bool)]) -> Edited {
    let mut edited = Edited::default();
    for &(id, insert) in changes {
        let word = &mut words[usize::from(id as u16 >> 6)];
        let bit = 1 << (id & 63);
        edited.note(id, i64::from(insert) - i64::from(*word & bit != 0));
        *word = if insert { *word | bit } else { *word & !bit };
    }
    edited
}

/// Writes to `out` what becomes of `values` under `changes`; all three ascend.
fn merge(values: &[u16], changes: &[(u64, bool)], out: &mut Vec<u16>) -> Edited {
    let mut edited = Edited::default();
    let mut rest = values;
    for &(id, insert) in changes {
        let low = id as u16;
        let below = rest.partition_point(|&value| value < low);
        out.extend_from_slice(&rest[..below]);
        rest = &rest[below..];
        let was_there = rest.first() == Some(&low);
        if was_there {
            rest = &rest[1..];
        }
        if insert {
            out.push(low);
        }
        edited.note(id, i64::from(insert) - i64::from(was_there));
    }
    out.extend_from_slice(rest);
    edited
}
