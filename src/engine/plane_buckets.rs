//! The buckets of a leaf: a shared array of cache lines, from malloc or in huge pages.
//!
//! A plane of few pages takes its arrays from malloc, each exactly as long as it should be. Those of
//! a large plane are more than the CPU's table of addresses holds in memory pages of 4 KiB, and
//! nearly each look-up would miss it: they come from a pool of huge pages (`pool`), all of one length.
//! The pool begins with 2 MiB, which small planes could not pay back.

use std::{
    iter,
    mem::ManuallyDrop,
    ops::Deref,
    ptr::{self, NonNull},
    slice,
    sync::{
        Arc,
        atomic::{Ordering, fence},
    },
};

use super::page::{Page, arc_bytes};
use super::pool::Pool;

/// Pages in one cache line.
pub(super) const SLOTS: usize = 4;

/// One cache line of slots.
#[derive(Clone)]
#[repr(C, align(64))]
pub(super) struct Bucket(pub(super) [Page; SLOTS]);

impl Bucket {
    /// A bucket without pages.
    pub(super) const FREE: Bucket = Bucket([Page::FREE; SLOTS]);

    /// The slots, those in use first.
    #[inline(always)]
    pub(super) fn slots(&self) -> &[Page; SLOTS] {
        &self.0
    }

    /// Whether no slot is free: what was not found here may stand in the next bucket.
    #[inline(always)]
    pub(super) fn is_full(&self) -> bool {
        !self.0[SLOTS - 1].is_free()
    }
}

/// Where the arrays of a plane come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Memory {
    /// From malloc, in any length.
    Ordinary,
    /// From huge pages, [`HUGE_LEN`] buckets each.
    Huge,
}

/// Buckets of each array in huge pages. With arrays of several lengths a plane that grows would
/// leave a few of each length behind in every chunk, and hold twice the memory that it uses.
pub(super) const HUGE_LEN: usize = 64;

static POOL: Pool<HUGE_BYTES> = Pool::new();

const HUGE_BYTES: usize = HUGE_LEN * size_of::<Bucket>();

/// An array of buckets, shared until it is changed. Cheap to clone.
pub(super) struct Buckets {
    /// The first bucket: of a block of [`POOL`], or of an `Arc<[Bucket]>` taken apart.
    first: NonNull<Bucket>,
    len: u32,
    memory: Memory,
}

// SAFETY: a reference to an array of pages, which are Send and Sync; both kinds of counters are
// atomic, and the array is only written while nobody shares it.
unsafe impl Send for Buckets {}
// SAFETY: as above.
unsafe impl Sync for Buckets {}

impl Buckets {
    /// At least so many buckets without pages, and at least one.
    pub(super) fn free(len: usize, memory: Memory) -> Buckets {
        match memory {
            Memory::Huge if len <= HUGE_LEN => Buckets::in_pool(iter::repeat(Bucket::FREE)),
            _ => Buckets::from_arc(iter::repeat_n(Bucket::FREE, len.max(1)).collect()),
        }
    }

    /// The kind of memory that the array is in.
    pub(super) fn memory(&self) -> Memory {
        self.memory
    }

    /// Whether a change would copy the array.
    pub(super) fn is_shared(&self) -> bool {
        match self.memory {
            // SAFETY: this is a reference to a block of the pool.
            Memory::Huge => unsafe { POOL.is_shared(self.first.cast()) },
            Memory::Ordinary => {
                // There are no weak references, and a new one comes from this one only.
                let is_shared = Arc::strong_count(&self.arc()) != 1;
                // What those read who held the others comes before.
                fence(Ordering::Acquire);
                is_shared
            }
        }
    }

    /// The buckets, to be changed: in place if nobody shares them, else a copy.
    pub(super) fn make_mut(&mut self) -> &mut [Bucket] {
        if self.is_shared() {
            *self = match self.memory {
                Memory::Huge => Buckets::in_pool(self.iter().cloned()),
                Memory::Ordinary => Buckets::from_arc(Arc::from(&**self)),
            };
        }
        // SAFETY: the buckets are set, nobody else has a reference to them, and this one is
        // borrowed for as long as the result.
        unsafe { slice::from_raw_parts_mut(self.first.as_ptr(), self.len()) }
    }

    /// Heap bytes of the array, without what its pages point to.
    pub(super) fn heap_bytes(&self) -> usize {
        match self.memory {
            Memory::Huge => Pool::<HUGE_BYTES>::BYTES,
            Memory::Ordinary => arc_bytes(size_of_val(&**self), align_of::<Bucket>()),
        }
    }

    /// The address whose cache line a clone will write: the reference count.
    pub(super) fn counter(&self) -> *const u8 {
        match self.memory {
            Memory::Huge => POOL.counter_address(self.first.as_ptr().cast()),
            Memory::Ordinary => self.first.as_ptr().cast::<u8>().wrapping_sub(align_of::<Bucket>()),
        }
    }

    /// An array of these buckets in huge pages: as many as there is room for.
    fn in_pool(buckets: impl Iterator<Item = Bucket>) -> Buckets {
        let first = POOL.take().cast::<Bucket>();
        let mut len = 0;
        for bucket in buckets.take(HUGE_LEN) {
            // SAFETY: the block was just taken, so nobody else reads or writes it; it has room for
            // so many buckets, and its alignment is theirs.
            unsafe { first.add(len).write(bucket) };
            len += 1;
        }
        Buckets { first, len: len as u32, memory: Memory::Huge }
    }

