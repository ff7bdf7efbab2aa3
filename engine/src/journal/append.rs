use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam::queue::ArrayQueue;
use seqcast_wire::{SeqNo, Session};

use super::error::ReadError;
use super::mark;
use super::segment::Head;
use super::shared::{Segment, Shared, Synced};
use crate::frame::{Chain, ChainError, Frame, FrameError, Kind};
use crate::mem::append::Appender;
use crate::mem::cells::Cells;
use crate::mem::store::Store;

/// Why a frame was not appended. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The segment is full and the next one is not prepared yet: back-pressure, try again.
    #[error("the next segment is not ready")]
    NotReady,
    /// The bytes are not one whole frame.
    #[error("not a frame: {0}")]
    Frame(#[from] FrameError),
    /// The frame is not the next one.
    #[error("not the next frame: {0}")]
    Chain(#[from] ChainError),
}

/// Why a journal was not cut. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CutError {
    /// The segment that a cut begins is not prepared yet: back-pressure, try again.
    #[error("the next segment is not ready")]
    NotReady,
    /// The number is beyond the end.
    #[error("frame {to} is not there, {next} comes next")]
    Beyond {
        /// The number asked for.
        to: SeqNo,
        /// The number that comes next.
        next: SeqNo,
    },
    /// The number is before the oldest.
    #[error("frame {to} was removed by retention, the oldest is {oldest}")]
    Removed {
        /// The number asked for.
        to: SeqNo,
        /// The oldest number there is.
        oldest: SeqNo,
    },
    /// What leads to the cut went bad in memory.
    #[error(transparent)]
    Damaged(#[from] ReadError),
}

/// A segment ready to be begun.
pub(super) struct Prepared {
    pub(super) segment: Arc<Segment>,
    pub(super) appender: Appender,
}

/// The writing end of a journal.
///
/// Appending copies a sealed frame into prepared memory and makes no system call; readers see it once it is
/// [published](Journal::publish).
pub struct Journal {
    pub(super) shared: Arc<Shared>,
    pub(super) prepared: Arc<ArrayQueue<Prepared>>,
    pub(super) segment: Arc<Segment>,
    pub(super) appender: Appender,
    pub(super) chain: Chain,
    pub(super) synced: Arc<Synced>,
    pub(super) mark: Cells,
    pub(super) session: Session,
    pub(super) incarnation: u64,
    pub(super) stalls: u64,
    /// Nobody else may open the store while this can write to its memory.
    pub(super) _store: Arc<dyn Store>,
}

impl Journal {
    /// Appends one sealed frame and gives the number that comes next. Readers do not see it yet.
    ///
    /// `frame` is exactly one frame, padding included, as [`seal`](crate::frame::seal) wrote it. Its place in the
    /// chain is checked, its CRC is not: who takes frames from elsewhere parses them first.
    ///
    /// # Errors
    /// See [`AppendError`].
    #[inline]
    pub fn append(&mut self, frame: &[u8]) -> Result<SeqNo, AppendError> {
        let checked = Frame::view(frame)?;
        if checked.framed_bytes() != frame.len() {
            return Err(AppendError::Frame(FrameError::Field("length: bytes behind the frame")));
        }
        if frame.len() > self.appender.room() {
            self.chain.check(&checked)?;
            self.roll()?;
        }
        self.chain.follow(&checked)?;
        if checked.kind() == Kind::Message {
            self.segment.note(checked.seq(), self.appender.written());
        }
        self.appender.append(frame).expect("a segment holds the longest frame");
        Ok(self.chain.next())
    }

    /// Lets readers and the syncer see all that was appended, and gives the watermark.
    #[inline]
    pub fn publish(&mut self) -> SeqNo {
        self.appender.publish();
        let next = self.chain.next();
        // Noted only once the bytes are in the page cache: after a kill, the segments hold at least what is noted.
        mark::note_appended(&self.mark, next);
        self.shared.next.store(next.value(), Ordering::Release);
        if self.chain.ended() {
            self.shared.ended.store(true, Ordering::Release);
        }
        next
    }

    /// Where the record stands, published or not.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The watermark below which everything survives a loss of power, of the record as it is now: whatever a syncer that
    /// is at work says of a tail that was cut, it is not counted.
    #[inline]
    pub fn synced(&self) -> SeqNo {
        self.synced.next()
    }

    /// Whether the end of the session, which takes no number, survives a loss of power.
    #[inline]
    pub fn is_end_synced(&self) -> bool {
        self.synced.ended()
    }

    /// Times that [`AppendError::NotReady`] or [`CutError::NotReady`] was answered.
    pub fn stalls(&self) -> u64 {
        self.stalls
    }

    /// Drops everything from number `to` on, an end of the session included, so that `to` comes next. Only what is not
    /// committed may be dropped: readers below the commit watermark notice nothing, and others learn that what they
    /// stand at was [taken back](ReadError::TakenBack).
    ///
    /// Nothing is overwritten: the next prepared segment begins at `to`, and what earlier ones hold from there on is
    /// superseded. So a process that is killed meanwhile leaves the journal as it was or as it is to be. A loss of power
    /// that takes the new segment with it is noticed at the next opening, which cuts again.
    ///
    /// Takes as long as following the frames of one segment; no system call. Watermarks kept elsewhere
    /// (`appended`, `durable`) have to come down with [`Journal::chain`] and [`Journal::synced`].
    ///
    /// # Errors
    /// See [`CutError`].
    #[cold]
    pub fn cut_back(&mut self, to: SeqNo) -> Result<(), CutError> {
        let (oldest, next) = (self.shared.oldest(), self.chain.next());
        if to > next {
            return Err(CutError::Beyond { to, next });
        }
        if to < oldest {
            return Err(CutError::Removed { to, oldest });
        }
        if to == next && !self.chain.ended() {
            return Ok(());
        }
        if self.prepared.is_empty() {
            self.stalls += 1;
            return Err(CutError::NotReady);
        }
        self.publish();
        let chain = self.shared.chain_at(to)?.ok_or(CutError::Removed { to, oldest })?;
        let prepared = self.prepared.pop().ok_or(CutError::NotReady)?;
        // In this order. The mark expects no more than what is left, so that a killed process leaves a journal that
        // opens; it knows of the cut before the segment does, so that a loss of the segment is noticed.
        let index = prepared.segment.index;
        mark::note_cut(&self.mark, index, to, self.synced.branch);
        let last = std::mem::replace(&mut self.segment, prepared.segment).index;
        self.appender = prepared.appender;
        self.chain = chain;
        self.begin(Some(next));
        self.shared.supersede(last, to);
        self.shared.active.store(index, Ordering::Release);
        self.shared.next.store(to.value(), Ordering::Release);
        self.shared.ended.store(false, Ordering::Release);
        // Last, so that a syncer that finds the new branch finds all of it.
        self.synced = Synced::new(index, self.synced.next().min(to));
        self.shared.synced.store(Arc::clone(&self.synced));
        Ok(())
    }

    #[cold]
    fn roll(&mut self) -> Result<(), AppendError> {
        let Some(prepared) = self.prepared.pop() else {
            self.stalls += 1;
            return Err(AppendError::NotReady);
        };
        // Readers leave a segment for good once they see its end, so it is published whole first.
        self.publish();
        let full = std::mem::replace(&mut self.segment, prepared.segment);
        self.appender = prepared.appender;
        self.begin(None);
        full.end_at(self.chain.next());
        self.shared.active.store(self.segment.index, Ordering::Release);
        Ok(())
    }

    fn begin(&mut self, cut_from: Option<SeqNo>) {
        let head = Head {
            session: self.session,
            index: self.segment.index,
            segment_bytes: self.segment.view.capacity() as u64,
            incarnation: self.incarnation,
            chain: &self.chain,
            cut_from,
        };
        begin(&self.segment, &mut self.appender, &head);
    }
}

/// Writes the header of a blank segment.
pub(super) fn begin(segment: &Segment, appender: &mut Appender, head: &Head<'_>) {
    appender.append(&head.encode()).expect("a blank segment has room for its header");
    segment.begin(head.chain.next());
    appender.publish();
}
