//! Making one plane from another: changes applied page by page, on copies of what is shared.

use std::sync::Arc;

use super::page::Page;
use super::page_edit::Scratch;
use super::plane::Plane;
use super::plane_buckets::Memory;
use super::plane_leaf::{
    Branch, LEAF_MAX, Leaf, MANY_LEAVES, Root, SMALL_LEAF_MAX, hash, leaf_max, step,
};
use super::prefetch::prefetch;

/// Changes sorted and applied together. More would find more changes per leaf, where pages hold
/// few members, but the buffers (32 bytes a change) should stay small beside the plane.
const CHUNK: usize = 1 << 20;

/// Leaves from which a branch makes the root longer, unless the root is as long already: a commit
/// copies the root and one branch, so both should be of the same length.
const BRANCH_MIN: usize = 32;

/// Leaves from which on a plane's are in huge pages: ten megabytes, which is about what a CPU's table
/// of addresses holds in pages of 4 KiB. Tests go from one kind to the other with small planes.
const LARGE: usize = if cfg!(test) { 8 } else { 2_048 };

/// How many pages ahead a bulk change asks for what it will need.
const AHEAD: usize = 16;

/// New pages per leaf from which a branch is split before they come.
const MANY: usize = 16;

impl Plane {
    /// The plane after `changes`: (contact ID, true to insert or false to remove), by ascending
    /// unique ID. Inserting a member and removing a stranger change nothing.
    ///
    /// It copies the pages that change and the path to them; all else is shared with `self`.
    pub fn with_changes(&self, changes: impl Iterator<Item = (u64, bool)>) -> Plane {
        let mut editor = Editor::of(self);
        let mut changes = changes.peekable();
        let mut chunk = Vec::new();
        while changes.peek().is_some() {
            chunk.clear();
            chunk.extend(changes.by_ref().take(CHUNK));
            editor.apply(&chunk);
        }
        editor.finish()
    }

    /// The plane with other pages in the parts of its table that hold these places: those given,
    /// which must belong there. All other parts stay as they are, sums included.
    #[must_use]
    pub fn with_parts(&self, parts: impl IntoIterator<Item = (u64, Vec<Page>)>) -> Plane {
        let mut root = Arc::clone(&self.root);
        for (at, pages) in parts {
            let Some((leaf, _, path)) = leaf_mut(&mut root, self.seed, at) else { continue };
            leaf.leak();
            *leaf = Leaf::with_room(pages.len(), leaf.memory());
            for page in pages {
                leaf.add_to_sum(page.sum());
                leaf.insert(page, |page| path.fraction(page));
            }
        }
        let plane = Plane { root, seed: self.seed, len: 0 };
        let len = plane.pages().map(|(_, page)| page.len() as u64).sum();
        if len == 0 { Plane::empty() } else { Plane { len, ..plane } }
    }

    /// The plane of `pages`, by ascending unique page index: for loading what was stored.
    pub fn from_pages(pages: impl Iterator<Item = Page>) -> Plane {
        let mut editor = Editor::of(&Plane::empty());
        let mut pages = pages.peekable();
        let mut chunk: Vec<(u64, Page)> = Vec::new();
        while pages.peek().is_some() {
            let seed = editor.seed;
            chunk.extend(pages.by_ref().take(CHUNK).map(|page| (hash(page.index(), seed), page)));
            chunk.sort_unstable_by_key(|&(hash, _)| hash);
            editor.reserve(&chunk, |(hash, page)| (*hash, page.index()));
            for (hash, page) in chunk.drain(..) {
                editor.len = editor.len.wrapping_add(page.len() as u64);
                let sum = page.sum();
                editor.add(hash, page, sum);
            }
        }
        editor.finish()
    }
}

/// A plane in the making.
struct Editor {
    root: Root,
    seed: u64,
    len: u64,
    scratch: Scratch,
    /// Reused by `apply`: the hash of a page index, and which changes concern that page.
    groups: Vec<(u64, u32, u32)>,
}

impl Editor {
    fn of(plane: &Plane) -> Editor {
        Editor {
            root: Arc::clone(&plane.root),
            seed: plane.seed,
            len: plane.len,
            scratch: Scratch::default(),
            groups: Vec::new(),
        }
    }

