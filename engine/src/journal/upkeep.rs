//! The cold side of an open journal: what may block, so that the hot side never does.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam::queue::ArrayQueue;
use seqcast_wire::SeqNo;

use super::append::{Journal, Prepared};
use super::error::JournalError;
use super::mark::{self, Mark};
use super::segment::HEADER_BYTES;
use super::shared::{Segment, Shared};
use crate::mem::cells::Cells;
use crate::mem::store::{Store, StoreError};

/// Memory that is kept writable without faults ahead of what is appended.
pub(super) const WARM_BYTES: usize = 4 << 20;

/// Prepares segments ahead of need, removes what retention lets go, and keeps the memory ahead of the writer loaded.
/// Poll it from a cold thread, every millisecond or so.
pub struct Preparer {
    pub(super) store: Arc<dyn Store>,
    pub(super) shared: Arc<Shared>,
    pub(super) mark: Cells,
    pub(super) prepared: Arc<ArrayQueue<Prepared>>,
    pub(super) segment_bytes: usize,
    pub(super) retain_bytes: Option<u64>,
    pub(super) catch_up_bytes: u64,
    /// Removed segments that a reader may still hold; unmapped here once nobody does, never on a reader's thread.
    pub(super) retired: Vec<Arc<Segment>>,
    /// Segment and offset up to which memory was loaded.
    pub(super) warm: (u64, usize),
}

impl Preparer {
    /// Does what there is to do, and gives whether there was anything. Segments that hold numbers from `keep_from`
    /// on are kept whatever the retention says: pass the lowest watermark that somebody on this node still needs. Those that
    /// hold numbers from `everywhere` on are kept within [`JournalConfig::catch_up_bytes`](super::JournalConfig): pass that
    /// below which every node of the cluster has the record.
    ///
    /// # Errors
    /// What the store refused, each time again: a full disk is tried again by the next call. Until one succeeds
    /// the journal answers [`NotReady`](super::AppendError::NotReady) when its segment is full, and nothing is lost.
    pub fn poll(&mut self, keep_from: SeqNo, everywhere: SeqNo) -> Result<bool, JournalError> {
        let removed = self.retain(keep_from, everywhere);
        // A removed segment's room is free once it is unmapped: before the next one is made.
        self.retired.retain(|segment| Arc::strong_count(segment) > 1);
        let created = self.create();
        let warmed = self.warm();
        Ok(removed? | created? | warmed)
    }

    fn create(&mut self) -> Result<bool, JournalError> {
        if self.prepared.is_full() {
            return Ok(false);
        }
        let list = self.shared.segments.load();
        let index = list.last().map_or(0, |segment| segment.index + 1);
        let memory = self.store.create(index, self.segment_bytes)?;
        let segment = Arc::new(Segment::new(index, memory.view()));
        segment.view.prefault(0..WARM_BYTES);
        let longer = list.iter().cloned().chain([Arc::clone(&segment)]).collect();
        self.shared.segments.store(Arc::new(longer));
        // Readers find the segment before the writer can begin it.
        let pushed = self.prepared.push(Prepared { segment, appender: memory.appender(0) });
        assert!(pushed.is_ok(), "only the preparer pushes, and there was room");
        Ok(true)
    }

    fn retain(&mut self, keep_from: SeqNo, everywhere: SeqNo) -> Result<bool, JournalError> {
        let list = self.shared.segments.load();
        let unneeded = self.unneeded(&list, keep_from, everywhere);
        // A cut that is not settled yet soon will be.
        if unneeded == 0 || !mark::is_settled(&self.mark, self.shared.synced.load().branch) {
            return Ok(false);
        }
        // What is removed is gone at once. So what joins the rest to the record survives a loss of power before it goes:
        // where the rest begins, and what the mark says of cuts whose segments go.
        self.store.sync(list[unneeded].index, 0..HEADER_BYTES)?;
        self.store.sync_mark()?;
        let mut gone = 0;
        let mut outcome = Ok(());
        while gone < unneeded && outcome.is_ok() {
            outcome = self.store.remove(list[gone].index);
            gone += usize::from(outcome.is_ok());
        }
        if gone > 0 {
            self.shared.segments.store(Arc::new(list[gone..].to_vec()));
            self.retired.extend_from_slice(&list[..gone]);
        }
        outcome?;
        Ok(gone > 0)
    }

