//! Turkish spellings with their punctuation, read without a branch on which of them a line holds:
//! lists mix them, and each wrong guess of the CPU costs as much as all the rest.
//!
//! It takes what `spelling` and `turkish` take together, but for dots and whatever is not ASCII,
//! and leaves all else to them. 32 bytes are sorted into digits and punctuation at once, the
//! digits moved together, and the last ten of them looked up as everywhere.

use core::arch::x86_64::{
    __m256i, _mm_cvtsi64_si128, _mm_cvtsi128_si64, _mm_shuffle_epi8, _mm256_cmpeq_epi8,
    _mm256_loadu_si256, _mm256_maskz_compress_epi8, _mm256_movemask_epi8, _mm256_or_si256,
    _mm256_set1_epi8, _mm256_setzero_si256, _mm256_storeu_si256, _mm256_subs_epu8,
    _mm256_xor_si256,
};

use super::numbering::Plan;
use super::turkish::{NATIONAL, heads};

/// Bytes that are looked at. A longer spelling has more in it than a number.
pub(super) const WIDE: usize = 32;

/// For each set of a word's eight bytes, the shuffle that moves those together at the low end and
/// puts zeros behind them.
static TOGETHER: [[u8; 8]; 256] = {
    let mut shuffles = [[0x80; 8]; 256];
    let (mut set, mut rows) = (0_u32, shuffles.as_mut_slice());
    while let [row, rest @ ..] = rows {
        let (mut left, mut places) = (set, row.as_mut_slice());
        while let [place, others @ ..] = places {
            if left == 0 {
                break;
            }
            *place = left.trailing_zeros() as u8;
            (left, places) = (left & (left - 1), others);
        }
        (set, rows) = (set + 1, rest);
    }
    shuffles
};

/// What reads spellings where national numbers are Turkish. It exists only where the CPU can.
#[derive(Clone, Copy)]
pub(super) struct Wide {
    plan: &'static Plan,
    has_vbmi2: bool,
}

impl Wide {
    /// If national numbers are those of `plan`, on this CPU.
    pub fn of(plan: &'static Plan) -> Option<Wide> {
        let has_avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt");
        // A compiler that may use VBMI2 may use what it rests on.
        let has_vbmi2 = is_x86_feature_detected!("avx512vbmi2")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512f");
        (plan.is_turkey() && has_avx2).then_some(Wide { plan, has_vbmi2 })
    }

    /// Every form that this CPU can take.
    #[cfg(test)]
    pub fn forms(plan: &'static Plan) -> impl Iterator<Item = Wide> {
        let best = Wide::of(plan);
        let plain = best.map(|best| Wide { has_vbmi2: false, ..best });
        plain.into_iter().chain(best.filter(|best| best.has_vbmi2))
    }

    /// The number that the first `size` bytes mean; None if the full rules must decide.
    #[inline(always)]
    pub fn read(self, bytes: &[u8; WIDE], size: usize) -> Option<u64> {
        if size == 0 || size > WIDE {
            return None;
        }
        // SAFETY: the CPU has what the function is compiled for, as `of` asked it.
        unsafe {
            if self.has_vbmi2 {
                read_vbmi2(bytes, size, self.plan)
            } else {
                read_avx2(bytes, size, self.plan)
            }
        }
    }
}

/// What most CPUs can do.
#[target_feature(enable = "avx2,popcnt")]
fn read_avx2(bytes: &[u8; WIDE], size: usize, plan: &Plan) -> Option<u64> {
    let digits = Classes::of(bytes).digits(size)?;
    digits.number(&together(bytes, digits.set), plan)
}

/// What those can do that move chosen bytes together by themselves.
#[target_feature(enable = "avx2,popcnt,avx512vbmi2,avx512vl")]
fn read_vbmi2(bytes: &[u8; WIDE], size: usize, plan: &Plan) -> Option<u64> {
    let digits = Classes::of(bytes).digits(size)?;
    let mut spelling = [0; WIDE + 8];
    // SAFETY: neither the load nor the store needs alignment; the load's 32 bytes are those of the
    // array, and the store's the first of `spelling`.
    unsafe {
        let bytes = _mm256_loadu_si256(bytes.as_ptr().cast::<__m256i>());
        let kept = _mm256_maskz_compress_epi8(digits.set, bytes);
        _mm256_storeu_si256(spelling.as_mut_ptr().cast::<__m256i>(), kept);
    }
    digits.number(&spelling, plan)
}

