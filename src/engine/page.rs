//! One page of a plane: up to 65,536 contact IDs that share all but their lowest 16 bits.
//!
//! A page is 16 bytes: the page index and a code derived from the count, then the members or a
//! pointer to them. The count alone decides the form, so equal pages always look the same and
//! there is no history to reason about:
//!
//! | count | form |
//! |---|---|
//! | 0 | a free slot of the plane's table; never seen outside |
//! | 1 to 4 | in the slot itself |
//! | up to [`DENSE_MIN`] − 1 | thin: sorted values behind a small index (`page_thin`) |
//! | from [`DENSE_MIN`] | dense: a bitset of 8 KiB |
//!
//! What a pointer leads to is shared between versions of a plane: a counted slice (`counted`), or a
//! bitset in a chunk (`bits`).

#![allow(
    clippy::indexing_slicing,
    reason = "hot path: the indices are a u16 into 1,024 words and a count up to 4 into 4 lanes"
)]

use std::mem::ManuallyDrop;
use std::ptr;

use super::bits::Bits;
use super::counted;
use super::page_thin::{self, Thin};

pub use super::page_bytes::PageError;

/// Contact IDs a page can hold.
pub const PAGE_IDS: usize = 1 << 16;

/// The largest page index: contact IDs have 64 bits, of which a page spans 16.
pub const MAX_PAGE_INDEX: u64 = u64::MAX >> 16;

/// Values that fit in the slot itself.
pub(super) const INLINE_MAX: usize = 4;

/// Count from which a page is a bitset. Below it a bitset would take more than 1.6 times the
/// bytes of the portable Roaring array (2 bytes a value), which is the limit on memory (P12).
pub const DENSE_MIN: usize = 2_570;

/// The bitset of a dense page: bit `low % 64` of word `low / 64`.
pub(super) type Words = [u64; PAGE_IDS / 64];

/// A set of contact IDs with the same page index (`id >> 16`). Cheap to clone, never empty when
/// seen outside the engine.
#[repr(C)]
pub struct Page {
    /// Page index in the upper 48 bits; below it the count, or `u16::MAX` for 65,535 and 65,536.
    head: u64,
    body: Body,
}

/// Which field is live follows from the count in `Page::head`.
#[derive(Clone, Copy)]
union Body {
    /// Ascending; lanes past the count repeat the last member, so a look-up compares all four.
    inline: [u16; INLINE_MAX],
    /// From `counted::copy_of`; the length is `page_thin::slice_len(count)`.
    thin: *const u16,
    /// From `Bits::into_raw`.
    dense: *const Words,
}

// What `plane_compare` counts on: two words, the head first, and no byte that is not set.
const _: () = assert!(
    size_of::<Page>() == 16
        && size_of::<Body>() == 8
        && size_of::<*const u16>() == 8
        && std::mem::offset_of!(Page, head) == 0
);