    /// How many of the oldest segments retention lets go. At least one stays.
    fn unneeded(&self, list: &[Arc<Segment>], keep_from: SeqNo, everywhere: SeqNo) -> usize {
        let Some(retain_bytes) = self.retain_bytes else { return 0 };
        let mut held: u64 = list.iter().map(|segment| segment.view.capacity() as u64).sum();
        let active = self.shared.active.load(Ordering::Acquire);
        let is_unneeded = |segment: &&Arc<Segment>| {
            let before = held;
            held -= segment.view.capacity() as u64;
            let is_let_go = |end| {
                let limit =
                    if end <= everywhere { retain_bytes } else { self.catch_up_bytes.max(retain_bytes) };
                end <= keep_from && before > limit
            };
            segment.index < active && segment.end().is_some_and(is_let_go)
        };
        list.iter().take_while(is_unneeded).count()
    }

    /// Pages that the kernel wrote back are write-protected, and a first store to one costs microseconds: so they
    /// are made writable here, some way ahead of the writer.
    fn warm(&mut self) -> bool {
        let active = self.shared.active.load(Ordering::Acquire);
        let (index, warmed) = self.warm;
        let warmed = if index == active { warmed } else { WARM_BYTES };
        let Some(segment) = self.shared.segment(active) else { return false };
        let at = segment.view.published().len();
        if at + WARM_BYTES / 2 < warmed || warmed >= segment.view.capacity() {
            return false;
        }
        let until = at + WARM_BYTES;
        segment.view.prefault(warmed.max(at)..until);
        self.warm = (active, until);
        true
    }
}

/// Makes what was appended survive a loss of power. Poll it from a cold thread of its own when commits wait for it
/// (`durability = disk`), and now and then otherwise.
pub struct Syncer {
    pub(super) store: Arc<dyn Store>,
    pub(super) shared: Arc<Shared>,
    pub(super) mark: Cells,
    /// Everything before this segment is synced, and so much of it.
    pub(super) segment: u64,
    pub(super) offset: usize,
    pub(super) failed: bool,
}

impl Syncer {
    /// Whether there is anything that [`Syncer::poll`] has not synced yet.
    pub fn is_behind(&self) -> bool {
        let active = self.shared.active.load(Ordering::Acquire);
        let is_whole = |segment: Arc<Segment>| segment.view.published().len() == self.offset;
        self.segment != active || !self.shared.segment(active).is_some_and(is_whole)
    }

    /// Syncs what was published up to now and gives the watermark below which everything survives. It speaks of the
    /// record as it was when the call began; [`Journal::synced`] knows of a cut meanwhile.
    ///
    /// # Errors
    /// A failed sync is final: the kernel may have dropped what it could not write, and a later success would prove
    /// nothing. Every later call fails too; the node must stop acknowledging and restart.
    pub fn poll(&mut self) -> Result<SeqNo, JournalError> {
        if self.failed {
            let place = self.store.place(self.segment);
            return Err(StoreError::Poisoned { place }.into());
        }
        // In this order: `next` is of this branch or a later one, the lengths looked at below cover everything below it,
        // and those of segments before `active` are final.
        let synced = self.shared.synced.load_full();
        let (next, ended) = (self.shared.next(), self.shared.ended.load(Ordering::Acquire));
        let active = self.shared.active.load(Ordering::Acquire);
        loop {
            self.sync_segment()?;
            if self.segment == active {
                break;
            }
            (self.segment, self.offset) = (self.segment + 1, 0);
        }
        // If the record was cut meanwhile, nobody looks at this branch any more, and the mark counts with the cut.
        mark::note_synced(&self.mark, next, synced.branch);
        synced.advance(next, ended);
        Ok(next)
    }

    /// Whether the last cut survives a loss of power, which it does from the next [`Syncer::poll`] on. Worth a poll even
    /// where commits do not wait for the disk: as long as cuts are not settled, a loss of power may take back what is
    /// behind the lowest of them.
    pub fn is_settled(&self) -> bool {
        mark::is_settled(&self.mark, self.shared.synced.load().branch)
    }

    fn sync_segment(&mut self) -> Result<(), JournalError> {
        let Some(segment) = self.shared.segment(self.segment) else {
            return Ok(()); // Removed by retention: nobody needs it any more.
        };
        let len = segment.view.published().len();
        if len == self.offset {
            return Ok(());
        }
        match self.store.sync(self.segment, self.offset..len) {
            Ok(()) => {}
            Err(StoreError::Absent { .. }) if self.shared.segment(self.segment).is_none() => {}
            Err(error) => {
                self.failed = true;
                return Err(error.into());
            }
        }
        // The sync left the writer's page write-protected.
        segment.view.prefault(len..len + 1);
        self.offset = len;
        Ok(())
    }
}

/// Closes a journal for good: everything is synced, and the mark says so, which proves the journal whole even to the
/// next boot of the machine.
///
/// # Errors
/// When it could not be synced; the journal then counts as not closed.
pub fn close(mut journal: Journal, syncer: &mut Syncer, mark: &mut Mark) -> Result<(), JournalError> {
    journal.publish();
    syncer.poll()?;
    mark.close()
}
