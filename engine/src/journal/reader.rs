use std::sync::Arc;

use seqcast_wire::SeqNo;

use super::error::ReadError;
use super::segment::{HEADER_BYTES, HeaderRead, SegmentHeader};
use super::shared::{Segment, Shared};
use crate::frame::{Chain, Frame, FrameError, Kind};

/// Reads a journal in place while it is written. Cheap to clone; any thread.
///
/// A standby's journal can be [cut](super::Journal::cut_back), though never below what is committed. So readers of a
/// node that may be a standby read below the commit watermark only, and are never concerned. Whoever reads on sees
/// the whole record that is there now, and an error once what it would read next was taken back. What it has read by then
/// is for it to take back.
#[derive(Clone)]
pub struct JournalReader {
    pub(super) shared: Arc<Shared>,
}

impl JournalReader {
    /// The oldest number there is; equal to [`JournalReader::next`] when there is none.
    pub fn oldest(&self) -> SeqNo {
        self.shared.oldest()
    }

    /// The number that comes next: everything from [`JournalReader::oldest`] up to it is there. A cut lowers it.
    #[inline]
    pub fn next(&self) -> SeqNo {
        self.shared.next()
    }

    /// The watermark below which everything survives a loss of power. A cut lowers it.
    #[inline]
    pub fn synced(&self) -> SeqNo {
        self.shared.synced()
    }

    /// A cursor before message `seq`. [`JournalReader::next`] waits for the message to come; `None` for what is
    /// later still or was removed.
    pub fn cursor_at(&self, seq: SeqNo) -> Option<Cursor> {
        if seq > self.shared.next() {
            return None;
        }
        let segment = self.shared.holder(seq)?;
        let offset = segment.offset_behind(seq.since(segment.first()?))?;
        Some(Cursor { shared: Arc::clone(&self.shared), segment, offset, seq })
    }

    /// Epoch and CRC of the frame before message `seq`, 0 and 0 before the first: two histories that agree on them for
    /// one number agree on everything before it. `None` unless `seq` is there or comes next.
    pub fn position_at(&self, seq: SeqNo) -> Option<(u64, u32)> {
        self.shared.position_at(seq)
    }

    /// The last point not beyond message `seq` at which the record says itself where the order stands, each source
    /// included: the beginning of a segment. `None` unless `seq` is there or comes next. Reads a header, no frames.
    pub fn chain_before(&self, seq: SeqNo) -> Option<Chain> {
        if seq > self.shared.next() {
            return None;
        }
        match SegmentHeader::decode(self.shared.holder(seq)?.view.published()) {
            HeaderRead::Header(header) => Some(header.chain).filter(|chain| chain.next() <= seq),
            _ => None,
        }
    }

    /// Where the order stands before message `seq`, each source included. `None` unless `seq` is there or comes next.
    /// For a cold thread: it follows all frames of a segment up to there.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] when frames on the way went bad in memory.
    pub fn chain_at(&self, seq: SeqNo) -> Result<Option<Chain>, ReadError> {
        if seq > self.shared.next() {
            return Ok(None);
        }
        self.shared.chain_at(seq)
    }
}

/// A place in the journal that moves forward. It keeps its segment readable even when retention removes it.
pub struct Cursor {
    shared: Arc<Shared>,
    segment: Arc<Segment>,
    offset: usize,
    seq: SeqNo,
}

impl Cursor {
    /// The number of the message that comes next.
    #[inline]
    pub fn seq(&self) -> SeqNo {
        self.seq
    }

