//! The directory: from the keyed fingerprint of a text address to its ordinal.
//!
//! It is a hash table in `SEGMENTS` segments of cache-line buckets (`directory_bucket`), chosen
//! by the fingerprint. One writer inserts in place; readers resolve whole batches through a
//! [`DirectoryView`] at the same time, without a lock. A segment that is full is replaced by one a
//! quarter larger, and readers who hold the old one go on reading it: they miss only what was
//! inserted since. Growing in 1,024 small steps keeps both the pause and the waste small.
//!
//! Removing builds a new segment too, so a view never loses an entry that it had (A11): were an
//! erased contact to vanish under a batch that reads an older view, an `opt_out` plane would take
//! the stranger for permitted.

#![allow(
    clippy::indexing_slicing,
    reason = "hot path: a segment number has SEGMENT_BITS bits, a home lies below the length"
)]

use std::sync::Arc;

use super::column::ColumnId;
use super::directory_bucket::{Bucket, ENTRIES, Key};
use super::prefetch::prefetch;

/// Returned for a fingerprint that has no ordinal. No ordinal is as large, so no plane of ordinals
/// has it as a member; a plane of callers' own integers may.
pub const NONE: u64 = u64::MAX;

/// The largest ordinal; one less than fits in 32 bits, as a filled entry is told by `ordinal + 1`.
pub const MAX_ORDINAL: u32 = u32::MAX - 1;

const SEGMENT_BITS: u32 = 10;
const SEGMENTS: usize = 1 << SEGMENT_BITS;

/// Buckets that a key may stand in: its home and those after it. If they are all full there is a
/// second home with as many, so that one long cluster, of which a large segment always has some,
/// does not make the whole segment grow early. A look-up visits no more than twice as many
/// buckets, even if keys are aimed at one place (F19).
const WINDOW: usize = 8;

/// Fingerprints resolved together, so that their cache misses overlap.
const GROUP: usize = 32;

/// Fingerprints in one cache line.
const FINGERPRINTS_PER_LINE: usize = 4;

/// A table of its home buckets, and `WINDOW - 1` more at the end for what overflows.
type Segment = Arc<[Bucket]>;

/// Why an insert was refused. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectoryError {
    /// The fingerprint has this ordinal already.
    Taken(u32),
    /// The ordinal exceeds [`MAX_ORDINAL`].
    Ordinal(u32),
    /// More keys share one bucket than a look-up may visit, in a segment that is otherwise empty.
    /// With a secret fingerprint that does not happen by chance.
    Crowded,
}

impl std::fmt::Display for DirectoryError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DirectoryError::Taken(ordinal) => write!(f, "fingerprint has ordinal {ordinal}"),
            DirectoryError::Ordinal(ordinal) => {
                write!(f, "ordinal {ordinal} exceeds {MAX_ORDINAL}")
            }
            DirectoryError::Crowded => f.write_str("too many fingerprints in one place"),
        }
    }
}

impl std::error::Error for DirectoryError {}

/// The writer's side: the one owner that inserts and removes (A4).
pub struct Directory {
    segments: Arc<[Segment]>,
    /// Filled entries of each segment.
    filled: Box<[u32]>,
    len: u64,
}

impl Default for Directory {
    fn default() -> Directory {
        Directory::new()
    }
}

impl Directory {
    /// A directory without entries.
    pub fn new() -> Directory {
        let segments = (0..SEGMENTS).map(|_| vacant(1)).collect();
        Directory { segments, filled: vec![0; SEGMENTS].into(), len: 0 }
    }

    /// Number of entries.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Heap bytes of the directory, without older segments that views still hold.
    pub fn memory_bytes(&self) -> usize {
        let buckets: usize = self.segments.iter().map(|segment| 64 + size_of_val(&**segment)).sum();
        buckets + size_of_val(&*self.segments) + size_of_val(&*self.filled)
    }

    /// The ordinal of `fingerprint`, if it has one.
    pub fn get(&self, fingerprint: u128) -> Option<u32> {
        let (segment, key) = place(fingerprint);
        find(&self.segments[segment], key)
    }

    /// The readers' side, as of now: it keeps every entry that it has, and may or may not show
    /// what is inserted later. A view published with it sees whatever was inserted before.
    pub fn handle(&self) -> DirectoryView {
        DirectoryView { segments: Arc::clone(&self.segments) }
    }

