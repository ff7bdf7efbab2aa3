//! The memory under a broadcast ring: 64-bit words that one thread writes and others read.
//!
//! Every store is an atomic one of a whole word, or one instruction that is two of them, so a reader that races with
//! the writer sees old and new words, but the race is not undefined behaviour. Readers that the writer waits for look at
//! the memory in place, as bytes.
#![allow(unsafe_code)]

use crate::sync::{AtomicU64, Ordering};

pub(super) const WORD_BYTES: usize = size_of::<u64>();
const PAIR_BYTES: usize = 2 * WORD_BYTES;

/// How the words of a message are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Words,
    /// Two at a time, the last of which may be a word stored before and the last: a single word among pairs costs as
    /// much as half a line of those that readers have (AMD Zen 4).
    Pairs,
}

/// Stores `header` and, in the words after it, `bytes`; the last word is padded with zeros.
#[inline(always)]
pub(super) fn store_record(words: &[AtomicU64], header: u64, bytes: &[u8], by: By) {
    match bytes.first_chunk() {
        Some(first) if by == By::Pairs => {
            store_pair(words, 0, pair(header, u64::from_ne_bytes(*first)));
            store_pairs(&words[1..], bytes, 1);
        }
        _ => {
            words[0].store(header, Ordering::Relaxed);
            store_words(&words[1..], bytes);
        }
    }
}

/// Copies `bytes` into the first of `words`; the last of these is padded with zeros.
#[inline(always)]
pub(super) fn store_bytes(words: &[AtomicU64], bytes: &[u8], by: By) {
    match by {
        By::Words => store_words(words, bytes),
        By::Pairs => store_pairs(words, bytes, 0),
    }
}

#[inline(always)]
fn store_words(words: &[AtomicU64], bytes: &[u8]) {
    let (whole, rest) = bytes.as_chunks::<WORD_BYTES>();
    for (word, bytes) in words.iter().zip(whole) {
        word.store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
    }
    if !rest.is_empty() {
        words[whole.len()].store(last_word(bytes), Ordering::Relaxed);
    }
}

/// All but the first `begun` words (none or one), which are stored already.
#[inline(always)]
fn store_pairs(words: &[AtomicU64], bytes: &[u8], begun: usize) {
    let (pairs, _) = bytes[begun * WORD_BYTES..].as_chunks::<PAIR_BYTES>();
    for (nth, bytes) in pairs.iter().enumerate() {
        store_pair(words, begun + 2 * nth, load_pair(bytes));
    }
    let count = bytes.len().div_ceil(WORD_BYTES);
    if begun + 2 * pairs.len() == count {
        return;
    }
    match count.checked_sub(2) {
        Some(at) => {
            let (whole, _) = bytes.as_chunks();
            store_pair(words, at, pair(u64::from_ne_bytes(whole[at]), last_word(bytes)));
        }
        None => words[0].store(last_word(bytes), Ordering::Relaxed),
    }
}

/// The last word of some, padded with zeros.
#[inline(always)]
fn last_word(bytes: &[u8]) -> u64 {
    let word = match bytes.last_chunk() {
        Some(last) => u64::from_le_bytes(*last) >> (8 * (bytes.len().wrapping_neg() % WORD_BYTES)),
        // Shorter than a call to copy them.
        None => bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    };
    word.to_le()
}

/// Copies the first of `words` into `out`, as they are at the moment: they may change underneath.
#[inline]
pub(super) fn load_words(words: &[AtomicU64], out: &mut [u64]) {
    for (out, word) in out.iter_mut().zip(words) {
        *out = word.load(Ordering::Relaxed);
    }
}

#[cfg(all(target_arch = "x86_64", not(loom)))]
use vector::{load_pair, pair, store_pair};

/// Pairs of words by one instruction, which the language has no atomic for.
#[cfg(all(target_arch = "x86_64", not(loom)))]
mod vector {
    use core::arch::asm;
    use core::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_set_epi64x};

    use super::{AtomicU64, PAIR_BYTES};

    #[inline(always)]
    pub(super) fn pair(first: u64, second: u64) -> __m128i {
        // SAFETY: SSE2, which every x86-64 has.
        unsafe { _mm_set_epi64x(second.cast_signed(), first.cast_signed()) }
    }

    #[inline(always)]
    pub(super) fn load_pair(bytes: &[u8; PAIR_BYTES]) -> __m128i {
        // SAFETY: SSE2, which every x86-64 has; 16 bytes at any address.
        unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
    }

    #[inline(always)]
    pub(super) fn store_pair(words: &[AtomicU64], at: usize, pair: __m128i) {
        let words: &[AtomicU64] = &words[at..at + 2];
        // SAFETY: in bounds of words that may be stored to through a shared reference. To everyone else this is two
        // relaxed stores: words are aligned to their 8 bytes, and the processor stores no such part of a vector in
        // smaller parts, nor two stores in another order.
        unsafe {
            asm!(
                "movups [{to}], {pair}",
                to = in(reg) words.as_ptr(),
                pair = in(xmm_reg) pair,
                options(nostack, preserves_flags)
            );
        }
    }
}

#[cfg(not(all(target_arch = "x86_64", not(loom))))]
use scalar::{load_pair, pair, store_pair};

/// The same, word by word.
#[cfg(not(all(target_arch = "x86_64", not(loom))))]
mod scalar {
    use super::{AtomicU64, Ordering, PAIR_BYTES};

