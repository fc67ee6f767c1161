//! From a store to books that can be served: load, verify, catch up (A9).
//!
//! Nothing is served before this has returned. What does not add up is an
//! error, never a guess.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::Arc,
};

use rand::rngs::StdRng;

use crate::{
    clock::Clock,
    domain::{
        contact::{ContactKind, ContactRef},
        plane::PlaneId,
        policy::{Names, Policy, STARTER},
        scope::BrandId,
        secret::Fingerprint,
        time::Now,
    },
    engine::{
        directory::Directory,
        page::Page,
        plane::Plane,
        view::{Directories, Place, Planes, View},
    },
    store::{
        Checkpoint, DIRECTORY_BLOCK, ERASED_FINGERPRINT, Opened, PageRow, PlaneSum, Store,
        StoreError, StoredChange,
    },
    writer::{Blocks, Books, Due, Pages, PolicyProposal, Retention, Saved, derive},
};

/// Addresses registered at once at a start: some 130 MB.
const ADDRESSES_AT_ONCE: usize = 4 << 20;

/// Opens the store in `folder`, makes one if there is none, and brings its
/// books up to the clock.
///
/// # Errors
/// The store is refused; the error says why.
pub fn open(folder: &Path, clock: Clock) -> Result<Books, StoreError> {
    let Opened { store, tip, checkpoint, policy_revision, restored } = Store::open(folder)?;
    let is_new = policy_revision.is_none();
    let (policy, policy_revision) = match policy_revision {
        Some(revision) => (read_policy(&store, revision)?, revision),
        None if tip.revision == 0 => (starter()?, 0),
        None => return Err(StoreError::Refused("its policy is missing".to_owned())),
    };
    let store = Arc::new(store);
    let planes = Planes::empty(policy.scopes().len());
    let (email, external_id) = (Directory::new(), Directory::new());
    let mut erased = HashMap::new();
    for mark in store.all_erased()? {
        let (fingerprint, mark) = mark?;
        erased.insert(fingerprint, mark);
    }
    let checkpoint = checkpoint.unwrap_or_default();
    let saved = what_it_stands_for(&checkpoint);
    let view = View {
        epoch: format!("{:032x}", store.epoch()).into(),
        revision: tip.revision,
        now: saved.now,
        policy: Arc::new(policy),
        policy_revision,
        planes: Arc::new(planes),
        directories: Directories {
            email: email.handle(),
            external_id: external_id.handle(),
            emails: 0,
            external_ids: 0,
            bytes: 0,
        },
        erased: Arc::default(),
        secret: store.secret().clone(),
    };
    let mut books = Books {
        all_brands: store.has_all_brands()?,
        store,
        tip,
        view,
        email,
        external_id,
        erased,
        pages: Pages::of(saved),
        dirty: Default::default(),
        next_end: None,
        due: Due::default(),
        retention: Retention::default(),
        restored,
        doubts: Arc::default(),
        mended: Vec::new(),
        scrubbed: Arc::default(),
        clock,
    };
    load_pages(&mut books, &checkpoint)?;
    load_new_addresses(&mut books)?;
    let touched = replay(&books, &books.pages.saved)?;
    if books.pages.saved.is_of(policy_revision) {
        let mut edits = Default::default();
        books.decide_stored(&touched, books.view.now, &mut edits)?;
        books.recover(edits);
    } else {
        derive_all(&mut books)?;
    }
    books.view.directories = books.directories();
    books.view.erased = books.erased_index();
    books.catch_up()?;
    if is_new {
        let mut salts: StdRng = rand::make_rng();
        let starter = PolicyProposal { text: STARTER.to_owned(), ..PolicyProposal::default() };
        books
            .apply_policy(&starter, &mut salts)
            .map_err(|error| StoreError::Refused(error.to_string()))?;
    }
    Ok(books)
}

