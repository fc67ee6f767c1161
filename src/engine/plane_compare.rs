//! The two comparisons that a look-up makes: of a page index with the four slots of a bucket, and
//! of a value with a window of a thin page.
//!
//! AVX2 does each in a handful of instructions. Which way a CPU can go is asked when the program
//! runs; both give the same answers.

#[cfg(target_arch = "x86_64")]
use core::arch::x86_64::{
    __m256i, _mm256_castsi256_pd, _mm256_cmpeq_epi16, _mm256_cmpeq_epi64, _mm256_load_si256,
    _mm256_loadu_si256, _mm256_movemask_pd, _mm256_set1_epi16, _mm256_set1_epi64x,
    _mm256_srli_epi64, _mm256_testz_si256, _mm256_unpacklo_epi64,
};

use super::page::Page;
use super::page_thin::{self, WINDOW};
use super::plane_buckets::Bucket;

/// How the stages of a look-up compare.
pub(super) trait Compare: Copy {
    /// The page with this index, and whether the bucket has it. If not, it is any slot of the
    /// bucket, whose members mean nothing for this index.
    ///
    /// For index 0 a free slot counts as found: it has no members, and a bucket with a free slot
    /// ends the search. Slots in use come first, so a page 0 is preferred. Which of the four slots
    /// matches is as good as random, so no branch depends on it.
    fn find(self, bucket: &Bucket, index: u64) -> (&Page, bool);

    /// As [`page_thin::search`].
    fn search(self, window: &[u16; WINDOW], low: u16) -> Option<bool>;
}

/// What every CPU can do.
#[derive(Clone, Copy)]
pub(super) struct Portable;

impl Compare for Portable {
    #[inline(always)]
    fn find(self, bucket: &Bucket, index: u64) -> (&Page, bool) {
        let [first, second, third, fourth] = bucket.slots();
        let page = if third.index() == index { third } else { fourth };
        let page = if second.index() == index { second } else { page };
        let page = if first.index() == index { first } else { page };
        (page, page.index() == index)
    }

    #[inline(always)]
    fn search(self, window: &[u16; WINDOW], low: u16) -> Option<bool> {
        page_thin::search(window, low)
    }
}

/// What takes AVX2. It exists only where the CPU can, and is quick only in functions that are
/// compiled for it.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(super) struct Avx2(());

#[cfg(target_arch = "x86_64")]
impl Avx2 {
    /// If this CPU has AVX2, and the bit instructions for which `Plane::probe` is compiled as well.
    #[inline(always)]
    pub(super) fn if_possible() -> Option<Avx2> {
        let possible = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("lzcnt");
        possible.then_some(Avx2(()))
    }
}

/// The first slot whose bit is set, where the bits stand for the slots 0, 2, 1 and 3: the order in
/// which unpacking leaves them. The last one if no bit is.
#[cfg(target_arch = "x86_64")]
static FIRST_SLOT: [u8; 16] = [3, 0, 2, 0, 1, 0, 1, 0, 3, 0, 2, 0, 1, 0, 1, 0];

#[cfg(target_arch = "x86_64")]
impl Compare for Avx2 {
    #[inline(always)]
    fn find(self, bucket: &Bucket, index: u64) -> (&Page, bool) {
        const { assert!(size_of::<Bucket>() == 64 && align_of::<Bucket>() == 64) };
        // SAFETY: `self` exists, so the CPU has AVX2. Each load reads half of the bucket, from an
        // address that is a multiple of 32. No byte of it is unset: a page is two words, of which
        // every field fills one (`page`).
        let mask = unsafe {
            let halves = std::ptr::from_ref(bucket).cast::<__m256i>();
            let (low, high) = (_mm256_load_si256(halves), _mm256_load_si256(halves.add(1)));
            let indices = _mm256_srli_epi64::<16>(_mm256_unpacklo_epi64(low, high));
            let same = _mm256_cmpeq_epi64(indices, _mm256_set1_epi64x(index as i64));
            _mm256_movemask_pd(_mm256_castsi256_pd(same)) as usize
        };
        // SAFETY: the mask has four bits, the table an entry for each of its values, and a bucket a
        // slot for each entry.
        let page = unsafe {
            let slot = *FIRST_SLOT.get_unchecked(mask);
            bucket.slots().get_unchecked(usize::from(slot))
        };
        (page, mask != 0)
    }

    #[inline(always)]
    fn search(self, window: &[u16; WINDOW], low: u16) -> Option<bool> {
        // SAFETY: `self` exists, so the CPU has AVX2. The load needs no alignment, and a window is
        // 32 bytes.
        let hit = unsafe {
            let values = _mm256_loadu_si256(window.as_ptr().cast::<__m256i>());
            let same = _mm256_cmpeq_epi16(values, _mm256_set1_epi16(low as i16));
            _mm256_testz_si256(same, same) == 0
        };
        (window[WINDOW - 1] >= low).then_some(hit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::plane_buckets::Memory;
    use crate::engine::plane_leaf::Leaf;

    /// Calls `check` with every way to compare that this CPU has, so that each is held against
    /// plain loops.
    fn with_each(
        check: impl Fn(
            &dyn Fn(&Bucket, u64) -> Option<u64>,
            &dyn Fn(&[u16; WINDOW], u16) -> Option<bool>,
        ),
    ) {
        fn told(found: (&Page, bool)) -> Option<u64> {
            let (page, found) = found;
            found
                .then(|| if page.is_free() { u64::MAX } else { page.values().map(u64::from).sum() })
        }
        check(&|bucket, index| told(Portable.find(bucket, index)), &|window, low| {
            Portable.search(window, low)
        });
        #[cfg(target_arch = "x86_64")]
        if let Some(avx2) = Avx2::if_possible() {
            check(&|bucket, index| told(avx2.find(bucket, index)), &|window, low| {
                avx2.search(window, low)
            });
        }
    }

    /// A bucket whose slots hold these page indices, each with its position as only value.
    fn bucket_of(indices: &[u64]) -> Leaf {
        // Roomy enough for all to stay where they are put: in the first bucket.
        let mut leaf = Leaf::with_room(100, Memory::Ordinary);
        for (value, &index) in indices.iter().enumerate() {
            leaf.insert(Page::from_values(index, &[value as u16], &mut Vec::new()), |_| 0);
        }
        leaf
    }

    #[test]
    fn each_slot_is_found_and_nothing_else() {
        let orders: [&[u64]; 7] =
            [&[], &[0], &[7, 0], &[7, 8, 0], &[7, 8, 9, 0], &[0, 7, 8, 9], &[5, u64::MAX >> 16, 6]];
        with_each(|find, _| {
            for indices in orders {
                let leaf = bucket_of(indices);
                for asked in [0, 1, 5, 6, 7, 8, 9, u64::MAX >> 16] {
                    let slot = indices.iter().position(|index| *index == asked);
                    // A free slot has the index 0.
                    let free = (asked == 0 && indices.len() < 4).then_some(u64::MAX);
                    let expected = slot.map(|slot| slot as u64).or(free);
                    assert_eq!(find(leaf.home(0), asked), expected, "{asked} in {indices:?}");
                }
            }
        });
    }

    #[test]
    fn a_window_tells_of_every_place() {
        let window: [u16; WINDOW] = std::array::from_fn(|at| at as u16 * 4_369);
        with_each(|_, search| {
            for low in 0..=u16::MAX {
                assert_eq!(search(&window, low), Some(low % 4_369 == 0), "{low}");
            }
            let short = window.map(|value| value / 2);
            assert_eq!(search(&short, 32_767), Some(true));
            assert_eq!(search(&short, 32_768), None);
        });
    }
}
