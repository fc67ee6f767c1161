//! Whether an e-mail address is canonical as it stands: most of a list are. Up to 64 bytes are
//! sorted into classes at once, and the rules are then asked of the classes as bits.

use core::arch::x86_64::{
    __m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8,
    _mm_setzero_si128, _mm_sub_epi8, _mm_subs_epu8,
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

/// Would the full rules leave the first `size` bytes as they are? False also where they might, but
/// it takes more to see it.
#[inline]
pub(super) fn is_canonical(bytes: &[u8; WIDE], size: usize) -> bool {
    if !(MIN_SIZE..=WIDE).contains(&size) {
        return false;
    }
    let (parts, _) = bytes.as_chunks::<16>();
    // Nearly all are so short: the CPU seldom guesses wrong.
    let parts = if size <= 32 { parts.get(..2).unwrap_or(parts) } else { parts };
    let Classes { ats, dots, dashes, plain, marks } =
        parts.iter().rev().fold(Classes::default(), Classes::with);

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
    /// These classes, with those of 16 bytes below them.
    #[inline(always)]
    fn with(self, bytes: &[u8; 16]) -> Classes {
        // SAFETY: SSE2 is part of every x86-64 CPU; the load needs no alignment, and its 16 bytes
        // are those of the array.
        unsafe {
            let bytes = _mm_loadu_si128(bytes.as_ptr().cast::<__m128i>());
            let is = |byte: u8| _mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte as i8));
            // Subtracting its first byte maps a range to the lowest values.
            let within = |first: u8, last: u8| {
                let values = _mm_sub_epi8(bytes, _mm_set1_epi8(first as i8));
                let above = _mm_subs_epu8(values, _mm_set1_epi8((last - first) as i8));
                _mm_cmpeq_epi8(above, _mm_setzero_si128())
            };
            let below = |bits: u64, found: __m128i| bits << 16 | _mm_movemask_epi8(found) as u64;
            Classes {
                ats: below(self.ats, is(b'@')),
                dots: below(self.dots, is(b'.')),
                dashes: below(self.dashes, is(b'-')),
                plain: below(self.plain, _mm_or_si128(within(b'a', b'z'), within(b'0', b'9'))),
                marks: below(self.marks, _mm_or_si128(is(b'_'), is(b'+'))),
            }
        }
    }
}
