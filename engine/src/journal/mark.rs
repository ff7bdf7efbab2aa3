//! The mark: what a restart must know beyond the frames.
//!
//! | cell | holds |
//! |---|---|
//! | 0 | `SEQCMARK`, once the mark was written |
//! | 8 … 15, 16 … 23 | two slots of the same record; the newer whole one counts |
//! | 32 | published watermark; on a standby everything below is known to be committed |
//! | 33 | lowest number that the record was cut back to since a cut was last synced |
//! | 34 | the segment that the last cut begins; 0 where there was none |
//! | 40 | appended watermark: what a killed process leaves behind holds at least this |
//! | 48 | synced watermark: what a loss of power leaves behind holds at least this |
//! | 49 | the segment that the last cut before that began: a later one takes the synced watermark back |
//!
//! A record is eight cells: generation, incarnation, promised epoch, boot (high, low), flags (1: closed cleanly, 2:
//! only what is synced was ever acknowledged),
//! the first 8 bytes of the session and its last 2 with a CRC-32C over all before. It is written to the older slot, so a
//! process or machine that dies meanwhile leaves the other. A watermark is one cell and needs no slots.
//!
//! Each cell is written by one thread. A cut is noted before its segment is begun: if that segment is missing after a loss
//! of power, the tail that it superseded may be back, and what was published since is not in it. Such a tail is cut off
//! again when the journal is opened. That the note shares a cache line with the published watermark, and a disk's sector
//! with all others, means that no published watermark beyond a cut is ever found without the note.

use std::sync::Arc;

use seqcast_wire::{SeqNo, Session};

use super::JournalConfig;
use super::error::JournalError;
use crate::mem::cells::{CELLS, Cells};
use crate::mem::store::{ReadStore, Store};

const MAGIC: u64 = u64::from_le_bytes(*b"SEQCMARK");
const MAGIC_CELL: usize = 0;
const SLOTS: [usize; 2] = [8, 16];
const RECORD_CELLS: usize = 8;
const PUBLISHED_CELL: usize = 32;
const CUT_TO_CELL: usize = 33;
const CUT_SEGMENT_CELL: usize = 34;
const APPENDED_CELL: usize = 40;
const SYNCED_CELL: usize = 48;
const SYNCED_BRANCH_CELL: usize = 49;
const CLEAN: u64 = 1;
const SYNCED_ACKS: u64 = 2;

/// Why a journal cannot be proven whole, so that it begins a new incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unproven {
    /// There was none before.
    New,
    /// The mark is missing or damaged: what it promised and published is not known.
    MarkLost,
    /// The mark is there, but no segment is.
    SegmentsLost,
    /// The machine went down without the journal having been closed: what was not synced may be gone.
    UncleanBoot,
    /// There was one, and another was [begun in its place](super::Journal::begin_at).
    Replaced,
}

/// One record of the mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    generation: u64,
    pub(super) incarnation: u64,
    pub(super) promised_epoch: u64,
    pub(super) boot: u128,
    pub(super) clean: bool,
    /// Nothing was acknowledged by this process before it was synced.
    pub(super) synced_acks: bool,
    pub(super) session: Session,
}

impl Record {
    fn encode(&self) -> [u64; RECORD_CELLS] {
        let session = self.session.as_bytes();
        let mut cells = [
            self.generation,
            self.incarnation,
            self.promised_epoch,
            (self.boot >> 64) as u64,
            self.boot as u64,
            if self.clean { CLEAN } else { 0 } | if self.synced_acks { SYNCED_ACKS } else { 0 },
            u64::from_le_bytes(std::array::from_fn(|at| session[at])),
            u64::from(u16::from_le_bytes([session[8], session[9]])) << 32,
        ];
        cells[RECORD_CELLS - 1] |= u64::from(crc(&cells));
        cells
    }

