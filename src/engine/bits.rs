//! The bitsets of dense pages: counted references to blocks of a pool.

use std::{mem::ManuallyDrop, ops::Deref, ptr::NonNull};

use super::page::Words;
use super::pool::Pool;

static POOL: Pool<{ size_of::<Words>() }> = Pool::new();

/// A shared, immutable bitset. Cheap to clone.
pub(super) struct Bits(NonNull<Words>);

// SAFETY: the bitset is plain data that is only read while it is shared, and its counter is atomic.
unsafe impl Send for Bits {}
// SAFETY: as above.
unsafe impl Sync for Bits {}

impl Bits {
    /// Heap bytes that a bitset takes.
    pub(super) const BYTES: usize = Pool::<{ size_of::<Words>() }>::BYTES;

    /// A bitset with the same bits.
    pub(super) fn copy_of(words: &Words) -> Bits {
        let place = POOL.take().cast::<Words>();
        // SAFETY: the block was just taken, so nobody else reads or writes it; it has room for the
        // words, and they are elsewhere.
        unsafe { place.copy_from_nonoverlapping(NonNull::from(words), 1) };
        Bits(place)
    }

    /// The bitset, to be changed: in place if nobody shares it, else a copy.
    pub(super) fn make_mut(&mut self) -> &mut Words {
        // SAFETY: `self` is a reference to a block of the pool.
        if unsafe { POOL.is_shared(self.0.cast()) } {
            *self = Bits::copy_of(self);
        }
        // SAFETY: this is the only reference, and it is borrowed for as long as the result.
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
        POOL.counter_address(words.cast())
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
        // SAFETY: `self` is a reference to a block of the pool.
        unsafe { POOL.share(self.0.cast()) };
        Bits(self.0)
    }
}

impl Drop for Bits {
    fn drop(&mut self) {
        let block = self.0.cast();
        // SAFETY: `self` is a reference to a block of the pool, and ends here; words need no drop.
        unsafe {
            if POOL.release(block) {
                POOL.give_back(block);
            }
        }
    }
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
        // SAFETY: `bits` is a reference to a block of the pool.
        let shared = || unsafe { POOL.is_shared(bits.0.cast()) };
        assert!(shared());
        // SAFETY: it was handed over above.
        drop(unsafe { Bits::from_raw(raw) });
        assert!(!shared());
    }
}
