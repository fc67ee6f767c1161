//! Pools of counted blocks of one size, in huge pages.
//!
//! A look-up ends in random lines of hundreds of megabytes. Spread over memory pages of 4 KiB,
//! nearly each such line also misses the CPU's table of addresses, which costs about as much again
//! as the line itself. So blocks are laid into chunks of 2 MiB that the kernel is asked to back
//! with one page each; where it does not, all works as well and somewhat slower.
//!
//! An [`Arc`](std::sync::Arc) would put its counters in front of each block. Here the counters of a
//! chunk stand together at its beginning, found by rounding a block's address down. Blocks are laid
//! from the chunk's end, so that a block's number follows from its address and size alone.

use std::{
    alloc::{Layout, alloc, dealloc, handle_alloc_error},
    cell::UnsafeCell,
    process,
    ptr::NonNull,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering, fence},
    },
};

/// Bytes of a chunk: a huge page of x86-64, and its alignment.
const CHUNK: usize = 2 << 20;
/// What the size of a block must be a multiple of, and its alignment: a cache line.
const LINE: usize = 64;
/// Far more references than memory could hold.
const MAX_COUNT: u32 = u32::MAX / 2;

const LAYOUT: Layout = match Layout::from_size_align(CHUNK, CHUNK) {
    Ok(layout) => layout,
    Err(_) => unreachable!(),
};

/// A pool of blocks of `SIZE` bytes. Whoever takes a block must give it back to the same pool.
pub(super) struct Pool<const SIZE: usize> {
    /// The chunks with free blocks, and the free lists of these.
    open: Mutex<Vec<Chunk>>,
}

/// A chunk that is alive: it has a block that was not given back, or stands in its pool.
#[derive(Clone, Copy)]
struct Chunk(NonNull<Header>);

/// The beginning of a chunk. Behind it follows a counter for each block: of the references to it,
/// or, in a free block, the number of the next free one.
struct Header {
    /// Only looked at while the pool is locked.
    free: UnsafeCell<Free>,
}

/// The blocks of a chunk that are free.
struct Free {
    /// The number of the first.
    first: u32,
    len: usize,
    /// Where the chunk stands in the pool, while it has a free block.
    place: usize,
}

// SAFETY: a chunk's counters are atomic, and its free list is only touched under the pool's lock.
unsafe impl Send for Chunk {}

impl<const SIZE: usize> Pool<SIZE> {
    /// Blocks of a chunk: each takes a counter as well.
    const BLOCKS: usize = (CHUNK - size_of::<Header>()) / (SIZE + size_of::<AtomicU32>());

    /// Heap bytes that a block takes, with its share of the chunk's rest.
    pub(super) const BYTES: usize = CHUNK.div_ceil(Self::BLOCKS);

    /// A pool without blocks.
    pub(super) const fn new() -> Self {
        const { assert!(SIZE > 0 && SIZE.is_multiple_of(LINE) && SIZE < CHUNK / 2) };
        Pool { open: Mutex::new(Vec::new()) }
    }

    /// A block with one reference, which the caller holds. What is in it is not set.
    pub(super) fn take(&self) -> NonNull<u8> {
        let (chunk, number) = {
            let mut open = self.lock();
            let chunk = match open.last() {
                Some(chunk) => *chunk,
                None => {
                    let chunk = self.new_chunk();
                    open.push(chunk);
                    chunk
                }
            };
            // SAFETY: the pool is locked, and chunks in it are alive.
            let free = unsafe { &mut *chunk.0.as_ref().free.get() };
            let number = free.first as usize;
            // SAFETY: what the free list names is a block.
            free.first = unsafe { chunk.counter(number) }.load(Ordering::Relaxed);
            free.len -= 1;
            if free.len == 0 {
                // It was the last block, and so was the chunk.
                open.pop();
            }
            (chunk, number)
        };
        // SAFETY: the block was taken above, so the chunk is alive; there are so many blocks before
        // the chunk's end.
        unsafe {
            chunk.counter(number).store(1, Ordering::Relaxed);
            chunk.0.cast::<u8>().add(CHUNK - (number + 1) * SIZE)
        }
    }

    /// Adds a reference.
    ///
    /// # Safety
    /// The block is of this pool, and the caller holds a reference.
    pub(super) unsafe fn share(&self, block: NonNull<u8>) {
        // SAFETY: as this function demands. A new reference comes from an old one, so nothing needs
        // to be ordered.
        if unsafe { self.counter(block) }.fetch_add(1, Ordering::Relaxed) > MAX_COUNT {
            process::abort();
        }
    }