    fn finish(self) -> Plane {
        if self.len == 0 {
            return Plane::empty();
        }
        Plane { root: self.root, seed: self.seed, len: self.len }
    }

    /// Applies up to [`CHUNK`] changes, in the order of the table, so that each leaf is visited
    /// once while it is in the cache.
    fn apply(&mut self, changes: &[(u64, bool)]) {
        let mut groups = std::mem::take(&mut self.groups);
        groups.clear();
        let mut start = 0;
        for group in changes.chunk_by(|a, b| a.0 >> 16 == b.0 >> 16) {
            let end = start + group.len() as u32;
            if let Some((id, _)) = group.first() {
                groups.push((hash(id >> 16, self.seed), start, end));
            }
            start = end;
        }
        groups.sort_unstable_by_key(|group| group.0);
        let index = |start: u32| changes.get(start as usize).map_or(0, |(id, _)| id >> 16);
        self.reserve(&groups, |&(hash, start, _)| (hash, index(start)));
        for (at, &(hash, start, end)) in groups.iter().enumerate() {
            // In the order of the table the changes themselves lie anywhere in the chunk.
            if let Some(&(_, start, _)) = groups.get(at + AHEAD) {
                prefetch(changes.as_ptr().wrapping_add(start as usize));
            }
            if let Some(group) = changes.get(start as usize..end as usize) {
                self.edit(hash, group);
            }
        }
        self.groups = groups;
    }

    /// Splits branches in which many new pages are coming, given by their hashes and indices in the
    /// order of the hashes: filled one after the other, the first leaves would be full while the
    /// rest are still empty, and nothing could tell that from a hash gone wrong (see
    /// [`Editor::add`]).
    fn reserve<T>(&mut self, coming: &[T], place: impl Fn(&T) -> (u64, u64)) {
        let parts = self.root.len();
        let part = |page: &T| step(place(page).0, parts).0;
        for group in coming.chunk_by(|a, b| part(a) == part(b)) {
            let Some(at) = group.first().map(part) else { return };
            let Some(branch) = self.root.get(at) else { return };
            if group.len() <= MANY * branch.len() {
                continue;
            }
            // Which are there already is looked up only where it makes a difference.
            let held = held(branch);
            if leaves_for(held + group.len(), parts) > branch.len() {
                let is_new = |page: &&T| {
                    let (hash, index) = place(page);
                    let (at, fraction) = step(step(hash, parts).1, branch.len());
                    branch.get(at).is_none_or(|leaf| leaf.find(fraction, index).is_none())
                };
                let leaves = leaves_for(held + group.iter().filter(is_new).count(), parts);
                if leaves > branch.len() {
                    self.split(at, leaves);
                }
            }
        }
        self.lengthen();
    }

    /// Applies changes that all concern the page of the first.
    fn edit(&mut self, hash: u64, changes: &[(u64, bool)]) {
        let Some(index) = changes.first().map(|(id, _)| id >> 16) else { return };
        let Some((leaf, fraction, path)) = leaf_mut(&mut self.root, self.seed, hash) else {
            return;
        };
        let edited = if let Some(position) = leaf.position(fraction, index) {
            let page = leaf.page_mut(position);
            let edited = page.edit(index, changes, &mut self.scratch);
            if page.is_free() {
                leaf.remove(position, |page| path.fraction(page));
            }
            leaf.add_to_sum(edited.sum);
            edited
        } else {
            let mut page = Page::FREE;
            let edited = page.edit(index, changes, &mut self.scratch);
            if !page.is_free() {
                self.add(hash, page, edited.sum);
            }
            edited
        };
        self.len = self.len.wrapping_add_signed(edited.grown);
    }

    /// Adds a page that is not there yet, whose members have this sum, and splits its branch if its leaf is crowded, unless the
    /// branch is nearly empty: more leaves would not help one leaf that is crowded among empty
    /// ones.
    fn add(&mut self, hash: u64, page: Page, sum: u64) {
        let Some((leaf, _, path)) = leaf_mut(&mut self.root, self.seed, hash) else { return };
        leaf.insert(page, |page| path.fraction(page));
        leaf.add_to_sum(sum);
        let leaves = path.parts * path.leaves;
        if leaf.is_crowded(leaves) {
            let (at, _) = step(hash, self.root.len());
            let Some(branch) = self.root.get(at) else { return };
            if held(branch) > branch.len() * leaf_max(leaves) / 2 {
                self.split(at, 2 * branch.len());
                self.lengthen();
            }
        }
    }

