use seqcast_wire::repl::{Position, Reach};

use crate::frame::{Chain, Frame, Kind};

impl From<&Chain> for Position {
    /// Where `chain` stands.
    fn from(chain: &Chain) -> Position {
        Position { at: reach(chain), epoch: chain.epoch(), crc: chain.crc() }
    }
}

/// How far `chain` goes.
pub(super) fn reach(chain: &Chain) -> Reach {
    Reach { next: chain.next(), ended: chain.ended() }
}

/// Where a history stands behind `frame`.
pub(super) fn behind(frame: &Frame<'_>) -> Position {
    let at = match frame.kind() {
        Kind::Message => Reach::to(frame.seq().next()),
        Kind::End => Reach { next: frame.seq(), ended: true },
    };
    Position { at, epoch: frame.header().epoch.get(), crc: frame.header().crc.get() }
}
