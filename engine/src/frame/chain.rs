use seqcast_wire::{SeqNo, Session};

use super::{Frame, Header, Kind};
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
        self.check_header(frame.seq(), frame.kind(), frame.header())
    }

    #[inline]
    fn check_header(&self, seq: SeqNo, kind: Kind, header: &Header) -> Result<(), ChainError> {
        if self.ended {
            return Err(ChainError::Ended);
        }
        if seq != self.next {
            return Err(ChainError::Seq { expected: self.next, found: seq });
        }
        if header.previous_crc.get() != self.crc {
            let found = header.previous_crc.get();
            return Err(ChainError::Previous { expected: self.crc, found });
        }
        if header.epoch.get() < self.epoch {
            return Err(ChainError::Epoch { last: self.epoch, found: header.epoch.get() });
        }
        if kind == Kind::Message {
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
        self.follow_header(frame.seq(), frame.kind(), frame.header())
    }

    /// Goes past the frame with the sealed `header`, of which `seq` and `kind` are known already.
    ///
    /// # Errors
    /// As [`Chain::check`]; nothing changes then.
    #[inline]
    pub fn follow_header(&mut self, seq: SeqNo, kind: Kind, header: &Header) -> Result<(), ChainError> {
        self.check_header(seq, kind, header)?;
        self.crc = header.crc.get();
        self.epoch = header.epoch.get();
        self.stamp_ns = header.stamp_ns.get();
        match kind {
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

#[cfg(test)]
impl Chain {
    /// Seals the next message, goes past it and gives its bytes.
    pub(crate) fn extend(&mut self, epoch: u64, source: u16, payload: &[u8]) -> Vec<u8> {
        let session: Session = format!("SRC{source}").parse().unwrap();
        let source_seq = self.sources[usize::from(source)].next.value();
        self.extend_with(Kind::Message, epoch, (source, session, source_seq), payload)
    }

    /// Seals the end of the session, goes past it and gives its bytes.
    pub(crate) fn extend_end(&mut self) -> Vec<u8> {
        self.extend_with(Kind::End, self.epoch, (0, Session::BLANK, 0), &[])
    }

    fn extend_with(
        &mut self,
        kind: Kind,
        epoch: u64,
        (source, source_session, source_seq): (u16, Session, u64),
        payload: &[u8],
    ) -> Vec<u8> {
        use zerocopy::FromZeros;
        let mut header = super::Header::new_zeroed();
        header.seq = self.next.value().into();
        header.epoch = epoch.into();
        header.stamp_ns = (self.stamp_ns + 1).into();
        header.source_seq = source_seq.into();
        header.previous_crc = self.crc.into();
        header.source = source.into();
        header.kind = kind as u8;
        header.source_session = source_session;
        let mut bytes = vec![0xAA; super::framed_bytes(payload.len())];
        super::seal(&mut bytes, header, payload);
        self.follow(&Frame::parse(&bytes).unwrap()).unwrap();
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> Frame<'_> {
        Frame::parse(bytes).unwrap()
    }

    #[test]
    fn follows_frames_and_knows_each_source() {
        let mut writer = Chain::new();
        let frames = [writer.extend(1, 3, b"a"), writer.extend(1, 3, b"b"), writer.extend(2, 0, b"c")];
        let mut chain = Chain::new();
        for frame in &frames {
            chain.follow(&parse(frame)).unwrap();
        }
        assert_eq!(chain, writer);
        assert_eq!(chain.next().value(), 4);
        assert_eq!(chain.epoch(), 2);
        assert_eq!(chain.crc(), parse(&frames[2]).header().crc.get());
        assert_eq!(chain.sources()[3].next.value(), 3);
        assert_eq!(chain.sources()[3].session.to_string(), "SRC3");
        assert_eq!(chain.sources()[1], SourceState::NONE);
    }

    #[test]
    fn refuses_what_does_not_follow_and_stays_where_it_was() {
        let mut chain = Chain::new();
        let first = chain.extend(5, 0, b"first");
        let before = chain.clone();
        let mut other = Chain::new();
        other.extend(5, 0, b"another first");
        let forked = other.extend(5, 0, b"second");
        let skipped = other.extend(5, 0, b"third");
        let (crc, stamp_ns) = (before.crc(), before.stamp_ns());
        let mut older = Chain::resume(before.next(), crc, 4, stamp_ns, Box::new(*before.sources()));
        let old_epoch = older.extend(4, 0, b"second");
        let mut wild = old_epoch.clone();
        let mut header = *parse(&old_epoch).header();
        (header.epoch, header.source) = (5.into(), 64.into());
        super::super::seal(&mut wild, header, b"second");
        let expected = before.next();
        let seq = |found: &[u8]| ChainError::Seq { expected, found: parse(found).seq() };
        assert_eq!(chain.follow(&parse(&first)), Err(seq(&first)));
        assert_eq!(chain.follow(&parse(&skipped)), Err(seq(&skipped)));
        assert!(matches!(chain.follow(&parse(&forked)), Err(ChainError::Previous { .. })));
        assert_eq!(chain.follow(&parse(&old_epoch)), Err(ChainError::Epoch { last: 5, found: 4 }));
        assert_eq!(chain.follow(&parse(&wild)), Err(ChainError::Source(64)));
        assert_eq!(chain, before);
    }

    #[test]
    fn nothing_follows_the_end() {
        let mut chain = Chain::new();
        chain.extend(1, 0, b"last");
        let mut unended = chain.clone();
        let end = chain.extend_end();
        assert!(chain.ended());
        assert_eq!(parse(&end).kind(), Kind::End);
        assert_eq!(chain.next().value(), 2, "an end takes no number");
        let more = unended.extend(1, 0, b"more");
        assert_eq!(chain.follow(&parse(&more)), Err(ChainError::Ended));
    }

    #[test]
    fn the_last_number_is_left_to_the_end() {
        let mut chain = Chain::resume(SeqNo::MAX, 7, 1, 1, Box::new([SourceState::NONE; MAX_SOURCES]));
        let mut bytes = [0; super::super::HEADER_BYTES];
        let end = chain.clone().extend_end();
        bytes.copy_from_slice(&end);
        let mut header = *parse(&end).header();
        header.kind = Kind::Message as u8;
        super::super::seal(&mut bytes, header, &[]);
        assert_eq!(chain.follow(&parse(&bytes)), Err(ChainError::Exhausted));
        assert_eq!(chain.follow(&parse(&end)), Ok(()));
    }
}
