//! What the tests share: journals in vectors, frames by number, and what both ends read of them.

use seqcast_engine::frame::{self, Chain, Frame, Header, Kind};
use seqcast_engine::replica::{
    Head, History, Inbound, Member, NodeId, Outbound, Position, Reach, Standby, StreamConfig,
};
use seqcast_engine::time::Nanos;
use seqcast_wire::repl::{Ack, Append, Datagram, Origin};
use seqcast_wire::{SeqNo, Session};

pub(crate) fn seq(value: u64) -> SeqNo {
    SeqNo::new(value).expect("test numbers start at 1")
}

pub(crate) fn to(next: u64) -> Reach {
    Reach::to(seq(next))
}

pub(crate) fn ended(next: u64) -> Reach {
    Reach { ended: true, ..to(next) }
}

pub(crate) fn session() -> Session {
    Session::from_wire(*b"SESSION001")
}

pub(crate) fn member(node: u16) -> Member {
    Member { node: NodeId(node), incarnation: 100 + u64::from(node) }
}

/// A journal: its frames in order, and where it stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    pub(crate) frames: Vec<Vec<u8>>,
    pub(crate) chain: Chain,
    /// Numbers below were removed.
    pub(crate) oldest: usize,
}

impl Log {
    /// One message in each of these epochs.
    pub(crate) fn of(epochs: &[u64]) -> Log {
        let mut log = Log::default();
        for &epoch in epochs {
            log.push(epoch);
        }
        log
    }

    pub(crate) fn reach(&self) -> Reach {
        Reach { next: self.chain.next(), ended: self.chain.ended() }
    }

    pub(crate) fn next(&self) -> u64 {
        self.chain.next().value()
    }

    /// Appends a message in `epoch`: different for each number and epoch, of different lengths.
    pub(crate) fn push(&mut self, epoch: u64) {
        let n = self.next();
        let payload = format!("message {n} of epoch {epoch}{}", ".".repeat((n * 7 % 60) as usize));
        self.push_message(epoch, payload.as_bytes());
    }

    pub(crate) fn push_message(&mut self, epoch: u64, payload: &[u8]) {
        self.seal(Kind::Message, epoch, payload);
    }

    /// Appends the end of the session.
    pub(crate) fn end(&mut self, epoch: u64) {
        self.seal(Kind::End, epoch, &[]);
    }

    fn seal(&mut self, kind: Kind, epoch: u64, payload: &[u8]) {
        let header = Header {
            len: 0.into(),
            crc: 0.into(),
            seq: self.next().into(),
            epoch: epoch.into(),
            stamp_ns: (self.chain.stamp_ns() + 1).into(),
            source_seq: self.next().into(),
            previous_crc: self.chain.crc().into(),
            source: 3.into(),
            kind: kind as u8,
            version: 0,
            source_session: Session::from_wire(*b"SOURCE0003"),
            reserved: [0; 6],
        };
        let mut bytes = vec![0; frame::framed_bytes(payload.len())];
        frame::seal(&mut bytes, header, payload);
        self.append(&bytes);
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) {
        self.chain.follow(&Frame::parse(bytes).expect("a whole frame")).expect("the next frame");
        self.frames.push(bytes.to_vec());
    }

    /// Keeps the messages below `next` and nothing else.
    pub(crate) fn cut(&mut self, next: u64) {
        let mut kept = Log { oldest: self.oldest, ..Log::default() };
        for bytes in &self.frames[..next as usize - 1] {
            kept.append(bytes);
        }
        *self = kept;
    }

    pub(crate) fn position_at(&self, next: u64) -> Option<Position> {
        if next == 1 {
            return Some(Position::START);
        }
        if next > self.next() || (next as usize) < self.oldest {
            return None;
        }
        let bytes = &self.frames[next as usize - 2];
        let header = *Frame::parse(bytes).expect("a whole frame").header();
        Some(Position { at: to(next), epoch: header.epoch.get(), crc: header.crc.get() })
    }

    /// Frames that `reach` counts in.
    pub(crate) fn prefix(&self, reach: Reach) -> &[Vec<u8>] {
        &self.frames[..reach.next.value() as usize - 1 + usize::from(reach.ended)]
    }

    pub(crate) fn bytes(&self, from: u64, end: u64) -> Vec<u8> {
        self.frames[from as usize - 1..end as usize - 1].concat()
    }

    pub(crate) fn head(&self, committed: Reach) -> Head {
        Head { end: self.reach(), committed, published: SeqNo::FIRST, everywhere: SeqNo::FIRST }
    }
}

/// A primary's journal, as one stream reads it.
pub(crate) struct Reader<'a> {
    pub(crate) log: &'a Log,
    pub(crate) cursor: &'a mut usize,
}

impl History for Reader<'_> {
    fn position_at(&mut self, next: SeqNo) -> Option<Position> {
        self.log.position_at(next.value())
    }

    fn tail(&self) -> Position {
        Position::from(&self.log.chain)
    }

    fn seek(&mut self, seq: SeqNo) -> bool {
        let index = seq.value() as usize - 1;
        *self.cursor = index;
        index <= self.log.frames.len() && index + 1 >= self.log.oldest
    }

    fn peek(&mut self) -> Option<&[u8]> {
        let is_there = *self.cursor + 1 >= self.log.oldest;
        self.log.frames.get(*self.cursor).filter(|_| is_there).map(|bytes| &bytes[..])
    }

    fn advance(&mut self) {
        assert!(*self.cursor < self.log.frames.len(), "there is nothing to step over");
        *self.cursor += 1;
    }
}

/// A standby's journal, with what may go wrong with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal {
    pub(crate) log: Log,
    /// Frames that still fit; `None`: any number.
    pub(crate) room: Option<usize>,
    /// Cuts that are put off.
    pub(crate) busy: usize,
    /// Where it was cut.
    pub(crate) cuts: Vec<u64>,
    /// Where it was asked to look.
    pub(crate) lookups: usize,
}

