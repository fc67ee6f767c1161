//! Checkpoints: the pages that changed, written so that a start is quick.
//!
//! A checkpoint is written in slices between other work, so that nobody waits
//! for all of it. Each slice is one commit of pages together with the sums of
//! what is then on disk, so that a missing, extra or changed page is always
//! noticed (A9). Until the last slice the checkpoint keeps its old revision:
//! a start replays the events from there, and decides anew on every contact
//! that they touch, whether its pages are old already or new.

use std::{
    collections::{HashMap, VecDeque},
    iter::Peekable,
    vec,
};

use roaring::RoaringTreemap;

use super::{books::Books, outcome::WriteError, repair::Damage};
use crate::{
    domain::{contact::ContactKind, plane::PlaneId, secret::Fingerprint, time::Now},
    engine::page::Page,
    store::{
        Batch, ChainHash, Checkpoint, DIRECTORY_BLOCK, DirectorySum, PLANE_LAYOUT, PlaneSum,
        page_hash,
    },
};

/// Bytes of a slice: a few milliseconds of work.
pub(super) const SLICE_BYTES: usize = 1 << 20;
/// What a page costs beside its bytes, in bytes: many pages hold one contact.
const PAGE_COST: usize = 512;
/// Bytes of a block of a directory.
const BLOCK_BYTES: usize = DIRECTORY_BLOCK as usize * size_of::<Fingerprint>();

/// What the checkpoint on disk holds, as far as the next one must know.
#[derive(Default)]
pub struct Pages {
    /// The checkpoint, but for the sums.
    pub saved: Saved,
    /// The pages by plane.
    pub planes: HashMap<PlaneId, PlanePages>,
    /// The directories' blocks.
    pub email: Blocks,
    /// Of external IDs.
    pub external_id: Blocks,
    /// The next checkpoint, while it is being written.
    pass: Option<Pass>,
    /// What the last slice found damaged, to be rebuilt before the next one.
    damaged: Option<Damage>,
}

/// What a checkpoint stands for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Saved {
    /// The revision of the ledger.
    pub revision: u64,
    /// The chain up to it.
    pub chain: ChainHash,
    /// The time up to which ends are in its pages; for suppressions the
    /// earliest clock that any of them was decided by.
    pub now: Now,
    /// The latest clock that any of its pages was decided by.
    pub clock_until: i64,
    /// The revision of the policy.
    pub policy_revision: u64,
    /// The layout of the planes.
    pub layout: u32,
}

/// The pages of a plane on disk.
#[derive(Default)]
pub struct PlanePages {
    hashes: HashMap<u64, u128>,
    sum: PlaneSum,
}

/// The blocks of one directory: those on disk, and what comes after.
#[derive(Default)]
pub struct Blocks {
    /// Count and sum of the blocks on disk, and the ordinals that they cover.
    pub sum: DirectorySum,
    /// The hash of the last block on disk while it is not full: the next
    /// checkpoint replaces it.
    pub open: Option<u128>,
    /// The fingerprints from the start of that block on.
    pub tail: Vec<Fingerprint>,
}

/// A checkpoint being written.
struct Pass {
    /// What it stands for once it is whole.
    target: Saved,
    /// The pages still to be written, in the order of their plane's table: those
    /// of one part are checked together.
    pages: VecDeque<(PlaneId, Peekable<vec::IntoIter<u64>>)>,
}

impl Saved {
    /// Whether its planes are those that this version makes under the policy of
    /// a revision; if not, none of them is of use.
    #[must_use]
    pub fn is_of(&self, policy_revision: u64) -> bool {
        (self.policy_revision, self.layout) == (policy_revision, PLANE_LAYOUT)
    }

    /// Notes a clock that pages were decided by: it may have been set on or
    /// back since the others were. A start decides anew on all that ends
    /// between the earliest, the latest, and its own.
    fn note_clock(&mut self, clock: i64) {
        self.now.suppressions = self.now.suppressions.min(clock);
        self.clock_until = self.clock_until.max(clock);
    }
}

impl PlanePages {
    /// Notes a page on disk and its hash, in place of what was there.
    pub fn put(&mut self, index: u64, hash: Option<u128>) {
        let replaced = match hash {
            Some(hash) => {
                self.sum.add(hash);
                self.hashes.insert(index, hash)
            }
            None => self.hashes.remove(&index),
        };
        if let Some(replaced) = replaced {
            self.sum.remove(replaced);
        }
    }

    /// Count and sum of the pages.
    #[must_use]
    pub fn sum(&self) -> PlaneSum {
        self.sum
    }

    /// The pages on disk with their hashes, in no particular order.
    pub fn hashes(&self) -> impl Iterator<Item = (u64, u128)> {
        self.hashes.iter().map(|(index, hash)| (*index, *hash))
    }

