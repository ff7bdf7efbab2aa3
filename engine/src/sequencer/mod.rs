//! The sequencer: gives every message of every source its one place in the total order.
//!
//! No I/O: the primary's agent asks [`Sequencer::admit`] about a message, claims a slot in its ring if the answer is a
//! frame, and lets [`Sequencer::seal`] write the frame there, which is the one copy. What may be published is the
//! [`CommitGate`]'s to say.

mod gate;

pub use gate::{
    Ack, ChangeError, Closed, CommitGate, Durability, Member, Members, NodeId, Standing, Watermarks,
};

use seqcast_wire::{SeqNo, Session};
use zerocopy::byteorder::little_endian::{U16, U32, U64};

use crate::frame::{self, Chain, Frame, Header, Kind};
use crate::limits::{MAX_MESSAGE_BYTES, MAX_SOURCES};

/// A source of the sequencer, numbered from 0 in the order of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub u16);

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admit {
    /// It is next: claim a slot and [`Sequencer::seal`] it with this header.
    Frame(Header),
    /// It was numbered before: drop it.
    Duplicate,
    /// Messages before it are missing.
    Gap {
        /// The source's number that is due.
        expected: SeqNo,
    },
    /// Not now, or not at all.
    Refused(Refusal),
}

/// Why the sequencer takes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The session is over.
    #[error("the session is over")]
    Ended,
    /// The number range is used up: end the session.
    #[error("the number range of the session is used up; end it and start a new one")]
    Exhausted,
    /// The commit gate is closed.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// There is no such source.
    #[error("source {0}: there are {MAX_SOURCES} at most")]
    UnknownSource(u16),
    /// The source has no open session.
    #[error("the source has no open session")]
    SourceClosed,
    /// The source is in another session.
    #[error("the source is in session {current}, which has not ended")]
    SourceSession {
        /// The session it is in.
        current: Session,
    },
    /// The message is longer than a datagram carries.
    #[error("{len} bytes, a message has {MAX_MESSAGE_BYTES} at most")]
    TooLong {
        /// Its length.
        len: usize,
    },
}

/// What becomes of the end of a source's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceEnd {
    /// Everything of it is numbered: another session may be opened.
    Ended,
    /// Messages are missing before the end.
    Gap {
        /// The source's number that is due.
        expected: SeqNo,
    },
    /// Not a session that the source is in.
    Refused(Refusal),
}

