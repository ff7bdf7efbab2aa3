use seqcast_wire::SeqNo;

use crate::frame::Chain;

/// A point of an ordered history. Two histories that agree on a position agree on everything before it: each frame's CRC
/// chains over the one before, and a number is never used twice in one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The number that comes next.
    pub next: SeqNo,
    /// Epoch of the last frame; 0 before the first.
    pub epoch: u64,
    /// CRC of the last frame; 0 before the first.
    pub crc: u32,
}

impl Position {
    /// Before the first frame.
    pub const START: Position = Position { next: SeqNo::FIRST, epoch: 0, crc: 0 };

    /// Where `chain` stands.
    pub fn of(chain: &Chain) -> Position {
        Position { next: chain.next(), epoch: chain.epoch(), crc: chain.crc() }
    }
}
