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

use super::column::ColumnId;
use super::page::{Form, Page, Words};
use super::page_thin::{Place, Thin, WINDOW};
use super::plane::Plane;
use super::plane_buckets::Bucket;
#[cfg(target_arch = "x86_64")]
use super::plane_compare::Avx2;
use super::plane_compare::{Compare, Portable};
use super::plane_leaf::{Leaf, hash, step};
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
/// Stands for the word of a page that is not dense.
static NO_WORD: u64 = 0;

impl Plane {
    /// Sets bit `i` of `out` (least significant first, 64 a word) to whether `ids[i]` is a member;
    /// bits past the last ID are 0. Any order will do; neighbours in one page are cheaper.
    ///
    /// # Panics
    /// If `out` is not exactly `ids.len().div_ceil(64)` words long: a caller that took too short an
    /// answer for a whole one could permit a refused contact (A1).
    pub fn probe(&self, ids: &[impl ColumnId], out: &mut [u64]) {
        #[cfg(target_arch = "x86_64")]
        if let Some(avx2) = Avx2::if_possible() {
            // SAFETY: the CPU has what the function is compiled for, as `avx2` shows.
            return unsafe { self.probe_avx2(avx2, ids, out) };
        }
        self.probe_by(Portable, ids, out);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
    fn probe_avx2(&self, compare: Avx2, ids: &[impl ColumnId], out: &mut [u64]) {
        self.probe_by(compare, ids, out);
    }

    /// [`Plane::probe`], comparing in one way. It is compiled into its callers, and so for the
    /// instructions that they may use.
    #[inline(always)]
    pub(super) fn probe_by(&self, compare: impl Compare, ids: &[impl ColumnId], out: &mut [u64]) {
        assert_eq!(out.len(), ids.len().div_ceil(GROUP), "one bit of answer for each ID");
        let mut latest = Latest { index: u64::MAX, page: &NO_PAGE };
        for (at, (group, word)) in ids.chunks(GROUP).zip(out).enumerate() {
            // The IDs themselves come in bursts, a group at a time, that the CPU's own prefetcher
            // does not follow among the random lines in between.
            for line in 0..GROUP / IDS_PER_LINE {
                prefetch(group.as_ptr().wrapping_add(2 * GROUP + line * IDS_PER_LINE));
            }
            *word = if is_run(group) {
                self.ask_ahead(compare, &ids[at * GROUP + group.len()..], latest.index);
                self.probe_runs(compare, group, &mut latest)
            } else if let Some(group) = group.first_chunk() {
                self.probe_mixed(compare, group)
            } else {
                // The last, incomplete group is filled up with its first ID.
                let mut whole = [group[0]; GROUP];
                whole[..group.len()].copy_from_slice(group);
                self.probe_mixed(compare, &whole) & ((1 << group.len()) - 1)
            };
        }
    }

    /// Asks for what the next groups of a sorted list will need, a step further on each time: the
    /// bucket of the group after the next, then the page where the next group ends. What is in the
    /// page of the latest group comes by itself.
    #[inline(always)]
    fn ask_ahead(&self, compare: impl Compare, rest: &[impl ColumnId], latest: u64) {
        let further = |at: usize| rest.get(at).map(|id| id.id()).filter(|id| id >> 16 != latest);
        if let Some(id) = further(2 * GROUP - 1) {
            self.ask_for_bucket(id);
        }
        if let Some(id) = further(GROUP - 1) {
            self.ask_for_page(compare, id);
        }
    }

    /// Asks for the bucket where the page of an ID should stand.
    #[inline(always)]
    fn ask_for_bucket(&self, id: u64) {
        let (leaf, fraction) = self.leaf(id >> 16);
        prefetch(leaf.home(fraction));
    }

    /// Asks for what tells of an ID in its page, if that stands where it should.
    #[inline(always)]
    fn ask_for_page(&self, compare: impl Compare, id: u64) {
        let (leaf, fraction) = self.leaf(id >> 16);
        let (page, _) = compare.find(leaf.home(fraction), id >> 16);
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

    /// The answer for up to [`GROUP`] IDs in few pages, as in a sorted list: each page is looked
    /// up once, and not again for the group after.
    #[inline(always)]
    fn probe_runs<'a>(
        &'a self,
        compare: impl Compare,
        ids: &[impl ColumnId],
        latest: &mut Latest<'a>,
    ) -> u64 {
        let first = ids[0].id();
        if ids.iter().fold(0, |differences, id| differences | id.id() ^ first) >> 16 == 0 {
            return self.probe_page(compare, ids, latest);
        }
        let mut word = 0;
        let mut bit = 0;
        for run in ids.chunk_by(|a, b| a.id() >> 16 == b.id() >> 16) {
            word |= self.probe_page(compare, run, latest) << (bit & 63);
            bit += run.len();
        }
        word
    }

    /// The answer for up to [`GROUP`] IDs in one page.
    #[inline(always)]
    fn probe_page<'a>(
        &'a self,
        compare: impl Compare,
        ids: &[impl ColumnId],
        latest: &mut Latest<'a>,
    ) -> u64 {
        let index = ids[0].id() >> 16;
        if latest.index != index {
            *latest = Latest { index, page: self.page(index).unwrap_or(&NO_PAGE) };
        }
        let page = latest.page;
        let mut hits = 0;
        match page.form() {
            Form::Dense(words) => {
                for (at, id) in ids.iter().map(|id| id.id()).enumerate() {
                    hits |= (*word_of(words, id) >> (id & 63) & 1) << (at & 63);
                }
            }
            Form::Thin(slice) => {
                let thin = Thin::of(slice, page.code());
                for (at, low) in ids.iter().map(|id| id.id() as u16).enumerate() {
                    let place = thin.place(low);
                    let hit = compare.search(place.window(), low);
                    let hit = hit.unwrap_or_else(|| place.search_all(low));
                    hits |= u64::from(hit) << (at & 63);
                }
            }
            Form::Inline(_) => {
                for (at, id) in ids.iter().enumerate() {
                    hits |= u64::from(page.contains(id.id() as u16)) << (at & 63);
                }
            }
        }
        hits
    }