/// Why a node cannot start as primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// Messages that were published are missing: numbering on would give their numbers to others.
    #[error(
        "messages up to {published} were published, but the journal ends at {next}: numbering on would give their \
         numbers to others; copy the journal from a standby, or start a new session"
    )]
    Lost {
        /// The published watermark.
        published: SeqNo,
        /// The number that the journal would give next.
        next: SeqNo,
    },
    /// The journal holds frames of a later epoch.
    #[error(
        "the journal holds frames of epoch {journal}, this primary is of epoch {primary}: somebody else took over"
    )]
    Epoch {
        /// Epoch of the journal's last frame.
        journal: u64,
        /// Epoch of this primary.
        primary: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SourceSession {
    /// The session that is admitted; the chain may still stand in the one before.
    session: Session,
    ended: bool,
}

/// The order of a session, on its primary.
pub struct Sequencer {
    chain: Chain,
    gate: CommitGate,
    sources: [Option<SourceSession>; MAX_SOURCES],
}

impl Sequencer {
    /// Goes on numbering where `chain` stands.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn new(chain: Chain, gate: CommitGate) -> Result<Sequencer, StartError> {
        let published = gate.watermarks().published;
        if published > chain.next() {
            return Err(StartError::Lost { published, next: chain.next() });
        }
        if chain.epoch() > gate.epoch() {
            return Err(StartError::Epoch { journal: chain.epoch(), primary: gate.epoch() });
        }
        let sources = chain.sources().map(|source| {
            (source.session != Session::BLANK)
                .then_some(SourceSession { session: source.session, ended: false })
        });
        Ok(Sequencer { chain, gate, sources })
    }

    /// Where the order stands.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The commit gate.
    pub fn gate(&self) -> &CommitGate {
        &self.gate
    }

    /// The commit gate, to tell it what came in.
    pub fn gate_mut(&mut self) -> &mut CommitGate {
        &mut self.gate
    }

    /// Lets `source` send in `session` from now on, and gives its number that is due: ask the publisher for everything
    /// from there. Opening the open session again changes nothing. A new session of the source must never have been
    /// used before; only the control plane opens one, never a datagram.
    ///
    /// # Errors
    /// [`Refusal::SourceSession`] while another session of the source has not ended.
    pub fn open_source(&mut self, source: SourceId, session: Session) -> Result<SeqNo, Refusal> {
        let at = usize::from(source.0);
        let slot = self.sources.get_mut(at).ok_or(Refusal::UnknownSource(source.0))?;
        match slot {
            Some(open) if open.session == session => {}
            Some(open) if !open.ended => return Err(Refusal::SourceSession { current: open.session }),
            _ => *slot = Some(SourceSession { session, ended: false }),
        }
        Ok(self.due(at, session))
    }

    /// The end of `source`'s `session` was received: `next` is the number that would have come next in it.
    pub fn on_source_end(&mut self, source: SourceId, session: Session, next: SeqNo) -> SourceEnd {
        match self.session_of(source, session) {
            Ok(_) => {}
            Err(refusal) => return SourceEnd::Refused(refusal),
        }
        let at = usize::from(source.0);
        let expected = self.due(at, session);
        if next > expected {
            return SourceEnd::Gap { expected };
        }
        self.sources[at] = Some(SourceSession { session, ended: true });
        SourceEnd::Ended
    }

    /// What becomes of message `source_seq` of `source`'s `source_session`, `len` bytes long, at `wall_ns` by the wall
    /// clock (ns since the Unix epoch). Changes nothing: until it is sealed, asking again gives the same.
    #[inline]
    pub fn admit(
        &self,
        wall_ns: u64,
        source: SourceId,
        source_session: Session,
        source_seq: SeqNo,
        len: usize,
    ) -> Admit {
        let open = match self.admitting().and_then(|()| self.session_of(source, source_session)) {
            Ok(open) => open,
            Err(refusal) => return Admit::Refused(refusal),
        };
        let expected = self.due(usize::from(source.0), source_session);
        if source_seq < expected {
            return Admit::Duplicate;
        }
        if source_seq > expected {
            return Admit::Gap { expected };
        }
        if open.ended || source_seq == SeqNo::MAX {
            return Admit::Refused(Refusal::SourceClosed);
        }
        if len > MAX_MESSAGE_BYTES {
            return Admit::Refused(Refusal::TooLong { len });
        }
        let mut header = self.header(wall_ns, Kind::Message);
        header.source = U16::new(source.0);
        header.source_session = source_session;
        header.source_seq = U64::new(source_seq.value());
        Admit::Frame(header)
    }

    /// Writes the admitted message into `slot`, which is [`framed_bytes`](frame::framed_bytes) of it long, and takes its
    /// number.
    ///
    /// # Panics
    /// When `header` is not what [`Sequencer::admit`] gave last, or `slot` has another length.
    #[inline]
    pub fn seal(&mut self, header: Header, payload: &[u8], slot: &mut [u8]) {
        frame::seal(slot, header, payload);
        let sealed = Frame::view(slot).expect("sealed just now");
        self.chain.follow(&sealed).expect("the header was admitted last");
        self.gate.on_numbered(self.chain.next());
    }

    /// Ends the session: writes its last frame into `slot`. Nothing is admitted from then on.
    ///
    /// # Errors
    /// When it has ended already, or the gate is closed.
    ///
    /// # Panics
    /// When `slot` is not [`frame::HEADER_BYTES`] long.
    pub fn end_session(&mut self, wall_ns: u64, slot: &mut [u8]) -> Result<(), Refusal> {
        match self.admitting() {
            Ok(()) | Err(Refusal::Exhausted) => {}
            Err(refusal) => return Err(refusal),
        }
        self.seal(self.header(wall_ns, Kind::End), &[], slot);
        Ok(())
    }

    /// Whether messages are taken at all.
    ///
    /// # Errors
    /// Why not.
    #[inline]
    pub fn admitting(&self) -> Result<(), Refusal> {
        if self.chain.ended() {
            return Err(Refusal::Ended);
        }
        self.gate.admitting()?;
        if self.chain.next() == SeqNo::MAX {
            return Err(Refusal::Exhausted);
        }
        Ok(())
    }

    fn header(&self, wall_ns: u64, kind: Kind) -> Header {
        Header {
            len: U32::ZERO,
            crc: U32::ZERO,
            seq: U64::new(self.chain.next().value()),
            epoch: U64::new(self.gate.epoch()),
            stamp_ns: U64::new(wall_ns.max(self.chain.stamp_ns().saturating_add(1))),
            source_seq: U64::ZERO,
            previous_crc: U32::new(self.chain.crc()),
            source: U16::ZERO,
            kind: kind as u8,
            version: frame::VERSION,
            source_session: Session::BLANK,
            reserved: [0; 6],
        }
    }

    fn session_of(&self, source: SourceId, session: Session) -> Result<SourceSession, Refusal> {
        let slot = self.sources.get(usize::from(source.0)).ok_or(Refusal::UnknownSource(source.0))?;
        match slot {
            None => Err(Refusal::SourceClosed),
            Some(open) if open.session != session => Err(Refusal::SourceSession { current: open.session }),
            Some(open) => Ok(*open),
        }
    }

    /// The number that is due in `session` of the source at index `at`.
    fn due(&self, at: usize, session: Session) -> SeqNo {
        let numbered = &self.chain.sources()[at];
        if numbered.session == session { numbered.next } else { SeqNo::FIRST }
    }
}