    fn decode(cells: &[u64; RECORD_CELLS]) -> Option<Record> {
        let last = cells[RECORD_CELLS - 1];
        let mut unsealed = *cells;
        unsealed[RECORD_CELLS - 1] &= !u64::from(u32::MAX);
        if last as u32 != crc(&unsealed) || cells[0] == 0 {
            return None;
        }
        let mut session = [0; 10];
        session[..8].copy_from_slice(&cells[6].to_le_bytes());
        session[8..].copy_from_slice(&((last >> 32) as u16).to_le_bytes());
        Some(Record {
            generation: cells[0],
            incarnation: cells[1],
            promised_epoch: cells[2],
            boot: u128::from(cells[3]) << 64 | u128::from(cells[4]),
            clean: cells[5] & CLEAN != 0,
            synced_acks: cells[5] & SYNCED_ACKS != 0,
            session: Session::from_wire(session),
        })
    }
}

fn crc(cells: &[u64; RECORD_CELLS]) -> u32 {
    cells.iter().fold(0, |crc, cell| crc32c::crc32c_append(crc, &cell.to_le_bytes()))
}

/// The newer whole record among the cells, and the slot to write the next one to.
pub(super) fn read_record(values: &[u64; CELLS]) -> (Option<Record>, usize) {
    let read = |slot: usize| {
        let cells = std::array::from_fn(|at| values[slot + at]);
        (values[MAGIC_CELL] == MAGIC).then(|| Record::decode(&cells)).flatten()
    };
    match SLOTS.map(read) {
        [Some(a), Some(b)] if a.generation >= b.generation => (Some(a), SLOTS[1]),
        [_, Some(b)] => (Some(b), SLOTS[0]),
        [a, None] => (a, SLOTS[1]),
    }
}

/// The incarnation that the mark in `store` names; `None` when there is no mark that can be read.
pub fn recorded_incarnation<R: ReadStore>(store: &R) -> Option<u64> {
    let cells = store.mark().ok()??;
    read_record(&cells).0.map(|record| record.incarnation)
}

/// What the mark holds beside its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Watermarks {
    pub(super) published: SeqNo,
    pub(super) appended: SeqNo,
    pub(super) synced: SeqNo,
    /// The branch that is synced so far.
    pub(super) synced_branch: u64,
    /// The segment that the last cut begins, and where the record ends if that gets lost.
    pub(super) noted_cut: (u64, SeqNo),
}

impl Watermarks {
    const NONE: Watermarks = Watermarks {
        published: SeqNo::FIRST,
        appended: SeqNo::FIRST,
        synced: SeqNo::FIRST,
        synced_branch: 0,
        noted_cut: (0, SeqNo::MAX),
    };

    fn read(values: &[u64; CELLS]) -> Watermarks {
        let read = |cell: usize| SeqNo::new(values[cell]).unwrap_or(SeqNo::FIRST);
        Watermarks {
            published: read(PUBLISHED_CELL),
            appended: read(APPENDED_CELL),
            synced: read(SYNCED_CELL),
            synced_branch: values[SYNCED_BRANCH_CELL],
            noted_cut: (values[CUT_SEGMENT_CELL], SeqNo::new(values[CUT_TO_CELL]).unwrap_or(SeqNo::MAX)),
        }
    }

    pub(super) fn write(&self, cells: &Cells) {
        cells.store(PUBLISHED_CELL, self.published.value());
        cells.store(CUT_TO_CELL, self.noted_cut.1.value());
        cells.store(CUT_SEGMENT_CELL, self.noted_cut.0);
        note_appended(cells, self.appended);
        note_synced(cells, self.synced, self.synced_branch);
    }
}

/// What a process finds in the mark.
pub(super) struct Before {
    pub(super) record: Option<Record>,
    next_slot: usize,
    pub(super) watermarks: Watermarks,
}

impl Before {
    pub(super) fn read(values: &[u64; CELLS]) -> Before {
        let (record, next_slot) = read_record(values);
        let watermarks = if record.is_some() { Watermarks::read(values) } else { Watermarks::NONE };
        Before { record, next_slot, watermarks }
    }

    /// Whether the machine went down with the journal open, if it has started as `boot` now.
    pub(super) fn is_unclean(&self, boot: u128) -> bool {
        self.record.is_some_and(|record| !record.clean && record.boot != boot)
    }

