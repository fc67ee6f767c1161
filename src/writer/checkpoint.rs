//! Checkpoints: the pages that changed, written so that a start is quick.

use std::collections::HashMap;

use super::{books::Books, edits::DirtyPages, outcome::WriteError};
use crate::{
    domain::{contact::ContactKind, plane::PlaneId, secret::Fingerprint},
    engine::page::Page,
    store::{Batch, Checkpoint, DIRECTORY_BLOCK, DirectorySum, PlaneSum, page_hash},
};

/// What the checkpoint on disk holds, as far as the next one must know.
#[derive(Default)]
pub struct Pages {
    /// The revision of the checkpoint.
    pub revision: u64,
    /// The hash of every page, by plane and page index.
    pub hashes: HashMap<PlaneId, HashMap<u64, u128>>,
    /// The directories' blocks.
    pub email: Blocks,
    /// Of external IDs.
    pub external_id: Blocks,
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

impl Pages {
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

    /// Count and sum of each plane's pages.
    pub fn sums(&self) -> Vec<(PlaneId, PlaneSum)> {
        let sum = |pages: &HashMap<u64, u128>| {
            let mut sum = PlaneSum::default();
            pages.values().for_each(|hash| sum.add(*hash));
            sum
        };
        self.hashes
            .iter()
            .filter(|(_, pages)| !pages.is_empty())
            .map(|(plane, pages)| (*plane, sum(pages)))
            .collect()
    }
}

impl Books {
    /// Writes every page that changed, with the sums of all, in one commit.
    ///
    /// # Errors
    /// The disk failed (A10).
    pub(super) fn checkpoint(&mut self) -> Result<u64, WriteError> {
        let store = std::sync::Arc::clone(&self.store);
        let mut batch = Batch::new(&store);
        self.put_checkpoint(&mut batch)?;
        batch.commit()?;
        self.pages.revision = self.tip.revision;
        Ok(self.tip.revision)
    }

    /// Puts a checkpoint of the books as they are into a commit.
    pub(super) fn put_checkpoint(&mut self, batch: &mut Batch<'_>) -> Result<(), WriteError> {
        let dirty = std::mem::take(&mut self.dirty);
        self.write_pages(batch, &dirty)?;
        let mut directories = Vec::new();
        for kind in [ContactKind::Email, ContactKind::ExternalId] {
            let next = match kind {
                ContactKind::Email => self.tip.next_email,
                _ => self.tip.next_external_id,
            };
            let sum = write_blocks(batch, kind, self.pages.blocks(kind), next)?;
            directories.push((kind, sum));
        }
        batch.checkpoint(&Checkpoint {
            revision: self.tip.revision,
            chain: self.tip.chain,
            consents_until: self.view.now.consents,
            suppressions_until: self.view.now.suppressions,
            policy_revision: self.view.policy_revision,
            planes: self.pages.sums(),
            directories,
        })?;
        Ok(())
    }

    fn write_pages(&mut self, batch: &mut Batch<'_>, dirty: &DirtyPages) -> Result<(), WriteError> {
        let policy = &self.view.policy;
        for (name, pages) in &dirty.0 {
            let plane = policy
                .position(&name.scope)
                .and_then(|position| self.view.planes.of(position, name.kind))
                .and_then(|planes| planes.plane(name.role));
            let hashes = self.pages.hashes.entry(*name).or_default();
            for index in pages {
                let bytes = plane.and_then(|plane| plane.page(index)).map(Page::to_bytes);
                batch.page(name, index, bytes.as_deref())?;
                match bytes {
                    Some(bytes) => hashes.insert(index, page_hash(name, index, &bytes)),
                    None => hashes.remove(&index),
                };
            }
        }
        Ok(())
    }
}

fn write_blocks(
    batch: &mut Batch<'_>,
    kind: ContactKind,
    blocks: &mut Blocks,
    next: u64,
) -> Result<DirectorySum, WriteError> {
    let start = blocks.sum.ordinals / DIRECTORY_BLOCK;
    if let Some(replaced) = blocks.open.take() {
        blocks.sum.blocks.remove(replaced);
    }
    for (block, fingerprints) in (start..).zip(blocks.tail.chunks(DIRECTORY_BLOCK as usize)) {
        let hash = batch.directory_block(kind, block, fingerprints)?;
        blocks.sum.blocks.add(hash);
        if (fingerprints.len() as u64) < DIRECTORY_BLOCK {
            blocks.open = Some(hash);
        }
    }
    blocks.sum.ordinals = next;
    let full = blocks.tail.len() - blocks.tail.len() % DIRECTORY_BLOCK as usize;
    blocks.tail.drain(..full);
    Ok(blocks.sum)
}
