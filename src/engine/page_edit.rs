//! Changing a page: a new version of it, or the same memory when nobody else holds it.

#![allow(
    clippy::indexing_slicing,
    reason = "hot path of bulk changes: a u16 shifted by 6 always indexes the 1,024 words"
)]

use super::page::{DENSE_MIN, Page, Values, Words};

/// Buffers that outlive one page, so that bulk changes do not allocate for each.
#[derive(Default)]
pub(super) struct Scratch {
    values: Vec<u16>,
    thin: Vec<u16>,
}

impl Page {
    /// Applies `changes` (ascending unique contact IDs of the page `index`; true inserts, false
    /// removes). `self` is that page or a free slot, and becomes one if no member is left.
    /// Returns by how much the number of members grew.
    pub(super) fn edit(
        &mut self,
        index: u64,
        changes: &[(u64, bool)],
        scratch: &mut Scratch,
    ) -> i64 {
        let before = if self.is_free() { 0 } else { self.len() };
        match std::mem::replace(self, Page::FREE).into_words() {
            Ok(mut words) => {
                let after = before.wrapping_add_signed(flip(words.make_mut(), changes));
                *self = if after >= DENSE_MIN {
                    Page::from_words(index, after, words)
                } else {
                    let bits = Values::Bits { words: &words, next: 0, rest: 0 };
                    scratch.values.clear();
                    scratch.values.extend(bits);
                    Page::from_values(index, &scratch.values, &mut scratch.thin)
                };
                after as i64 - before as i64
            }
            Err(page) => {
                scratch.values.clear();
                if page.is_free() {
                    merge(&[], changes, &mut scratch.values);
                } else {
                    let Values::Array(values) = page.values() else { return 0 };
                    merge(values.as_slice(), changes, &mut scratch.values);
                }
                *self = Page::from_values(index, &scratch.values, &mut scratch.thin);
                scratch.values.len() as i64 - before as i64
            }
        }
    }
}

/// Sets and clears bits; returns by how much their number grew.
fn flip(words: &mut Words, changes: &[(u64, bool)]) -> isize {
    let mut grown = 0;
    for &(id, insert) in changes {
        let word = &mut words[usize::from(id as u16 >> 6)];
        let bit = 1 << (id & 63);
        grown += isize::from(insert) - isize::from(*word & bit != 0);
        *word = if insert { *word | bit } else { *word & !bit };
    }
    grown
}

/// Writes to `out` what becomes of `values` under `changes`; all three ascend.
fn merge(values: &[u16], changes: &[(u64, bool)], out: &mut Vec<u16>) {
    let mut rest = values;
    for &(id, insert) in changes {
        let low = id as u16;
        let below = rest.partition_point(|&value| value < low);
        out.extend_from_slice(&rest[..below]);
        rest = &rest[below..];
        if rest.first() == Some(&low) {
            rest = &rest[1..];
        }
        if insert {
            out.push(low);
        }
    }
    out.extend_from_slice(rest);
}