    /// Where a cut went whose segment is missing, if `last_begun` is the last one that is there.
    pub(super) fn missing_cut(&self, last_begun: u64) -> Option<SeqNo> {
        let (segment, to) = self.watermarks.noted_cut;
        (segment > last_begun).then_some(to)
    }

    pub(super) fn check_session(
        &self,
        store: &dyn Store,
        config: &JournalConfig,
    ) -> Result<(), JournalError> {
        match self.record {
            Some(Record { session: found, .. }) if found != config.session => {
                let (place, expected) = (store.place_of_mark(), config.session);
                Err(JournalError::ForeignSession { place, found, expected })
            }
            _ => Ok(()),
        }
    }

    /// Whether the mark fits the segments that were found, and as which incarnation the journal goes on.
    pub(super) fn judge(
        &self,
        store: &dyn Store,
        config: &JournalConfig,
        found: &Segments,
    ) -> Result<Judged, JournalError> {
        self.check_session(store, config)?;
        let is_unclean = self.is_unclean(store.boot());
        let unproven = match &self.record {
            Some(_) if !found.begun => Some(Unproven::SegmentsLost),
            // Where only what is synced was acknowledged, all that was acknowledged is there.
            Some(record) if is_unclean && !record.synced_acks => Some(Unproven::UncleanBoot),
            Some(_) => None,
            None if found.begun => Some(Unproven::MarkLost),
            None => Some(Unproven::New),
        };
        let floor = if unproven.is_none() && !is_unclean { self.watermarks.appended } else { found.synced };
        if found.begun && found.next < floor {
            let (place, expected) = (store.place_of_mark(), floor);
            return Err(JournalError::Short { place, expected, found: found.next });
        }
        let kept = self.record.filter(|_| unproven.is_none()).map(|record| record.incarnation);
        Ok(Judged { incarnation: kept.unwrap_or(config.fresh_incarnation), unproven })
    }
}

/// What was found in a journal's segments.
#[derive(Clone, Copy)]
pub(super) struct Segments {
    /// Whether there are any.
    pub(super) begun: bool,
    /// Where they end.
    pub(super) next: SeqNo,
    /// What the synced watermark was, less what was cut since.
    pub(super) synced: SeqNo,
    /// The segment that the last cut begins, and where the record ends if that gets lost.
    pub(super) noted_cut: (u64, SeqNo),
}

impl Segments {
    pub(super) const NONE: Segments =
        Segments { begun: false, next: SeqNo::FIRST, synced: SeqNo::FIRST, noted_cut: (0, SeqNo::MAX) };
}

/// As what a journal goes on.
pub(super) struct Judged {
    pub(super) incarnation: u64,
    /// Why the incarnation is a new one, if it is.
    pub(super) unproven: Option<Unproven>,
}

/// Notes that everything below `next` was appended.
#[inline]
pub(super) fn note_appended(cells: &Cells, next: SeqNo) {
    cells.store(APPENDED_CELL, next.value());
}

/// Notes that everything below `next` was synced in branch `branch`, which is never lower than before.
pub(super) fn note_synced(cells: &Cells, next: SeqNo, branch: u64) {
    // In this order: who dies in between leaves a watermark that later cuts are held against.
    cells.store(SYNCED_CELL, next.value());
    cells.store(SYNCED_BRANCH_CELL, branch);
}

/// Whether the cut that began branch `branch` is synced.
pub(super) fn is_settled(cells: &Cells, branch: u64) -> bool {
    cells.load(SYNCED_BRANCH_CELL) >= branch
}

/// Notes that segment `segment` is about to cut branch `branch` back to `to`.
pub(super) fn note_cut(cells: &Cells, segment: u64, to: SeqNo, branch: u64) {
    let before = if is_settled(cells, branch) { u64::MAX } else { cells.load(CUT_TO_CELL) };
    let lowest = before.min(to.value());
    note_appended(cells, to);
    cells.store(CUT_TO_CELL, lowest);
    cells.store(CUT_SEGMENT_CELL, segment);
}

