//! Whether an e-mail address is canonical as it stands: most of a list are. Up to 64 bytes are
//! sorted into classes at once, and the rules are then asked of the classes as bits.

use core::arch::x86_64::{
    __m256i, _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_movemask_epi8, _mm256_or_si256,
    _mm256_set1_epi8, _mm256_setzero_si256, _mm256_sub_epi8, _mm256_subs_epu8,
};

/// Bytes that are looked at.
pub(super) const WIDE: usize = 64;

/// The shortest canonical address, in bytes (R1).
const MIN_SIZE: usize = 6;

/// One bit a byte.
#[derive(Clone, Copy, Default)]
struct Classes {
    ats: u64,
    dots: u64,
    dashes: u64,
    /// Lower-case letters and digits.
    plain: u64,
    /// What else often stands in a local part.
    marks: u64,
}

/// Whether this CPU can.
#[inline(always)]
pub(super) fn is_possible() -> bool {
    is_x86_feature_detected!("avx2")
}

/// Would the full rules leave the first `size` bytes as they are? False also where they might, but
/// it takes more to see it.
#[target_feature(enable = "avx2")]
pub(super) fn is_canonical(bytes: &[u8; WIDE], size: usize) -> bool {
    if !(MIN_SIZE..=WIDE).contains(&size) {
        return false;
    }
    let ([low, high], _) = bytes.as_chunks::<32>() else { return false };
    // Nearly all are so short: the CPU seldom guesses wrong.
    let high = if size <= 32 { Classes::default() } else { Classes::of(high) };
    let Classes { ats, dots, dashes, plain, marks } = Classes::of(low).below(high);

    let whole = u64::MAX >> (WIDE - size);
    let at = ats & whole;
    let before_at = at.wrapping_sub(1);
    let domain = whole & !before_at & !at;
    let separators = (dots | dashes) & domain;
    // The places where a separator may not stand: behind the @, behind another, and at the end.
    let forbidden = at << 1 | separators << 1 | 1 << (size - 1);
    let allowed = plain | dots | dashes;
    let strangers = domain & !allowed | before_at & !(allowed | marks);
    // One @, with something before it, and a dot in the domain name.
    at.is_power_of_two()
        & (before_at != 0)
        & (strangers | separators & forbidden == 0)
        & (dots & domain != 0)
}

impl Classes {
    /// Those of 32 bytes.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn of(bytes: &[u8; 32]) -> Classes {
        // SAFETY: the load needs no alignment, and its 32 bytes are those of the array.
        let bytes = unsafe { _mm256_loadu_si256(bytes.as_ptr().cast::<__m256i>()) };
        let is = |byte: u8| _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(byte as i8));
        // Subtracting its first byte maps a range to the lowest values.
        let within = |first: u8, last: u8| {
            let values = _mm256_sub_epi8(bytes, _mm256_set1_epi8(first as i8));
            let above = _mm256_subs_epu8(values, _mm256_set1_epi8((last - first) as i8));
            _mm256_cmpeq_epi8(above, _mm256_setzero_si256())
        };
        let bits = |found: __m256i| u64::from(_mm256_movemask_epi8(found) as u32);
        Classes {
            ats: bits(is(b'@')),
            dots: bits(is(b'.')),
            dashes: bits(is(b'-')),
            plain: bits(_mm256_or_si256(within(b'a', b'z'), within(b'0', b'9'))),
            marks: bits(_mm256_or_si256(is(b'_'), is(b'+'))),
        }
    }

    /// These, and behind them those of the next 32 bytes.
    fn below(self, next: Classes) -> Classes {
        Classes {
            ats: self.ats | next.ats << 32,
            dots: self.dots | next.dots << 32,
            dashes: self.dashes | next.dashes << 32,
            plain: self.plain | next.plain << 32,
            marks: self.marks | next.marks << 32,
        }
    }
}
