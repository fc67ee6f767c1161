//! Asking the CPU for a cache line before it is needed.

/// Starts loading the cache line that holds `address`.
///
/// It is a hint: any address may be given, a dangling one included, because a prefetch reads
/// nothing that the program can see and cannot fault. Elsewhere than on x86-64 it does nothing,
/// and the loops that use it stay correct.
#[inline(always)]
pub(super) fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: PREFETCHT0 is part of SSE, which every x86-64 CPU has; the instruction neither
        // faults nor changes memory, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
