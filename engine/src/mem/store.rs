//! Where a journal's memory lives: numbered segments and a small mark, behind a trait.
//!
//! Files implement it in [`crate::io::store`]; [`MemoryStore`] keeps everything in memory and can lose, tear and
//! refuse on demand.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::mem::append::{Memory, View};
use crate::mem::cells::{CELLS, Cells};

/// A segment in a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its index.
    pub index: u64,
    /// Its length as the store has it, whatever the segment's header says.
    pub bytes: u64,
}

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk or the quota is used up.
    #[error(
        "{place}: no room for {bytes} bytes ({source}); free some or lower the retention, the journal then goes on by itself"
    )]
    Full {
        /// What did not fit.
        place: String,
        /// Bytes asked for.
        bytes: u64,
        /// As the system says it.
        source: io::Error,
    },
    /// Permission is missing.
    #[error("{place}: may not {action} ({source}); give the user that runs Seqcast the right to")]
    Denied {
        /// What was refused.
        place: String,
        /// What was attempted.
        action: &'static str,
        /// As the system says it.
        source: io::Error,
    },
    /// Another process writes to this journal.
    #[error(
        "{place}: already open for writing by {holder}; stop it, or give each process a directory of its own"
    )]
    Locked {
        /// The journal.
        place: String,
        /// Who has it, as far as is known.
        holder: String,
    },
    /// There is no such thing.
    #[error("{place}: not there; check the path")]
    Absent {
        /// What is missing.
        place: String,
    },
    /// A sync failed before. What was not on disk then may be lost, and no later success would prove otherwise.
    #[error("{place}: a sync failed before; restart the node, so that it checks what the disk really holds")]
    Poisoned {
        /// The segment or mark whose sync failed.
        place: String,
    },
    /// Anything else that the system refused.
    #[error("{place}: cannot {action}: {source}; check the disk and the kernel's log")]
    Io {
        /// What it concerns.
        place: String,
        /// What was attempted.
        action: &'static str,
        /// As the system says it.
        source: io::Error,
    },
}

impl StoreError {
    /// Sorts `source`, which happened while trying to `action` at `place`.
    pub fn of(place: impl Into<String>, action: &'static str, source: io::Error) -> StoreError {
        let place = place.into();
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                StoreError::Denied { place, action, source }
            }
            io::ErrorKind::NotFound => StoreError::Absent { place },
            _ => StoreError::Io { place, action, source },
        }
    }

    /// Whether the disk or the quota is used up: the same call may succeed later.
    pub fn is_full(&self) -> bool {
        matches!(self, StoreError::Full { .. })
    }
}

/// Segments and a mark that one process writes. Everything here may block: cold threads only.
pub trait Store: Send + Sync + 'static {
    /// The segments there are, lowest index first.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn list(&self) -> Result<Vec<SegmentInfo>, StoreError>;

    /// Makes segment `index` of `bytes` zeroes: its room is reserved, so that writing to it cannot fail, and its
    /// pages are loaded, so that writing to it does not stall.
    ///
    /// # Errors
    /// [`StoreError::Full`], and nothing is left behind; the segment exists already; or what else the system
    /// refused.
    fn create(&self, index: u64, bytes: usize) -> Result<Memory, StoreError>;

    /// Loads segment `index` as it is.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn open(&self, index: u64) -> Result<Memory, StoreError>;

    /// Zeroes segment `index` from byte `at` on, durably. Not while it is mapped.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn cut(&self, index: u64, at: usize) -> Result<(), StoreError>;

    /// Removes segment `index`. Memory that is loaded from it stays valid.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn remove(&self, index: u64) -> Result<(), StoreError>;

    /// Takes segment `index` out of the journal and keeps it beside it, as a part of the journal that had `incarnation`.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn set_aside(&self, index: u64, incarnation: u64) -> Result<(), StoreError>;

    /// Returns once the published bytes in `range` of segment `index` survive a loss of power.
    ///
    /// # Errors
    /// An error is final: what it leaves unsynced may be lost even if a later call succeeds, so stores answer
    /// [`StoreError::Poisoned`] from then on.
    fn sync(&self, index: u64, range: Range<usize>) -> Result<(), StoreError>;

    /// The mark: cells that survive a killed process at once and a loss of power after [`Store::sync_mark`].
    fn mark(&self) -> Cells;

    /// Returns once the mark survives a loss of power.
    ///
    /// # Errors
    /// As for [`Store::sync`].
    fn sync_mark(&self) -> Result<(), StoreError>;

    /// Changes whenever what was written but not synced may be gone: the boot of the machine.
    fn boot(&self) -> u128;

    /// How messages name segment `index`: its path.
    fn place(&self, index: u64) -> String;

    /// How messages name the mark: its path.
    fn place_of_mark(&self) -> String;
}