    fn from_arc(buckets: Arc<[Bucket]>) -> Buckets {
        let len = buckets.len() as u32;
        let first = Arc::into_raw(buckets).cast_mut().cast::<Bucket>();
        // SAFETY: an `Arc` is never null.
        Buckets { first: unsafe { NonNull::new_unchecked(first) }, len, memory: Memory::Ordinary }
    }

    /// The `Arc` of an array from malloc. It must not be dropped, as `self` has its only
    /// reference.
    fn arc(&self) -> ManuallyDrop<Arc<[Bucket]>> {
        let buckets = ptr::slice_from_raw_parts(self.first.as_ptr(), self.len());
        debug_assert!(self.memory == Memory::Ordinary);
        // SAFETY: `from_arc` took an `Arc` of this length apart, and its reference is still ours.
        ManuallyDrop::new(unsafe { Arc::from_raw(buckets) })
    }
}

impl Deref for Buckets {
    type Target = [Bucket];

    #[inline(always)]
    fn deref(&self) -> &[Bucket] {
        // SAFETY: so many buckets are set, and this reference keeps them alive and unchanged.
        unsafe { slice::from_raw_parts(self.first.as_ptr(), self.len as usize) }
    }
}

impl Clone for Buckets {
    fn clone(&self) -> Buckets {
        match self.memory {
            // SAFETY: `self` is a reference to a block of the pool.
            Memory::Huge => unsafe { POOL.share(self.first.cast()) },
            Memory::Ordinary => std::mem::forget(Arc::clone(&self.arc())),
        }
        Buckets { ..*self }
    }
}

impl Drop for Buckets {
    fn drop(&mut self) {
        if self.memory == Memory::Ordinary {
            return drop(ManuallyDrop::into_inner(self.arc()));
        }
        let block = self.first.cast();
        // SAFETY: `self` is a reference to a block of the pool, and ends here. If it was the last
        // one, nobody else reads the buckets, which are set.
        unsafe {
            if POOL.release(block) {
                ptr::slice_from_raw_parts_mut(self.first.as_ptr(), self.len()).drop_in_place();
                POOL.give_back(block);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page of a bitset, whose references are counted.
    fn page(index: u64) -> Page {
        Page::from_values(index, &Vec::from_iter(0..5_000), &mut Vec::new())
    }

    /// Whether nobody else has the bitset of this page: then it is changed where it is.
    fn is_alone(page: Page) -> bool {
        let mut words = page.into_words().unwrap_or_else(|_| panic!("not a bitset"));
        let place = words.as_ptr();
        words.make_mut().as_ptr() == place
    }

    #[test]
    fn pages_are_dropped_once() {
        for memory in [Memory::Ordinary, Memory::Huge] {
            let (one, other) = (page(1), page(2));
            let mut first = Buckets::free(50, memory);
            first.make_mut()[0].0[0] = one.clone();
            first.make_mut()[49].0[3] = other.clone();
            let mut second = first.clone();
            drop(first.clone());
            // A copy, in which one page stands no more.
            second.make_mut()[0].0[0] = Page::FREE;
            drop(first);
            assert!(is_alone(one), "{memory:?}");
            assert!(!is_alone(other.clone()), "{memory:?}");
            drop(second);
            assert!(is_alone(other), "{memory:?}");
        }
    }

    #[test]
    fn arrays_are_as_long_as_asked_for_or_of_the_one_length_in_huge_pages() {
        for asked in 0..100 {
            let ordinary = Buckets::free(asked, Memory::Ordinary);
            assert_eq!((ordinary.len(), ordinary.memory()), (asked.max(1), Memory::Ordinary));
            let huge = Buckets::free(asked, Memory::Huge);
            let due = if asked <= 64 { (64, Memory::Huge) } else { (asked, Memory::Ordinary) };
            assert_eq!((huge.len(), huge.memory()), due);
            for array in [ordinary, huge] {
                assert!(array.iter().all(|bucket| bucket.slots().iter().all(Page::is_free)));
                assert_eq!(array.as_ptr().addr() % 64, 0);
            }
        }
    }

    #[test]
    fn a_shared_array_is_copied_before_it_is_changed() {
        for memory in [Memory::Ordinary, Memory::Huge] {
            let mut first = Buckets::free(50, memory);
            assert_eq!(first.memory(), memory);
            first.make_mut()[49].0[0] = page(1);
            let place = first.as_ptr();
            first.make_mut()[0].0[0] = page(2);
            assert_eq!(first.as_ptr(), place, "nobody shares it");

            let second = first.clone();
            assert!(first.is_shared() && second.is_shared());
            first.make_mut()[49].0[0] = page(3);
            assert!(!first.is_shared() && !second.is_shared());
            let indices = |array: &Buckets| (array[0].0[0].index(), array[49].0[0].index());
            assert_eq!((indices(&first), indices(&second)), ((2, 3), (2, 1)));
            assert_eq!(second.as_ptr(), place);
            assert_eq!((second.len(), second.memory()), (first.len(), memory));
        }
    }

    #[test]
    fn threads_share_and_drop_arrays() {
        for memory in [Memory::Ordinary, Memory::Huge] {
            let mut buckets = Buckets::free(40, memory);
            buckets.make_mut()[7].0[0] = page(7);
            std::thread::scope(|scope| {
                for n in 0..4 {
                    let mut mine = buckets.clone();
                    scope.spawn(move || {
                        mine.make_mut()[8].0[0] = page(n);
                        assert_eq!((mine[7].0[0].index(), mine[8].0[0].index()), (7, n));
                    });
                }
            });
            assert!(!buckets.is_shared());
            assert!(buckets[8].0[0].is_free());
        }
    }
}