    #[inline(always)]
    pub(super) fn pair(first: u64, second: u64) -> [u64; 2] {
        [first, second]
    }

    #[inline(always)]
    pub(super) fn load_pair(bytes: &[u8; PAIR_BYTES]) -> [u64; 2] {
        let (words, _) = bytes.as_chunks();
        pair(u64::from_ne_bytes(words[0]), u64::from_ne_bytes(words[1]))
    }

    #[inline(always)]
    pub(super) fn store_pair(words: &[AtomicU64], at: usize, pair: [u64; 2]) {
        words[at].store(pair[0], Ordering::Relaxed);
        words[at + 1].store(pair[1], Ordering::Relaxed);
    }
}

#[cfg(not(loom))]
pub(super) use mapped::{Scratch, Words, lend};

#[cfg(not(loom))]
mod mapped {
    use std::ptr::NonNull;

    use super::AtomicU64;
    use crate::mem::{Region, RegionView};
    use crate::sync::Arc;

    /// Words of a mapping, kept mapped; clones are the same words.
    #[derive(Clone, Debug)]
    pub(in crate::ring) struct Words {
        base: NonNull<AtomicU64>,
        len: usize,
        mapping: Arc<Mapping>,
    }

    #[derive(Debug)]
    #[expect(dead_code, reason = "held for their Drop")]
    enum Mapping {
        Region(Region),
        View(RegionView),
    }

    // SAFETY: a `Words` is a shared slice of atomics and an owner of the mapping under it; both may be used and
    // dropped by any thread.
    unsafe impl Send for Words {}
    // SAFETY: as above; through `&self` there is only `&[AtomicU64]` and `lend`, whose contract covers threads.
    unsafe impl Sync for Words {}

    /// Nothing here; loom's version copies into it.
    #[derive(Debug, Default)]
    pub(in crate::ring) struct Scratch;

    impl Words {
        pub(in crate::ring) fn of_region(region: Region) -> Words {
            let words = region.atomics();
            let (base, len) = (NonNull::from(words).cast(), words.len());
            Words { base, len, mapping: Arc::new(Mapping::Region(region)) }
        }

        /// Words that must not be stored to, and loaded only `Relaxed`: the pages are read-only.
        pub(in crate::ring) fn of_view(view: RegionView) -> Words {
            let words = view.words();
            let (base, len) = (NonNull::from(words).cast(), words.len());
            Words { base, len, mapping: Arc::new(Mapping::View(view)) }
        }

        /// The `len` words from `at` on.
        pub(in crate::ring) fn part(&self, at: usize, len: usize) -> Words {
            let base = NonNull::from(&self.as_slice()[at..at + len]).cast();
            Words { base, len, mapping: Arc::clone(&self.mapping) }
        }

        #[inline]
        pub(in crate::ring) fn as_slice(&self) -> &[AtomicU64] {
            // SAFETY: `base` and `len` are those of a part of the mapping's own slice of atomics (or of words that
            // are transparent atomics), and `mapping` keeps it there as long as `self`.
            unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.len) }
        }
    }

    /// Lends the first `len` bytes of `words`, in place.
    ///
    /// # Safety
    /// None of these words may be stored to while the slice lives, and the stores before must happen-before this.
    #[inline]
    pub(in crate::ring) unsafe fn lend<'a>(
        words: &'a [AtomicU64],
        len: usize,
        _: &'a mut Scratch,
    ) -> &'a [u8] {
        assert!(len <= size_of_val(words), "outside the ring");
        // SAFETY: in bounds by the assertion, initialised, and unchanging by the caller's promise.
        unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), len) }
    }
}

#[cfg(loom)]
pub(super) use modelled::{Scratch, Words, lend};

/// The same under loom, which has to own its atomics.
#[cfg(loom)]
mod modelled {
    use super::{AtomicU64, WORD_BYTES};
    use crate::mem::{Region, RegionView};

    #[derive(Clone, Debug)]
    pub(in crate::ring) struct Words(std::sync::Arc<[AtomicU64]>);

    #[derive(Debug, Default)]
    pub(in crate::ring) struct Scratch(Vec<u8>);

    impl Words {
        /// Nothing yet: loom has memory for the parts only.
        pub(in crate::ring) fn of_region(_: Region) -> Words {
            Words(std::sync::Arc::default())
        }

        pub(in crate::ring) fn of_view(_: RegionView) -> Words {
            Words(std::sync::Arc::default())
        }

        pub(in crate::ring) fn part(&self, _: usize, len: usize) -> Words {
            Words((0..len).map(|_| AtomicU64::new(0)).collect())
        }

        pub(in crate::ring) fn as_slice(&self) -> &[AtomicU64] {
            &self.0
        }
    }

    /// # Safety
    /// As for the real one, and loom checks it: a store that races with an unsynchronised load fails the model.
    pub(in crate::ring) unsafe fn lend<'a>(
        words: &'a [AtomicU64],
        len: usize,
        scratch: &'a mut Scratch,
    ) -> &'a [u8] {
        scratch.0.clear();
        for word in &words[..len.div_ceil(WORD_BYTES)] {
            // SAFETY: the caller's promise.
            scratch.0.extend(unsafe { word.unsync_load() }.to_ne_bytes());
        }
        &scratch.0[..len]
    }
}