/// Segments that some other process may be writing, to be read only.
pub trait ReadStore {
    /// The segments there are, lowest index first.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn list(&self) -> Result<Vec<SegmentInfo>, StoreError>;

    /// Copies bytes of segment `index` from `offset` on into `into`, and gives how many there were.
    ///
    /// # Errors
    /// See [`StoreError`]; [`StoreError::Absent`] when the segment is not there (any more).
    fn read_at(&self, index: u64, offset: u64, into: &mut [u8]) -> Result<usize, StoreError>;

    /// The mark's cells; `None` when there is none.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn mark(&self) -> Result<Option<[u64; CELLS]>, StoreError>;

    /// Who has the journal open for writing.
    fn writer(&self) -> Option<String>;

    /// As [`Store::boot`].
    fn boot(&self) -> u128;

    /// How messages name segment `index`: its path.
    fn place(&self, index: u64) -> String;
}

/// As which segment a [`MemoryDisk`] that loses power asks for its mark.
pub const MARK: u64 = u64::MAX;

/// What a disk writes whole or not at all.
pub const SECTOR_BYTES: usize = 512;

/// What a [`MemoryStore`] is to do wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Bytes that fit in all; `None` for no limit.
    pub capacity_bytes: Option<u64>,
    /// Every sync fails from now on.
    pub sync_fails: bool,
    /// So many segments more are refused when they are to be created: a disk that takes its time.
    pub creates_refused: u32,
}

#[derive(Default)]
struct Disk {
    segments: BTreeMap<u64, Slot>,
    /// By incarnation and index.
    aside: BTreeMap<(u64, u64), Slot>,
    mark: Option<Cells>,
    durable_mark: Option<Box<[u64; CELLS]>>,
    faults: Faults,
    boot: u128,
    open: bool,
    poisoned: bool,
}

struct Slot {
    /// What survives a loss of power.
    durable: Vec<u8>,
    /// What survives the process: differs from `durable` until synced.
    cached: Option<Vec<u8>>,
    /// What was appended since the segment was loaded last.
    live: Option<View>,
}

impl Slot {
    /// The bytes as a process sees them.
    fn current(&self) -> Vec<u8> {
        let mut bytes = self.cached.as_ref().unwrap_or(&self.durable).clone();
        // A live process is seen as far as it has published; a killed one leaves all it has appended.
        let live = self.live.as_ref().map_or(&[][..], |view| view.left().unwrap_or(view.published()));
        bytes[..live.len()].copy_from_slice(live);
        bytes
    }
}

/// A store in memory, for tests and simulations: [`MemoryDisk`] outlives it as a disk outlives a process.
///
/// To drop it, and the memory that came from it, is to kill the process: all that was appended is still there, published,
/// synced or not. What is not synced is lost with the [power](MemoryDisk::lose_power).
pub struct MemoryStore {
    disk: Arc<Mutex<Disk>>,
}

/// The disk under a [`MemoryStore`]: survives it, can be cut from power and damaged. All it does follows from what it is
/// told: nothing depends on time or chance.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    disk: Arc<Mutex<Disk>>,
}

fn lock(disk: &Mutex<Disk>) -> MutexGuard<'_, Disk> {
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}

const MARK_PLACE: &str = "memory/mark";

fn place(index: u64) -> String {
    format!("memory/{index:020}.seg")
}

fn absent(index: u64) -> StoreError {
    StoreError::Absent { place: place(index) }
}

impl MemoryDisk {
    /// Opens the disk for writing.
    ///
    /// # Errors
    /// [`StoreError::Locked`] while another store has it open.
    pub fn open(&self) -> Result<MemoryStore, StoreError> {
        let mut disk = lock(&self.disk);
        if disk.open {
            return Err(StoreError::Locked { place: "memory".into(), holder: "another store".into() });
        }
        if disk.mark.is_none() {
            let values = disk.durable_mark.as_deref().copied().unwrap_or([0; CELLS]);
            let cells = Cells::anonymous(&values);
            disk.mark = Some(cells.map_err(|e| StoreError::of(MARK_PLACE, "map the mark", e))?);
        }
        disk.open = true;
        disk.poisoned = false;
        Ok(MemoryStore { disk: Arc::clone(&self.disk) })
    }

    /// Sets what is to go wrong from now on.
    pub fn inject(&self, faults: Faults) {
        lock(&self.disk).faults = faults;
    }