    /// The page indices, in no particular order.
    pub fn indices(&self) -> impl Iterator<Item = u64> {
        self.hashes.keys().copied()
    }
}

impl Pages {
    /// What is on disk at a checkpoint, before its pages and blocks are counted.
    #[must_use]
    pub fn of(saved: Saved) -> Self {
        Self { saved, ..Self::default() }
    }

    /// Notes an address that was registered.
    pub fn register(&mut self, kind: ContactKind, fingerprint: Fingerprint) {
        self.blocks(kind).tail.push(fingerprint);
    }

    /// The blocks of a kind that has a directory.
    pub fn blocks(&mut self, kind: ContactKind) -> &mut Blocks {
        match kind {
            ContactKind::Email => &mut self.email,
            _ => &mut self.external_id,
        }
    }

    /// Whether a checkpoint is being written.
    pub(super) fn is_being_written(&self) -> bool {
        self.pass.is_some()
    }

    fn sums(&self) -> Vec<(PlaneId, PlaneSum)> {
        let sums = self.planes.iter().map(|(plane, pages)| (*plane, pages.sum));
        sums.filter(|(_, sum)| sum.pages != 0).collect()
    }
}

impl Blocks {
    /// Puts blocks into a commit: the full ones, but no more than so many, and
    /// with `all` the one that is not full too.
    fn write(
        &mut self,
        batch: &mut Batch<'_>,
        kind: ContactKind,
        full: usize,
        all: bool,
    ) -> Result<usize, WriteError> {
        let length = DIRECTORY_BLOCK as usize;
        let count =
            if all { self.tail.len() } else { (self.tail.len() / length).min(full) * length };
        if count == 0 {
            return Ok(0);
        }
        if let Some(replaced) = self.open.take() {
            self.sum.blocks.remove(replaced);
        }
        let start = self.sum.ordinals / DIRECTORY_BLOCK;
        let written = self.tail.get(..count).unwrap_or_default();
        for (block, fingerprints) in (start..).zip(written.chunks(length)) {
            let hash = batch.directory_block(kind, block, fingerprints)?;
            self.sum.blocks.add(hash);
            self.open = (fingerprints.len() < length).then_some(hash);
        }
        self.sum.ordinals = start * DIRECTORY_BLOCK + count as u64;
        self.tail.drain(..count / length * length);
        Ok(count.div_ceil(length))
    }
}

impl Books {
    /// Writes every page that changed, in slices, the last of them synced.
    ///
    /// # Errors
    /// The disk failed (A10).
    pub(super) fn checkpoint(&mut self) -> Result<u64, WriteError> {
        self.begin_checkpoint();
        while self.pages.is_being_written() {
            self.mend_next()?;
            self.checkpoint_slice(SLICE_BYTES)?;
        }
        Ok(self.pages.saved.revision)
    }

    /// Begins a checkpoint of the books as they are. One that is being written
    /// goes on as a part of it.
    pub(super) fn begin_checkpoint(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        let unwritten = self.pages.pass.take().into_iter().flat_map(|pass| pass.pages);
        for (name, pages) in unwritten {
            dirty.0.entry(name).or_default().extend(pages);
        }
        let target = Saved {
            revision: self.tip.revision,
            chain: self.tip.chain,
            now: self.view.now,
            clock_until: self.view.now.suppressions,
            policy_revision: self.view.policy_revision,
            layout: PLANE_LAYOUT,
        };
        let in_order = |(name, pages): (PlaneId, RoaringTreemap)| {
            let mut pages: Vec<u64> = pages.into_iter().collect();
            if let Some(plane) = self.plane(&name) {
                pages.sort_unstable_by_key(|page| plane.place(*page));
            }
            (name, pages.into_iter().peekable())
        };
        let pages = dirty.0.into_iter().map(in_order).collect();
        self.pages.pass = Some(Pass { target, pages });
    }

    /// Writes the next slice of the checkpoint that was begun. Only the last
    /// one is synced: what a crash takes of the others were pages of a
    /// checkpoint that was not whole.
    ///
    /// # Errors
    /// The disk failed (A10).
    pub(super) fn checkpoint_slice(&mut self, bytes: usize) -> Result<(), WriteError> {
        let store = std::sync::Arc::clone(&self.store);
        let mut batch = Batch::new(&store);
        if self.put_slice(&mut batch, bytes)? {
            batch.commit()?
        } else {
            batch.commit_unsynced()?
        }
        Ok(())
    }

    /// Puts a checkpoint of the books as they are into a commit.
    pub(super) fn put_checkpoint(&mut self, batch: &mut Batch<'_>) -> Result<(), WriteError> {
        self.begin_checkpoint();
        self.put_slice(batch, usize::MAX).map(drop)
    }

