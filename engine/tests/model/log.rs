//! Journals that share what they have in common: cheap to copy, to compare and to cut.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

use seqcast_engine::frame::{self, Chain, Frame, Header, Kind};
use seqcast_engine::replica::{Member, Position, Reach, Standby};
use seqcast_wire::{SeqNo, Session};

static EMPTY: LazyLock<Chain> = LazyLock::new(Chain::new);

struct Entry {
    before: Log,
    bytes: Vec<u8>,
    chain: Chain,
}

/// A journal. Where it ends says all of it: each frame's CRC chains over the one before.
#[derive(Clone, Default)]
pub(crate) struct Log(Option<Arc<Entry>>);

impl Log {
    pub(crate) fn chain(&self) -> &Chain {
        self.0.as_ref().map_or(&EMPTY, |entry| &entry.chain)
    }

    pub(crate) fn position(&self) -> Position {
        Position::from(self.chain())
    }

    pub(crate) fn next(&self) -> SeqNo {
        self.chain().next()
    }

    pub(crate) fn len(&self) -> u64 {
        self.next().value() - 1
    }

    pub(crate) fn reach(&self) -> Reach {
        Reach::to(self.next())
    }

    /// The messages below `next`.
    pub(crate) fn prefix(&self, next: SeqNo) -> Log {
        let mut log = self;
        while log.next() > next {
            let Some(entry) = &log.0 else { break };
            log = &entry.before;
        }
        log.clone()
    }

    pub(crate) fn begins_with(&self, other: &Log) -> bool {
        self.prefix(other.next()) == *other
    }

    /// With one more message, which says by whom and in which epoch it was numbered.
    pub(crate) fn with_message(&self, by: Member, epoch: u64) -> Log {
        let chain = self.chain();
        let header = Header {
            len: 0.into(),
            crc: 0.into(),
            seq: chain.next().value().into(),
            epoch: epoch.into(),
            stamp_ns: (chain.stamp_ns() + 1).into(),
            source_seq: chain.next().value().into(),
            previous_crc: chain.crc().into(),
            source: 0.into(),
            kind: Kind::Message as u8,
            version: 0,
            source_session: Session::from_wire(*b"SOURCE0000"),
            reserved: [0; 6],
        };
        let payload = format!("{by}");
        let mut bytes = vec![0; frame::framed_bytes(payload.len())];
        frame::seal(&mut bytes, header, payload.as_bytes());
        self.with_frame(&bytes)
    }

    fn with_frame(&self, bytes: &[u8]) -> Log {
        let mut chain = self.chain().clone();
        let frame = Frame::parse(bytes).expect("a whole frame");
        chain.follow(&frame).expect("the next frame");
        Log(Some(Arc::new(Entry { before: self.clone(), bytes: bytes.to_vec(), chain })))
    }

    /// All frames, one after the other.
    pub(crate) fn frames(&self) -> Vec<u8> {
        let mut log = self;
        let mut frames = Vec::new();
        while let Some(entry) = &log.0 {
            frames.push(&entry.bytes[..]);
            log = &entry.before;
        }
        frames.reverse();
        frames.concat()
    }

    /// The epochs of its messages.
    pub(crate) fn epochs(&self) -> Vec<u64> {
        let prefixes = (0..self.len()).map(|len| self.prefix(SeqNo::FIRST.saturating_add(len + 1)));
        prefixes.map(|log| log.chain().epoch()).collect()
    }

    fn key(&self) -> (SeqNo, u64, u32) {
        (self.next(), self.chain().epoch(), self.chain().crc())
    }
}

impl PartialEq for Log {
    fn eq(&self, other: &Log) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Log {}

impl PartialOrd for Log {
    fn partial_cmp(&self, other: &Log) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Log {
    fn cmp(&self, other: &Log) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl Hash for Log {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.epochs())
    }
}

impl Standby for Log {
    fn chain(&self) -> &Chain {
        Log::chain(self)
    }

    fn position_at(&mut self, next: SeqNo) -> Option<Position> {
        (next <= self.next()).then(|| self.prefix(next).position())
    }

    fn append(&mut self, frame: &[u8]) -> bool {
        *self = self.with_frame(frame);
        true
    }

    fn cut_back(&mut self, to: SeqNo) -> bool {
        *self = self.prefix(to);
        true
    }
}
