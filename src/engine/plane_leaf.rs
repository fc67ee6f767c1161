//! The table that finds a plane's pages: three levels addressed by a hash of the page index.
//!
//! The hash is read as a fraction of 1. The root cuts it into equal parts, each branch cuts its
//! part into leaves, each leaf into buckets of one cache line: every level multiplies the fraction
//! by its length, takes the whole part as position and hands the rest down ([`step`]). Any length
//! will do, so a leaf from malloc grows in small steps and wastes little; in huge pages all are of
//! one length (`plane_buckets`).
//!
//! A hash, although phone numbers could be addressed directly: one structure then serves phones,
//! dense ordinals and callers' integers scattered over all of u64, its size follows the number of
//! pages and not the span of their numbers, and its upper levels are small enough for the cache.
//!
//! Buckets overflow into the next one, round the end of the leaf. A search ends at a bucket that
//! has a free slot, so the rule to keep is: *a page stands in its home bucket, or every bucket from
//! its home to the one before it is full*. Within a bucket the used slots come first.

#![allow(
    clippy::indexing_slicing,
    reason = "hot path: `step` gives a position below the length that it is given"
)]

use std::sync::Arc;

use super::page::Page;
use super::plane_buckets::{Bucket, Buckets, HUGE_LEN, Memory, SLOTS};
use super::prefetch::prefetch;

/// How many pages a leaf of a plane with so many leaves may have; with more it is split, together
/// with its branch.
///
/// A commit copies one leaf for each page it changes, and raises the count of every page in it. So
/// leaves are small until there are many of them: then copies of branches, which grow with the
/// number of leaves, would cost what smaller leaves save.
pub(super) const fn leaf_max(leaves: usize) -> usize {
    if leaves < MANY_LEAVES { SMALL_LEAF_MAX } else { LEAF_MAX }
}

/// Leaves from which on they may grow, see [`leaf_max`]. Tests reach both sizes with small planes.
pub(super) const MANY_LEAVES: usize = if cfg!(test) { 4 } else { 256 };
/// Most pages of a leaf among few.
pub(super) const SMALL_LEAF_MAX: usize = 64;
/// Most pages of a leaf among many.
pub(super) const LEAF_MAX: usize = 256;

/// The same in huge pages, where arrays are of one length: split before [`full`] would send the
/// leaf back to malloc.
const HUGE_LEAF_MAX: usize = HUGE_LEN * 7 / 2 - 4;

/// How many pages a leaf holds in four buckets, at most; with more it is made roomier.
///
/// With three a bucket some 10 pages of 100 stand outside their home bucket, and each makes a
/// look-up wait for a further line. In huge pages arrays are of one length: what holds a leaf down
/// there is [`Leaf::is_crowded`].
const fn full(memory: Memory) -> usize {
    match memory {
        Memory::Ordinary => 12,
        Memory::Huge => 14,
    }
}

/// A small hash table of pages. There is always a bucket, and always a free slot.
#[derive(Clone)]
pub(super) struct Leaf {
    buckets: Buckets,
    pages: usize,
    /// The wrapping sum of what `plane_sum` makes of each member: kept up to date change by change
    /// and never from the members as they stand, so that it tells when memory has changed them.
    sum: u64,
}

/// The leaves of one part of the hash; as many as a power of two.
pub(super) type Branch = Arc<[Leaf]>;
/// All of a plane: branches, as many as a power of two.
pub(super) type Root = Arc<[Branch]>;

