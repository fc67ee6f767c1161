//! The two comparisons that a look-up makes: of a page index with the four slots of a bucket, and
//! of a value with a window of a thin page.
//!
//! AVX2 does each in a handful of instructions, which is a third less for the whole look-up.
//! Which kind a CPU can do is asked when the program runs; both give the same answers.

#[cfg(target_arch = "x86_64")]
use core::arch::x86_64::{
    __m256i, _mm256_castsi256_pd, _mm256_cmpeq_epi16, _mm256_cmpeq_epi64, _mm256_load_si256,
    _mm256_loadu_si256, _mm256_movemask_pd, _mm256_set1_epi16, _mm256_set1_epi64x,
    _mm256_srli_epi64, _mm256_testz_si256, _mm256_unpacklo_epi64,
};

use super::page::Page;
use super::page_thin::{self, WINDOW};
use super::plane_leaf::{Bucket, SLOTS};

/// How the stages of a look-up compare.
pub(super) trait Compare {
    /// The page with this index, and whether the bucket has it; if not, any slot of the bucket. A
    /// free slot has the index 0, and is found only if no page has it.
    ///
    /// Which of the four slots matches is as good as random, so no branch depends on it.
    fn find(bucket: &Bucket, index: u64) -> (&Page, bool);

    /// As [`page_thin::search`].
    fn search(window: &[u16; WINDOW], low: u16) -> Option<bool>;
}

/// What every CPU can do.
pub(super) struct Portable;

impl Compare for Portable {
    #[inline(always)]
    fn find(bucket: &Bucket, index: u64) -> (&Page, bool) {
        let [first, second, third, fourth] = bucket.slots();
        let page = if third.index() == index { third } else { fourth };
        let page = if second.index() == index { second } else { page };
        let page = if first.index() == index { first } else { page };
        (page, page.index() == index)
    }

    #[inline(always)]
    fn search(window: &[u16; WINDOW], low: u16) -> Option<bool> {
        page_thin::search(window, low)
    }
}

/// What takes AVX2: to be used only where [`Avx2::is_possible`], in functions compiled for it.
#[cfg(target_arch = "x86_64")]
pub(super) struct Avx2;

#[cfg(target_arch = "x86_64")]
impl Avx2 {
    /// Whether this CPU can, and also has what came to market with AVX2.
    #[inline(always)]
    pub(super) fn is_possible() -> bool {
        is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("lzcnt")
    }
}

/// The first slot whose bit is set, where the bits stand for the slots 0, 2, 1 and 3: the order in
/// which unpacking leaves them. The last one if no bit is.
#[cfg(target_arch = "x86_64")]
static FIRST_SLOT: [u8; 1 << SLOTS] = [3, 0, 2, 0, 1, 0, 1, 0, 3, 0, 2, 0, 1, 0, 1, 0];

#[cfg(target_arch = "x86_64")]
impl Compare for Avx2 {
    #[inline(always)]
    fn find(bucket: &Bucket, index: u64) -> (&Page, bool) {
        // SAFETY: `Avx2::is_possible`. A bucket is 64 bytes and aligned to as many, so both loads
        // read half of it from an aligned address. Its slots begin with their heads, eight bytes,
        // all of which are set.
        let mask = unsafe {
            let halves = std::ptr::from_ref(bucket).cast::<__m256i>();
            let (low, high) = (_mm256_load_si256(halves), _mm256_load_si256(halves.add(1)));
            let indices = _mm256_srli_epi64::<16>(_mm256_unpacklo_epi64(low, high));
            let same = _mm256_cmpeq_epi64(indices, _mm256_set1_epi64x(index as i64));
            _mm256_movemask_pd(_mm256_castsi256_pd(same)) as usize
        };
        // SAFETY: the mask has four bits, and the table a slot for each of its values.
        let page = unsafe {
            let slot = *FIRST_SLOT.get_unchecked(mask);
            bucket.slots().get_unchecked(usize::from(slot))
        };
        (page, mask != 0)
    }

    #[inline(always)]
    fn search(window: &[u16; WINDOW], low: u16) -> Option<bool> {
        // SAFETY: `Avx2::is_possible`. The load needs no alignment, and a window is 32 bytes.
        let hit = unsafe {
            let values = _mm256_loadu_si256(window.as_ptr().cast::<__m256i>());
            let same = _mm256_cmpeq_epi16(values, _mm256_set1_epi16(low as i16));
            _mm256_testz_si256(same, same) == 0
        };
        (window[WINDOW - 1] >= low).then_some(hit)
    }
}