    /// What was set aside: incarnation and index of each segment.
    pub fn aside(&self) -> Vec<(u64, u64)> {
        lock(&self.disk).aside.keys().copied().collect()
    }

    /// Cuts the power. Of what was appended but not synced, only the sectors that `keep` picks (segment, number of the
    /// sector) reached the disk, in any order; the mark is asked for as segment [`MARK`]. The store must be closed.
    ///
    /// # Panics
    /// When the disk is open.
    pub fn lose_power(&self, mut keep: impl FnMut(u64, usize) -> bool) {
        let mut disk = lock(&self.disk);
        assert!(!disk.open, "close the store first");
        disk.boot += 1;
        for (&index, slot) in &mut disk.segments {
            let current = slot.current();
            let sectors = slot.durable.chunks_mut(SECTOR_BYTES).zip(current.chunks(SECTOR_BYTES));
            for (number, (durable, current)) in sectors.enumerate() {
                if durable != current && keep(index, number) {
                    durable.copy_from_slice(current);
                }
            }
            (slot.cached, slot.live) = (None, None);
        }
        if let Some(current) = disk.mark.take() {
            let current = current.values();
            let durable = disk.durable_mark.get_or_insert_with(|| Box::new([0; CELLS]));
            let sectors = durable.chunks_mut(SECTOR_BYTES / 8).zip(current.chunks(SECTOR_BYTES / 8));
            for (number, (durable, current)) in sectors.enumerate() {
                if durable != current && keep(MARK, number) {
                    durable.copy_from_slice(current);
                }
            }
        }
    }

    /// Changes the stored bytes of segment `index`: damage, or a look at them. What is changed is changed for good; what
    /// is not synced stays so. The store must be closed.
    ///
    /// # Panics
    /// When the disk is open or has no such segment.
    pub fn with_segment<T>(&self, index: u64, with: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let mut disk = lock(&self.disk);
        assert!(!disk.open, "close the store first");
        let slot = disk.segments.get_mut(&index).expect("the segment exists");
        let before = slot.current();
        let mut bytes = before.clone();
        let outcome = with(&mut bytes);
        slot.durable.resize(bytes.len(), 0);
        for (at, &byte) in bytes.iter().enumerate() {
            if before.get(at) != Some(&byte) {
                slot.durable[at] = byte;
            }
        }
        (slot.cached, slot.live) = (Some(bytes), None);
        outcome
    }

    /// Loses segment `index` altogether.
    pub fn lose_segment(&self, index: u64) {
        lock(&self.disk).segments.remove(&index);
    }

    /// Loses the mark.
    pub fn lose_mark(&self) {
        let mut disk = lock(&self.disk);
        assert!(!disk.open, "close the store first");
        disk.mark = None;
        disk.durable_mark = None;
    }
}

impl Drop for MemoryStore {
    fn drop(&mut self) {
        let mut disk = lock(&self.disk);
        disk.open = false;
    }
}

impl Store for MemoryStore {
    fn list(&self) -> Result<Vec<SegmentInfo>, StoreError> {
        ReadStore::list(&MemoryDisk { disk: Arc::clone(&self.disk) })
    }

    fn create(&self, index: u64, bytes: usize) -> Result<Memory, StoreError> {
        let mut disk = lock(&self.disk);
        let used: u64 = disk.segments.values().map(|slot| slot.durable.len() as u64).sum();
        if disk.faults.capacity_bytes.is_some_and(|capacity| used + bytes as u64 > capacity) {
            let source = io::ErrorKind::StorageFull.into();
            return Err(StoreError::Full { place: place(index), bytes: bytes as u64, source });
        }
        if disk.faults.creates_refused > 0 {
            disk.faults.creates_refused -= 1;
            return Err(StoreError::of(place(index), "create the segment", io::Error::other("injected")));
        }
        if disk.segments.contains_key(&index) {
            return Err(StoreError::of(
                place(index),
                "create the segment",
                io::ErrorKind::AlreadyExists.into(),
            ));
        }
        let memory = Memory::anonymous(bytes);
        let memory = memory.map_err(|e| StoreError::of(place(index), "map the segment", e))?;
        let slot = Slot { durable: vec![0; bytes], cached: None, live: Some(memory.view()) };
        disk.segments.insert(index, slot);
        Ok(memory)
    }

    fn open(&self, index: u64) -> Result<Memory, StoreError> {
        let mut disk = lock(&self.disk);
        let slot = disk.segments.get_mut(&index).ok_or_else(|| absent(index))?;
        let bytes = slot.current();
        let memory = Memory::copy_of(&bytes);
        let memory = memory.map_err(|e| StoreError::of(place(index), "map the segment", e))?;
        (slot.cached, slot.live) = (Some(bytes), Some(memory.view()));
        Ok(memory)
    }

