//! The bitsets of dense pages: counted references, 255 bitsets to a huge page.
//!
//! A look-up ends in a random line of thousands of bitsets. Spread over memory pages of 4 KiB,
//! nearly each such line also misses the CPU's table of addresses, which costs about as much again
//! as the line itself. So bitsets are laid into chunks of 2 MiB that the kernel is asked to back
//! with one page each; where it does not, all works as well and somewhat slower.
//!
//! An [`Arc`](std::sync::Arc) would put its counters in front of each bitset. Here the counters of
//! a chunk stand together at its beginning, found by rounding a bitset's address down.

#![allow(
    clippy::indexing_slicing,
    reason = "a slot's number comes from its address and is below the number of slots"
)]

use std::{
    alloc::{Layout, alloc, dealloc, handle_alloc_error},
    cell::UnsafeCell,
    mem::ManuallyDrop,
    ops::Deref,
    process,
    ptr::NonNull,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering, fence},
    },
};

use super::page::Words;

/// Bytes of a chunk: a huge page of x86-64, and its alignment.
const CHUNK: usize = 2 << 20;
/// Bitsets in a chunk; the place of one more is taken by the header.
const SLOTS: usize = CHUNK / size_of::<Words>() - 1;
/// Far more references than memory could hold.
const MAX_COUNT: u32 = u32::MAX / 2;

const LAYOUT: Layout = match Layout::from_size_align(CHUNK, CHUNK) {
    Ok(layout) => layout,
    Err(_) => unreachable!(),
};

/// A shared, immutable bitset. Cheap to clone.
pub(super) struct Bits(NonNull<Words>);

/// The beginning of a chunk.
struct Header {
    /// References to each bitset.
    counts: [AtomicU32; SLOTS],
    /// Only looked at while [`POOL`] is locked.
    free: UnsafeCell<Free>,
}

/// The slots of a chunk that hold no bitset.
struct Free {
    slots: [u8; SLOTS],
    len: usize,
    /// Where the chunk stands in the pool, while it has a free slot.
    place: usize,
}

/// The chunks with free slots.
struct Pool(Vec<NonNull<Header>>);

static POOL: Mutex<Pool> = Mutex::new(Pool(Vec::new()));

const _: () = assert!(size_of::<Header>() <= size_of::<Words>() && SLOTS <= 1 << u8::BITS);

// SAFETY: the bitset is plain data that is only read while it is shared, its counter is atomic,
// and the rest of the chunk is only touched under the pool's lock.
unsafe impl Send for Bits {}
// SAFETY: as above.
unsafe impl Sync for Bits {}
// SAFETY: the pointers lead to chunks that live until the pool itself gives them back.
unsafe impl Send for Pool {}

impl Bits {
    /// Heap bytes that a bitset takes, with its share of the header.
    pub(super) const BYTES: usize = CHUNK.div_ceil(SLOTS);

    /// A bitset with the same bits.
    pub(super) fn copy_of(words: &Words) -> Bits {
        let slot = lock().take();
        // SAFETY: the slot is free, so nobody else reads or writes it; it has room for the words,
        // and lies in another allocation than any bitset, so the two do not overlap.
        unsafe { slot.copy_from_nonoverlapping(NonNull::from(words), 1) };
        count(slot).store(1, Ordering::Relaxed);
        Bits(slot)
    }

    /// The bitset, to be changed: in place if nobody shares it, else a copy.
    pub(super) fn make_mut(&mut self) -> &mut Words {
        if count(self.0).load(Ordering::Acquire) != 1 {
            *self = Bits::copy_of(self);
        }
        // SAFETY: this is the only reference, and it is borrowed for as long as the result. The
        // load above saw the release of whoever gave up the last other one.
        unsafe { self.0.as_mut() }
    }

    /// Hands the reference over to the caller, who must give it back by [`Bits::from_raw`].
    pub(super) fn into_raw(self) -> *const Words {
        ManuallyDrop::new(self).0.as_ptr()
    }

    /// Takes a reference back.
    ///
    /// # Safety
    /// `words` came from [`Bits::into_raw`], and the reference was not taken back before.
    pub(super) unsafe fn from_raw(words: *const Words) -> Bits {
        // SAFETY: `into_raw` gave a pointer that is not null.
        Bits(unsafe { NonNull::new_unchecked(words.cast_mut()) })
    }

    /// Where the count of references to a bitset stands, which a clone writes.
    pub(super) fn counter(words: *const Words) -> *const u8 {
        let base = words.map_addr(|address| address & !(CHUNK - 1));
        base.cast::<u8>().wrapping_add(number(words.addr()) * size_of::<AtomicU32>())
    }
}

impl Deref for Bits {
    type Target = Words;

    fn deref(&self) -> &Words {
        // SAFETY: this reference keeps the bitset alive, and shared bitsets are never written.
        unsafe { self.0.as_ref() }
    }
}

impl Clone for Bits {
    fn clone(&self) -> Bits {
        // A new reference comes from an old one, so nothing needs to be ordered.
        if count(self.0).fetch_add(1, Ordering::Relaxed) > MAX_COUNT {
            process::abort();
        }
        Bits(self.0)
    }
}

impl Drop for Bits {
    fn drop(&mut self) {
        if count(self.0).fetch_sub(1, Ordering::Release) == 1 {
            // What others read of the bitset comes before its slot is used again.
            fence(Ordering::Acquire);
            let empty = lock().give_back(self.0);
            if let Some(chunk) = empty {
                // SAFETY: all of its slots are free and it has left the pool, so nobody knows it.
                unsafe { dealloc(chunk.as_ptr().cast(), LAYOUT) };
            }
        }
    }
}

