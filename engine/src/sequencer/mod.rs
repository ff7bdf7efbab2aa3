//! The sequencer: gives every message of every source its one place in the total order.
//!
//! No I/O: the primary's agent asks [`Sequencer::admit`] about a message, claims a slot in its ring if the answer is a
//! frame, and writes there the header that [`Sequencer::seal`] gives, and the message, which is the one copy. Whether
//! anything may be admitted at the moment, and what may be published, is the commit gate's to say, which stands beside
//! it.

use seqcast_wire::{SeqNo, Session};
use zerocopy::byteorder::little_endian::{U16, U32, U64};

use crate::frame::{self, Chain, Header, Kind};
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
    /// The message is longer than what the order's way to standbys and subscribers carries.
    #[error("{len} bytes, a message of the order has {max} at most")]
    TooLong {
        /// Its length.
        len: usize,
        /// The longest that is taken.
        max: usize,
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
    epoch: u64,
    sources: [Option<SourceSession>; MAX_SOURCES],
    max_message_bytes: usize,
}

impl Sequencer {
    /// Goes on numbering where `chain` stands, in `epoch`; everything below `published` was published.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn new(chain: Chain, epoch: u64, published: SeqNo) -> Result<Sequencer, StartError> {
        if published > chain.next() {
            return Err(StartError::Lost { published, next: chain.next() });
        }
        if chain.epoch() > epoch {
            return Err(StartError::Epoch { journal: chain.epoch(), primary: epoch });
        }
        let sources = chain.sources().map(|source| {
            (source.session != Session::BLANK)
                .then_some(SourceSession { session: source.session, ended: false })
        });
        Ok(Sequencer { chain, epoch, sources, max_message_bytes: MAX_MESSAGE_BYTES })
    }

    /// Refuses messages of more than `bytes`: what a standby or a subscriber cannot be sent must not get a number.
    pub fn limiting(mut self, bytes: usize) -> Sequencer {
        self.max_message_bytes = bytes.min(MAX_MESSAGE_BYTES);
        self
    }

    /// Where the order stands.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The epoch in which it numbers.
    #[inline]
    pub fn epoch(&self) -> u64 {
        self.epoch
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
        if len > self.max_message_bytes {
            return Admit::Refused(Refusal::TooLong { len, max: self.max_message_bytes });
        }
        let mut header = self.header(wall_ns, Kind::Message);
        header.source = U16::new(source.0);
        header.source_session = source_session;
        header.source_seq = U64::new(source_seq.value());
        Admit::Frame(header)
    }

    /// Gives the admitted message its number: gives the frame's header, [sealed](frame::sealed).
    ///
    /// # Panics
    /// When `header` is not what [`Sequencer::admit`] gave last.
    #[inline]
    pub fn seal(&mut self, header: Header, payload: &[u8]) -> Header {
        self.number(Kind::Message, header, payload)
    }

    /// Ends the session and gives its last frame, which is a header. Nothing is admitted from then on.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn end_session(&mut self, wall_ns: u64) -> Result<Header, Refusal> {
        match self.admitting() {
            Ok(()) | Err(Refusal::Exhausted) => {}
            Err(refusal) => return Err(refusal),
        }
        Ok(self.number(Kind::End, self.header(wall_ns, Kind::End), &[]))
    }

    #[inline]
    fn number(&mut self, kind: Kind, header: Header, payload: &[u8]) -> Header {
        let header = frame::sealed(header, payload);
        let seq = SeqNo::new(header.seq.get()).expect("a number of the chain's");
        self.chain.follow_header(seq, kind, &header).expect("the header was admitted last");
        header
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
            epoch: U64::new(self.epoch),
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use zerocopy::IntoBytes;

    use super::*;
    use crate::frame::Frame;

    const A: SourceId = SourceId(0);

    fn session(name: &str) -> Session {
        name.parse().unwrap()
    }

    fn seq(value: u64) -> SeqNo {
        SeqNo::new(value).unwrap()
    }

    fn sequencer(chain: Chain) -> Sequencer {
        Sequencer::new(chain, 5, SeqNo::FIRST).unwrap()
    }

    /// Admits and seals, as the agent does; gives the frame.
    fn take(
        sequencer: &mut Sequencer,
        wall_ns: u64,
        source: SourceId,
        session: Session,
        source_seq: u64,
        payload: &[u8],
    ) -> Result<Vec<u8>, Admit> {
        match sequencer.admit(wall_ns, source, session, seq(source_seq), payload.len()) {
            Admit::Frame(header) => {
                let mut slot = vec![0xEE; frame::framed_bytes(payload.len())];
                frame::seal(&mut slot, sequencer.seal(header, payload), payload);
                Ok(slot)
            }
            other => Err(other),
        }
    }

    #[test]
    fn frames_carry_the_order_the_epoch_the_source_and_the_chain() {
        let mut sequencer = sequencer(Chain::new());
        let s = session("PUB1");
        assert_eq!(sequencer.open_source(SourceId(3), s), Ok(SeqNo::FIRST));
        let first = take(&mut sequencer, 1_000, SourceId(3), s, 1, b"hello").unwrap();
        let second = take(&mut sequencer, 2_000, SourceId(3), s, 2, b"").unwrap();
        let first = Frame::parse(&first).unwrap();
        let second = Frame::parse(&second).unwrap();
        let header = second.header();
        assert_eq!((first.seq(), first.payload()), (seq(1), b"hello".as_slice()));
        assert_eq!((second.seq(), header.epoch.get(), header.stamp_ns.get()), (seq(2), 5, 2_000));
        assert_eq!((header.source.get(), header.source_seq.get(), header.source_session), (3, 2, s));
        assert_eq!(header.previous_crc, first.header().crc);
        assert_eq!(sequencer.chain().next(), seq(3));
    }

    #[test]
    fn each_message_exactly_once() {
        let mut sequencer = sequencer(Chain::new());
        let s = session("PUB1");
        sequencer.open_source(A, s).unwrap();
        assert_eq!(take(&mut sequencer, 0, A, s, 2, b"b"), Err(Admit::Gap { expected: seq(1) }));
        take(&mut sequencer, 0, A, s, 1, b"a").unwrap();
        assert_eq!(take(&mut sequencer, 0, A, s, 1, b"a"), Err(Admit::Duplicate));
        assert_eq!(take(&mut sequencer, 0, A, s, 3, b"c"), Err(Admit::Gap { expected: seq(2) }));
        take(&mut sequencer, 0, A, s, 2, b"b").unwrap();
        // Asking takes nothing: without a slot the same message is admitted again.
        let asked = sequencer.admit(7, A, s, seq(3), 1);
        assert!(matches!(asked, Admit::Frame(_)));
        assert_eq!(sequencer.admit(7, A, s, seq(3), 1), asked);
        // A successor that recovers the chain refuses the same duplicates.
        let mut successor = super::tests::sequencer(sequencer.chain().clone());
        assert_eq!(successor.open_source(A, s), Ok(seq(3)));
        assert_eq!(take(&mut successor, 0, A, s, 2, b"b"), Err(Admit::Duplicate));
        take(&mut successor, 0, A, s, 3, b"c").unwrap();
    }

    #[test]
    fn time_moves_on_whatever_the_clock_does() {
        let mut sequencer = sequencer(Chain::new());
        let s = session("PUB1");
        sequencer.open_source(A, s).unwrap();
        let mut stamps = Vec::new();
        for (nth, wall) in [500, 400, 400, 600, 0, u64::MAX, 5].into_iter().enumerate() {
            let frame = take(&mut sequencer, wall, A, s, nth as u64 + 1, b"").unwrap();
            stamps.push(Frame::parse(&frame).unwrap().header().stamp_ns.get());
        }
        assert_eq!(stamps, [500, 501, 502, 600, 601, u64::MAX, u64::MAX]);
    }

    #[test]
    fn a_source_changes_session_only_behind_the_end_of_the_old_one() {
        let mut sequencer = sequencer(Chain::new());
        let (old, new) = (session("OLD"), session("NEW"));
        let refused = |refusal| Err(Admit::Refused(refusal));
        assert_eq!(take(&mut sequencer, 0, A, old, 1, b""), refused(Refusal::SourceClosed));
        sequencer.open_source(A, old).unwrap();
        take(&mut sequencer, 0, A, old, 1, b"").unwrap();
        let in_old = Refusal::SourceSession { current: old };
        assert_eq!(take(&mut sequencer, 0, A, new, 1, b""), refused(in_old));
        assert_eq!(sequencer.open_source(A, new), Err(in_old));
        assert_eq!(sequencer.on_source_end(A, new, seq(1)), SourceEnd::Refused(in_old));
        assert_eq!(sequencer.on_source_end(A, old, seq(4)), SourceEnd::Gap { expected: seq(2) });
        assert_eq!(sequencer.open_source(A, new), Err(in_old), "messages of the old one are missing");
        assert_eq!(sequencer.on_source_end(A, old, seq(2)), SourceEnd::Ended);
        assert_eq!(take(&mut sequencer, 0, A, old, 2, b""), refused(Refusal::SourceClosed));
        assert_eq!(take(&mut sequencer, 0, A, old, 1, b""), Err(Admit::Duplicate));
        assert_eq!(sequencer.open_source(A, new), Ok(SeqNo::FIRST));
        assert_eq!(sequencer.open_source(A, old), Err(Refusal::SourceSession { current: new }));
        let frame = take(&mut sequencer, 0, A, new, 1, b"").unwrap();
        assert_eq!(Frame::parse(&frame).unwrap().header().source_session, new);
        assert_eq!(sequencer.chain().sources()[0].session, new);
    }

    #[test]
    fn refuses_what_cannot_be() {
        let mut sequencer = sequencer(Chain::new());
        let s = session("PUB1");
        let wild = SourceId(MAX_SOURCES as u16);
        assert_eq!(sequencer.open_source(wild, s), Err(Refusal::UnknownSource(64)));
        assert_eq!(sequencer.admit(0, wild, s, seq(1), 0), Admit::Refused(Refusal::UnknownSource(64)));
        assert_eq!(sequencer.on_source_end(wild, s, seq(1)), SourceEnd::Refused(Refusal::UnknownSource(64)));
        sequencer.open_source(A, s).unwrap();
        let len = MAX_MESSAGE_BYTES + 1;
        let too_long = |max| Admit::Refused(Refusal::TooLong { len: max + 1, max });
        assert_eq!(sequencer.admit(0, A, s, seq(1), len), too_long(MAX_MESSAGE_BYTES));
        assert!(matches!(sequencer.admit(0, A, s, seq(1), len - 1), Admit::Frame(_)));
        let sequencer = sequencer.limiting(100);
        assert_eq!(sequencer.admit(0, A, s, seq(1), 101), too_long(100));
        assert!(matches!(sequencer.admit(0, A, s, seq(1), 100), Admit::Frame(_)));
    }

    #[test]
    fn the_last_number_ends_the_session_and_nothing_follows() {
        let sources = Box::new([frame::SourceState::NONE; MAX_SOURCES]);
        let chain = Chain::resume(SeqNo::new(u64::MAX - 1).unwrap(), 1, 5, 1, sources);
        let mut sequencer = sequencer(chain);
        let s = session("PUB1");
        sequencer.open_source(A, s).unwrap();
        take(&mut sequencer, 0, A, s, 1, b"the last").unwrap();
        assert_eq!(take(&mut sequencer, 0, A, s, 2, b""), Err(Admit::Refused(Refusal::Exhausted)));
        let end = sequencer.end_session(9).unwrap();
        let end = Frame::parse(end.as_bytes()).unwrap();
        assert_eq!((end.kind(), end.seq()), (Kind::End, SeqNo::MAX));
        assert_eq!(take(&mut sequencer, 0, A, s, 2, b""), Err(Admit::Refused(Refusal::Ended)));
        assert_eq!(sequencer.end_session(9), Err(Refusal::Ended));
    }

    #[test]
    fn never_numbers_over_what_was_published_or_taken_over() {
        let lost = Sequencer::new(Chain::new(), 5, seq(10)).err().unwrap();
        assert_eq!(lost, StartError::Lost { published: seq(10), next: seq(1) });
        assert!(lost.to_string().contains("standby"), "{lost}");
        let mut chain = Chain::new();
        chain.extend(6, 0, b"of a later epoch");
        let deposed = Sequencer::new(chain, 5, SeqNo::FIRST).err().unwrap();
        assert_eq!(deposed, StartError::Epoch { journal: 6, primary: 5 });
    }

    #[test]
    #[should_panic(expected = "admitted last")]
    fn an_old_header_is_a_bug() {
        let mut sequencer = sequencer(Chain::new());
        let s = session("PUB1");
        sequencer.open_source(A, s).unwrap();
        let Admit::Frame(header) = sequencer.admit(0, A, s, seq(1), 0) else { panic!("admitted") };
        sequencer.seal(header, &[]);
        sequencer.seal(header, &[]);
    }

    proptest! {
        /// Whatever arrives in whatever order, with takeovers in between: every source's messages come once and in its
        /// order, numbers and time only rise, and the frames chain.
        #[test]
        fn any_arrival_is_one_order(
            arrivals in prop::collection::vec((0u16..4, 1u64..20, any::<u32>(), 0u8..40), 1..300),
        ) {
            let mut sequencer = sequencer(Chain::new());
            let name = |source: u16| session(&format!("PUB{source}"));
            for source in 0..4 {
                sequencer.open_source(SourceId(source), name(source)).unwrap();
            }
            let mut follower = Chain::new();
            let mut taken: BTreeMap<u16, u64> = BTreeMap::new();
            let mut last_ns = 0;
            for (source, source_seq, wall, dice) in arrivals {
                if dice == 0 {
                    sequencer = super::tests::sequencer(follower.clone());
                    for source in 0..4 {
                        sequencer.open_source(SourceId(source), name(source)).unwrap();
                    }
                }
                let due = taken.entry(source).or_insert(0);
                let payload = [source as u8, source_seq as u8];
                match take(&mut sequencer, wall.into(), SourceId(source), name(source), source_seq, &payload) {
                    Ok(bytes) => {
                        let frame = Frame::parse(&bytes).unwrap();
                        follower.follow(&frame).unwrap();
                        prop_assert_eq!(source_seq, *due + 1);
                        prop_assert!(frame.header().stamp_ns.get() > last_ns);
                        last_ns = frame.header().stamp_ns.get();
                        *due += 1;
                    }
                    Err(Admit::Duplicate) => prop_assert!(source_seq <= *due),
                    Err(Admit::Gap { expected }) => {
                        prop_assert!(source_seq > *due + 1);
                        prop_assert_eq!(expected.value(), *due + 1);
                    }
                    Err(other) => prop_assert!(false, "{:?}", other),
                }
            }
            prop_assert_eq!(&follower, sequencer.chain());
        }
    }
}
