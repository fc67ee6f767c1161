//! Asking a plane for a whole batch: the hot loop of the service.
//!
//! A look-up is a chain of dependent cache lines (leaf, bucket, page, sometimes a second line of
//! the page). One ID at a time, the CPU waits for each. Here 64 IDs go through the chain together:
//! every stage touches what the stage before asked for, and asks for what the next one needs, so
//! that the waits overlap. Nothing is allocated and nothing locked (A6).

#![allow(
    clippy::indexing_slicing,
    reason = "hot path: positions count up to the length of a group, or come from `step`"
)]

use super::page::{Form, Page, Words};
use super::page_thin::{self, WINDOW};
use super::plane::Plane;
use super::plane_leaf::{Bucket, Leaf, find_in, hash, step};
use super::prefetch::prefetch;

/// IDs that go through the stages together; also the bits of one word of the answer.
const GROUP: usize = 64;

/// Pages from which on a group is looked up like one without order. Measured for dense and thin
/// pages: with 5 to 30 pages a group in order costs up to twice as much page by page.
const RUN_PAGES: u64 = 6;

/// IDs in one cache line.
const IDS_PER_LINE: usize = 8;

/// Length of the root from which the table of leaves is asked for too: shorter ones have some
/// 100 KB of it, which stay in the cache.
const LONG_ROOT: usize = 64;

/// Stands for a bucket not found yet.
static NO_BUCKET: Bucket = Bucket::FREE;
/// Stands for a page without members.
static NO_PAGE: Page = Page::FREE;
/// Stands for the window of a page that is not thin. It reaches every value, and is not looked at.
static NO_VALUES: [u16; WINDOW] = [u16::MAX; WINDOW];
/// A word of members or of none, for what is known without reading a bitset.
static KNOWN: [u64; 2] = [0, u64::MAX];

impl Plane {
    /// Sets bit `i` of `out` (least significant first, 64 a word) to whether `ids[i]` is a member;
    /// bits past the last ID are 0. Any order will do; neighbours in one page are cheaper.
    ///
    /// # Panics
    /// If `out` is not exactly `ids.len().div_ceil(64)` words long: a caller that took too short an
    /// answer for a whole one could permit a refused contact (A1).
    pub fn probe(&self, ids: &[u64], out: &mut [u64]) {
        assert_eq!(out.len(), ids.len().div_ceil(GROUP), "one bit of answer for each ID");
        for (at, (group, word)) in ids.chunks(GROUP).zip(out).enumerate() {
            // The IDs themselves come in bursts, a group at a time, that the CPU's own prefetcher
            // does not follow among the random lines in between.
            for line in 0..GROUP / IDS_PER_LINE {
                prefetch(group.as_ptr().wrapping_add(2 * GROUP + line * IDS_PER_LINE));
            }
            *word = if is_run(group) {
                self.ask_ahead(&ids[at * GROUP + group.len()..]);
                self.probe_runs(group)
            } else if let Some(group) = group.first_chunk() {
                self.probe_mixed(group)
            } else {
                // The last, incomplete group is filled up with its first ID.
                let mut whole = [group[0]; GROUP];
                whole[..group.len()].copy_from_slice(group);
                self.probe_mixed(&whole) & ((1 << group.len()) - 1)
            };
        }
    }

    /// Asks for what the next groups of a sorted list will need, a step further on each time: the
    /// bucket of the group after the next, then the page where the next group ends.
    #[inline(always)]
    fn ask_ahead(&self, rest: &[u64]) {
        if let Some(&id) = rest.get(2 * GROUP - 1) {
            let (leaf, fraction) = self.leaf(id >> 16);
            prefetch(leaf.home(fraction));
        }
        if let Some(&id) = rest.get(GROUP - 1) {
            let (leaf, fraction) = self.leaf(id >> 16);
            let (page, _) = find_in(leaf.home(fraction), id >> 16);
            let low = id as u16;
            match page.form() {
                Form::Dense(words) => prefetch(word_of(words, id)),
                Form::Thin(slice) => {
                    prefetch(slice.as_ptr());
                    // Values are spread evenly, more or less.
                    let about = (usize::from(low) * page.code()) >> 16;
                    prefetch(slice.as_ptr().wrapping_add(about));
                    prefetch(slice.as_ptr().wrapping_add(about + WINDOW));
                }
                Form::Inline(_) => {}
            }
        }
    }

    /// The answer for up to [`GROUP`] IDs in few pages, as in a sorted list: each page is looked
    /// up once.
    fn probe_runs(&self, ids: &[u64]) -> u64 {
        let mut word = 0;
        let mut bit = 0;
        for run in ids.chunk_by(|a, b| a >> 16 == b >> 16) {
            let mut hits = 0_u64;
            match self.page(run[0] >> 16).unwrap_or(&NO_PAGE) {
                page if page.is_free() => {}
                page => match page.form() {
                    Form::Dense(words) => {
                        for (at, &id) in run.iter().enumerate() {
                            hits |= (*word_of(words, id) >> (id & 63) & 1) << (at & 63);
                        }
                    }
                    Form::Thin(slice) => {
                        for (at, &id) in run.iter().enumerate() {
                            let member = page_thin::contains(slice, page.code(), id as u16);
                            hits |= u64::from(member) << (at & 63);
                        }
                    }
                    Form::Inline(_) => {
                        for (at, &id) in run.iter().enumerate() {
                            hits |= u64::from(page.contains(id as u16)) << (at & 63);
                        }
                    }
                },
            }
            word |= hits << (bit & 63);
            bit += run.len();
        }
        word
    }