    /// Gives `fingerprint` its ordinal. Views that share the segment see it at once; those that
    /// must see it take a new [`Directory::handle`].
    ///
    /// # Errors
    /// [`DirectoryError`]; the directory is unchanged.
    pub fn insert(&mut self, fingerprint: u128, ordinal: u32) -> Result<(), DirectoryError> {
        let (at, key) = place(fingerprint);
        self.insert_at(at, key, ordinal)
    }

    /// Gives many fingerprints their ordinals, as [`Directory::insert`] would, and many times
    /// faster: segment by segment, so that each is in the cache meanwhile, and grown once.
    ///
    /// # Errors
    /// [`DirectoryError`] of the first that is refused; some of the others are inserted.
    pub fn insert_all(&mut self, entries: &[(u128, u32)]) -> Result<(), DirectoryError> {
        let mut by_segment = vec![Vec::new(); SEGMENTS];
        for &(fingerprint, ordinal) in entries {
            let (at, key) = place(fingerprint);
            by_segment[at].push((key, ordinal));
        }
        for (at, entries) in by_segment.into_iter().enumerate() {
            let old = &self.segments[at];
            let filled = self.filled[at] as usize + entries.len();
            if is_full(filled, homes(old)) {
                let room = roomier((4 * filled).div_ceil(3 * ENTRIES));
                let grown = build(room, old.iter().flat_map(Bucket::entries))?;
                Arc::make_mut(&mut self.segments)[at] = grown;
            }
            for (key, ordinal) in entries {
                self.insert_at(at, key, ordinal)?;
            }
        }
        Ok(())
    }

    fn insert_at(&mut self, at: usize, key: Key, ordinal: u32) -> Result<(), DirectoryError> {
        if ordinal > MAX_ORDINAL {
            return Err(DirectoryError::Ordinal(ordinal));
        }
        if let Some(ordinal) = find(&self.segments[at], key) {
            return Err(DirectoryError::Taken(ordinal));
        }
        let segment = &self.segments[at];
        let full = is_full(self.filled[at] as usize + 1, homes(segment));
        if full || !fill(segment, key, ordinal) {
            let entries = segment.iter().flat_map(Bucket::entries).chain([(key, ordinal)]);
            let grown = build(roomier(homes(segment)), entries)?;
            Arc::make_mut(&mut self.segments)[at] = grown;
        }
        self.filled[at] += 1;
        self.len += 1;
        Ok(())
    }

    /// Forgets these fingerprints; returns how many were known. Views taken before keep them.
    ///
    /// Each segment concerned, a thousandth of the directory, is copied once for the whole call.
    ///
    /// # Errors
    /// [`DirectoryError::Crowded`] as for an insert, since entries are placed anew; the directory
    /// is unchanged.
    pub fn remove(&mut self, fingerprints: &[u128]) -> Result<u64, DirectoryError> {
        let mut doomed: Vec<(usize, Key)> = fingerprints.iter().map(|&f| place(f)).collect();
        doomed.sort_unstable();
        let mut replaced = Vec::new();
        for group in doomed.chunk_by(|a, b| a.0 == b.0) {
            let at = group[0].0;
            let kept = |entry: &(Key, u32)| group.binary_search(&(at, entry.0)).is_err();
            let old = &self.segments[at];
            let entries = old.iter().flat_map(Bucket::entries).filter(kept);
            let filled = entries.clone().count() as u32;
            if filled < self.filled[at] {
                replaced.push((at, filled, build(homes(old), entries)?));
            }
        }
        let before = self.len;
        for (at, filled, segment) in replaced {
            self.len -= u64::from(self.filled[at] - filled);
            self.filled[at] = filled;
            Arc::make_mut(&mut self.segments)[at] = segment;
        }
        Ok(before - self.len)
    }
}

/// The readers' side of a [`Directory`]: cheap to clone, shared between threads, never blocked.
#[derive(Clone)]
pub struct DirectoryView {
    segments: Arc<[Segment]>,
}