/// The digits of a spelling that may be a Turkish number's.
struct Digits {
    /// Which bytes they are, a bit for each.
    set: u32,
    /// How many stand before the national ones.
    before: usize,
    /// What these must be.
    head: u64,
}

impl Digits {
    /// The number of these digits, one after the other; None if it has another head or the full
    /// rules must decide.
    #[inline(always)]
    fn number(&self, spelling: &[u8; WIDE + 8], plan: &Plan) -> Option<u64> {
        let first = u64::from_le_bytes(*spelling.first_chunk()?) & ((1 << (8 * self.before)) - 1);
        let national = spelling.get(self.before..)?.first_chunk()?;
        if first == self.head { plan.valid_block(national) } else { None }
    }
}

/// What the bytes are, a bit for each that is: a digit; a plus sign; one of these or a space, dash
/// or parenthesis.
struct Classes {
    digits: u32,
    signs: u32,
    known: u32,
}

impl Classes {
    /// The digits among the first `size` bytes, 1 to [`WIDE`]; None if the full rules must decide.
    #[inline]
    #[target_feature(enable = "avx2,popcnt")]
    fn digits(self, size: usize) -> Option<Digits> {
        let whole = u32::MAX >> (WIDE - size);
        let (digits, signs) = (self.digits & whole, self.signs & whole);
        let before = (digits.count_ones() as usize).checked_sub(NATIONAL)?;
        let head = *heads(signs != 0).get(before)?;
        // At most one sign, and no digit before it.
        let lone = signs & signs.wrapping_neg() == signs && digits & signs.saturating_sub(1) == 0;
        let is_known = lone && self.known & whole == whole;
        is_known.then_some(Digits { set: digits, before, head })
    }

    #[inline]
    #[target_feature(enable = "avx2,popcnt")]
    fn of(bytes: &[u8; WIDE]) -> Classes {
        // SAFETY: the load needs no alignment, and its 32 bytes are those of the array.
        let bytes = unsafe { _mm256_loadu_si256(bytes.as_ptr().cast::<__m256i>()) };
        let is = |byte: u8| _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(byte as i8));
        // Only a digit is 0 to 9 without its upper half.
        let values = _mm256_xor_si256(bytes, _mm256_set1_epi8(b'0' as i8));
        let above_nine = _mm256_subs_epu8(values, _mm256_set1_epi8(9));
        let digits = _mm256_cmpeq_epi8(above_nine, _mm256_setzero_si256());
        let signs = is(b'+');
        // The parentheses differ in their lowest bit.
        let upper = _mm256_or_si256(bytes, _mm256_set1_epi8(1));
        let parentheses = _mm256_cmpeq_epi8(upper, _mm256_set1_epi8(b')' as i8));
        let dropped = _mm256_or_si256(_mm256_or_si256(is(b' '), is(b'\t')), is(b'-'));
        let kept = _mm256_or_si256(digits, signs);
        let known = _mm256_or_si256(_mm256_or_si256(dropped, parentheses), kept);
        let [digits, signs, known] =
            [digits, signs, known].map(|found| _mm256_movemask_epi8(found) as u32);
        Classes { digits, signs, known }
    }
}

/// The chosen bytes, one after the other.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn together(bytes: &[u8; WIDE], chosen: u32) -> [u8; WIDE + 8] {
    let (words, _) = bytes.as_chunks::<8>();
    let mut found = [0; WIDE + 8];
    let mut size = 0;
    for (word, chosen) in words.iter().zip(chosen.to_le_bytes()) {
        let shuffle = TOGETHER.get(usize::from(chosen)).copied().unwrap_or_default();
        let [word, shuffle] = [*word, shuffle].map(|it| _mm_cvtsi64_si128(i64::from_le_bytes(it)));
        let kept = _mm_cvtsi128_si64(_mm_shuffle_epi8(word, shuffle));
        // All eight are written, and the next word's written over those that were not chosen.
        if let Some(place) = found.get_mut(size..).and_then(<[u8]>::first_chunk_mut) {
            *place = kept.to_le_bytes();
        }
        size += chosen.count_ones() as usize;
    }
    found
}
