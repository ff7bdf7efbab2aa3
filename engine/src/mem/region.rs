//! Mapped memory: private, shared through a sealed memfd, or a file.
//!
//! | made by | memory | who else may map it |
//! |---|---|---|
//! | [`Region::anonymous`] | private pages | nobody |
//! | [`Region::shared`] | a memfd (Linux) | others, for reading only: the kernel's seals forbid writing and resizing |
//! | [`Region::create_file`], [`Region::open_file`] | a file | others, for reading and writing |
//! | [`RegionView::open`] | another process's memfd or file | – |
//!
//! Pages are there before the first use (prefaulted), and a file's space is reserved, so that nothing stalls or fails
//! later. What memory that others write looks like is always atomics, never `&[u8]`.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};

const PAGE_BYTES: usize = 4096;
const HUGE_PAGE_BYTES: usize = 2 << 20;
const HUGE_PAGE_BITS: u8 = HUGE_PAGE_BYTES.trailing_zeros() as u8;

/// What to map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionSpec {
    /// Bytes wanted; rounded up to whole pages.
    pub len_bytes: usize,
    /// Ask for pages of 2 MiB; what is granted instead is reported, see [`Region::shortfalls`].
    pub huge_pages: bool,
    /// Keep the pages from being swapped out; a refusal is reported, see [`Region::shortfalls`].
    pub lock: bool,
}

impl RegionSpec {
    /// `len_bytes` on plain pages, not locked.
    pub const fn plain(len_bytes: usize) -> RegionSpec {
        RegionSpec { len_bytes, huge_pages: false, lock: false }
    }

    fn rounded(&self) -> Result<usize, RegionError> {
        let page = if self.huge_pages { HUGE_PAGE_BYTES } else { PAGE_BYTES };
        match self.len_bytes.checked_next_multiple_of(page) {
            Some(len) if len > 0 && len <= isize::MAX as usize => Ok(len),
            _ => Err(RegionError::Length { len_bytes: self.len_bytes }),
        }
    }
}

/// Why memory could not be mapped.
#[derive(Debug, thiserror::Error)]
pub enum RegionError {
    /// Nothing, or more than an address space holds.
    #[error("a region of {len_bytes} bytes cannot be mapped: ask for at least 1 byte and less than 2^63")]
    Length {
        /// As asked for.
        len_bytes: usize,
    },
    /// The kernel refused memory.
    #[error("cannot {action} {len_bytes} bytes of memory: {source}")]
    Memory {
        /// What was tried.
        action: &'static str,
        /// How much.
        len_bytes: usize,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The kernel refused a file.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
}

/// Something asked for that was not granted; the region works without it, less steadily.
#[derive(Debug, thiserror::Error)]
pub enum Shortfall {
    /// No huge pages were free.
    #[error(
        "no huge pages ({0}): plain pages are used, merged by the kernel where it can; \
         to have them, set vm.nr_hugepages"
    )]
    HugePages(io::Error),
    /// The pages may be swapped out.
    #[error("memory is not locked ({0}): raise the limit on locked memory (ulimit -l, LimitMEMLOCK=)")]
    Lock(io::Error),
}

/// Memory mapped for reading and writing, given back when dropped.
#[derive(Debug)]
pub struct Region {
    map: MmapRaw,
    /// The memfd stays open as long as the region, so that its path can be opened.
    memfd: Option<File>,
    exclusive: bool,
    shortfalls: Vec<Shortfall>,
}

impl Region {
    /// Maps private memory, zeroed and prefaulted.
    ///
    /// # Errors
    /// [`RegionError`], when there is no memory.
    pub fn anonymous(spec: &RegionSpec) -> Result<Region, RegionError> {
        let len = spec.rounded()?;
        let mut shortfalls = Vec::new();
        let huge = if spec.huge_pages {
            let huge = MmapOptions::new().len(len).huge(Some(HUGE_PAGE_BITS)).map_anon();
            huge.map_err(|source| shortfalls.push(Shortfall::HugePages(source))).ok()
        } else {
            None
        };
        let map = match huge {
            Some(map) => map,
            None => MmapOptions::new().len(len).map_anon().map_err(memory("map", len))?,
        };
        Region { map: map.into(), memfd: None, exclusive: true, shortfalls }.made_ready(spec)
    }