    /// Whether others hold references as well. If not, what they wrote and read comes before.
    ///
    /// # Safety
    /// The block is of this pool, and the caller holds a reference.
    pub(super) unsafe fn is_shared(&self, block: NonNull<u8>) -> bool {
        // SAFETY: as this function demands.
        unsafe { self.counter(block) }.load(Ordering::Acquire) != 1
    }

    /// Gives a reference up. Returns whether it was the last one: the caller then drops what is in
    /// the block, and gives it back.
    ///
    /// # Safety
    /// The block is of this pool, and the caller holds a reference, which ends.
    pub(super) unsafe fn release(&self, block: NonNull<u8>) -> bool {
        // SAFETY: as this function demands.
        let last = unsafe { self.counter(block) }.fetch_sub(1, Ordering::Release) == 1;
        if last {
            // What others read of the block comes before it is used again.
            fence(Ordering::Acquire);
        }
        last
    }

    /// Takes a block back.
    ///
    /// # Safety
    /// The block is of this pool, [`Pool::release`] said that no reference is left, and nobody uses
    /// it any more.
    pub(super) unsafe fn give_back(&self, block: NonNull<u8>) {
        let chunk = Chunk::of(block);
        let number = Self::number(block.addr().get());
        let mut open = self.lock();
        // SAFETY: the pool is locked, and a chunk lives while one of its blocks is not given back.
        let free = unsafe { &mut *chunk.0.as_ref().free.get() };
        // SAFETY: the block is one of the chunk.
        unsafe { chunk.counter(number) }.store(free.first, Ordering::Relaxed);
        free.first = number as u32;
        free.len += 1;
        if free.len == 1 {
            free.place = open.len();
            open.push(chunk);
        } else if free.len == Self::BLOCKS && open.len() > 1 {
            // Others have room, so it goes. The kernel takes a while for that: after the lock.
            let place = free.place;
            open.swap_remove(place);
            if let Some(moved) = open.get(place) {
                // SAFETY: as above, of another chunk in the pool.
                unsafe { (*moved.0.as_ref().free.get()).place = place };
            }
            drop(open);
            // SAFETY: all of its blocks are free and it has left the pool, so nobody knows it.
            unsafe { dealloc(chunk.0.as_ptr().cast(), LAYOUT) };
        }
    }

    /// Where the counter of a block stands, which a clone writes.
    pub(super) fn counter_address(&self, block: *const u8) -> *const u8 {
        let chunk = block.map_addr(|address| address & !(CHUNK - 1));
        chunk.wrapping_add(counter_offset(Self::number(block.addr())))
    }

    /// The counter of a block.
    ///
    /// # Safety
    /// The block is of this pool, and is not given back while the result is used.
    unsafe fn counter(&self, block: NonNull<u8>) -> &AtomicU32 {
        // SAFETY: as this function demands.
        unsafe { Chunk::of(block).counter(Self::number(block.addr().get())) }
    }

    /// The number of the block at an address.
    fn number(address: usize) -> usize {
        (CHUNK - 1 - (address & (CHUNK - 1))) / SIZE
    }

