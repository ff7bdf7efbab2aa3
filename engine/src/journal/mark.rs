//! The mark: what a restart must know beyond the frames.
//!
//! | cell | holds |
//! |---|---|
//! | 0 | `SEQCMARK`, once the mark was written |
//! | 8 … 15, 16 … 23 | two slots of the same record; the newer whole one counts |
//! | 32 | published watermark |
//! | 40 | appended watermark: what a killed process leaves behind holds at least this |
//! | 48 | synced watermark: what a loss of power leaves behind holds at least this |
//!
//! A record is eight cells: generation, incarnation, promised epoch, boot (high, low), flags (1: closed cleanly),
//! the first 8 bytes of the session and its last 2 with a CRC-32C over all before. It is written to the older slot, so a
//! process or machine that dies meanwhile leaves the other. A watermark is one cell and needs no slots.

use std::sync::Arc;

use seqcast_wire::{SeqNo, Session};

use super::JournalConfig;
use super::error::JournalError;
use crate::mem::cells::{CELLS, Cells};
use crate::mem::store::Store;

const MAGIC: u64 = u64::from_le_bytes(*b"SEQCMARK");
const MAGIC_CELL: usize = 0;
const SLOTS: [usize; 2] = [8, 16];
const RECORD_CELLS: usize = 8;
const PUBLISHED_CELL: usize = 32;
const APPENDED_CELL: usize = 40;
const SYNCED_CELL: usize = 48;
const CLEAN: u64 = 1;

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
}

/// One record of the mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    generation: u64,
    pub(super) incarnation: u64,
    pub(super) promised_epoch: u64,
    pub(super) boot: u128,
    pub(super) clean: bool,
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
            if self.clean { CLEAN } else { 0 },
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

/// The watermarks that the mark keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Watermarks {
    pub(super) published: SeqNo,
    pub(super) appended: SeqNo,
    pub(super) synced: SeqNo,
}

impl Watermarks {
    pub(super) fn read(values: &[u64; CELLS]) -> Watermarks {
        let read = |cell: usize| SeqNo::new(values[cell]).unwrap_or(SeqNo::FIRST);
        Watermarks {
            published: read(PUBLISHED_CELL),
            appended: read(APPENDED_CELL),
            synced: read(SYNCED_CELL),
        }
    }

    pub(super) fn write(&self, cells: &Cells) {
        cells.store(PUBLISHED_CELL, self.published.value());
        note_appended(cells, self.appended);
        note_synced(cells, self.synced);
    }
}

/// Notes that everything below `next` was appended.
#[inline]
pub(super) fn note_appended(cells: &Cells, next: SeqNo) {
    cells.store(APPENDED_CELL, next.value());
}

/// Notes that everything below `next` was synced.
pub(super) fn note_synced(cells: &Cells, next: SeqNo) {
    cells.store(SYNCED_CELL, next.value());
}

/// The published watermark: everything below it was published, so a restart goes on publishing from there. One store
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
    /// Takes the mark over for this process. `begun` is whether there are segments, `next` where they end. Gives also
    /// the watermarks of before, and why a new incarnation began if one did.
    pub(super) fn open(
        store: Arc<dyn Store>,
        config: &JournalConfig,
        begun: bool,
        next: SeqNo,
    ) -> Result<(Mark, Watermarks, Option<Unproven>), JournalError> {
        let cells = store.mark();
        let values = cells.values();
        let (found, next_slot) = read_record(&values);
        let boot = store.boot();
        let unproven = match &found {
            Some(record) if record.session != config.session => {
                let (found, expected) = (record.session, config.session);
                return Err(JournalError::ForeignSession { place: store.place_of_mark(), found, expected });
            }
            Some(_) if !begun => Some(Unproven::SegmentsLost),
            Some(record) if record.clean || record.boot == boot => None,
            Some(_) => Some(Unproven::UncleanBoot),
            None if begun => Some(Unproven::MarkLost),
            None => Some(Unproven::New),
        };
        let before = match found {
            Some(_) => Watermarks::read(&values),
            None => Watermarks { published: SeqNo::FIRST, appended: SeqNo::FIRST, synced: SeqNo::FIRST },
        };
        let floor = if unproven.is_none() { before.appended } else { before.synced };
        if begun && next < floor {
            return Err(JournalError::Short { place: store.place_of_mark(), expected: floor, found: next });
        }
        Watermarks { appended: next, synced: before.synced.min(next), ..before }.write(&cells);
        cells.store(MAGIC_CELL, MAGIC);
        let incarnation = match (&found, unproven) {
            (Some(record), None) => record.incarnation,
            _ => config.fresh_incarnation,
        };
        let promised_epoch = found.map_or(0, |record| record.promised_epoch);
        let generation = found.map_or(0, |record| record.generation);
        let session = config.session;
        let record = Record { generation, incarnation, promised_epoch, boot, clean: false, session };
        let mut mark = Mark { store, cells, record, next_slot };
        mark.write(record)?;
        Ok((mark, before, unproven))
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
        let first = Watermarks { published: seq(1), appended: seq(1), synced: seq(1) };
        assert_eq!(Watermarks::read(&cells.values()), first);
        let published = Published { cells: cells.clone() };
        published.advance(seq(5));
        note_appended(&cells, seq(9));
        note_synced(&cells, seq(7));
        assert_eq!(published.next(), seq(5));
        let marks = Watermarks { published: seq(5), appended: seq(9), synced: seq(7) };
        assert_eq!(Watermarks::read(&cells.values()), marks);
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
