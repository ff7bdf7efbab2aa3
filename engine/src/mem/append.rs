//! Append-only memory: one [`Appender`] and any number of [`View`]s over one mapping.
//!
//! A view sees the published prefix as plain `&[u8]`. Bytes below the published length never change, and the length
//! is stored with `Release` and read with `Acquire`, so readers need no lock, no copy and no retry: that is the
//! whole contract, and it is what makes handing out `&[u8]` sound while another thread writes behind it.
//!
//! A mapping of a file has one contract more, which no type can keep: nobody else writes to or shortens the file
//! while it is mapped. Stores keep it by creating their files exclusively, under a lock.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam::utils::CachePadded;
use memmap2::{MmapMut, MmapOptions, MmapRaw};

/// Bytes of a page, as far as prefaulting is concerned.
pub const PAGE_BYTES: usize = 4096;

struct Mapping {
    raw: MmapRaw,
    published: CachePadded<AtomicUsize>,
}

impl Mapping {
    fn published(&self) -> &[u8] {
        let len = self.published.load(Ordering::Acquire);
        // SAFETY: `len` is at most the mapping's length (`Appender::publish` stores only lengths it has written).
        // The bytes below it were written before the `Release` store that `len` was read from, and are never
        // written again: the only writer is the one `Appender`, which writes at and above the published length.
        unsafe { std::slice::from_raw_parts(self.raw.as_ptr(), len) }
    }
}

/// A mapping before it is appended to: the sole right to make its [`Appender`].
pub struct Memory {
    mapping: Arc<Mapping>,
}

impl Memory {
    fn over(raw: MmapRaw) -> Memory {
        Memory { mapping: Arc::new(Mapping { raw, published: CachePadded::new(AtomicUsize::new(0)) }) }
    }

    /// Zeroed memory of this process alone.
    ///
    /// # Errors
    /// When the kernel has none.
    pub fn anonymous(bytes: usize) -> io::Result<Memory> {
        Ok(Memory::over(MmapMut::map_anon(bytes)?.into()))
    }

    /// Memory of this process alone that starts as a copy of `content`.
    ///
    /// # Errors
    /// When the kernel has none.
    pub fn copy_of(content: &[u8]) -> io::Result<Memory> {
        let mut map = MmapMut::map_anon(content.len())?;
        map.copy_from_slice(content);
        Ok(Memory::over(map.into()))
    }

    /// The first `bytes` bytes of `file`, shared with the page cache: what is written survives a killed process.
    ///
    /// The caller keeps the contract of the module: nobody else writes to the file or shortens it meanwhile.
    ///
    /// # Errors
    /// What the kernel refused; `UnexpectedEof` when the file is shorter, since touching memory behind a file's end
    /// kills the process.
    pub fn map(file: &File, bytes: usize) -> io::Result<Memory> {
        if file.metadata()?.len() < bytes as u64 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is shorter than its mapping"));
        }
        Ok(Memory::over(MmapOptions::new().len(bytes).map_raw(file)?))
    }

    /// All of the memory, whatever it holds.
    pub fn bytes(&self) -> &[u8] {
        let raw = &self.mapping.raw;
        // SAFETY: nothing writes to the mapping before `appender` has consumed this handle, and the slice borrows
        // it. Views only read.
        unsafe { std::slice::from_raw_parts(raw.as_ptr(), raw.len()) }
    }

    /// Loads every page and makes it writable, so that no later store faults.
    pub fn prefault(&self) {
        prefault(&self.mapping.raw, 0..self.mapping.raw.len());
    }

    /// A reader, which sees nothing before the appender publishes.
    pub fn view(&self) -> View {
        View { mapping: Arc::clone(&self.mapping) }
    }

    /// The appender, behind the first `published` bytes, which count as published from now on.
    ///
    /// # Panics
    /// When `published` is past the end of the memory.
    pub fn appender(self, published: usize) -> Appender {
        assert!(published <= self.mapping.raw.len(), "the published prefix lies inside the memory");
        self.mapping.published.store(published, Ordering::Release);
        Appender { mapping: self.mapping, written: published }
    }
}

impl AsRef<[u8]> for Memory {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

/// The memory has less room left than is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no room left")]
pub struct NoRoom;

/// The one writer.
pub struct Appender {
    mapping: Arc<Mapping>,
    written: usize,
}

impl Appender {
    /// Copies `bytes` behind what was appended before. Nobody sees them before [`Appender::publish`].
    ///
    /// # Errors
    /// [`NoRoom`], and nothing is written.
    #[inline]
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), NoRoom> {
        if bytes.len() > self.room() {
            return Err(NoRoom);
        }
        // SAFETY: `written + bytes.len()` is inside the mapping (checked above). The destination lies at or above
        // the published length, where no view looks, and `&mut self` of the only appender keeps other writers out;
        // `bytes` cannot overlap it, since safe code has no reference into it.
        unsafe {
            let to = self.mapping.raw.as_mut_ptr().add(self.written);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
        }
        self.written += bytes.len();
        Ok(())
    }

    /// Lets the views see all that was appended, and gives its length.
    #[inline]
    pub fn publish(&mut self) -> usize {
        self.mapping.published.store(self.written, Ordering::Release);
        self.written
    }

    /// Bytes appended, published or not.
    #[inline]
    pub fn written(&self) -> usize {
        self.written
    }

    /// Bytes that can still be appended.
    #[inline]
    pub fn room(&self) -> usize {
        self.mapping.raw.len() - self.written
    }

    /// Another reader.
    pub fn view(&self) -> View {
        View { mapping: Arc::clone(&self.mapping) }
    }
}

/// A reader of the published prefix. Cheap to clone; keeps the mapping alive.
#[derive(Clone)]
pub struct View {
    mapping: Arc<Mapping>,
}

impl View {
    /// What is published by now. Later calls see more, never other bytes.
    #[inline]
    pub fn published(&self) -> &[u8] {
        self.mapping.published()
    }

    /// Bytes of the whole memory, published or not.
    pub fn capacity(&self) -> usize {
        self.mapping.raw.len()
    }

    /// Loads the pages of `range` and makes them writable without touching their bytes, so that the appender, which
    /// may be writing there right now, does not fault. For a cold thread. Does nothing where the kernel cannot.
    pub fn prefault(&self, range: Range<usize>) {
        prefault(&self.mapping.raw, range);
    }
}

#[cfg(target_os = "linux")]
fn prefault(raw: &MmapRaw, range: Range<usize>) {
    let start = range.start.min(raw.len()) / PAGE_BYTES * PAGE_BYTES;
    let end = range.end.min(raw.len());
    if start < end {
        // Best effort: an old kernel answers EINVAL, and then pages fault when they are first written.
        let _ = raw.advise_range(memmap2::Advice::PopulateWrite, start, end - start);
    }
}

#[cfg(not(target_os = "linux"))]
fn prefault(_: &MmapRaw, _: Range<usize>) {}