    /// A chunk of free blocks.
    fn new_chunk(&self) -> Chunk {
        // SAFETY: the layout has a size.
        let Some(base) = NonNull::new(unsafe { alloc(LAYOUT) }) else { handle_alloc_error(LAYOUT) };
        #[cfg(all(target_os = "linux", not(miri)))]
        {
            use rustix::mm::{Advice, madvise};
            // SAFETY: the advice concerns memory of our own and changes nothing that it holds. A
            // kernel without huge pages refuses it, which does no harm.
            let _refused = unsafe { madvise(base.as_ptr().cast(), CHUNK, Advice::LinuxHugepage) };
        }
        let free = Free { first: 0, len: Self::BLOCKS, place: 0 };
        for number in 0..Self::BLOCKS {
            // SAFETY: `blocks` leaves room for so many counters behind the header, all aligned.
            unsafe {
                let counter = base.add(counter_offset(number)).cast::<AtomicU32>();
                counter.write(AtomicU32::new(number as u32 + 1));
            }
        }
        let chunk = base.cast::<Header>();
        // SAFETY: a chunk begins with room for a header, and nobody knows this one yet.
        unsafe { chunk.write(Header { free: UnsafeCell::new(free) }) };
        Chunk(chunk)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Chunk>> {
        // The pool is whole at every point where it could panic.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Chunk {
    /// The chunk that a block lies in.
    fn of(block: NonNull<u8>) -> Chunk {
        let base = block.map_addr(|address| {
            // The header is in front of all blocks, so this leaves the chunk's own address, which
            // is not 0.
            std::num::NonZero::new(address.get() & !(CHUNK - 1)).unwrap_or(address)
        });
        Chunk(base.cast())
    }

    /// The counter of a block.
    ///
    /// # Safety
    /// The chunk has a block of this number, and is alive while the result is used.
    unsafe fn counter<'a>(self, number: usize) -> &'a AtomicU32 {
        // SAFETY: as this function demands; the counters were written when the chunk was made.
        unsafe { self.0.cast::<u8>().add(counter_offset(number)).cast().as_ref() }
    }
}

/// Where in its chunk the counter of a block stands.
fn counter_offset(number: usize) -> usize {
    size_of::<Header>() + number * size_of::<AtomicU32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block filled with its number.
    fn filled<const SIZE: usize>(pool: &Pool<SIZE>, n: u64) -> NonNull<u64> {
        let block = pool.take().cast::<u64>();
        for at in 0..SIZE / 8 {
            // SAFETY: the block was just taken and has room for so many words.
            unsafe { block.add(at).write(n) };
        }
        block
    }

    fn is_filled<const SIZE: usize>(block: NonNull<u64>, n: u64) -> bool {
        // SAFETY: `filled` wrote the whole block, and it is not given back yet.
        (0..SIZE / 8).all(|at| unsafe { block.add(at).read() } == n)
    }

    fn release<const SIZE: usize>(pool: &Pool<SIZE>, block: NonNull<u64>) {
        // SAFETY: whoever calls holds a reference and forgets it.
        unsafe {
            if pool.release(block.cast()) {
                pool.give_back(block.cast());
            }
        }
    }

    /// Takes and gives back blocks of several chunks.
    fn fill_and_empty<const SIZE: usize>(pool: &Pool<SIZE>) {
        let in_chunk = Pool::<SIZE>::BLOCKS;
        assert!(in_chunk * Pool::<SIZE>::BYTES <= CHUNK + in_chunk, "{SIZE}");
        let mut kept = Vec::new();
        for round in 0..3_u64 {
            let more = if SIZE == LINE { 2_000 } else { 3 * in_chunk as u64 };
            kept.extend((0..more).map(|n| (n, filled(pool, n))));
            let mut at = round;
            kept.retain(|&(n, block)| {
                assert!(is_filled::<SIZE>(block, n), "{SIZE}: block {n} is another's too");
                at += 1;
                let stays = !at.is_multiple_of(3);
                if !stays {
                    release(pool, block);
                }
                stays
            });
        }
        kept.drain(..).for_each(|(_, block)| release(pool, block));
        assert_eq!(pool.lock().len(), 1, "{SIZE}: one chunk is kept for what comes");
    }

    #[test]
    fn chunks_fill_up_empty_out_and_keep_their_blocks() {
        static SMALLEST: Pool<LINE> = Pool::new();
        static UNEVEN: Pool<3_072> = Pool::new();
        static BITSETS: Pool<8_192> = Pool::new();
        static LARGE: Pool<{ 960 << 10 }> = Pool::new();
        fill_and_empty(&SMALLEST);
        fill_and_empty(&UNEVEN);
        fill_and_empty(&BITSETS);
        fill_and_empty(&LARGE);
    }

    #[test]
    fn the_last_of_many_threads_gives_a_block_back() {
        static POOL: Pool<LINE> = Pool::new();
        let block = filled(&POOL, 7);
        let address = block.as_ptr().expose_provenance();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                // SAFETY: this function holds a reference until its end.
                unsafe { POOL.share(block.cast()) };
                scope.spawn(move || {
                    let mine = std::ptr::with_exposed_provenance_mut::<u64>(address);
                    let mine = NonNull::new(mine).unwrap();
                    assert!(is_filled::<LINE>(mine, 7));
                    release(&POOL, mine);
                });
            }
        });
        // SAFETY: the reference of this function is left.
        assert!(!unsafe { POOL.is_shared(block.cast()) });
        release(&POOL, block);
        let again = POOL.take();
        assert_eq!(again, block.cast(), "it is free again");
        release(&POOL, again.cast());
    }

    #[test]
    fn a_counter_is_where_a_clone_writes() {
        static POOL: Pool<3_072> = Pool::new();
        let block = filled(&POOL, 1);
        let address = POOL.counter_address(block.as_ptr().cast());
        // SAFETY: this function holds a reference until its end.
        let counter = unsafe { POOL.counter(block.cast()) };
        assert_eq!(address.addr(), counter.as_ptr().addr());
        release(&POOL, block);
    }
}