/// The published watermark: everything below it was published, so a restart goes on publishing from there. A standby,
/// which publishes nothing, keeps here what it knows to be committed. One store
/// into mapped memory, so it survives a killed process; cheap enough for the hot thread that publishes.
#[derive(Clone)]
pub struct Published {
    cells: Cells,
}

impl Published {
    /// Everything below `next` is published.
    #[inline]
    pub fn advance(&self, next: SeqNo) {
        self.cells.store(PUBLISHED_CELL, next.value());
    }

    /// The watermark.
    #[inline]
    pub fn next(&self) -> SeqNo {
        SeqNo::new(self.cells.load(PUBLISHED_CELL)).unwrap_or(SeqNo::FIRST)
    }
}

/// The mark of an open journal. Its changes are on disk when they return; for a cold thread.
pub struct Mark {
    store: Arc<dyn Store>,
    pub(super) cells: Cells,
    record: Record,
    next_slot: usize,
}

impl Mark {
    /// Takes the mark over for this process, whose journal begins with the segments in `found`.
    pub(super) fn take(
        store: Arc<dyn Store>,
        config: &JournalConfig,
        before: &Before,
        found: &Segments,
        incarnation: u64,
    ) -> Result<Mark, JournalError> {
        let cells = store.mark();
        let Segments { next, synced, noted_cut, .. } = *found;
        Watermarks { appended: next, synced: synced.min(next), noted_cut, ..before.watermarks }.write(&cells);
        cells.store(MAGIC_CELL, MAGIC);
        let promised_epoch = before.record.map_or(0, |record| record.promised_epoch);
        let generation = before.record.map_or(0, |record| record.generation);
        let (session, boot) = (config.session, store.boot());
        let (clean, synced_acks) = (false, config.synced_acks);
        let record = Record { generation, incarnation, promised_epoch, boot, clean, synced_acks, session };
        let mut mark = Mark { store, cells, record, next_slot: before.next_slot };
        mark.write(record)?;
        Ok(mark)
    }

    /// The handle for the thread that publishes.
    pub fn published(&self) -> Published {
        Published { cells: self.cells.clone() }
    }

    /// Incarnation of the journal: changes whenever it cannot be proven whole.
    pub fn incarnation(&self) -> u64 {
        self.record.incarnation
    }

    /// The highest epoch that this node promised: it refuses every lower one, for good.
    pub fn promised_epoch(&self) -> u64 {
        self.record.promised_epoch
    }

    /// Promises never again to serve an epoch below `epoch`. Gives the promise that now holds, which is higher if a
    /// higher one was given before.
    ///
    /// # Errors
    /// When the promise is not on disk; then nothing may be built on it.
    pub fn promise(&mut self, epoch: u64) -> Result<u64, JournalError> {
        if epoch > self.record.promised_epoch {
            self.write(Record { promised_epoch: epoch, ..self.record })?;
        }
        Ok(self.record.promised_epoch)
    }

    /// Notes that all was synced and nothing follows.
    pub(super) fn close(&mut self) -> Result<(), JournalError> {
        self.write(Record { clean: true, ..self.record })
    }

