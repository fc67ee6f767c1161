//! The thin page: a sorted array of values behind a small index.
//!
//! It is one slice of `u16`: first an index of `1 << index_bits(count)` entries, then the values,
//! ascending. Entry `b` of the index says how many values lie below bucket `b`, where the buckets
//! cut the 65,536 possible values into equal parts. A look-up therefore costs one index entry and
//! one short window of values: two cache lines, both of which can be asked for in advance.

#![allow(
    clippy::indexing_slicing,
    reason = "hot path: every index is bounded by the layout that `build` is the only one to make"
)]

/// Values compared at once. A whole window is compared without a branch, which the compiler turns
/// into a few vector instructions; reading past the wanted bucket is harmless, because a value
/// stands nowhere in the page unless it is a member.
pub(super) const WINDOW: usize = 16;

/// A bucket holds at least this many values on average and less than twice as many, so that one
/// window nearly always covers it.
const BUCKET_MIN: usize = 8;

/// How many high bits of a value select its bucket, in a page of `count` values.
#[inline]
pub(super) fn index_bits(count: usize) -> u32 {
    ((count / BUCKET_MIN) | 1).ilog2()
}

/// Length, in `u16`, of a thin page of `count` values.
#[inline]
pub(super) fn slice_len(count: usize) -> usize {
    (1 << index_bits(count)) + count.max(WINDOW)
}

/// Writes the thin page of `values` (ascending, unique, not empty) into `out`.
///
/// A page shorter than one window is filled up by repeating its last value.
pub(super) fn build(values: &[u16], out: &mut Vec<u16>) {
    let bits = index_bits(values.len());
    out.clear();
    out.reserve(slice_len(values.len()));
    let mut below = 0;
    for bucket in 0..1_u32 << bits {
        let floor = bucket << (16 - bits);
        while below < values.len() && u32::from(values[below]) < floor {
            below += 1;
        }
        out.push(below as u16);
    }
    out.extend_from_slice(values);
    if let Some(&last) = values.last() {
        out.resize(slice_len(values.len()), last);
    }
}

/// The members of a thin page of `count` values, ascending.
pub(super) fn values(slice: &[u16], count: usize) -> &[u16] {
    let first = 1 << index_bits(count);
    &slice[first..first + count]
}

/// Where in the slice the index entry for `low` stands.
#[inline(always)]
pub(super) fn index_at(count: usize, low: u16) -> usize {
    (u32::from(low) >> (16 - index_bits(count))) as usize
}

/// The first window that `low` may stand in; reads the index entry.
#[inline(always)]
pub(super) fn window(slice: &[u16], count: usize, low: u16) -> &[u16; WINDOW] {
    let first = (1 << index_bits(count)) + usize::from(slice[index_at(count, low)]);
    let first = first.min(slice.len() - WINDOW);
    // A slice is at least a window long, so the second arm is never taken.
    slice[first..].first_chunk().unwrap_or(&[0; WINDOW])
}

/// Whether `low` is in the window; nothing if it may stand behind it.
///
/// The values ascend, so a window that reaches `low` settles the question. Nearly every window
/// does, so that branch is predictable; whether `low` was hit is not, and is no branch.
#[inline(always)]
pub(super) fn search(window: &[u16; WINDOW], low: u16) -> Option<bool> {
    let hit = window.iter().fold(false, |hit, &value| hit | (value == low));
    let reached = window.iter().fold(false, |reached, &value| reached | (value >= low));
    reached.then_some(hit)
}

/// Whether `low` is a member.
#[inline(always)]
pub(super) fn contains(slice: &[u16], count: usize, low: u16) -> bool {
    match search(window(slice, count, low), low) {
        Some(hit) => hit,
        None => values(slice, count).binary_search(&low).is_ok(),
    }
}
