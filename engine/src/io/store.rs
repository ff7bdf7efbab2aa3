//! Segments in files.
//!
//! A directory holds one journal:
//!
//! | file | holds |
//! |---|---|
//! | `00000000000000000000.seg`, … | segments, by index |
//! | `mark` | the mark, a page |
//! | `lock` | locked while a process writes; says which |
//! | `aside-<incarnation>/` | segments of a journal that kept everything and was begun anew |
//!
//! A segment's room is reserved, written and synced when it is made, so that a full disk is an error there and writing
//! into the mapping later can neither fail nor allocate. (A file system that copies on write, such as btrfs or ZFS,
//! cannot promise that.) Nobody but Seqcast may touch the files while it runs: a file that is shortened under a
//! mapping kills the process.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::mem::append::Memory;
use crate::mem::cells::{CELLS, CELLS_BYTES, Cells};
use crate::mem::file::{self, Claim};
use crate::mem::store::{ReadStore, SegmentInfo, Store, StoreError};

const MODE: u32 = 0o640;
static ZEROES: [u8; 1 << 16] = [0; 1 << 16];

/// A directory opened for writing, by this process alone.
pub struct FileStore {
    dir: PathBuf,
    /// The segment that was synced last, open for the next sync. Only one: a journal may have more segments than a
    /// process may have files.
    syncing: Mutex<Option<(u64, File)>>,
    mark: Cells,
    mark_file: File,
    boot: u128,
    poisoned: AtomicBool,
    /// Keeps the directory locked.
    _lock: File,
}

/// A directory opened for reading; another process may be writing to it.
pub struct FileReadStore {
    dir: PathBuf,
}

fn segment_path(dir: &Path, index: u64) -> PathBuf {
    dir.join(format!("{index:020}.seg"))
}

/// Where `dir` keeps what was set aside of the journal that had `incarnation`.
pub fn aside_path(dir: &Path, incarnation: u64) -> PathBuf {
    dir.join(format!("aside-{incarnation:016x}"))
}

fn show(path: &Path) -> String {
    path.display().to_string()
}

fn list(dir: &Path) -> Result<Vec<SegmentInfo>, StoreError> {
    let refused = |e| StoreError::of(show(dir), "list the directory", e);
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(refused)? {
        let entry = entry.map_err(refused)?;
        let name = entry.file_name();
        let index = name.to_str().and_then(|name| name.strip_suffix(".seg")).filter(|name| name.len() == 20);
        if let Some(index) = index.and_then(|index| index.parse().ok()) {
            match entry.metadata() {
                Ok(metadata) => found.push(SegmentInfo { index, bytes: metadata.len() }),
                Err(error) if error.kind() == ErrorKind::NotFound => {} // Removed just now.
                Err(error) => return Err(refused(error)),
            }
        }
    }
    found.sort_unstable_by_key(|info| info.index);
    Ok(found)
}

impl FileStore {
    /// Opens `dir`, which is created if it is not there, and locks it.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process writes there; what the system refused.
    pub fn open(dir: impl Into<PathBuf>) -> Result<FileStore, StoreError> {
        let dir = dir.into();
        fs::create_dir_all(&dir).map_err(|e| StoreError::of(show(&dir), "create the directory", e))?;
        let lock = take_lock(&dir)?;
        let (mark, mark_file) = open_mark(&dir)?;
        sync_dir(&dir)?;
        Ok(FileStore {
            dir,
            syncing: Mutex::default(),
            mark,
            mark_file,
            boot: boot(),
            poisoned: AtomicBool::new(false),
            _lock: lock,
        })
    }

    fn path(&self, index: u64) -> PathBuf {
        segment_path(&self.dir, index)
    }