    fn cut(&self, index: u64, at: usize) -> Result<(), StoreError> {
        let mut disk = lock(&self.disk);
        let slot = disk.segments.get_mut(&index).ok_or_else(|| absent(index))?;
        let mut bytes = slot.current();
        if let Some(tail) = bytes.get_mut(at..) {
            tail.fill(0);
        }
        *slot = Slot { durable: bytes, cached: None, live: None };
        Ok(())
    }

    fn remove(&self, index: u64) -> Result<(), StoreError> {
        let removed = lock(&self.disk).segments.remove(&index);
        removed.map(drop).ok_or_else(|| absent(index))
    }

    fn set_aside(&self, index: u64, incarnation: u64) -> Result<(), StoreError> {
        let mut disk = lock(&self.disk);
        let slot = disk.segments.remove(&index).ok_or_else(|| absent(index))?;
        disk.aside.insert((incarnation, index), slot);
        Ok(())
    }

    fn sync(&self, index: u64, range: Range<usize>) -> Result<(), StoreError> {
        let mut disk = lock(&self.disk);
        disk.check_sync(|| place(index))?;
        let slot = disk.segments.get_mut(&index).ok_or_else(|| absent(index))?;
        let published = slot.live.as_ref().map_or(&[][..], View::published);
        let cached = slot.cached.as_deref().unwrap_or_default();
        for from in [cached, published] {
            let end = range.end.min(from.len());
            if range.start < end {
                slot.durable[range.start..end].copy_from_slice(&from[range.start..end]);
            }
        }
        Ok(())
    }

    fn mark(&self) -> Cells {
        lock(&self.disk).mark.clone().expect("set when the store was opened")
    }

    fn sync_mark(&self) -> Result<(), StoreError> {
        let mut disk = lock(&self.disk);
        disk.check_sync(|| MARK_PLACE.into())?;
        disk.durable_mark = disk.mark.as_ref().map(|cells| Box::new(cells.values()));
        Ok(())
    }

    fn boot(&self) -> u128 {
        lock(&self.disk).boot
    }

    fn place(&self, index: u64) -> String {
        place(index)
    }

    fn place_of_mark(&self) -> String {
        MARK_PLACE.into()
    }
}

impl Disk {
    fn check_sync(&mut self, place: impl FnOnce() -> String) -> Result<(), StoreError> {
        if self.poisoned {
            return Err(StoreError::Poisoned { place: place() });
        }
        if self.faults.sync_fails {
            self.poisoned = true;
            return Err(StoreError::of(place(), "sync", io::Error::other("injected")));
        }
        Ok(())
    }
}

impl ReadStore for MemoryDisk {
    fn list(&self) -> Result<Vec<SegmentInfo>, StoreError> {
        let disk = lock(&self.disk);
        let info = |(&index, slot): (&u64, &Slot)| SegmentInfo { index, bytes: slot.durable.len() as u64 };
        Ok(disk.segments.iter().map(info).collect())
    }

    fn read_at(&self, index: u64, offset: u64, into: &mut [u8]) -> Result<usize, StoreError> {
        let disk = lock(&self.disk);
        let bytes = disk.segments.get(&index).ok_or_else(|| absent(index))?.current();
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let count = into.len().min(bytes.len() - from);
        into[..count].copy_from_slice(&bytes[from..from + count]);
        Ok(count)
    }

    fn mark(&self) -> Result<Option<[u64; CELLS]>, StoreError> {
        let disk = lock(&self.disk);
        let durable = disk.durable_mark.as_deref().copied();
        Ok(disk.mark.as_ref().map(Cells::values).or(durable))
    }

    fn writer(&self) -> Option<String> {
        lock(&self.disk).open.then(|| "a store of this process".into())
    }

    fn boot(&self) -> u128 {
        lock(&self.disk).boot
    }

