use seqcast_wire::{SeqNo, Session};

use super::{Frame, Kind};
use crate::limits::MAX_SOURCES;

/// What is known of one source at a point of the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceState {
    /// The source's session; [`Session::BLANK`] while nothing of the source has been numbered.
    pub session: Session,
    /// The source's own number that comes next.
    pub next: SeqNo,
}

impl SourceState {
    /// A source of which nothing has been numbered.
    pub const NONE: SourceState = SourceState { session: Session::BLANK, next: SeqNo::FIRST };
}

/// Where an ordered history stands: all that decides whether a frame is the next one, and what the next one must say.
///
/// The sequencer extends it, a journal recovers it from its frames, a standby follows it; all by the same rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    next: SeqNo,
    crc: u32,
    epoch: u64,
    stamp_ns: u64,
    ended: bool,
    sources: Box<[SourceState; MAX_SOURCES]>,
}

/// Why a whole frame is not the next of a [`Chain`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// The session is over.
    #[error("a frame after the end of the session")]
    Ended,
    /// Another sequence number is due.
    #[error("sequence number {found}, expected {expected}")]
    Seq {
        /// The number due.
        expected: SeqNo,
        /// The frame's number.
        found: SeqNo,
    },
    /// It follows another frame: two histories differ before it.
    #[error("follows a frame with CRC-32C {found:08x}, not {expected:08x}")]
    Previous {
        /// CRC of the last frame.
        expected: u32,
        /// CRC that the frame names.
        found: u32,
    },
    /// Its epoch is lower than that of the frame before.
    #[error("epoch {found} after epoch {last}")]
    Epoch {
        /// Epoch of the last frame.
        last: u64,
        /// The frame's epoch.
        found: u64,
    },
    /// Its source is out of range.
    #[error("source {0}, there are {MAX_SOURCES} at most")]
    Source(u16),
    /// A message under the last number there is; it is left to the end of the session.
    #[error("the number range is used up")]
    Exhausted,
}

impl Default for Chain {
    fn default() -> Chain {
        Chain::new()
    }
}

impl Chain {
    /// Before the first frame of a session.
    pub fn new() -> Chain {
        Chain {
            next: SeqNo::FIRST,
            crc: 0,
            epoch: 0,
            stamp_ns: 0,
            ended: false,
            sources: Box::new([SourceState::NONE; MAX_SOURCES]),
        }
    }

    /// A point in the middle, as a segment's header or an image records it.
    pub fn resume(
        next: SeqNo,
        crc: u32,
        epoch: u64,
        stamp_ns: u64,
        sources: Box<[SourceState; MAX_SOURCES]>,
    ) -> Chain {
        Chain { next, crc, epoch, stamp_ns, ended: false, sources }
    }

    /// The number that comes next.
    #[inline]
    pub fn next(&self) -> SeqNo {
        self.next
    }

    /// CRC of the last frame; 0 before the first.
    #[inline]
    pub fn crc(&self) -> u32 {
        self.crc
    }

    /// Epoch of the last frame; 0 before the first.
    #[inline]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Event time of the last frame, ns since the Unix epoch; 0 before the first.
    #[inline]
    pub fn stamp_ns(&self) -> u64 {
        self.stamp_ns
    }

    /// Whether the session is over.
    #[inline]
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// What is known of each source, by its index.
    pub fn sources(&self) -> &[SourceState; MAX_SOURCES] {
        &self.sources
    }

    /// Whether `frame`, checked before, comes next.
    ///
    /// # Errors
    /// See [`ChainError`].
    #[inline]
    pub fn check(&self, frame: &Frame<'_>) -> Result<(), ChainError> {
        let header = frame.header();
        if self.ended {
            return Err(ChainError::Ended);
        }
        if frame.seq() != self.next {
            return Err(ChainError::Seq { expected: self.next, found: frame.seq() });
        }
        if header.previous_crc.get() != self.crc {
            let found = header.previous_crc.get();
            return Err(ChainError::Previous { expected: self.crc, found });
        }
        if header.epoch.get() < self.epoch {
            return Err(ChainError::Epoch { last: self.epoch, found: header.epoch.get() });
        }
        if frame.kind() == Kind::Message {
            if usize::from(header.source.get()) >= MAX_SOURCES {
                return Err(ChainError::Source(header.source.get()));
            }
            if self.next == SeqNo::MAX {
                return Err(ChainError::Exhausted);
            }
        }
        Ok(())
    }

    /// Goes past `frame`.
    ///
    /// # Errors
    /// As [`Chain::check`]; nothing changes then.
    #[inline]
    pub fn follow(&mut self, frame: &Frame<'_>) -> Result<(), ChainError> {
        self.check(frame)?;
        let header = frame.header();
        self.crc = header.crc.get();
        self.epoch = header.epoch.get();
        self.stamp_ns = header.stamp_ns.get();
        match frame.kind() {
            Kind::End => self.ended = true,
            Kind::Message => {
                self.next = self.next.next();
                let next = SeqNo::FIRST.saturating_add(header.source_seq.get());
                self.sources[usize::from(header.source.get())] =
                    SourceState { session: header.source_session, next };
            }
        }
        Ok(())
    }
}
