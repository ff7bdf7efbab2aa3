//! The memory under a broadcast ring: 64-bit words that one thread writes and others read.
//!
//! Every store is an atomic one of a whole word, so a reader that races with the writer sees old and new words, but
//! the race is not undefined behaviour. Readers that the writer waits for look at the memory in place, as bytes.
#![allow(unsafe_code)]

use crate::sync::{AtomicU64, Ordering};

pub(super) const WORD_BYTES: usize = size_of::<u64>();

/// Copies `bytes` into the first of `words`; the last of these is padded with zeros.
///
/// Word by word: vectors would cross cache lines, which costs more between processors than the instructions they save.
#[inline]
pub(super) fn store_bytes(words: &[AtomicU64], bytes: &[u8]) {
    let (whole, rest) = bytes.as_chunks::<WORD_BYTES>();
    for (word, bytes) in words.iter().zip(whole) {
        word.store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
    }
    if !rest.is_empty() {
        let mut last = [0; WORD_BYTES];
        last[..rest.len()].copy_from_slice(rest);
        words[whole.len()].store(u64::from_ne_bytes(last), Ordering::Relaxed);
    }
}

/// Copies the first of `words` into `out`, as they are at the moment: they may change underneath.
#[inline]
pub(super) fn load_words(words: &[AtomicU64], out: &mut [u64]) {
    for (out, word) in out.iter_mut().zip(words) {
        *out = word.load(Ordering::Relaxed);
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