    /// The answer for a group of IDs all over the plane.
    fn probe_mixed(&self, ids: &[u64; GROUP]) -> u64 {
        if self.root.len() >= LONG_ROOT {
            for id in ids {
                prefetch(self.leaf(id >> 16).0);
            }
        }
        // Loops over arrays that are there already: `from_fn` calls its closure once an ID.
        let mut buckets: [&Bucket; GROUP] = [&NO_BUCKET; GROUP];
        for at in 0..GROUP {
            let (leaf, fraction) = self.leaf(ids[at] >> 16);
            buckets[at] = leaf.home(fraction);
            prefetch(buckets[at]);
        }

        // Every look-up ends with a bit of some word, but for those in thin pages (`thin`). Pages
        // outside their home bucket are set aside (`astray`), and then followed from bucket to
        // bucket together: whether to look further is hard to predict, and so the CPU guesses wrong
        // once a round and not once a page.
        let mut thin = 0_u64;
        let mut astray = 0_u64;
        let mut words = [&KNOWN[0]; GROUP];
        let mut pages = [&NO_PAGE; GROUP];
        for at in 0..GROUP {
            let (page, settled) = find_in(buckets[at], ids[at] >> 16);
            astray |= u64::from(!settled) << at;
            // The next bucket, should it be asked; past the end of a leaf the wrong line comes.
            prefetch(std::ptr::from_ref(buckets[at]).wrapping_add(usize::from(!settled)));
            words[at] = aim(page, ids[at], at, &mut thin);
            pages[at] = page;
        }
        let mut distance = 0;
        while astray != 0 {
            // Every leaf has a bucket with a free slot, so this ends.
            distance += 1;
            let mut farther = 0;
            while astray != 0 {
                let at = astray.trailing_zeros() as usize;
                let index = ids[at] >> 16;
                let (leaf, fraction) = self.leaf(index);
                let (page, settled) = find_in(leaf.bucket(fraction, distance), index);
                farther |= u64::from(!settled) << at;
                thin &= !(1 << at);
                words[at] = aim(page, ids[at], at, &mut thin);
                pages[at] = page;
                astray &= astray - 1;
            }
            astray = farther;
        }

        let mut windows = [&NO_VALUES; GROUP];
        if thin != 0 {
            for at in 0..GROUP {
                if let Form::Thin(slice) = pages[at].form() {
                    let window = page_thin::window(slice, pages[at].code(), ids[at] as u16);
                    prefetch(window);
                    prefetch(&window[WINDOW - 1]);
                    windows[at] = window;
                }
            }
        }

        let mut answer = 0;
        for at in (0..GROUP).rev() {
            answer = answer << 1 | *words[at] >> (ids[at] & 63) & 1;
        }
        if thin != 0 {
            let mut hits = 0;
            for at in 0..GROUP {
                let low = ids[at] as u16;
                let hit = page_thin::search(windows[at], low);
                hits |= u64::from(hit.unwrap_or_else(|| pages[at].contains(low))) << at;
            }
            answer |= hits & thin;
        }
        answer
    }

    /// The leaf of a page index, and the fraction that leads to its home there.
    #[inline(always)]
    fn leaf(&self, index: u64) -> (&Leaf, u64) {
        let (at, rest) = step(hash(index, self.seed), self.root.len());
        // SAFETY: `step` gives a position below the length it is given, if that is not 0, and no
        // root or branch is ever empty (`plane_edit` only makes them longer). Checked, the tests
        // cost a tenth of the whole look-up.
        unsafe {
            let branch = self.root.get_unchecked(at);
            let (at, rest) = step(rest, branch.len());
            (branch.get_unchecked(at), rest)
        }
    }
}

/// The word that has the answer for `id`, or a word of zeros and the bit `at` of `thin`; asks for
/// what must be read next.
#[inline(always)]
fn aim<'a>(page: &'a Page, id: u64, at: usize, thin: &mut u64) -> &'a u64 {
    match page.form() {
        Form::Dense(words) => {
            let word = word_of(words, id);
            prefetch(word);
            word
        }
        Form::Thin(slice) => {
            prefetch(&slice[page_thin::index_at(page.code(), id as u16)]);
            *thin |= 1 << at;
            &KNOWN[0]
        }
        Form::Inline(_) => &KNOWN[usize::from(page.contains(id as u16))],
    }
}

/// Whether a group seems to be of few pages. A guess that decides only the speed: in a sorted list
/// nearly all neighbours share a page, in one without order nearly none do. In a sorted list with
/// gaps neighbours may, and yet a group has so many pages that their lines are better asked for
/// together.
#[inline(always)]
fn is_run(group: &[u64]) -> bool {
    let ([first, ..], [.., last]) = (group, group) else { return true };
    let (second, before) = (group.get(1).unwrap_or(first), group.iter().rev().nth(1));
    let in_one_page = |a: &u64, b: &u64| a >> 16 == b >> 16;
    in_one_page(first, second)
        && in_one_page(before.unwrap_or(last), last)
        && (first >> 16).abs_diff(last >> 16) < RUN_PAGES
}

#[inline(always)]
fn word_of(words: &Words, id: u64) -> &u64 {
    &words[usize::from(id as u16 >> 6)]
}
