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
    /// What the appender had written when it was dropped; [`APPENDING`] before.
    left: AtomicUsize,
}

const APPENDING: usize = usize::MAX;

impl Mapping {
    fn published(&self) -> &[u8] {
        let len = self.published.load(Ordering::Acquire);
        // SAFETY: `len` is at most the mapping's length (`Appender::publish` stores only lengths it has written).
        // The bytes below it were written before the `Release` store that `len` was read from, and are never
        // written again: the only writer is the one `Appender`, which writes at and above the published length.
        unsafe { std::slice::from_raw_parts(self.raw.as_ptr(), len) }
    }

    fn left(&self) -> Option<&[u8]> {
        let len = Some(self.left.load(Ordering::Acquire)).filter(|&len| len != APPENDING)?;
        // SAFETY: `len` bytes lie inside the mapping and were written by the one appender before it stored `len` and
        // was gone. There is never another, so nobody writes here any more.
        Some(unsafe { std::slice::from_raw_parts(self.raw.as_ptr(), len) })
    }
}

/// A mapping before it is appended to: the sole right to make its [`Appender`].
pub struct Memory {
    mapping: Arc<Mapping>,
}

impl Memory {
    fn over(raw: MmapRaw) -> Memory {
        let published = CachePadded::new(AtomicUsize::new(0));
        Memory { mapping: Arc::new(Mapping { raw, published, left: AtomicUsize::new(APPENDING) }) }
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

    /// Loads every page, so that a disk that cannot be read is an error here and not the end of the process later.
    ///
    /// # Errors
    /// When a page cannot be loaded.
    pub fn load(&self) -> io::Result<()> {
        load(&self.mapping.raw)
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

impl Drop for Appender {
    fn drop(&mut self) {
        self.mapping.left.store(self.written, Ordering::Release);
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

    /// All that was appended, published or not, once the appender is gone: what the page cache keeps of a killed process.
    pub(crate) fn left(&self) -> Option<&[u8]> {
        self.mapping.left()
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

#[cfg(target_os = "linux")]
fn load(raw: &MmapRaw) -> io::Result<()> {
    match raw.advise(memmap2::Advice::PopulateRead) {
        // An old kernel does not know the advice; then pages are loaded when they are first read.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        outcome => outcome,
    }
}

#[cfg(not(target_os = "linux"))]
fn load(_: &MmapRaw) -> io::Result<()> {
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn prefault(_: &MmapRaw, _: Range<usize>) {}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn views_see_what_is_published_and_only_that() {
        let memory = Memory::anonymous(16).unwrap();
        let early = memory.view();
        let mut appender = memory.appender(0);
        appender.append(b"abcd").unwrap();
        assert_eq!(early.published(), b"");
        assert_eq!(appender.publish(), 4);
        let prefix = early.published();
        appender.append(b"efgh").unwrap();
        assert_eq!(appender.view().published(), b"abcd");
        appender.publish();
        assert_eq!(early.published(), b"abcdefgh");
        assert_eq!(prefix, b"abcd", "a slice taken before stays valid");
    }

    #[test]
    fn what_an_appender_leaves_is_seen_once_it_is_gone() {
        let mut appender = Memory::anonymous(16).unwrap().appender(0);
        let view = appender.view();
        appender.append(b"abc").unwrap();
        appender.publish();
        appender.append(b"def").unwrap();
        assert_eq!((view.published(), view.left()), (&b"abc"[..], None));
        drop(appender);
        assert_eq!((view.published(), view.left()), (&b"abc"[..], Some(&b"abcdef"[..])));
    }

    #[test]
    fn refuses_what_does_not_fit_and_writes_nothing_of_it() {
        let mut appender = Memory::anonymous(8).unwrap().appender(0);
        appender.append(b"12345").unwrap();
        assert_eq!(appender.append(b"6789"), Err(NoRoom));
        assert_eq!((appender.written(), appender.room()), (5, 3));
        appender.append(b"678").unwrap();
        assert_eq!(appender.append(b"9"), Err(NoRoom));
        assert_eq!(appender.append(b""), Ok(()));
        appender.publish();
        assert_eq!(appender.view().published(), b"12345678");
    }

    #[test]
    fn goes_on_behind_what_is_there() {
        let memory = Memory::copy_of(b"old.....").unwrap();
        assert_eq!(memory.bytes(), b"old.....");
        let mut appender = memory.appender(3);
        assert_eq!(appender.view().published(), b"old");
        appender.append(b"new").unwrap();
        appender.publish();
        assert_eq!(appender.view().published(), b"oldnew");
    }

    #[test]
    #[should_panic(expected = "inside the memory")]
    fn a_prefix_longer_than_the_memory_is_a_bug() {
        let _ = Memory::anonymous(8).unwrap().appender(9);
    }

    #[test]
    fn views_outlive_the_appender() {
        let mut appender = Memory::anonymous(PAGE_BYTES).unwrap().appender(0);
        appender.append(b"kept").unwrap();
        appender.publish();
        let view = appender.view();
        drop(appender);
        assert_eq!(view.published(), b"kept");
        assert_eq!(view.capacity(), PAGE_BYTES);
    }

    #[test]
    fn a_mapped_file_holds_what_is_appended() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[0; 3 * PAGE_BYTES]).unwrap();
        let memory = Memory::map(&file, 3 * PAGE_BYTES).unwrap();
        memory.load().unwrap();
        let mut appender = memory.appender(0);
        appender.view().prefault(1..usize::MAX);
        appender.append(&[7; PAGE_BYTES + 1]).unwrap();
        let again = Memory::map(&file, PAGE_BYTES + 2).unwrap();
        assert_eq!(again.bytes()[PAGE_BYTES - 1..], [7, 7, 0]);
    }

    #[test]
    fn a_file_shorter_than_its_mapping_is_an_error() {
        let file = tempfile::tempfile().unwrap();
        let error = Memory::map(&file, 1).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(Memory::map(&file, 0).unwrap().bytes(), b"");
    }

    /// Readers on other threads check every byte of every prefix they see while the writer goes on.
    #[test]
    fn a_published_prefix_never_changes_under_its_readers() {
        const BYTES: usize = 1 << 16;
        let value = |at: usize| (at % 251) as u8;
        let mut appender = Memory::anonymous(BYTES).unwrap().appender(0);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                let view = appender.view();
                scope.spawn(move || {
                    let mut seen = 0;
                    while seen < BYTES {
                        let published = view.published();
                        assert!(published.len() >= seen, "the prefix shrank");
                        for (at, &byte) in published.iter().enumerate().skip(seen) {
                            assert_eq!(byte, value(at));
                        }
                        seen = published.len();
                        std::thread::yield_now();
                    }
                    assert!(view.published().iter().enumerate().all(|(at, &byte)| byte == value(at)));
                });
            }
            let mut at = 0;
            for len in (1..97).cycle() {
                let chunk: Vec<u8> = (at..BYTES.min(at + len)).map(value).collect();
                appender.append(&chunk).unwrap();
                at += chunk.len();
                if len % 3 == 0 || at == BYTES {
                    appender.publish();
                }
                if at == BYTES {
                    break;
                }
            }
        });
    }
}