    /// Maps a memfd, zeroed and prefaulted, that other processes can open by [`Region::path`] and map for reading.
    /// Seals keep everyone from resizing it and everyone but this region from writing it. `name` shows in
    /// `/proc/<pid>/maps`.
    ///
    /// # Errors
    /// [`RegionError`]: no memory, or no memfd with a seal against writers (Linux 5.1 has it).
    #[cfg(target_os = "linux")]
    pub fn shared(name: &std::ffi::CStr, spec: &RegionSpec) -> Result<Region, RegionError> {
        let len = spec.rounded()?;
        let mut shortfalls = Vec::new();
        let huge = if spec.huge_pages {
            let huge = memfd::open(name, len, libc::MFD_HUGETLB | libc::MFD_HUGE_2MB);
            huge.map_err(|source| shortfalls.push(Shortfall::HugePages(source))).ok()
        } else {
            None
        };
        let (file, map) = match huge {
            Some(huge) => huge,
            None => memfd::open(name, len, 0).map_err(memory("share", len))?,
        };
        let region = Region { map, memfd: Some(file), exclusive: true, shortfalls }.made_ready(spec)?;
        region.memfd.as_ref().map_or(Ok(()), memfd::seal).map_err(memory("seal", len))?;
        Ok(region)
    }

    /// Creates a file of `len_bytes` zeros (rounded up to whole pages) with its space reserved, and maps it shared. A
    /// file that is there already is replaced; who has the old one mapped keeps it.
    ///
    /// Truncating the file while it is mapped kills the process (`SIGBUS`), as with every mapped file.
    ///
    /// # Errors
    /// [`RegionError`], with the path.
    pub fn create_file(path: &Path, len_bytes: usize) -> Result<Region, RegionError> {
        let len = RegionSpec::plain(len_bytes).rounded()?;
        match std::fs::remove_file(path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(RegionError::File { action: "replace", path: path.into(), source });
            }
            _ => {}
        }
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).open(path).map_err(of(path, "create"))?;
        reserve(&file, len).map_err(of(path, "reserve space for"))?;
        Region::over_file(path, &file)
    }

    /// Maps an existing file, whole and shared.
    ///
    /// # Errors
    /// [`RegionError`], with the path; also for an empty file.
    pub fn open_file(path: &Path) -> Result<Region, RegionError> {
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(of(path, "open"))?;
        Region::over_file(path, &file)
    }

    fn over_file(path: &Path, file: &File) -> Result<Region, RegionError> {
        let map = MmapOptions::new().map_raw(file).and_then(not_empty).map_err(of(path, "map"))?;
        let region = Region { map, memfd: None, exclusive: false, shortfalls: Vec::new() };
        region.prefault().map_err(of(path, "prefault"))?;
        Ok(region)
    }

    fn made_ready(mut self, spec: &RegionSpec) -> Result<Region, RegionError> {
        // Best effort, and nothing where the pages are huge already. Large pages are not only read faster: a process
        // that is killed holds a core for as long as the kernel takes to give its pages back one by one (10 ms per
        // 100 MiB of small ones), while another node wants to take over.
        #[cfg(target_os = "linux")]
        if self.map.len() >= HUGE_PAGE_BYTES {
            let _ = self.map.advise(memmap2::Advice::HugePage);
        }
        self.prefault().map_err(memory("prefault", self.map.len()))?;
        if spec.lock
            && let Err(source) = self.map.lock()
        {
            self.shortfalls.push(Shortfall::Lock(source));
        }
        Ok(self)
    }

    /// Has the kernel provide every page now. Asking by `madvise` gives an error where touching would give `SIGBUS`.
    fn prefault(&self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        match self.map.advise(memmap2::Advice::PopulateWrite) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {} // Linux before 5.14
            outcome => return outcome,
        }
        for word in self.atomics().iter().step_by(PAGE_BYTES / size_of::<u64>()) {
            word.fetch_add(0, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Bytes mapped.
    pub fn len_bytes(&self) -> usize {
        self.map.len()
    }

    /// Its first byte, for memory that the kernel writes too.
    pub(crate) fn base(&self) -> *mut u8 {
        self.map.as_mut_ptr()
    }

    /// The memory as 64-bit words; the way to share numbers with other threads and processes.
    pub fn atomics(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is page-aligned, readable, writable, initialised (zeros or file content) and lives as
        // long as `self`; any bits are a valid `AtomicU64`. Whole words only: a file's odd tail is left out.
        unsafe { std::slice::from_raw_parts(self.map.as_mut_ptr().cast(), self.map.len() / size_of::<u64>()) }
    }

    /// What was asked for and not granted.
    pub fn shortfalls(&self) -> &[Shortfall] {
        &self.shortfalls
    }

    /// Where another process can open the memory of [`Region::shared`], as long as this region lives.
    pub fn path(&self) -> Option<PathBuf> {
        #[cfg(unix)]
        {
            use std::os::fd::AsRawFd;
            let fd = self.memfd.as_ref()?.as_raw_fd();
            Some(PathBuf::from(format!("/proc/{}/fd/{fd}", std::process::id())))
        }
        #[cfg(not(unix))]
        None
    }

    /// Whether nobody else can write this memory: private, or sealed.
    pub(crate) fn is_exclusive(&self) -> bool {
        self.exclusive
    }
}

/// Another process's memory, mapped for reading.
#[derive(Debug)]
pub struct RegionView {
    map: MmapRaw,
}

impl RegionView {
    /// Maps the memory at `path` whole: a file, or another process's [`Region::path`].
    ///
    /// # Errors
    /// [`RegionError`], with the path; also for an empty file.
    pub fn open(path: &Path) -> Result<RegionView, RegionError> {
        let file = File::open(path).map_err(of(path, "open"))?;
        let map = MmapOptions::new().map_raw_read_only(&file).and_then(not_empty).map_err(of(path, "map"))?;
        Ok(RegionView { map })
    }

    /// Bytes mapped.
    pub fn len_bytes(&self) -> usize {
        self.map.len()
    }

    /// The memory as 64-bit words.
    pub fn words(&self) -> &[ViewWord] {
        // SAFETY: the mapping is page-aligned, readable, initialised and lives as long as `self`. `ViewWord` is a
        // transparent `AtomicU64`, which may be changed by others at any time, and has no way to store.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast(), self.map.len() / size_of::<u64>()) }
    }
}

/// A word that others write and this process only reads.
#[derive(Debug)]
#[repr(transparent)]
pub struct ViewWord(AtomicU64);

impl ViewWord {
    /// Its value now. Says nothing about other words: follow it with an acquire fence to read those after it.
    pub fn load(&self) -> u64 {
        // Relaxed is what the standard library allows on read-only pages.
        self.0.load(Ordering::Relaxed)
    }
}

fn memory(action: &'static str, len_bytes: usize) -> impl FnOnce(io::Error) -> RegionError {
    move |source| RegionError::Memory { action, len_bytes, source }
}

fn of(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> RegionError {
    move |source| RegionError::File { action, path: path.into(), source }
}

fn not_empty(map: MmapRaw) -> io::Result<MmapRaw> {
    if map.len() < size_of::<u64>() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is shorter than one word"));
    }
    Ok(map)
}

/// Sets a file's length and reserves its blocks, so that a full disk is an error here and not `SIGBUS` later.
fn reserve(file: &File, len: usize) -> io::Result<()> {
    file.set_len(len as u64)?;
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        let len = libc::off_t::try_from(len).map_err(io::Error::other)?;
        // SAFETY: a call on an open descriptor that touches no memory of ours.
        match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, len) } {
            0 => {}
            error => return Err(io::Error::from_raw_os_error(error)),
        }
    }
    Ok(())
}