    fn syncing(&self) -> MutexGuard<'_, Option<(u64, File)>> {
        self.syncing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fills a new file with zeroes that are on disk, and maps it.
    fn fill(&self, index: u64, file: &File, bytes: usize) -> Result<Memory, StoreError> {
        let path = self.path(index);
        let refused = |action| {
            let path = &path;
            move |source: io::Error| match source.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                    StoreError::Full { place: show(path), bytes: bytes as u64, source }
                }
                _ => StoreError::of(show(path), action, source),
            }
        };
        file::reserve(file, bytes as u64).map_err(refused("reserve the segment"))?;
        let mut at = 0;
        while at < bytes {
            let count = ZEROES.len().min(bytes - at);
            file.write_all_at(&ZEROES[..count], at as u64).map_err(refused("write the segment"))?;
            at += count;
        }
        file.sync_all().map_err(refused("sync the segment"))?;
        sync_dir(&self.dir)?;
        Memory::map(file, bytes).map_err(refused("map the segment"))
    }

    fn check_sync(&self, path: &Path, outcome: Option<io::Result<()>>) -> Result<(), StoreError> {
        match outcome {
            None if self.poisoned.load(Ordering::Acquire) => Err(StoreError::Poisoned { place: show(path) }),
            Some(Err(error)) => {
                self.poisoned.store(true, Ordering::Release);
                Err(StoreError::of(show(path), "sync", error))
            }
            _ => Ok(()),
        }
    }
}

impl Store for FileStore {
    fn list(&self) -> Result<Vec<SegmentInfo>, StoreError> {
        list(&self.dir)
    }

    fn create(&self, index: u64, bytes: usize) -> Result<Memory, StoreError> {
        let path = self.path(index);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(MODE).open(&path);
        let file = file.map_err(|e| match e.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                StoreError::Full { place: show(&path), bytes: bytes as u64, source: e }
            }
            _ => StoreError::of(show(&path), "create the segment", e),
        })?;
        // What is left of a segment that does not fit would only take up room. If it stays, the next opening removes it.
        self.fill(index, &file, bytes).inspect_err(|_| drop(fs::remove_file(&path)))
    }

    fn open(&self, index: u64) -> Result<Memory, StoreError> {
        let path = self.path(index);
        let refused = |action| move |e| StoreError::of(show(&segment_path(&self.dir, index)), action, e);
        let file =
            OpenOptions::new().read(true).write(true).open(&path).map_err(refused("open the segment"))?;
        let bytes = file.metadata().map_err(refused("look at the segment"))?.len();
        let bytes =
            usize::try_from(bytes).map_err(|_| refused("map the segment")(ErrorKind::OutOfMemory.into()))?;
        let memory = Memory::map(&file, bytes).map_err(refused("map the segment"))?;
        memory.load().map_err(refused("read the segment"))?;
        Ok(memory)
    }

    fn cut(&self, index: u64, at: usize) -> Result<(), StoreError> {
        let path = self.path(index);
        let cut = || {
            let file = OpenOptions::new().write(true).open(&path)?;
            let end = file.metadata()?.len();
            let mut at = at as u64;
            while at < end {
                let count = (ZEROES.len() as u64).min(end - at);
                file.write_all_at(&ZEROES[..count as usize], at)?;
                at += count;
            }
            file.sync_all()
        };
        cut().map_err(|e| StoreError::of(show(&path), "cut the segment's torn end", e))
    }

    fn remove(&self, index: u64) -> Result<(), StoreError> {
        let path = self.path(index);
        self.syncing().take_if(|(syncing, _)| *syncing == index);
        fs::remove_file(&path).map_err(|e| StoreError::of(show(&path), "remove the segment", e))
    }

    fn set_aside(&self, index: u64, incarnation: u64) -> Result<(), StoreError> {
        let (path, aside) = (self.path(index), aside_path(&self.dir, incarnation));
        self.syncing().take_if(|(syncing, _)| *syncing == index);
        let refused = |action| {
            let path = &path;
            move |e| StoreError::of(show(path), action, e)
        };
        fs::create_dir_all(&aside).map_err(refused("make a directory to set the segment aside"))?;
        fs::rename(&path, segment_path(&aside, index)).map_err(refused("set the segment aside"))?;
        sync_dir(&aside)?;
        sync_dir(&self.dir)
    }

    /// Syncs the whole file: all that is dirty in it lies in `range`. Errors of writing back before the file was opened
    /// here are reported too: the mapping keeps the inode, and Linux tells each error to whoever syncs next.
    fn sync(&self, index: u64, _range: Range<usize>) -> Result<(), StoreError> {
        let path = self.path(index);
        self.check_sync(&path, None)?;
        // Taken out of its lock while it is synced, which may last: removing a segment must not wait for that.
        let open = self.syncing().take_if(|(synced, _)| *synced == index);
        let file = match open {
            Some((_, file)) => file,
            None => File::open(&path)
                .map_err(|e| StoreError::of(show(&path), "open the segment to sync it", e))?,
        };
        self.check_sync(&path, Some(file.sync_data()))?;
        *self.syncing() = Some((index, file));
        Ok(())
    }

    fn mark(&self) -> Cells {
        self.mark.clone()
    }

    fn sync_mark(&self) -> Result<(), StoreError> {
        let path = self.dir.join("mark");
        self.check_sync(&path, None)?;
        self.check_sync(&path, Some(self.mark_file.sync_data()))
    }

    fn boot(&self) -> u128 {
        self.boot
    }

    fn place(&self, index: u64) -> String {
        show(&self.path(index))
    }

    fn place_of_mark(&self) -> String {
        show(&self.dir.join("mark"))
    }
}

