//! Asking the processor for a cache line before it is needed.

/// Hints that `items[index]` is about to be used. Does nothing when `index` is out of range or the processor has no
/// such hint. Changes nothing that a program can see.
#[inline(always)]
pub fn prefetch<T>(items: &[T], index: usize) {
    if let Some(item) = items.get(index) {
        prefetch_line(item);
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn prefetch_line<T>(item: &T) {
    use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a prefetch reads nothing into the program and never faults; the address is that of a live reference.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(core::ptr::from_ref(item).cast()) };
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn prefetch_line<T>(item: &T) {
    // SAFETY: as above: `prfm` reads nothing into the program and never faults.
    unsafe {
        core::arch::asm!(
            "prfm pldl1keep, [{0}]",
            in(reg) core::ptr::from_ref(item),
            options(nostack, readonly, preserves_flags)
        );
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[inline(always)]
fn prefetch_line<T>(_item: &T) {}