    /// The answer for a group of IDs all over the plane.
    #[inline(always)]
    fn probe_mixed(&self, compare: impl Compare, ids: &[impl ColumnId; GROUP]) -> u64 {
        if self.root.len() >= LONG_ROOT {
            for id in ids {
                prefetch(self.leaf(id.id() >> 16).0);
            }
        }
        // Loops over arrays that are there already: `from_fn` calls its closure once an ID.
        let mut buckets = [&NO_BUCKET; GROUP];
        for at in 0..GROUP {
            let (leaf, fraction) = self.leaf(ids[at].id() >> 16);
            buckets[at] = leaf.home(fraction);
            prefetch(buckets[at]);
        }
        let mut aims = Aims::NONE;
        let mut missing = 0_u64;
        for at in 0..GROUP {
            let (page, found) = compare.find(buckets[at], ids[at].id() >> 16);
            missing |= u64::from(!found) << at;
            aims.aim(at, page, ids[at].id());
        }
        if missing != 0 {
            self.look_further(compare, ids, missing, &mut buckets, &mut aims);
        }
        aims.answer(compare, ids)
    }

    /// Aims at the pages that are `missing` from their home buckets.
    ///
    /// What is missing from a full bucket may stand in the next one. Those buckets are searched
    /// together: whether to look further is hard to predict, and so the CPU guesses wrong once a
    /// round and not once a page. Every leaf has a bucket with a free slot, so this ends.
    #[inline(always)]
    fn look_further<'a>(
        &'a self,
        compare: impl Compare,
        ids: &[impl ColumnId; GROUP],
        mut missing: u64,
        buckets: &mut [&'a Bucket; GROUP],
        aims: &mut Aims<'a>,
    ) {
        let mut distance = 0;
        while missing != 0 {
            let mut astray = 0;
            while missing != 0 {
                let at = missing.trailing_zeros() as usize;
                missing &= missing - 1;
                aims.forget(at);
                let full = buckets[at].is_full();
                astray |= u64::from(full) << at;
                // Past the end of a leaf the wrong line comes.
                prefetch(std::ptr::from_ref(buckets[at]).wrapping_add(usize::from(full)));
            }
            distance += 1;
            while astray != 0 {
                let at = astray.trailing_zeros() as usize;
                astray &= astray - 1;
                let index = ids[at].id() >> 16;
                let (leaf, fraction) = self.leaf(index);
                buckets[at] = leaf.bucket(fraction, distance);
                let (page, found) = compare.find(buckets[at], index);
                missing |= u64::from(!found) << at;
                aims.aim(at, page, ids[at].id());
            }
        }
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

/// The page that was looked up last, under its index; before the first, an index that no page has.
struct Latest<'a> {
    index: u64,
    page: &'a Page,
}

/// Asks for what one ID needs in several planes, so that its look-ups there wait together.
pub(crate) fn ask_for<'a>(id: u64, planes: impl Iterator<Item = &'a Plane> + Clone) {
    planes.clone().for_each(|plane| plane.ask_for_bucket(id));
    planes.for_each(|plane| plane.ask_for_page(Portable, id));
}