fn what_it_stands_for(checkpoint: &Checkpoint) -> Saved {
    Saved {
        revision: checkpoint.revision,
        chain: checkpoint.chain,
        now: Now {
            consents: checkpoint.consents_until,
            suppressions: checkpoint.suppressions_until,
        },
        clock_until: checkpoint.clock_until,
        policy_revision: checkpoint.policy_revision,
        layout: checkpoint.layout,
    }
}

fn starter() -> Result<Policy, StoreError> {
    Policy::read(STARTER, Names::default()).map_err(|error| StoreError::Refused(error.to_string()))
}

fn read_policy(store: &Store, revision: u64) -> Result<Policy, StoreError> {
    let stored = store.policy(revision)?.stored;
    Policy::read(&stored.text, stored.names).map_err(|error| {
        StoreError::Refused(format!("the policy of revision {revision} cannot be read: {error}"))
    })
}

/// Loads planes and directories, and holds them against the sums that were
/// committed with them.
fn load_pages(books: &mut Books, checkpoint: &Checkpoint) -> Result<(), StoreError> {
    let expected: HashMap<PlaneId, PlaneSum> = checkpoint.planes.iter().copied().collect();
    let mut planes = Planes::clone(&books.view.planes);
    let mut pages: Vec<Page> = Vec::new();
    let mut current: Option<PlaneId> = None;
    let mut addresses = Addresses::default();
    let store = Arc::clone(&books.store);
    for row in store.pages()? {
        match row? {
            PageRow::Plane(name, index, bytes, hash) => {
                if current != Some(name) {
                    finish_plane(books, &mut planes, current, &mut pages);
                    current = Some(name);
                }
                let page = Page::from_bytes(index, &bytes).map_err(|error| {
                    StoreError::Refused(format!("a page of a plane is damaged: {error}"))
                })?;
                pages.push(page);
                books.pages.planes.entry(name).or_default().put(index, Some(hash));
            }
            PageRow::Directory(kind, block, fingerprints, hash) => {
                if addresses.kind != Some(kind) || addresses.entries.len() >= ADDRESSES_AT_ONCE {
                    addresses.register(books)?;
                    addresses.kind = Some(kind);
                }
                let first = block.saturating_mul(DIRECTORY_BLOCK);
                addresses.gather(first, &fingerprints);
                note_block(books.pages.blocks(kind), first, &fingerprints, hash);
            }
        }
    }
    addresses.register(books)?;
    finish_plane(books, &mut planes, current, &mut pages);
    books.view.planes = Arc::new(planes);
    let found = books.pages.planes.iter().map(|(name, pages)| (*name, pages.sum())).collect();
    if expected != found {
        return Err(StoreError::Refused(
            "pages of its planes are missing, extra or changed: an absent page could permit"
                .to_owned(),
        ));
    }
    for (kind, sum) in &checkpoint.directories {
        let blocks = books.pages.blocks(*kind);
        if blocks.sum != *sum {
            return Err(StoreError::Refused(
                "blocks of its directory are missing, extra or changed".to_owned(),
            ));
        }
    }
    Ok(())
}

fn finish_plane(books: &Books, planes: &mut Planes, name: Option<PlaneId>, pages: &mut Vec<Page>) {
    let Some(name) = name else { return };
    // The area of a plane that the policy dropped is not served.
    if let Some(place) = Place::of(name.area, &books.view.policy) {
        planes.replace(place, name.kind, name.role, Plane::from_pages(pages.drain(..)));
    }
    pages.clear();
}

/// Addresses from blocks of the directory, registered many at once, which is
/// many times faster.
#[derive(Default)]
struct Addresses {
    kind: Option<ContactKind>,
    entries: Vec<(Fingerprint, u32)>,
}

impl Addresses {
    /// Takes a block, whose first ordinal is `first`.
    fn gather(&mut self, first: u64, fingerprints: &[Fingerprint]) {
        let ordinals = (first..).map(|ordinal| u32::try_from(ordinal).unwrap_or(u32::MAX));
        let block = fingerprints.iter().copied().zip(ordinals);
        // The place of an erased address stays, so that ordinals do not move.
        self.entries.extend(block.filter(|(fingerprint, _)| *fingerprint != ERASED_FINGERPRINT));
    }