impl Pool {
    /// A slot for a bitset, its words not set.
    fn take(&mut self) -> NonNull<Words> {
        let chunk = match self.0.last() {
            Some(chunk) => *chunk,
            None => {
                let chunk = new_chunk();
                self.0.push(chunk);
                chunk
            }
        };
        // SAFETY: the pool is locked, and chunks in it are alive.
        let free = unsafe { &mut *chunk.as_ref().free.get() };
        free.len -= 1;
        let slot = free.slots[free.len];
        if free.len == 0 {
            // It was the last one, and so was the chunk.
            self.0.pop();
        }
        // SAFETY: slot `n` stands `n + 1` bitsets behind the chunk's beginning, and within it.
        unsafe { chunk.cast::<Words>().add(usize::from(slot) + 1) }
    }

    /// Takes a slot back. Returns its chunk if nothing is left in it and others have room: the
    /// caller frees it, which takes the kernel a while, after the lock.
    fn give_back(&mut self, words: NonNull<Words>) -> Option<NonNull<Header>> {
        let chunk = header(words);
        // SAFETY: the pool is locked, and a chunk lives while one of its slots is not given back.
        let free = unsafe { &mut *chunk.as_ref().free.get() };
        free.slots[free.len] = number(words.addr().get()) as u8;
        free.len += 1;
        if free.len == 1 {
            free.place = self.0.len();
            self.0.push(chunk);
        } else if free.len == SLOTS && self.0.len() > 1 {
            let place = free.place;
            self.0.swap_remove(place);
            if let Some(moved) = self.0.get(place) {
                // SAFETY: as above, of another chunk in the pool.
                unsafe { (*moved.as_ref().free.get()).place = place };
            }
            return Some(chunk);
        }
        None
    }
}

fn lock() -> MutexGuard<'static, Pool> {
    // The pool is whole at every point where it could panic.
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A chunk without bitsets.
fn new_chunk() -> NonNull<Header> {
    // SAFETY: the layout has a size.
    let Some(chunk) = NonNull::new(unsafe { alloc(LAYOUT) }) else { handle_alloc_error(LAYOUT) };
    #[cfg(all(target_os = "linux", not(miri)))]
    {
        use rustix::mm::{Advice, madvise};
        // SAFETY: the advice concerns memory of our own and changes nothing that it holds. A
        // kernel without huge pages refuses it, which does no harm.
        let _refused = unsafe { madvise(chunk.as_ptr().cast(), CHUNK, Advice::LinuxHugepage) };
    }
    let chunk = chunk.cast::<Header>();
    // Lower slots are used first, as they lie on memory that is in use already.
    let free =
        Free { slots: std::array::from_fn(|at| (SLOTS - 1 - at) as u8), len: SLOTS, place: 0 };
    let header =
        Header { counts: std::array::from_fn(|_| AtomicU32::new(0)), free: UnsafeCell::new(free) };
    // SAFETY: the chunk has room for a header at its beginning, and nobody knows it yet.
    unsafe { chunk.write(header) };
    chunk
}

/// The chunk that a bitset lies in.
fn header(words: NonNull<Words>) -> NonNull<Header> {
    words
        .map_addr(|address| {
            // A bitset is never at the beginning of a chunk, so this leaves the chunk's own address,
            // which is not 0.
            std::num::NonZero::new(address.get() & !(CHUNK - 1)).unwrap_or(address)
        })
        .cast()
}

/// The number of the slot at an address.
fn number(address: usize) -> usize {
    (address & (CHUNK - 1)) / size_of::<Words>() - 1
}

/// The count of references to a bitset.
fn count<'a>(words: NonNull<Words>) -> &'a AtomicU32 {
    // SAFETY: whoever asks holds a reference to the bitset, or has just taken its slot, so the
    // chunk is alive; the result is used before that ends.
    unsafe { &header(words).as_ref().counts[number(words.addr().get())] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_bitset_is_copied_before_it_is_changed() {
        let mut first = Bits::copy_of(&[7; 1_024]);
        let second = first.clone();
        first.make_mut()[3] = 8;
        assert_eq!((first[3], second[3]), (8, 7));
        let place = first.0;
        first.make_mut()[4] = 9;
        assert_eq!(first.0, place, "nobody shares it");
    }

    #[test]
    fn chunks_fill_up_empty_out_and_keep_their_bitsets() {
        let mut kept = Vec::new();
        for round in 0..3_u64 {
            kept.extend((0..3 * SLOTS as u64).map(|n| (n, Bits::copy_of(&[n; 1_024]))));
            let mut at = round;
            kept.retain(|_| {
                at += 1;
                !at.is_multiple_of(3)
            });
            assert!(kept.iter().all(|(n, bits)| bits[0] == *n && bits[1_023] == *n));
        }
    }

    #[test]
    fn threads_share_and_drop_bitsets() {
        let all: Vec<Bits> = (0..600_u64).map(|n| Bits::copy_of(&[n; 1_024])).collect();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let mut mine = all.clone();
                scope.spawn(move || {
                    for (n, bits) in mine.iter_mut().enumerate() {
                        bits.make_mut()[0] += 1;
                        assert_eq!(bits[0], n as u64 + 1);
                    }
                });
            }
        });
        assert!(all.iter().enumerate().all(|(n, bits)| bits[0] == n as u64));
    }

    #[test]
    fn a_raw_reference_counts() {
        let bits = Bits::copy_of(&[1; 1_024]);
        let raw = bits.clone().into_raw();
        assert_eq!(count(bits.0).load(Ordering::SeqCst), 2);
        // SAFETY: it was handed over on the line above.
        drop(unsafe { Bits::from_raw(raw) });
        assert_eq!(count(bits.0).load(Ordering::SeqCst), 1);
    }
}
