//! Memory that grows without moving: address space for the most there may be, pages for what is expected.

use std::collections::TryReserveError;

/// A vector with room for `limit` items that never moves as long as no more are pushed.
///
/// Only the first `expected` items get memory now: it is touched here, once, and the kernel is asked to back it with
/// huge pages, so that random access misses the cache but not the TLB. What lies beyond costs a page fault of an
/// ordinary page when first used.
///
/// # Errors
/// The address space cannot be had.
pub fn reserve<T: Copy>(limit: usize, expected: usize, fill: T) -> Result<Vec<T>, TryReserveError> {
    let mut items = Vec::new();
    items.try_reserve_exact(limit)?;
    let expected = expected.min(limit);
    advise_huge_pages(&items, expected);
    items.resize(expected, fill);
    items.clear();
    Ok(items)
}

/// Asks for huge pages behind the first `count` items that `items` has room for. A hint: refusal costs speed only.
#[cfg(target_os = "linux")]
fn advise_huge_pages<T>(items: &Vec<T>, count: usize) {
    const PAGE_BYTES: usize = 4_096;
    const WORTH_BYTES: usize = 2 << 20;
    let bytes = count.min(items.capacity()) * size_of::<T>();
    let start = items.as_ptr() as usize;
    let from = start.next_multiple_of(PAGE_BYTES);
    let to = (start + bytes) / PAGE_BYTES * PAGE_BYTES;
    if bytes < WORTH_BYTES || to <= from {
        return;
    }
    // SAFETY: whole pages inside one live allocation; the advice changes which pages back it, never what it holds.
    let _ = unsafe { libc::madvise(from as *mut libc::c_void, to - from, libc::MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
fn advise_huge_pages<T>(_items: &Vec<T>, _count: usize) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_moves_up_to_its_limit() {
        let mut items = reserve(3_000_000, 1_000_000, 7_u32).unwrap();
        assert!(items.is_empty());
        let before = items.as_ptr();
        items.resize(3_000_000, 1);
        assert_eq!(items.as_ptr(), before);
    }

    #[test]
    fn refuses_what_no_machine_has() {
        assert!(reserve(usize::MAX / 8, 0, 0_u64).is_err());
    }
}