    fn register(&mut self, books: &mut Books) -> Result<(), StoreError> {
        let Some(kind) = self.kind else { return Ok(()) };
        books.register_all(kind, &self.entries).map_err(|error| {
            StoreError::Refused(format!("a block of its directory is damaged: {error}"))
        })?;
        self.entries.clear();
        Ok(())
    }
}

fn note_block(blocks: &mut Blocks, first: u64, fingerprints: &[Fingerprint], hash: u128) {
    blocks.sum.ordinals = first + fingerprints.len() as u64;
    blocks.sum.blocks.add(hash);
    if (fingerprints.len() as u64) < DIRECTORY_BLOCK {
        blocks.open = Some(hash);
        blocks.tail.extend(fingerprints);
    }
}

/// Registers the addresses that came after the checkpoint.
fn load_new_addresses(books: &mut Books) -> Result<(), StoreError> {
    for kind in [ContactKind::Email, ContactKind::ExternalId] {
        let mut next = books.pages.blocks(kind).sum.ordinals;
        let store = Arc::clone(&books.store);
        for address in store.addresses_from(kind, next)? {
            let (ordinal, text) = address?;
            if ordinal != next {
                return Err(missing_address(next));
            }
            next += 1;
            if text.is_empty() {
                books.pages.register(kind, ERASED_FINGERPRINT);
                continue;
            }
            let fingerprint = store.secret().fingerprint(text.as_bytes());
            books.register(kind, fingerprint, ordinal).map_err(|error| {
                StoreError::Refused(format!("an address cannot be registered: {error}"))
            })?;
            books.pages.register(kind, fingerprint);
        }
        let expected = match kind {
            ContactKind::Email => books.tip.next_email,
            _ => books.tip.next_external_id,
        };
        if next != expected {
            return Err(missing_address(next));
        }
    }
    Ok(())
}

fn missing_address(ordinal: u64) -> StoreError {
    StoreError::Refused(format!("the address with ordinal {ordinal} is missing"))
}

/// Checks the chain of the events after the checkpoint and returns the contacts
/// that they touch.
fn replay(books: &Books, saved: &Saved) -> Result<Vec<(BrandId, ContactRef)>, StoreError> {
    let mut touched = HashSet::new();
    let mut chain = (saved.revision, saved.chain);
    for event in books.store.events(saved.revision + 1, saved.chain)? {
        let (revision, row) = event?;
        chain = (revision, row.hash(revision));
        if !row.kind.is_change() {
            // An erasure took its pages with it into the checkpoint.
            continue;
        }
        if let Some((_, payload)) = &row.body {
            let stored = StoredChange::decode(payload)?;
            touched.insert((stored.change.brand, stored.contact));
        }
    }
    if chain != (books.tip.revision, books.tip.chain) {
        return Err(StoreError::Refused("its events do not end where its tip says".to_owned()));
    }
    Ok(touched.into_iter().collect())
}

/// Derives every plane anew: the policy changed after the checkpoint, or it was
/// written when planes were laid out otherwise.
fn derive_all(books: &mut Books) -> Result<(), StoreError> {
    let planes = planes_of(books)?;
    let old = Arc::clone(&books.view.planes);
    let policy = Arc::clone(&books.view.policy);
    books.dirty.all(&policy, &old);
    books.dirty.all(&policy, &planes);
    // Pages on disk of scopes that are gone are replaced by nothing.
    for (name, pages) in &books.pages.planes {
        books.dirty.0.entry(*name).or_default().extend(pages.indices());
    }
    books.view.planes = Arc::new(planes);
    Ok(())
}

/// The planes as the states in the ledger make them, at the view's instant.
///
/// # Errors
/// A row cannot be read.
pub fn planes_of(books: &Books) -> Result<Planes, StoreError> {
    derive(
        books.all_states()?,
        &books.view.policy,
        books.view.now,
        |(brand, contact)| books.marks(brand, contact),
        |_, _| {},
    )
}
