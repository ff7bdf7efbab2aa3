use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam::queue::ArrayQueue;
use seqcast_wire::{SeqNo, Session};

use super::mark;
use super::segment::SegmentHeader;
use super::shared::{Segment, Shared};
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
        next
    }

    /// Where the record stands, published or not.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The watermark below which everything survives a loss of power.
    #[inline]
    pub fn synced(&self) -> SeqNo {
        self.shared.synced()
    }

    /// Times that [`AppendError::NotReady`] was answered.
    pub fn stalls(&self) -> u64 {
        self.stalls
    }

    #[cold]
    fn roll(&mut self) -> Result<(), AppendError> {
        let Some(prepared) = self.prepared.pop() else {
            self.stalls += 1;
            return Err(AppendError::NotReady);
        };
        // Readers leave a segment for good once they see the next one active, so this one is published whole first.
        self.publish();
        self.segment = prepared.segment;
        self.appender = prepared.appender;
        begin(&self.segment, &mut self.appender, self.session, self.incarnation, &self.chain);
        self.shared.active.store(self.segment.index, Ordering::Release);
        Ok(())
    }
}

/// Writes the header of a blank segment, which `chain` goes on in.
pub(super) fn begin(
    segment: &Segment,
    appender: &mut Appender,
    session: Session,
    incarnation: u64,
    chain: &Chain,
) {
    let header = SegmentHeader {
        session,
        index: segment.index,
        segment_bytes: segment.view.capacity() as u64,
        incarnation,
        chain: chain.clone(),
    };
    appender.append(&header.encode()).expect("a blank segment has room for its header");
    segment.begin(chain.next());
    appender.publish();
}