#[cfg(target_os = "linux")]
mod memfd {
    use super::{File, MmapOptions, MmapRaw, io};
    use std::ffi::CStr;
    use std::os::fd::{AsRawFd, FromRawFd};

    pub(super) fn open(name: &CStr, len: usize, flags: libc::c_uint) -> io::Result<(File, MmapRaw)> {
        let flags = flags | libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
        // SAFETY: `name` is a C string; the call keeps no pointer to it.
        let fd = unsafe { libc::memfd_create(name.as_ptr(), flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just opened this descriptor for us; nobody else owns it.
        let file = unsafe { File::from_raw_fd(fd) };
        file.set_len(len as u64)?;
        let map = MmapOptions::new().len(len).map_raw(&file)?;
        Ok((file, map))
    }

    /// Forbids resizing, and writing by anyone who has not mapped it yet.
    pub(super) fn seal(file: &File) -> io::Result<()> {
        let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_FUTURE_WRITE | libc::F_SEAL_SEAL;
        // SAFETY: a call on an open descriptor that touches no memory of ours.
        match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn anonymous_memory_is_zeroed_rounded_up_and_shared_by_threads() {
        let region = Region::anonymous(&RegionSpec::plain(5000)).unwrap();
        assert_eq!(region.len_bytes(), 8192);
        assert_eq!(region.atomics().len(), 1024);
        assert!(region.atomics().iter().all(|word| word.load(Ordering::Relaxed) == 0));
        std::thread::scope(|scope| {
            scope.spawn(|| region.atomics()[1023].store(7, Ordering::Relaxed));
        });
        assert_eq!(region.atomics()[1023].load(Ordering::Relaxed), 7);
        assert!(region.path().is_none() && region.is_exclusive());
    }

    #[test]
    fn lengths_that_cannot_be_mapped_are_refused() {
        for len in [0, usize::MAX, usize::MAX - PAGE_BYTES, isize::MAX as usize] {
            let error = Region::anonymous(&RegionSpec::plain(len)).unwrap_err();
            assert!(matches!(error, RegionError::Length { .. }), "{error}");
        }
    }

    #[test]
    fn what_is_not_granted_is_reported_and_the_memory_works() {
        let spec = RegionSpec { len_bytes: 1, huge_pages: true, lock: true };
        let region = Region::anonymous(&spec).unwrap();
        assert_eq!(region.len_bytes(), HUGE_PAGE_BYTES);
        region.atomics()[HUGE_PAGE_BYTES / 8 - 1].store(1, Ordering::Relaxed);
        // How many of the two this host grants is its business; a refusal names its remedy.
        for shortfall in region.shortfalls() {
            let text = shortfall.to_string();
            assert!(text.contains("vm.nr_hugepages") || text.contains("ulimit -l"), "{text}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_shared_region_is_seen_by_a_second_mapping_and_written_by_none() {
        for huge_pages in [false, true] {
            let spec = RegionSpec { len_bytes: 4096, huge_pages, lock: false };
            let region = Region::shared(c"seqcast-test", &spec).unwrap();
            let path = region.path().unwrap();
            let view = RegionView::open(&path).unwrap();
            assert_eq!(view.len_bytes(), region.len_bytes());
            region.atomics()[9].store(77, Ordering::Relaxed);
            assert_eq!(view.words()[9].load(), 77);

            assert!(Region::open_file(&path).is_err(), "a second writable mapping is sealed off");
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            assert!(file.set_len(1).is_err(), "nor can the memory be taken away");
            assert!(io::Write::write(&mut &file, b"x").is_err(), "nor written as a file");
        }
    }

    #[test]
    fn a_file_keeps_its_words_and_is_replaced_by_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("counters");
        let first = Region::create_file(&path, 100).unwrap();
        assert_eq!(first.len_bytes(), 4096);
        first.atomics()[3].store(42, Ordering::Relaxed);
        let again = Region::open_file(&path).unwrap();
        assert_eq!(again.atomics()[3].load(Ordering::Relaxed), 42);
        assert_eq!(RegionView::open(&path).unwrap().words()[3].load(), 42);
        assert!(!first.is_exclusive() && !again.is_exclusive());

        let second = Region::create_file(&path, 100).unwrap();
        assert_eq!(second.atomics()[3].load(Ordering::Relaxed), 0);
        assert_eq!(first.atomics()[3].load(Ordering::Relaxed), 42, "the old mapping is untouched");
    }

    #[test]
    fn errors_name_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("none");
        for error in [Region::open_file(&path).unwrap_err(), RegionView::open(&path).unwrap_err()] {
            assert!(error.to_string().contains("none"), "{error}");
        }
        let empty = dir.path().join("empty");
        File::create(&empty).unwrap();
        assert!(Region::open_file(&empty).unwrap_err().to_string().contains("empty"));
        assert!(RegionView::open(&empty).is_err());
        assert!(Region::create_file(&dir.path().join("no/such/dir"), 8).is_err());
    }
}