impl DirectoryView {
    /// Writes the ordinal of `fingerprints[i]`, or [`NONE`], to `out[i]`.
    ///
    /// # Panics
    /// If `out` and `fingerprints` differ in length.
    pub fn resolve(&self, fingerprints: &[u128], out: &mut [impl ColumnId]) {
        assert_eq!(out.len(), fingerprints.len(), "one ordinal for each fingerprint");
        for (group, out) in fingerprints.chunks(GROUP).zip(out.chunks_mut(GROUP)) {
            // The fingerprints come in bursts, which the CPU's own prefetcher does not follow.
            for next in (GROUP..2 * GROUP).step_by(FINGERPRINTS_PER_LINE) {
                prefetch(group.as_ptr().wrapping_add(next));
            }
            let mut homes: [&[Bucket]; GROUP] = [&[]; GROUP];
            for (home, &fingerprint) in homes.iter_mut().zip(group) {
                let (at, key) = place(fingerprint);
                let [window, _] = windows(&self.segments[at], key);
                prefetch(window.as_ptr());
                *home = window;
            }
            // Whether a key must be sought beyond its home bucket is hard to predict: those are
            // set aside, so that the CPU guesses wrong once a group and not once a key.
            let mut astray = 0_u64;
            for (at, &fingerprint) in group.iter().enumerate() {
                let (_, key) = place(fingerprint);
                let (ordinal, settled) = homes[at][0].find(key);
                prefetch(&homes[at][usize::from(!settled)]);
                out[at] = ColumnId::of(ordinal.map_or(NONE, u64::from));
                astray |= u64::from(!settled) << at;
            }
            while astray != 0 {
                let at = astray.trailing_zeros() as usize;
                let (segment, key) = place(group[at]);
                let ordinal = find(&self.segments[segment], key);
                out[at] = ColumnId::of(ordinal.map_or(NONE, u64::from));
                astray &= astray - 1;
            }
        }
    }
}

/// The segment and the key of a fingerprint: its highest bits and its lowest 96.
#[inline(always)]
fn place(fingerprint: u128) -> (usize, Key) {
    let segment = (fingerprint >> (128 - SEGMENT_BITS)) as usize;
    (segment, Key { low: fingerprint as u64, high: (fingerprint >> 64) as u32 })
}

/// Buckets of a segment that are home to keys.
#[inline(always)]
fn homes(segment: &[Bucket]) -> usize {
    segment.len() - (WINDOW - 1)
}

/// The buckets in which `key` may stand, those of its first home before those of its second. Each
/// home is the share of all homes that the two parts of the key are of their kind.
#[inline(always)]
fn windows(segment: &[Bucket], key: Key) -> [&[Bucket]; 2] {
    [key.low, u64::from(key.high) << 32].map(|share| {
        let home = ((u128::from(share) * homes(segment) as u128) >> 64) as usize;
        &segment[home..home + WINDOW]
    })
}

fn find(segment: &[Bucket], key: Key) -> Option<u32> {
    let mut answers = windows(segment, key).into_iter().flatten().map(|bucket| bucket.find(key));
    answers.find_map(|(ordinal, settled)| settled.then_some(ordinal)).flatten()
}

fn fill(segment: &[Bucket], key: Key, ordinal: u32) -> bool {
    windows(segment, key).into_iter().flatten().any(|bucket| bucket.fill(key, ordinal))
}

fn vacant(homes: usize) -> Segment {
    (0..homes + WINDOW - 1).map(|_| Bucket::default()).collect()
}

/// A segment with these entries: of `size` homes, or as many more as it takes.
fn build(
    mut size: usize,
    entries: impl Iterator<Item = (Key, u32)> + Clone,
) -> Result<Segment, DirectoryError> {
    let filled = entries.clone().count();
    loop {
        let segment = vacant(size);
        if entries.clone().all(|(key, ordinal)| fill(&segment, key, ordinal)) {
            return Ok(segment);
        }
        // Below a sixteenth full, crowding is aimed and more room would not end it. A segment of a
        // few buckets is let grow: it is cheap, and its windows overlap.
        if size >= 16 && size * ENTRIES > 16 * filled {
            return Err(DirectoryError::Crowded);
        }
        size = roomier(size);
    }
}

/// Whether so many entries are too many for so many homes. At most three quarters full leaves most
/// keys in their home bucket; a quarter more room then makes it 0.6, or 27 bytes an entry at worst
/// (P13).
fn is_full(filled: usize, homes: usize) -> bool {
    4 * filled > 3 * ENTRIES * homes
}

/// A quarter more.
fn roomier(size: usize) -> usize {
    size + size.div_ceil(4)
}