    fn write(&mut self, record: Record) -> Result<(), JournalError> {
        let record = Record { generation: self.record.generation + 1, ..record };
        for (at, cell) in record.encode().into_iter().enumerate() {
            self.cells.store(self.next_slot + at, cell);
        }
        self.store.sync_mark()?;
        self.next_slot = SLOTS[0] + SLOTS[1] - self.next_slot;
        self.record = record;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(generation: u64) -> Record {
        Record {
            generation,
            incarnation: 0xAAAA_0000 + generation,
            promised_epoch: 7 * generation,
            boot: u128::from(generation) << 70 | 5,
            clean: generation.is_multiple_of(2),
            synced_acks: generation.is_multiple_of(3),
            session: Session::from_wire(*b"0123456789"),
        }
    }

    fn put(values: &mut [u64; CELLS], slot: usize, record: &Record, cells: usize) {
        values[MAGIC_CELL] = MAGIC;
        let encoded = record.encode();
        values[slot..slot + cells].copy_from_slice(&encoded[..cells]);
    }

    #[test]
    fn the_newer_whole_record_counts() {
        let mut values = [0; CELLS];
        assert_eq!(read_record(&values).0, None);
        put(&mut values, SLOTS[0], &record(4), RECORD_CELLS);
        assert_eq!(read_record(&values), (Some(record(4)), SLOTS[1]));
        put(&mut values, SLOTS[1], &record(5), RECORD_CELLS);
        assert_eq!(read_record(&values), (Some(record(5)), SLOTS[0]));
        put(&mut values, SLOTS[0], &record(6), RECORD_CELLS);
        assert_eq!(read_record(&values), (Some(record(6)), SLOTS[1]));
        values[MAGIC_CELL] = 0;
        assert_eq!(read_record(&values).0, None);
    }

    #[test]
    fn watermarks_are_cells_of_their_own() {
        let cells = Cells::anonymous(&[0; CELLS]).unwrap();
        let seq = |value| SeqNo::new(value).unwrap();
        assert_eq!(Watermarks::read(&cells.values()), Watermarks::NONE);
        let published = Published { cells: cells.clone() };
        published.advance(seq(5));
        note_appended(&cells, seq(9));
        note_synced(&cells, seq(7), 3);
        assert_eq!(published.next(), seq(5));
        let marks = Watermarks {
            published: seq(5),
            appended: seq(9),
            synced: seq(7),
            synced_branch: 3,
            noted_cut: (0, SeqNo::MAX),
        };
        assert_eq!(Watermarks::read(&cells.values()), marks);
        let copy = Cells::anonymous(&[0; CELLS]).unwrap();
        marks.write(&copy);
        assert_eq!(copy.values()[32..], {
            let mut expected = cells.values();
            expected[CUT_TO_CELL] = u64::MAX;
            expected[32..].to_vec()
        });
    }

    /// While a cut is not synced, a loss of power can undo it and those after it: the lowest counts.
    #[test]
    fn the_lowest_cut_since_one_was_synced_is_noted() {
        let cells = Cells::anonymous(&[0; CELLS]).unwrap();
        let seq = |value| SeqNo::new(value).unwrap();
        let noted = || Watermarks::read(&cells.values()).noted_cut;
        note_appended(&cells, seq(100));
        note_cut(&cells, 4, seq(90), 0);
        assert_eq!((noted(), Watermarks::read(&cells.values()).appended), ((4, seq(90)), seq(90)));
        assert!(!is_settled(&cells, 4));
        note_cut(&cells, 6, seq(95), 4);
        assert_eq!(noted(), (6, seq(90)));
        note_cut(&cells, 7, seq(70), 6);
        assert_eq!(noted(), (7, seq(70)));
        note_synced(&cells, seq(80), 7);
        assert!(is_settled(&cells, 7));
        note_cut(&cells, 9, seq(99), 7);
        assert_eq!(noted(), (9, seq(99)));
    }

    proptest! {
        /// Whoever dies while a record is written leaves the one before.
        #[test]
        fn a_torn_record_leaves_the_one_before(written in prop::collection::vec(any::<bool>(), RECORD_CELLS)) {
            let mut values = [0; CELLS];
            put(&mut values, SLOTS[1], &record(8), RECORD_CELLS);
            put(&mut values, SLOTS[0], &record(9), RECORD_CELLS);
            let (before, slot) = read_record(&values);
            prop_assert_eq!(before, Some(record(9)));
            for (at, cell) in record(10).encode().into_iter().enumerate() {
                if written[at] {
                    values[slot + at] = cell;
                }
            }
            let whole = values[slot..slot + RECORD_CELLS] == record(10).encode();
            prop_assert_eq!(read_record(&values).0, Some(record(if whole { 10 } else { 9 })));
        }

        #[test]
        fn arbitrary_cells_are_read_or_not(cells in prop::collection::vec(any::<u64>(), 24)) {
            let mut values = [0; CELLS];
            values[..24].copy_from_slice(&cells);
            values[MAGIC_CELL] = MAGIC;
            prop_assert_eq!(read_record(&values).0, None);
        }
    }
}