impl Journal {
    pub(crate) fn new(log: Log) -> Journal {
        Journal { log, ..Journal::default() }
    }
}

impl Standby for Journal {
    fn chain(&self) -> &Chain {
        &self.log.chain
    }

    fn position_at(&mut self, next: SeqNo) -> Option<Position> {
        self.lookups += 1;
        self.log.position_at(next.value())
    }

    fn append(&mut self, frame: &[u8]) -> bool {
        match &mut self.room {
            Some(0) => return false,
            Some(room) => *room -= 1,
            None => {}
        }
        self.log.append(frame);
        true
    }

    fn cut_back(&mut self, to: SeqNo) -> bool {
        if self.busy > 0 {
            self.busy -= 1;
            return false;
        }
        assert!(Reach::to(to) < self.log.reach(), "there is nothing to cut");
        self.log.cut(to.value());
        self.cuts.push(to.value());
        true
    }
}

/// Small datagrams and windows, so that little is enough for much to happen.
pub(crate) fn small() -> StreamConfig {
    StreamConfig {
        max_datagram_bytes: 600,
        window_bytes: 6_000,
        stash_datagrams: 16,
        retransmit_after: Nanos::from_millis(1),
        ..StreamConfig::default()
    }
}

pub(crate) fn origin(from: Member, epoch: u64) -> Origin {
    Origin { session: session(), epoch, node: from.node.0, incarnation: from.incarnation }
}

pub(crate) fn parse(bytes: &[u8]) -> Datagram<'_> {
    Datagram::parse(bytes, crc32c::crc32c).expect("a datagram of the stream")
}

/// A primary, node 0, with a stream to node 1.
pub(crate) struct Primary {
    pub(crate) log: Log,
    pub(crate) epoch: u64,
    pub(crate) committed: Reach,
    pub(crate) outbound: Outbound,
    pub(crate) cursor: usize,
}

impl Primary {
    pub(crate) fn new(config: &StreamConfig, log: Log, epoch: u64) -> Primary {
        let outbound = Outbound::new(config, member(0), session(), epoch, NodeId(1)).unwrap();
        Primary { log, epoch, committed: Reach::NOTHING, outbound, cursor: 0 }
    }

    /// All datagrams that are due.
    pub(crate) fn poll(&mut self, now: Nanos) -> Vec<Vec<u8>> {
        let mut datagrams = Vec::new();
        let mut buffer = vec![0xEE; self.outbound.max_datagram_bytes()];
        loop {
            let head = self.log.head(self.committed);
            let mut history = Reader { log: &self.log, cursor: &mut self.cursor };
            let len = self.outbound.poll(now, &head, &mut history, &mut buffer);
            if len == 0 {
                return datagrams;
            }
            datagrams.push(buffer[..len].to_vec());
            assert!(datagrams.len() < 10_000, "datagrams without end");
        }
    }

    pub(crate) fn on_ack(&mut self, now: Nanos, ack: &Ack) -> seqcast_engine::replica::AckOutcome {
        let mut history = Reader { log: &self.log, cursor: &mut self.cursor };
        self.outbound.on_ack(now, ack, &mut history)
    }

    /// An append of the frames `from..end`.
    pub(crate) fn append(&self, from: u64, end: u64) -> Vec<u8> {
        self.append_from(self.log.position_at(from).unwrap(), &self.log.bytes(from, end))
    }

    /// A heartbeat that names the position before `next`.
    pub(crate) fn heartbeat(&self, next: u64) -> Vec<u8> {
        self.append(next, next)
    }

    pub(crate) fn append_from(&self, previous: Position, frames: &[u8]) -> Vec<u8> {
        let head = self.log.head(self.committed);
        let append = Append { origin: origin(member(0), self.epoch), previous, head, is_deaf: false, frames };
        bytes_of(&append)
    }
}

pub(crate) fn bytes_of(append: &Append<'_>) -> Vec<u8> {
    let mut buffer = vec![0; 65_507];
    let len = append.emit(&mut buffer, crc32c::crc32c);
    assert!(len > 0);
    buffer.truncate(len);
    buffer
}

/// A standby, node 1.
pub(crate) struct Follower {
    pub(crate) journal: Journal,
    pub(crate) inbound: Inbound,
}

impl Follower {
    pub(crate) fn new(log: Log) -> Follower {
        let inbound = Inbound::new(&small(), member(1), session(), 0, Reach::NOTHING).unwrap();
        Follower { journal: Journal::new(log), inbound }
    }

    /// One that follows node 0 in `epoch` and knows everything below `committed` to be committed.
    pub(crate) fn following(log: Log, epoch: u64, committed: u64) -> Follower {
        let mut follower = Follower::new(log);
        let verified = follower.journal.log.position_at(committed).unwrap();
        follower.inbound.follow(epoch, member(0), verified);
        follower
    }

    pub(crate) fn on(&mut self, datagram: &[u8]) -> seqcast_engine::replica::AppendOutcome {
        let Datagram::Append(append) = parse(datagram) else { panic!("an append") };
        self.inbound.on_append(&append, &mut self.journal)
    }

    pub(crate) fn ack(&mut self, now: Nanos, durable: Option<Reach>) -> Option<Ack> {
        let due = self.inbound.poll_ack(now, &self.journal.log.chain, durable)?;
        self.inbound.on_acked(now, &due);
        let mut buffer = [0; 200];
        let len = due.emit(&mut buffer, crc32c::crc32c);
        let Datagram::Ack(ack) = parse(&buffer[..len]) else { panic!("an ack") };
        Some(ack)
    }
}
