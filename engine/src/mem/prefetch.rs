//! Asking the processor for a cache line before it is needed.

/// Hints that `items[index]` is about to be used. Does nothing when the processor has no such hint, and nothing of use
/// when `index` is out of range: to ask in vain is cheaper than to look first. Changes nothing that a program can see.
#[inline(always)]
pub fn prefetch<T>(items: &[T], index: usize) {
    prefetch_line(items.as_ptr().wrapping_add(index));
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn prefetch_line<T>(item: *const T) {
    use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a prefetch reads nothing into the program and never faults, whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(item.cast()) };
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn prefetch_line<T>(item: *const T) {
    // SAFETY: as above: `prfm` reads nothing into the program and never faults.
    unsafe {
        core::arch::asm!(
            "prfm pldl1keep, [{0}]",
            in(reg) item,
            options(nostack, readonly, preserves_flags)
        );
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[inline(always)]
fn prefetch_line<T>(_item: *const T) {}