    /// Gives the branch at `at` more leaves, as many as a power of two.
    fn split(&mut self, at: usize, leaves: usize) {
        let path = Path { seed: self.seed, parts: self.root.len(), leaves };
        let Some(branch) = Arc::make_mut(&mut self.root).get_mut(at) else { return };
        let room = held(branch) / leaves * 5 / 4;
        // The other branches are about as long.
        let large = path.parts * leaves >= LARGE;
        let memory = if large { Memory::Huge } else { Memory::Ordinary };
        let mut split: Vec<Leaf> = (0..leaves).map(|_| Leaf::with_room(room, memory)).collect();
        let mut unaccounted = branch.iter().fold(0, |sum: u64, leaf| sum.wrapping_add(leaf.sum()));
        for page in Arc::make_mut(branch).iter_mut().flat_map(Leaf::drain) {
            let sum = page.sum();
            unaccounted = unaccounted.wrapping_sub(sum);
            if let Some(leaf) = split.get_mut(path.leaf(&page).0) {
                leaf.insert(page, |page| path.fraction(page));
                leaf.add_to_sum(sum);
            }
        }
        // Sums made of damaged pages would vouch for the damage: it must stay visible, in whichever
        // leaf the pages are now. Where all is well this is 0.
        split.iter_mut().for_each(|leaf| leaf.add_to_sum(unaccounted));
        *branch = split.into();
    }

    /// Doubles the root, as long as branches are longer than it, by halving each. Lengths are powers of two, so that no page moves:
    /// the first half of a branch's leaves is what the first half of its hashes leads to.
    fn lengthen(&mut self) {
        let longest = |root: &Root| root.iter().map(|branch| branch.len()).max().unwrap_or(0);
        while longest(&self.root) > BRANCH_MIN.max(self.root.len())
            && self.root.iter().all(|branch| branch.len() > 1)
        {
            let halves = self.root.iter().flat_map(|branch| {
                let (low, high) = branch.split_at(branch.len() / 2);
                [Branch::from(low), Branch::from(high)]
            });
            self.root = halves.collect();
        }
    }
}

/// The leaves that a branch of so many pages should have, one of so many parts: three quarters
/// full at most.
fn leaves_for(pages: usize, parts: usize) -> usize {
    let of = |most: usize| pages.div_ceil(most * 3 / 4).next_power_of_two();
    of(LEAF_MAX).max(of(SMALL_LEAF_MAX).min(MANY_LEAVES / parts))
}

/// The pages of a branch.
fn held(branch: &[Leaf]) -> usize {
    branch.iter().map(Leaf::len).sum()
}

/// What leads from a page index to its place: the seed, and the lengths of the levels there.
#[derive(Clone, Copy)]
struct Path {
    seed: u64,
    parts: usize,
    leaves: usize,
}

impl Path {
    /// The leaf of its branch, and the fraction within that leaf.
    fn leaf(&self, page: &Page) -> (usize, u64) {
        step(step(hash(page.index(), self.seed), self.parts).1, self.leaves)
    }

    fn fraction(&self, page: &Page) -> u64 {
        self.leaf(page).1
    }
}

/// The leaf that `hash` leads to, the fraction within it, and the path of all pages there. What is
/// shared on the way is copied.
fn leaf_mut(root: &mut Root, seed: u64, hash: u64) -> Option<(&mut Leaf, u64, Path)> {
    let parts = root.len();
    let (at, rest) = step(hash, parts);
    let branch = Arc::make_mut(root).get_mut(at)?;
    let leaves = branch.len();
    let (at, fraction) = step(rest, leaves);
    if Arc::strong_count(branch) > 1 {
        branch.iter().for_each(Leaf::prefetch_counter);
    }
    let leaf = Arc::make_mut(branch).get_mut(at)?;
    Some((leaf, fraction, Path { seed, parts, leaves }))
}
