//! A plane: an immutable set of contact IDs of one kind.
//!
//! The IDs are kept in pages of 65,536 (`page`), the pages in a table of three levels
//! (`plane_leaf`). Everything is shared: a clone costs one reference count, and a changed plane
//! copies the pages that changed and the path to them. Looking up takes no lock and allocates
//! nothing (A6).

use std::hash::BuildHasher;
use std::sync::Arc;

use super::page::{Page, arc_bytes};
use super::plane_buckets::Memory;
use super::plane_leaf::{Leaf, Root, hash, step};

/// An immutable set of u64 contact IDs, cheap to clone and to share between threads.
///
/// Any u64 may be a member; phones, dense ordinals and scattered integers all suit it.
#[derive(Clone)]
pub struct Plane {
    pub(super) root: Root,
    /// Secret of the hash that places pages; drawn per plane and inherited by its versions.
    pub(super) seed: u64,
    pub(super) len: u64,
}

impl Plane {
    /// The set without members.
    pub fn empty() -> Plane {
        Plane::seeded(std::collections::hash_map::RandomState::new().hash_one(0))
    }

    /// The set without members, with a seed that is no secret: for benches that count and must
    /// count the same in every run.
    pub fn seeded(seed: u64) -> Plane {
        Plane { root: Arc::from([Arc::from([Leaf::with_room(0, Memory::Ordinary)])]), seed, len: 0 }
    }

    /// Number of members.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether `id` is a member. For many IDs [`Plane::probe`] is several times as fast.
    pub fn contains(&self, id: u64) -> bool {
        self.page(id >> 16).is_some_and(|page| page.contains(id as u16))
    }

    /// The page with this index (`id >> 16`), if it has members.
    #[inline]
    pub fn page(&self, index: u64) -> Option<&Page> {
        let (at, rest) = step(hash(index, self.seed), self.root.len());
        let branch = self.root.get(at)?;
        let (at, rest) = step(rest, branch.len());
        branch.get(at)?.find(rest, index)
    }

    /// All pages with their indices, in no particular order.
    pub fn pages(&self) -> impl Iterator<Item = (u64, &Page)> {
        self.leaves().flat_map(Leaf::pages).map(|page| (page.index(), page))
    }

    /// All members, ascending. It sorts the page indices first: 16 bytes of memory a page.
    pub fn ids(&self) -> impl Iterator<Item = u64> {
        let mut pages: Vec<(u64, &Page)> = self.pages().collect();
        pages.sort_unstable_by_key(|&(index, _)| index);
        pages
            .into_iter()
            .flat_map(|(index, page)| page.values().map(move |low| index << 16 | u64::from(low)))
    }

    /// Heap bytes of the plane, with what malloc and the pools add. What it shares with other
    /// planes counts in full. It walks all pages.
    pub fn memory_bytes(&self) -> usize {
        let leaves: usize = self.leaves().map(Leaf::heap_bytes).sum();
        let branches: usize =
            self.root.iter().map(|branch| arc_bytes(size_of_val(&**branch), 8)).sum();
        let pages: usize = self.pages().map(|(_, page)| page.heap_bytes()).sum();
        arc_bytes(size_of_val(&*self.root), 8) + branches + leaves + pages
    }

    pub(super) fn leaves(&self) -> impl Iterator<Item = &Leaf> {
        self.root.iter().flat_map(|branch| branch.iter())
    }
}

impl std::fmt::Debug for Plane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plane").field("len", &self.len).finish_non_exhaustive()
    }
}