    /// Puts a slice into a commit; returns whether it was the last one.
    fn put_slice(&mut self, batch: &mut Batch<'_>, bytes: usize) -> Result<bool, WriteError> {
        let Some(mut pass) = self.pages.pass.take() else { return Ok(true) };
        let mut left = bytes;
        for kind in [ContactKind::Email, ContactKind::ExternalId] {
            let blocks = self.pages.blocks(kind);
            let written = blocks.write(batch, kind, left / BLOCK_BYTES, false)?;
            left = left.saturating_sub(written * BLOCK_BYTES);
        }
        let (mut checked, mut is_damaged) = (None, false);
        while left > 0
            && let Some((name, pages)) = pass.pages.front_mut()
        {
            match pages.peek() {
                Some(index) if !self.is_sound(name, *index, &mut checked) => {
                    // A damaged page must not be written as if it were good. It
                    // is rebuilt before the next slice, from what is on disk then.
                    self.pages.damaged = self.found_damaged(name, *index);
                    is_damaged = true;
                    break;
                }
                Some(index) => {
                    let written = self.write_page(batch, *name, *index)?;
                    left = left.saturating_sub(written + PAGE_COST);
                    pages.next();
                }
                None => drop(pass.pages.pop_front()),
            }
        }
        if is_damaged && bytes == usize::MAX {
            // An erasure and its pages are one commit, and there is no next slice.
            // What is on disk is whole: a start recovers from it (A10).
            tracing::error!("a page in memory is damaged: an erasure cannot be made durable");
            return Err(WriteError::OutcomeUnknown);
        }
        let is_last = left > 0 && !is_damaged;
        pass.target.note_clock(self.view.now.suppressions);
        if is_last {
            for kind in [ContactKind::Email, ContactKind::ExternalId] {
                self.pages.blocks(kind).write(batch, kind, 0, true)?;
            }
            self.pages.saved = pass.target;
        } else {
            // Pages of now lie beside those of the last checkpoint.
            self.pages.saved.note_clock(self.view.now.suppressions);
            self.pages.pass = Some(pass);
        }
        self.put_sums(batch)?;
        Ok(is_last)
    }

    /// Whether the part of a plane that a page stands in is what was put into
    /// it. `checked` is the plane and place that were found so last.
    fn is_sound(&self, name: &PlaneId, page: u64, checked: &mut Option<(PlaneId, u64)>) -> bool {
        let Some(plane) = self.plane(name) else { return true };
        let at = plane.place(page);
        if checked.is_some_and(|(of, there)| of == *name && plane.is_one_part(there, at)) {
            return true;
        }
        *checked = Some((*name, at));
        plane.check(at).is_sound
    }

    /// Puts the area of a damaged page in doubt, until its damage is repaired.
    fn found_damaged(&self, name: &PlaneId, page: u64) -> Option<Damage> {
        let plane = self.plane(name)?;
        self.doubts.raise(name.area);
        Some(Damage::at(*name, plane, plane.place(page)))
    }

    /// Rebuilds what the last slice found damaged, and the part that the next
    /// one begins with if it is.
    ///
    /// # Errors
    /// The ledger is damaged too, or cannot be read.
    pub(super) fn mend_next(&mut self) -> Result<(), WriteError> {
        if let Some(damage) = self.pages.damaged.take() {
            self.repair(damage)?;
        }
        let next = self.pages.pass.as_mut().and_then(|pass| {
            let (name, pages) = pass.pages.front_mut()?;
            Some((*name, *pages.peek()?))
        });
        let Some((name, page)) = next else { return Ok(()) };
        if self.is_sound(&name, page, &mut None) {
            return Ok(());
        }
        let Some(damage) = self.found_damaged(&name, page) else { return Ok(()) };
        self.repair(damage).map(drop)
    }

    fn put_sums(&mut self, batch: &mut Batch<'_>) -> Result<(), WriteError> {
        let Saved { revision, chain, now, clock_until, policy_revision, layout } = self.pages.saved;
        let directories = [ContactKind::Email, ContactKind::ExternalId]
            .map(|kind| (kind, self.pages.blocks(kind).sum));
        batch.checkpoint(&Checkpoint {
            revision,
            chain,
            consents_until: now.consents,
            suppressions_until: now.suppressions,
            clock_until,
            policy_revision,
            layout,
            planes: self.pages.sums(),
            directories: directories.to_vec(),
        })?;
        Ok(())
    }

    /// Puts a page into a commit as the view shows it now; returns its bytes.
    fn write_page(
        &mut self,
        batch: &mut Batch<'_>,
        name: PlaneId,
        index: u64,
    ) -> Result<usize, WriteError> {
        let bytes = self.plane(&name).and_then(|plane| plane.page(index)).map(Page::to_bytes);
        batch.page(&name, index, bytes.as_deref())?;
        let hash = bytes.as_ref().map(|bytes| page_hash(&name, index, bytes));
        self.pages.planes.entry(name).or_default().put(index, hash);
        Ok(bytes.map_or(0, |bytes| bytes.len()))
    }
}