/// The hash of a page index under the plane's secret seed: both halves of a wide product, so that
/// neither regular indices nor an adversary who does not know the seed can aim at one bucket.
#[inline(always)]
pub(super) fn hash(index: u64, seed: u64) -> u64 {
    let product = u128::from(index ^ seed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (product >> 64) as u64 ^ product as u64
}

/// Position that `fraction` has among `len`, and the fraction left within that position.
#[inline(always)]
pub(super) fn step(fraction: u64, len: usize) -> (usize, u64) {
    let product = u128::from(fraction) * len as u128;
    ((product >> 64) as usize, product as u64)
}

impl Leaf {
    /// A leaf without pages, roomy enough for `pages` of them.
    pub(super) fn with_room(pages: usize, memory: Memory) -> Leaf {
        let buckets = Buckets::free((4 * pages).div_ceil(full(memory)), memory);
        Leaf { buckets, pages: 0, sum: 0 }
    }

    /// The kind of memory that the pages stand in.
    pub(super) fn memory(&self) -> Memory {
        self.buckets.memory()
    }

    /// Number of pages.
    pub(super) fn len(&self) -> usize {
        self.pages
    }

    /// Whether the leaf, one of so many in its plane, should be split, with its branch: before it
    /// is full.
    pub(super) fn is_crowded(&self, leaves: usize) -> bool {
        self.pages
            > match self.memory() {
                Memory::Ordinary => leaf_max(leaves),
                Memory::Huge => HUGE_LEAF_MAX,
            }
    }

    /// The sum of the members.
    pub(super) fn sum(&self) -> u64 {
        self.sum
    }

    /// Adds what changes of members add up to.
    pub(super) fn add_to_sum(&mut self, change: u64) {
        self.sum = self.sum.wrapping_add(change);
    }

    /// Keeps the pages in memory for good. One whose count or pointer was changed by the memory
    /// itself would give back what is not its own.
    pub(super) fn leak(&self) {
        std::mem::forget(self.buckets.clone());
    }

    /// The pages, in no particular order.
    pub(super) fn pages(&self) -> impl Iterator<Item = &Page> {
        self.buckets.iter().flat_map(|bucket| &bucket.0).filter(|page| !page.is_free())
    }

    /// The home bucket of what stands at `fraction`.
    #[inline(always)]
    pub(super) fn home(&self, fraction: u64) -> &Bucket {
        let (at, _) = step(fraction, self.buckets.len());
        // SAFETY: `step` gives a position below the length that it is given, if that is not 0, and
        // every array begins in `Buckets::free` with at least one bucket, and a copy is as long.
        unsafe { self.buckets.get_unchecked(at) }
    }

    /// The bucket so many past the home of what stands at `fraction`, round the end of the leaf. The
    /// distance is less than the number of buckets: one has a free slot, where a search ends.
    #[inline(always)]
    pub(super) fn bucket(&self, fraction: u64, distance: usize) -> &Bucket {
        let (home, _) = step(fraction, self.buckets.len());
        let at = home + distance;
        &self.buckets[if at < self.buckets.len() { at } else { at - self.buckets.len() }]
    }

    /// The page `index`; `fraction` leads to its home.
    #[inline]
    pub(super) fn find(&self, fraction: u64, index: u64) -> Option<&Page> {
        let (bucket, slot) = self.position(fraction, index)?;
        Some(&self.buckets[bucket].0[slot])
    }

    /// Where the page `index` stands: bucket and slot. `fraction` leads to its home.
    #[inline]
    pub(super) fn position(&self, fraction: u64, index: u64) -> Option<(usize, usize)> {
        let len = self.buckets.len();
        let (mut at, _) = step(fraction, len);
        for _ in 0..len {
            let slots = &self.buckets[at].0;
            let found = slots.iter().position(|page| page.index() == index && !page.is_free());
            if let Some(slot) = found {
                return Some((at, slot));
            }
            if !self.buckets[at].is_full() {
                return None;
            }
            at = if at + 1 == len { 0 } else { at + 1 };
        }
        None
    }

    /// The page at a position that [`Leaf::position`] gave, to be changed; it must be removed if it
    /// becomes free.
    pub(super) fn page_mut(&mut self, (bucket, slot): (usize, usize)) -> &mut Page {
        &mut self.writable()[bucket].0[slot]
    }

    /// Makes the buckets writable: copies them if they are shared.
    ///
    /// A copy raises the reference count of each page; those counts are far apart and an atomic
    /// add waits for its cache line, so all lines are asked for first.
    fn writable(&mut self) -> &mut [Bucket] {
        if self.buckets.is_shared() {
            for page in self.pages() {
                prefetch(page.counter());
            }
        }
        self.buckets.make_mut()
    }

    /// Asks for the cache line that a clone of this leaf will write.
    pub(super) fn prefetch_counter(&self) {
        prefetch(self.buckets.counter());
    }

    /// Adds a page that is not there yet; `fraction_of` leads to the home of any page.
    pub(super) fn insert(&mut self, page: Page, fraction_of: impl Fn(&Page) -> u64) {
        if 4 * self.pages >= full(self.memory()) * self.buckets.len() {
            // A quarter more room: most leaves are then between 0.6 and 0.75 full. From huge pages
            // only a leaf comes here that is crowded among empty ones.
            let mut roomier = Leaf::with_room((self.pages + 1) * 5 / 4, Memory::Ordinary);
            roomier.sum = self.sum;
            for page in self.drain() {
                roomier.place(fraction_of(&page), page);
            }
            *self = roomier;
        }
        self.place(fraction_of(&page), page);
    }

    /// Puts a page into the first free slot from its home on. There is one, as at most seven
    /// eighths of the slots are used.
    fn place(&mut self, fraction: u64, page: Page) {
        let buckets = self.writable();
        let len = buckets.len();
        let (mut at, _) = step(fraction, len);
        loop {
            if let Some(slot) = buckets[at].0.iter_mut().find(|slot| slot.is_free()) {
                *slot = page;
                self.pages += 1;
                return;
            }
            at = if at + 1 == len { 0 } else { at + 1 };
        }
    }

    /// Takes all pages out.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Page> {
        self.pages = 0;
        let slots = self.writable().iter_mut().flat_map(|bucket| &mut bucket.0);
        slots.map(|slot| std::mem::replace(slot, Page::FREE)).filter(|page| !page.is_free())
    }

    /// Takes the page at a position out and closes the gap; `fraction_of` leads to the home of any
    /// page.
    pub(super) fn remove(
        &mut self,
        (mut at, mut slot): (usize, usize),
        fraction_of: impl Fn(&Page) -> u64,
    ) {
        self.pages -= 1;
        let buckets = self.writable();
        let len = buckets.len();
        let ahead = |from: usize, to: usize| (to + len - from) % len;
        // The page may have become free already; that slot counts as used until now.
        let mut was_full = slot == SLOTS - 1 || buckets[at].is_full();
        buckets[at].0[slot] = Page::FREE;
        loop {
            buckets[at].0[slot..].rotate_left(1);
            if !was_full {
                return;
            }
            // The bucket has a free slot now, so what overflowed past it would not be found any
            // more. Whatever did stands before the next bucket with a free slot, or in that one.
            let mut strayed = None;
            for distance in 1..len {
                let next = (at + distance) % len;
                let stray = buckets[next].0.iter().position(|page| {
                    !page.is_free() && ahead(step(fraction_of(page), len).0, next) >= distance
                });
                if let Some(slot) = stray {
                    strayed = Some((next, slot));
                    break;
                }
                if !buckets[next].is_full() {
                    break;
                }
            }
            let Some((next, stray)) = strayed else { return };
            was_full = buckets[next].is_full();
            let page = std::mem::replace(&mut buckets[next].0[stray], Page::FREE);
            buckets[at].0[SLOTS - 1] = page;
            (at, slot) = (next, stray);
        }
    }

    /// Heap bytes of the table, without what its pages point to.
    pub(super) fn heap_bytes(&self) -> usize {
        self.buckets.heap_bytes()
    }
}
