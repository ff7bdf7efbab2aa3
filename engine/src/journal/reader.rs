use std::sync::Arc;
use std::sync::atomic::Ordering;

use seqcast_wire::SeqNo;

use super::error::ReadError;
use super::segment::HEADER_BYTES;
use super::shared::{Segment, Shared};
use crate::frame::{Frame, FrameError, Kind};

/// Reads a journal in place while it is written. Cheap to clone; any thread.
#[derive(Clone)]
pub struct JournalReader {
    pub(super) shared: Arc<Shared>,
}

impl JournalReader {
    /// The oldest number there is; equal to [`JournalReader::next`] when there is none.
    pub fn oldest(&self) -> SeqNo {
        self.shared.oldest()
    }

    /// The number that comes next: everything from [`JournalReader::oldest`] up to it is there.
    #[inline]
    pub fn next(&self) -> SeqNo {
        self.shared.next()
    }

    /// The watermark below which everything survives a loss of power.
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
        let segments = self.shared.segments.load();
        let later = segments.partition_point(|segment| segment.first().is_some_and(|first| first <= seq));
        let segment = Arc::clone(segments.get(later.checked_sub(1)?)?);
        let offset = segment.offset_behind(seq.since(segment.first()?))?;
        Some(Cursor { shared: Arc::clone(&self.shared), segment, offset, seq })
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
    /// when there is none yet; a later call sees what was published since. The same until [`Cursor::advance`].
    ///
    /// # Errors
    /// See [`ReadError`]; the cursor stays where it is.
    #[inline]
    pub fn peek_frame(&mut self) -> Result<Option<Frame<'_>>, ReadError> {
        while self.offset == self.segment.view.published().len() {
            if self.shared.active.load(Ordering::Acquire) == self.segment.index {
                return Ok(None);
            }
            self.follow()?;
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

    /// Goes to the next segment, which is active or complete.
    #[cold]
    fn follow(&mut self) -> Result<(), ReadError> {
        // This one's length is final by now, but may have grown since it was looked at.
        if self.offset < self.segment.view.published().len() {
            return Ok(());
        }
        let Some(next) = self.shared.segment(self.segment.index + 1) else {
            return Err(ReadError::Removed { wanted: self.seq, oldest: self.shared.oldest() });
        };
        self.segment = next;
        self.offset = HEADER_BYTES;
        Ok(())
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
