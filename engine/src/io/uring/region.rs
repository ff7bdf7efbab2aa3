//! Memory that the kernel reads and writes while our calls return: equal slots of one anonymous mapping, reached by
//! pointer only.

use std::io;

use crate::mem::{self, RegionSpec};

/// Slots that the kernel and we write at the same time are kept on lines of their own.
pub(super) const CACHE_LINE_BYTES: usize = 64;

/// `count` slots of `stride` bytes, zeroed, prefaulted, starting at a page. The slots move never and are unmapped when
/// the region is dropped: not before the kernel has let go of them.
pub(super) struct Region {
    base: *mut u8,
    stride: usize,
    count: usize,
    /// Keeps the mapping. Never dereferenced: the slots are aliased by the kernel.
    _memory: mem::Region,
}

// SAFETY: the pointer is to memory that the region owns and that nothing ties to a thread.
unsafe impl Send for Region {}

impl Region {
    pub(super) fn new(count: usize, stride: usize) -> io::Result<Region> {
        let memory = mem::Region::anonymous(&RegionSpec::plain(count * stride)).map_err(io::Error::other)?;
        Ok(Region { base: memory.base(), stride, count, _memory: memory })
    }

    /// Start of slot `index`, good for as many bytes as the stride has.
    pub(super) fn slot(&self, index: usize) -> *mut u8 {
        assert!(index < self.count, "slot {index} of {}", self.count);
        // SAFETY: `index` is checked, so the offset stays inside the mapping.
        unsafe { self.base.add(index * self.stride) }
    }

    pub(super) fn stride(&self) -> usize {
        self.stride
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }
}
