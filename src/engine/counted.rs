//! Shared slices of `u16` with a counter of four bytes in front.
//!
//! An [`Arc`](std::sync::Arc) has two counters of eight, which is a quarter of a page of thirty
//! members. A slice is known by the address of its values alone: whoever holds it also knows its
//! length, which therefore is not stored a second time.

use std::{
    alloc::{Layout, alloc, dealloc, handle_alloc_error},
    process,
    ptr::NonNull,
    sync::atomic::{AtomicU32, Ordering, fence},
};

/// Far more references than memory could hold.
const MAX_COUNT: u32 = u32::MAX / 2;

/// The counter and `len` values behind it. Pages are short, so the sum is far from an overflow,
/// which would be an allocation that fails.
fn layout(len: usize) -> Layout {
    let size = size_of::<AtomicU32>() + len * size_of::<u16>();
    Layout::from_size_align(size, align_of::<AtomicU32>()).unwrap_or(Layout::new::<AtomicU32>())
}

/// A copy of `values` with one reference, which the caller holds.
pub(super) fn copy_of(values: &[u16]) -> *const u16 {
    let layout = layout(values.len());
    // SAFETY: the layout holds at least the counter, so its size is not 0.
    let Some(base) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
    let counter = base.cast::<AtomicU32>();
    // SAFETY: the allocation is aligned for a counter, and has room for it and the values behind.
    unsafe {
        counter.write(AtomicU32::new(1));
        let first = counter.add(1).cast::<u16>();
        first.copy_from_nonoverlapping(NonNull::from(values).cast(), values.len());
        first.as_ptr()
    }
}

/// Adds a reference.
///
/// # Safety
/// `values` came from [`copy_of`], and the caller holds a reference.
pub(super) unsafe fn share(values: *const u16) {
    // SAFETY: the reference held keeps the slice alive. A new reference comes from an old one, so
    // nothing needs to be ordered.
    let before = unsafe { (*counter(values)).fetch_add(1, Ordering::Relaxed) };
    if before > MAX_COUNT {
        process::abort();
    }
}

/// Gives a reference back, and the memory with the last one.
///
/// # Safety
/// `values` came from [`copy_of`] for a slice of this length; the caller holds a reference and
/// does not use it afterwards.
pub(super) unsafe fn release(values: *const u16, len: usize) {
    let counter = counter(values);
    // SAFETY: the reference held keeps the slice alive until here.
    if unsafe { (*counter).fetch_sub(1, Ordering::Release) } == 1 {
        // What others read of the values comes before their memory is given back.
        fence(Ordering::Acquire);
        // SAFETY: this was the last reference; `copy_of` allocated with this very layout.
        unsafe { dealloc(counter.cast_mut().cast(), layout(len)) };
    }
}

/// Where the count of references stands, which a clone writes.
pub(super) fn counter(values: *const u16) -> *const AtomicU32 {
    values.cast::<AtomicU32>().wrapping_sub(1)
}

/// Heap bytes of a slice of `len` values, as glibc's malloc rounds them.
pub(super) fn heap_bytes(len: usize) -> usize {
    (layout(len).size() + size_of::<usize>()).next_multiple_of(16).max(32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_share_a_slice_and_the_last_one_frees_it() {
        for len in [0, 1, 5, 2_600] {
            let values: Vec<u16> = (0..len).collect();
            let shared = copy_of(&values);
            let address = shared.expose_provenance();
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    // SAFETY: this function holds a reference until its end.
                    unsafe { share(shared) };
                    let expected = &values;
                    scope.spawn(move || {
                        let mine = std::ptr::with_exposed_provenance::<u16>(address);
                        // SAFETY: the reference added above is this thread's.
                        unsafe {
                            assert_eq!(std::slice::from_raw_parts(mine, expected.len()), expected);
                            release(mine, expected.len());
                        }
                    });
                }
            });
            // SAFETY: the slice is alive, as one reference is left, which is then given back.
            unsafe {
                assert_eq!((*counter(shared)).load(Ordering::SeqCst), 1);
                release(shared, values.len());
            }
        }
    }
}