/// Locks the directory and writes down who did.
fn take_lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join("lock");
    match file::claim(&path).map_err(|e| StoreError::of(show(&path), "lock the journal", e))? {
        Claim::Taken(lock) => Ok(lock),
        Claim::Held { by } => Err(StoreError::Locked { place: show(dir), holder: by }),
    }
}

/// Opens the mark; a missing one, or the stump of one, is made anew.
fn open_mark(dir: &Path) -> Result<(Cells, File), StoreError> {
    let path = dir.join("mark");
    let refused = |action| {
        let path = &path;
        move |e| StoreError::of(show(path), action, e)
    };
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(MODE).open(&path);
    let file = open.map_err(refused("open the mark"))?;
    let bytes = file.metadata().map_err(refused("look at the mark"))?.len();
    if bytes < CELLS_BYTES as u64 {
        file.write_all_at(&[0; CELLS_BYTES], 0).map_err(refused("write the mark"))?;
        file.sync_all().map_err(refused("sync the mark"))?;
    }
    let cells = Cells::map(&file).map_err(refused("map the mark"))?;
    Ok((cells, file))
}

fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    let sync = File::open(dir).and_then(|dir| dir.sync_all());
    sync.map_err(|e| StoreError::of(show(dir), "sync the directory", e))
}

/// The boot of this machine. Where the system does not tell, every opening counts as a new one.
fn boot() -> u128 {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = id.chars().filter(char::is_ascii_hexdigit).collect();
    u128::from_str_radix(&digits, 16)
        .unwrap_or_else(|_| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos()))
}

impl FileReadStore {
    /// Opens `dir` to read it.
    ///
    /// # Errors
    /// When it is not there or may not be read.
    pub fn open(dir: impl Into<PathBuf>) -> Result<FileReadStore, StoreError> {
        let dir = dir.into();
        fs::read_dir(&dir).map_err(|e| StoreError::of(show(&dir), "read the directory", e))?;
        Ok(FileReadStore { dir })
    }
}

impl ReadStore for FileReadStore {
    fn list(&self) -> Result<Vec<SegmentInfo>, StoreError> {
        list(&self.dir)
    }

    fn read_at(&self, index: u64, offset: u64, into: &mut [u8]) -> Result<usize, StoreError> {
        let path = segment_path(&self.dir, index);
        let mut read = || {
            let file = File::open(&path)?;
            loop {
                match file.read_at(into, offset) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    outcome => return outcome,
                }
            }
        };
        read().map_err(|e| StoreError::of(show(&path), "read the segment", e))
    }

    fn mark(&self) -> Result<Option<[u64; CELLS]>, StoreError> {
        let path = self.dir.join("mark");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::of(show(&path), "read the mark", error)),
        };
        let (cells, _) = bytes.as_chunks::<8>();
        let value = |at: usize| cells.get(at).map(|cell| u64::from_le_bytes(*cell));
        let values: Vec<u64> = (0..CELLS).map_while(value).collect();
        Ok(values.try_into().ok())
    }

    fn writer(&self) -> Option<String> {
        let lock = File::open(self.dir.join("lock")).ok()?;
        file::is_locked(&lock).unwrap_or(false).then(|| file::holder(&lock))
    }

    fn boot(&self) -> u128 {
        boot()
    }

    fn place(&self, index: u64) -> String {
        show(&segment_path(&self.dir, index))
    }
}