/// The members of a page, borrowed.
pub(super) enum Form<'a> {
    /// All four lanes, see [`Body::inline`].
    Inline(&'a [u16; INLINE_MAX]),
    Thin(&'a [u16]),
    Dense(&'a Words),
}

// SAFETY: a page owns one counted reference to immutable data (`Bits`, which is Send and Sync, or a
// `counted` slice, whose counter is atomic), or plain integers.
unsafe impl Send for Page {}
// SAFETY: as above; through `&Page` the data is only read.
unsafe impl Sync for Page {}

impl Page {
    /// A free slot.
    pub(super) const FREE: Page = Page { head: 0, body: Body { inline: [0; INLINE_MAX] } };

    /// The page of `values`, which must be ascending and unique; [`Page::FREE`] if there are none.
    pub(super) fn from_values(index: u64, values: &[u16], scratch: &mut Vec<u16>) -> Page {
        match values {
            [] => Page::FREE,
            &[first, ..] if values.len() <= INLINE_MAX => {
                let mut inline = [first; INLINE_MAX];
                for (at, lane) in inline.iter_mut().enumerate() {
                    *lane = values[at.min(values.len() - 1)];
                }
                Page { head: head(index, values.len()), body: Body { inline } }
            }
            _ if values.len() < DENSE_MIN => {
                page_thin::build(values, scratch);
                let thin = counted::copy_of(scratch);
                Page { head: head(index, values.len()), body: Body { thin } }
            }
            _ => {
                let mut words = [0; PAGE_IDS / 64];
                for &low in values {
                    words[usize::from(low >> 6)] |= 1 << (low & 63);
                }
                Page::from_words(index, values.len(), Bits::copy_of(&words))
            }
        }
    }

    /// The dense page of `words`, which hold `count` bits; `count` is at least [`DENSE_MIN`].
    pub(super) fn from_words(index: u64, count: usize, words: Bits) -> Page {
        debug_assert!(count >= DENSE_MIN);
        Page { head: head(index, count), body: Body { dense: words.into_raw() } }
    }

    /// Takes the bitset out of a dense page; gives any other page back.
    pub(super) fn into_words(self) -> Result<Bits, Page> {
        if self.code() < DENSE_MIN {
            return Err(self);
        }
        let page = ManuallyDrop::new(self);
        // SAFETY: a code of DENSE_MIN or more means that `dense` is live and came from
        // `Bits::into_raw`; the page is not dropped, so its reference moves to the result.
        Ok(unsafe { Bits::from_raw(page.body.dense) })
    }

    /// Page index: the upper 48 bits of the members' contact IDs.
    #[inline]
    pub fn index(&self) -> u64 {
        self.head >> 16
    }

    /// Number of members, 1 to 65,536.
    #[allow(clippy::len_without_is_empty, reason = "a page outside the engine is never empty")]
    pub fn len(&self) -> usize {
        match self.form() {
            Form::Dense(words) if self.code() == usize::from(u16::MAX) => {
                words.iter().map(|word| word.count_ones() as usize).sum()
            }
            _ => self.code(),
        }
    }

    /// Whether the slot holds no page.
    #[inline(always)]
    pub(super) fn is_free(&self) -> bool {
        self.code() == 0
    }

    /// The count, cut off at 65,535.
    #[inline(always)]
    pub(super) fn code(&self) -> usize {
        usize::from(self.head as u16)
    }

    /// The members as they are stored. A free slot reads as inline, so it must be told by
    /// [`Page::is_free`] first.
    #[inline(always)]
    pub(super) fn form(&self) -> Form<'_> {
        let count = self.code();
        if count >= DENSE_MIN {
            // SAFETY: the count says that `dense` is live; it points to bits of which this
            // page owns a strong reference, so it lives as long as `self`, and shared data is
            // never written (`Bits::make_mut` in `page_edit` takes the page by value).
            Form::Dense(unsafe { &*self.body.dense })
        } else if count > INLINE_MAX {
            // SAFETY: the count says that `thin` is live, and `from_values` made the slice with
            // exactly this length; the rest as above.
            Form::Thin(unsafe { &*thin_slice(self.body.thin, count) })
        } else {
            // SAFETY: the count says that `inline` is live (also for a free slot).
            Form::Inline(unsafe { &self.body.inline })
        }
    }

    /// Whether the member with these lowest 16 bits is in the page.
    #[inline(always)]
    pub fn contains(&self, low: u16) -> bool {
        match self.form() {
            Form::Dense(words) => words[usize::from(low >> 6)] >> (low & 63) & 1 != 0,
            Form::Thin(slice) => Thin::of(slice, self.code()).contains(low),
            Form::Inline(lanes) => {
                !self.is_free() & lanes.iter().fold(false, |hit, &lane| hit | (lane == low))
            }
        }
    }

    /// The lowest 16 bits of the members, ascending.
    pub fn values(&self) -> Values<'_> {
        match self.form() {
            Form::Dense(words) => Values::Bits { words, next: 0, rest: 0 },
            Form::Thin(slice) => Values::Array(page_thin::values(slice, self.code()).iter()),
            Form::Inline(lanes) => Values::Array(lanes[..self.code()].iter()),
        }
    }

    /// Bytes on the heap that this page points to, as glibc's malloc rounds them; shared pages
    /// count in full for every plane that holds them.
    pub fn heap_bytes(&self) -> usize {
        match self.form() {
            Form::Dense(_) => Bits::BYTES,
            Form::Thin(slice) => counted::heap_bytes(slice.len()),
            Form::Inline(_) => 0,
        }
    }

    /// The address whose cache line a clone of this page will write: the reference count.
    pub(super) fn counter(&self) -> *const u8 {
        match self.form() {
            Form::Dense(words) => Bits::counter(words),
            Form::Thin(slice) => counted::counter(slice.as_ptr()).cast(),
            Form::Inline(_) => ptr::null(),
        }
    }
}

