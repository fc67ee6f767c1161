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

/// A thin page taken apart, for looking values up.
#[derive(Clone, Copy)]
pub(super) struct Thin<'a> {
    index: &'a [u16],
    values: &'a [u16],
    /// How many low bits of a value do not select its bucket.
    shift: u32,
}

/// Where in a thin page one value may stand.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// How many values lie below its bucket.
    entry: &'a u16,
    /// At least a window of them.
    values: &'a [u16],
}

impl<'a> Thin<'a> {
    /// The page of `count` values that [`build`] wrote.
    #[inline(always)]
    pub(super) fn of(slice: &'a [u16], count: usize) -> Thin<'a> {
        let bits = index_bits(count);
        let (index, values) = slice.split_at(1 << bits);
        // Known from `slice_len` when it is compiled into a look-up.
        assert!(values.len() >= WINDOW, "a thin page holds at least a window");
        Thin { index, values, shift: 16 - bits }
    }

    /// Where `low` may stand. The entry is not read yet.
    #[inline(always)]
    pub(super) fn place(self, low: u16) -> Place<'a> {
        // SAFETY: the index has `1 << bits` entries (`of`), and a u16 without its lowest
        // `16 - bits` bits is less than that.
        let entry = unsafe { self.index.get_unchecked((u32::from(low) >> self.shift) as usize) };
        Place { entry, values: self.values }
    }

    /// Whether `low` is a member.
    #[inline(always)]
    pub(super) fn contains(self, low: u16) -> bool {
        let place = self.place(low);
        search(place.window(), low).unwrap_or_else(|| place.search_all(low))
    }
}

impl<'a> Place<'a> {
    /// Stands for a place not found yet. What it answers does not count: 65,535 seems to be there.
    pub(super) const NOWHERE: Place<'static> = Place { entry: &0, values: &[u16::MAX; WINDOW] };

    /// What must be read first.
    #[inline(always)]
    pub(super) fn entry(self) -> &'a u16 {
        self.entry
    }

    /// The first window that the value may stand in; reads the entry.
    #[inline(always)]
    pub(super) fn window(self) -> &'a [u16; WINDOW] {
        let last = self.values.len() - WINDOW;
        let first = usize::from(*self.entry).min(last);
        // SAFETY: there is at least a window of values (`Thin::of`, and `NOWHERE` has one), so one
        // from `last` on ends where the values do. `first` is no greater, whatever the entry says.
        unsafe { &*self.values.as_ptr().add(first).cast::<[u16; WINDOW]>() }
    }

    /// Whether `low` is a member, where the window did not tell.
    #[inline(always)]
    pub(super) fn search_all(self, low: u16) -> bool {
        search_all(self.window(), self.values, low)
    }
}

/// It looks at the window once more: what stands there is a member even if memory has changed the
/// value that the window ends with.
#[cold]
#[inline(never)]
fn search_all(window: &[u16; WINDOW], values: &[u16], low: u16) -> bool {
    window.contains(&low) || values.binary_search(&low).is_ok()
}

/// Whether `low` is in the window; nothing if it may stand behind it.
///
/// The values ascend, so a window that reaches `low` settles the question. Nearly every window
/// does, so that branch is predictable; whether `low` was hit is not, and is no branch.
#[inline(always)]
pub(super) fn search(window: &[u16; WINDOW], low: u16) -> Option<bool> {
    let hit = window.iter().fold(false, |hit, &value| hit | (value == low));
    (window[WINDOW - 1] >= low).then_some(hit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_found_before_a_damaged_value() {
        let values: Vec<u16> = (100..140).collect();
        let mut slice = Vec::new();
        build(&values, &mut slice);
        let last_of_window = slice.len() - values.len() + WINDOW - 1;
        assert_eq!(slice[last_of_window], 115);
        slice[last_of_window] = 3;
        let thin = Thin::of(&slice, values.len());
        assert!((100..115).all(|low| thin.contains(low)));
        assert!(!thin.contains(99) && !thin.contains(140));
    }
}
