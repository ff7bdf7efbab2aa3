//! A node's disk: the journal's memory store, watched.
//!
//! What a journal holds is read by the referee in place, as it is appended; what was synced is noted as the store is
//! asked for it, and not as the node believes it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::dice::Dice;
use super::fault::FaultClass;
use super::shared::Shared;
use crate::mem::append::{Memory, View};
use crate::mem::cells::Cells;
use crate::mem::store::{Faults, MemoryDisk, MemoryStore, ReadStore, SegmentInfo, Store, StoreError};

/// A disk, which outlives the processes that use it.
#[derive(Clone, Default)]
pub(super) struct NodeDisk {
    disk: MemoryDisk,
    seen: Seen,
}

/// What is known of a disk's segments from outside.
#[derive(Clone, Default)]
pub(super) struct Seen(Arc<Mutex<Sight>>);

/// See [`Seen`].
#[derive(Default)]
pub(super) struct Sight {
    /// By index.
    pub(super) segments: BTreeMap<u64, Watched>,
    faults: Faults,
    /// It refused something in the life of this process.
    refused: bool,
    lies: bool,
}

/// One segment.
pub(super) struct Watched {
    pub(super) view: View,
    /// Bytes from its beginning that survive a loss of power.
    pub(super) synced: usize,
}

impl Seen {
    pub(super) fn lock(&self) -> MutexGuard<'_, Sight> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NodeDisk {
    /// What is known of its segments.
    pub(super) fn seen(&self) -> Seen {
        self.seen.clone()
    }

    /// Opens it for a process of `node`.
    pub(super) fn open(&self, node: usize, shared: Shared) -> Result<SimStore, StoreError> {
        Ok(SimStore { inner: self.disk.open()?, node, shared, seen: self.seen.clone() })
    }

    /// Syncs do nothing, and say they did.
    pub(super) fn lie(&self, lies: bool) {
        self.seen.lock().lies = lies;
    }

    /// A process begins.
    pub(super) fn begin(&self) {
        self.seen.lock().refused = false;
    }

    /// Whether it refused something since then.
    pub(super) fn has_refused(&self) -> bool {
        self.seen.lock().refused
    }

    /// The disk is full as it is, or has room again.
    pub(super) fn fill_up(&self, is_full: bool) {
        let list = ReadStore::list(&self.disk).unwrap_or_default();
        let used_bytes = list.iter().map(|segment| segment.bytes).sum();
        self.change(|faults| faults.capacity_bytes = is_full.then_some(used_bytes));
    }

    /// Every sync fails, or works again.
    pub(super) fn fail_syncs(&self, fails: bool) {
        self.change(|faults| faults.sync_fails = fails);
    }

    fn change(&self, change: impl FnOnce(&mut Faults)) {
        let mut sight = self.seen.lock();
        let mut faults = sight.faults;
        change(&mut faults);
        sight.faults = faults;
        self.disk.inject(faults);
    }

    /// Cuts the power. Of the sectors that were written and not synced, each reached the disk by `keep` chances in a
    /// million, in any order. Gives how many did not. The process is gone already.
    pub(super) fn lose_power(&self, dice: &mut Dice, keep: u32) -> u64 {
        let mut lost = 0;
        self.disk.lose_power(|_, _| {
            let keeps = dice.per_million(keep);
            lost += u64::from(!keeps);
            keeps
        });
        lost
    }

    /// The disk, to be read as tools read journals.
    pub(super) fn disk(&self) -> &MemoryDisk {
        &self.disk
    }
}

/// The store that a node's journal sees.
pub(super) struct SimStore {
    inner: MemoryStore,
    node: usize,
    shared: Shared,
    seen: Seen,
}

impl SimStore {
    fn watch(&self, index: u64, memory: &Memory, synced: usize) {
        self.seen.lock().segments.insert(index, Watched { view: memory.view(), synced });
    }

    fn note<T>(&self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &outcome {
            let class = if error.is_full() { FaultClass::DiskFull } else { FaultClass::SyncFailure };
            self.shared.lock().fault(class, self.node, self.node);
            self.seen.lock().refused = true;
        }
        outcome
    }
}

impl Store for SimStore {
    fn list(&self) -> Result<Vec<SegmentInfo>, StoreError> {
        Store::list(&self.inner)
    }

    fn create(&self, index: u64, bytes: usize) -> Result<Memory, StoreError> {
        let memory = self.note(self.inner.create(index, bytes))?;
        self.watch(index, &memory, 0);
        Ok(memory)
    }

    fn open(&self, index: u64) -> Result<Memory, StoreError> {
        let memory = self.inner.open(index)?;
        let synced = self.seen.lock().segments.get(&index).map_or(0, |watched| watched.synced);
        self.watch(index, &memory, synced);
        Ok(memory)
    }

    fn cut(&self, index: u64, at: usize) -> Result<(), StoreError> {
        self.inner.cut(index, at)?;
        if let Some(watched) = self.seen.lock().segments.get_mut(&index) {
            watched.synced = watched.synced.min(at);
        }
        Ok(())
    }

    fn remove(&self, index: u64) -> Result<(), StoreError> {
        self.inner.remove(index)?;
        self.seen.lock().segments.remove(&index);
        Ok(())
    }

    fn set_aside(&self, index: u64, incarnation: u64) -> Result<(), StoreError> {
        self.inner.set_aside(index, incarnation)?;
        self.seen.lock().segments.remove(&index);
        Ok(())
    }

    fn sync(&self, index: u64, range: Range<usize>) -> Result<(), StoreError> {
        if self.seen.lock().lies {
            return Ok(());
        }
        self.note(self.inner.sync(index, range.clone()))?;
        if let Some(watched) = self.seen.lock().segments.get_mut(&index)
            && range.start <= watched.synced
        {
            watched.synced = watched.synced.max(range.end);
        }
        Ok(())
    }

    fn mark(&self) -> Cells {
        self.inner.mark()
    }

    fn sync_mark(&self) -> Result<(), StoreError> {
        self.note(self.inner.sync_mark())
    }

    fn boot(&self) -> u128 {
        self.inner.boot()
    }

    fn place(&self, index: u64) -> String {
        Store::place(&self.inner, index)
    }

    fn place_of_mark(&self) -> String {
        self.inner.place_of_mark()
    }
}