/// What the answers for a group depend on, as far as it is known.
struct Aims<'a> {
    /// The answers of small pages, a bit each.
    inline: u64,
    /// Which IDs stand in thin pages, and where there.
    thin: u64,
    places: [Place<'a>; GROUP],
    /// Whether some stand in dense pages, and the words that have their bits.
    dense: bool,
    words: [&'a u64; GROUP],
}

impl<'a> Aims<'a> {
    const NONE: Aims<'static> = Aims {
        inline: 0,
        thin: 0,
        places: [Place::NOWHERE; GROUP],
        dense: false,
        words: [&NO_WORD; GROUP],
    };

    /// Takes `page` for that of the ID at a position, and asks for what must be read next. If it is
    /// another page, it must be forgotten before the answer.
    #[inline(always)]
    fn aim(&mut self, at: usize, page: &'a Page, id: u64) {
        match page.form() {
            Form::Dense(words) => {
                self.words[at] = word_of(words, id);
                prefetch(self.words[at]);
                self.dense = true;
            }
            Form::Thin(slice) => {
                self.places[at] = Thin::of(slice, page.code()).place(id as u16);
                prefetch(self.places[at].entry());
                self.thin |= 1 << at;
            }
            Form::Inline(_) => self.inline |= u64::from(page.contains(id as u16)) << at,
        }
    }

    /// Takes back what [`Aims::aim`] did at a position.
    #[inline(always)]
    fn forget(&mut self, at: usize) {
        self.inline &= !(1 << at);
        self.thin &= !(1 << at);
        self.places[at] = Place::NOWHERE;
        self.words[at] = &NO_WORD;
    }

    #[inline(always)]
    fn answer(&self, compare: impl Compare, ids: &[impl ColumnId; GROUP]) -> u64 {
        let mut answer = self.inline;
        if self.thin != 0 {
            let mut windows = [Place::NOWHERE.window(); GROUP];
            for (window, place) in windows.iter_mut().zip(&self.places) {
                *window = place.window();
                prefetch(*window);
                prefetch(&window[WINDOW - 1]);
            }
            let mut hits = 0;
            for at in (0..GROUP).rev() {
                let low = ids[at].id() as u16;
                let hit = compare.search(windows[at], low);
                hits =
                    hits << 1 | u64::from(hit.unwrap_or_else(|| self.places[at].search_all(low)));
            }
            // Elsewhere the places were not found.
            answer |= hits & self.thin;
        }
        if self.dense {
            let mut hits = 0;
            for at in (0..GROUP).rev() {
                hits = hits << 1 | *self.words[at] >> (ids[at].id() & 63) & 1;
            }
            answer |= hits;
        }
        answer
    }
}

/// Whether a group seems to be of few pages. A guess that decides only the speed: in a sorted list
/// nearly all neighbours share a page, in one without order nearly none do. In a sorted list with
/// gaps neighbours may, and yet a group has so many pages that their lines are better asked for
/// together.
#[inline(always)]
fn is_run(group: &[impl ColumnId]) -> bool {
    let page = |at: usize| group[at].id() >> 16;
    let (first, last) = (page(0), page(group.len() - 1));
    page(1.min(group.len() - 1)) == first
        && page(group.len().saturating_sub(2)) == last
        && first.abs_diff(last) < RUN_PAGES
}

#[inline(always)]
fn word_of(words: &Words, id: u64) -> &u64 {
    &words[usize::from(id as u16 >> 6)]
}