    /// The next frame, its CRC checked once more: what a failing disk or memory changed is never passed on. `None`
    /// when there is none yet; a later call sees what was published since. The same until [`Cursor::advance`], unless
    /// it is cut off meanwhile.
    ///
    /// # Errors
    /// See [`ReadError`]; the cursor stays where it is.
    #[inline]
    pub fn peek_frame(&mut self) -> Result<Option<Frame<'_>>, ReadError> {
        loop {
            // Before the length: that is final once there is an end.
            let end = self.segment.end();
            if end.is_some_and(|end| self.seq >= end) {
                if !self.follow()? {
                    return Ok(None);
                }
                continue;
            }
            if end.is_none() && self.offset == self.segment.view.published().len() {
                return Ok(None);
            }
            break;
        }
        let bytes = self.segment.view.published().get(self.offset..).unwrap_or_default();
        let frame =
            Frame::parse(bytes).map_err(|fault| damaged(&self.segment, self.offset, self.seq, fault))?;
        if frame.seq() != self.seq {
            let fault = FrameError::Field("sequence number");
            return Err(damaged(&self.segment, self.offset, self.seq, fault));
        }
        Ok(Some(frame))
    }

    /// Steps over the frame that [`Cursor::peek_frame`] gave.
    #[inline]
    pub fn advance(&mut self) {
        let bytes = self.segment.view.published().get(self.offset..).unwrap_or_default();
        if let Ok(frame) = Frame::view(bytes) {
            self.offset += frame.framed_bytes();
            if frame.kind() == Kind::Message {
                self.seq = self.seq.next();
            }
        }
    }

    /// [`Cursor::peek_frame`] and a step over it.
    ///
    /// # Errors
    /// See [`ReadError`]; the cursor stays where it is.
    #[inline]
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, ReadError> {
        let offset = match self.peek_frame()? {
            Some(_) => self.offset,
            None => return Ok(None),
        };
        self.advance();
        // Looked at a moment ago, and what is published never changes.
        Ok(Frame::view(self.segment.view.published().get(offset..).unwrap_or_default()).ok())
    }

    /// Goes to the segment in which the record goes on behind the end of this one; gives whether it did.
    #[cold]
    fn follow(&mut self) -> Result<bool, ReadError> {
        let Some(end) = self.segment.end() else { return Ok(false) };
        if end < self.seq {
            return Err(ReadError::TakenBack { wanted: self.seq, cut: end });
        }
        let Some(next) = self.shared.holder(self.seq) else {
            return Err(ReadError::Removed { wanted: self.seq, oldest: self.shared.oldest() });
        };
        // A cut may be under way just now: then the next call knows more.
        if next.index <= self.segment.index || next.first() != Some(self.seq) {
            return Ok(false);
        }
        self.segment = next;
        self.offset = HEADER_BYTES;
        Ok(true)
    }
}

#[cold]
fn damaged(segment: &Segment, offset: usize, seq: SeqNo, fault: FrameError) -> ReadError {
    ReadError::Damaged { segment: segment.index, offset, seq, fault }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{filled, seq};
    use super::*;
    use crate::mem::store::MemoryDisk;

    /// What a reader does that saw the end of a segment just before its last frames and the next segment came.
    #[test]
    fn a_segment_is_left_only_at_its_final_end() {
        let disk = MemoryDisk::default();
        let (opened, model) = filled(&disk, &[10_000; 10]);
        let mut cursor = opened.reader.cursor_at(SeqNo::FIRST).unwrap();
        for frame in &model.frames {
            cursor.follow().unwrap();
            assert_eq!(cursor.next_frame().unwrap().unwrap().bytes(), frame);
        }
        assert_eq!((cursor.seq(), cursor.segment.index), (seq(11), 1));
    }

    #[test]
    fn peeking_stays_and_advancing_steps() {
        let disk = MemoryDisk::default();
        let (opened, model) = filled(&disk, &[9_000; 20]);
        let mut cursor = opened.reader.cursor_at(SeqNo::FIRST).unwrap();
        for (nth, frame) in (1..).zip(&model.frames) {
            for _ in 0..2 {
                assert_eq!(cursor.peek_frame().unwrap().unwrap().bytes(), frame);
                assert_eq!(cursor.seq(), seq(nth));
            }
            cursor.advance();
        }
        assert!(cursor.peek_frame().unwrap().is_none());
        cursor.advance();
        assert_eq!(cursor.seq(), seq(21), "there is nothing to step over");
    }
}