/// Heap bytes of an `Arc` of `size` bytes: two counters, then malloc's header and rounding.
pub(super) fn arc_bytes(size: usize, align: usize) -> usize {
    let counters = (2 * size_of::<usize>()).next_multiple_of(align);
    (counters + size + size_of::<usize>()).next_multiple_of(16)
}

fn head(index: u64, count: usize) -> u64 {
    debug_assert!(index <= MAX_PAGE_INDEX && 0 < count && count <= PAGE_IDS);
    index << 16 | count.min(usize::from(u16::MAX)) as u64
}

#[inline(always)]
fn thin_slice(thin: *const u16, count: usize) -> *const [u16] {
    ptr::slice_from_raw_parts(thin, page_thin::slice_len(count))
}

impl Clone for Page {
    fn clone(&self) -> Page {
        let count = self.code();
        if count >= DENSE_MIN {
            // SAFETY: `dense` is live, came from `Bits::into_raw`, and `self` holds a reference,
            // which is not dropped here.
            let bits = ManuallyDrop::new(unsafe { Bits::from_raw(self.body.dense) });
            std::mem::forget(Bits::clone(&bits));
        } else if count > INLINE_MAX {
            // SAFETY: `thin` is live and came from `counted::copy_of`, and `self` holds a reference.
            unsafe { counted::share(self.body.thin) };
        }
        Page { head: self.head, body: self.body }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let count = self.code();
        if count >= DENSE_MIN {
            // SAFETY: `dense` is live and came from `Bits::into_raw`; this page's own reference
            // ends here, and nothing reads the page afterwards.
            drop(unsafe { Bits::from_raw(self.body.dense) });
        } else if count > INLINE_MAX {
            // SAFETY: as above, for a slice of the length that the count gives.
            unsafe { counted::release(self.body.thin, page_thin::slice_len(count)) };
        }
    }
}

impl std::fmt::Debug for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Page").field("index", &self.index()).field("len", &self.len()).finish()
    }
}

/// Iterator over the lowest 16 bits of a page's members, ascending.
pub enum Values<'a> {
    /// Members stored one by one.
    #[doc(hidden)]
    Array(std::slice::Iter<'a, u16>),
    /// Members stored as bits; `rest` are the bits not yet given of the word before `next`.
    #[doc(hidden)]
    Bits { words: &'a Words, next: usize, rest: u64 },
}

impl Iterator for Values<'_> {
    type Item = u16;

    #[inline]
    fn next(&mut self) -> Option<u16> {
        match self {
            Values::Array(values) => values.next().copied(),
            Values::Bits { words, next, rest } => {
                while *rest == 0 {
                    *rest = *words.get(*next)?;
                    *next += 1;
                }
                let bit = rest.trailing_zeros() as usize;
                *rest &= *rest - 1;
                Some(((*next - 1) * 64 + bit) as u16)
            }
        }
    }
}