    fn place(&self, index: u64) -> String {
        place(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(store: &MemoryStore, index: u64, bytes: &[u8]) -> crate::mem::append::Appender {
        let mut appender = store.create(index, 4096).unwrap().appender(0);
        appender.append(bytes).unwrap();
        appender.publish();
        appender
    }

    #[test]
    fn keeps_what_a_killed_process_appended() {
        let disk = MemoryDisk::default();
        let store = disk.open().unwrap();
        assert!(matches!(disk.open(), Err(StoreError::Locked { .. })));
        let mut appender = published(&store, 3, b"whole");
        appender.append(b"unpublished").unwrap();
        store.mark().store(5, 9);
        drop((store, appender));
        let store = disk.open().unwrap();
        assert_eq!(Store::list(&store).unwrap(), [SegmentInfo { index: 3, bytes: 4096 }]);
        assert_eq!(&store.open(3).unwrap().bytes()[..18], b"wholeunpublished\0\0");
        assert_eq!(store.mark().load(5), 9);
    }

    #[test]
    fn loses_what_was_not_synced_with_the_power() {
        let disk = MemoryDisk::default();
        let store = disk.open().unwrap();
        let boot = store.boot();
        let mut appender = published(&store, 0, &[1; 1000]);
        store.sync(0, 0..1000).unwrap();
        store.mark().store(5, 9);
        store.sync_mark().unwrap();
        store.mark().store(5, 10);
        appender.append(&[2; 1000]).unwrap();
        appender.publish();
        drop((store, appender));
        disk.lose_power(|_, sector| sector == 3);
        let store = disk.open().unwrap();
        assert_ne!(store.boot(), boot);
        assert_eq!(store.mark().load(5), 9);
        let memory = store.open(0).unwrap();
        assert!(memory.bytes()[..1000].iter().all(|&byte| byte == 1));
        assert!(memory.bytes()[1000..3 * SECTOR_BYTES].iter().all(|&byte| byte == 0));
        assert!(memory.bytes()[3 * SECTOR_BYTES..2000].iter().all(|&byte| byte == 2));
    }

    #[test]
    fn what_survived_a_kill_is_not_durable_for_that() {
        let disk = MemoryDisk::default();
        let store = disk.open().unwrap();
        drop(published(&store, 0, b"cached"));
        drop(store);
        let store = disk.open().unwrap();
        assert_eq!(&store.open(0).unwrap().bytes()[..6], b"cached");
        drop(store);
        disk.lose_power(|_, _| false);
        assert_eq!(&disk.open().unwrap().open(0).unwrap().bytes()[..6], &[0; 6]);
    }

    #[test]
    fn a_loss_of_power_keeps_any_sectors_of_the_mark() {
        let disk = MemoryDisk::default();
        let store = disk.open().unwrap();
        for (at, value) in [(5, 9), (70, 7)] {
            store.mark().store(at, value);
        }
        drop(store);
        let mut asked = Vec::new();
        disk.lose_power(|segment, sector| {
            asked.push((segment, sector));
            sector == 1
        });
        assert_eq!(asked, [(MARK, 0), (MARK, 1)]);
        let mark = disk.open().unwrap().mark();
        assert_eq!((mark.load(5), mark.load(70)), (0, 7));
    }

    #[test]
    fn damage_makes_nothing_durable_but_itself() {
        let disk = MemoryDisk::default();
        let store = disk.open().unwrap();
        drop(published(&store, 0, &[1; 1000]));
        drop(store);
        disk.with_segment(0, |bytes| bytes[700] ^= 4);
        disk.with_segment(0, |bytes| assert_eq!((bytes[700], bytes[701]), (5, 1)));
        disk.lose_power(|_, _| false);
        disk.with_segment(0, |bytes| assert_eq!((bytes[700], bytes[701]), (5, 0)));
    }

    #[test]
    fn full_disks_and_failing_syncs() {
        let disk = MemoryDisk::default();
        let store = disk.open().unwrap();
        drop(published(&store, 0, b""));
        disk.inject(Faults { capacity_bytes: Some(6000), sync_fails: true, creates_refused: 0 });
        let error = store.create(1, 4096).err().unwrap();
        assert!(error.is_full() && error.to_string().contains("free some"), "{error}");
        assert_eq!(Store::list(&store).unwrap().len(), 1);
        assert!(matches!(store.sync(0, 0..1), Err(StoreError::Io { .. })));
        disk.inject(Faults::default());
        assert!(matches!(store.sync(0, 0..1), Err(StoreError::Poisoned { .. })), "never retried");
        assert!(matches!(store.sync_mark(), Err(StoreError::Poisoned { .. })));
        disk.inject(Faults { creates_refused: 2, ..Faults::default() });
        for _ in 0..2 {
            let error = store.create(1, 4096).err().unwrap();
            assert!(error.to_string().contains("injected") && !error.is_full(), "{error}");
        }
        assert!(store.create(1, 4096).is_ok());
        assert!(store.create(1, 4096).is_err(), "exists");
        store.remove(1).unwrap();
        assert!(matches!(store.remove(1), Err(StoreError::Absent { .. })));
        assert!(matches!(store.open(1), Err(StoreError::Absent { .. })));
    }
}
