//! MoldUDP64 datagrams that say sequence number 0, as captures do whose publisher blanked it out.

use std::ops::Range;

use seqcast_engine::limits::MAX_DATAGRAM_BYTES;
use seqcast_wire::mold::{Downstream, HEADER_BYTES};
use seqcast_wire::{SeqNo, Session};

const SESSION: Range<usize> = 0..10;
const NUMBER: Range<usize> = 10..18;

/// Whether `datagram` says number 0, which numbers nothing.
pub(super) fn is_unnumbered(datagram: &[u8]) -> bool {
    datagram.len() >= HEADER_BYTES && datagram[NUMBER].iter().all(|&byte| byte == 0)
}

/// Gives such datagrams a session and a number, in memory of its own.
#[derive(Debug)]
pub(super) struct Numberer {
    copy: Vec<u8>,
}

impl Numberer {
    pub(super) fn new() -> Numberer {
        Numberer { copy: Vec::with_capacity(MAX_DATAGRAM_BYTES) }
    }

    /// An unnumbered datagram as it would be with `session` and `first`; `None` when it is not whole even then.
    pub(super) fn number(
        &mut self,
        datagram: &[u8],
        session: Session,
        first: SeqNo,
    ) -> Option<(&[u8], Downstream<'_>)> {
        self.copy.clear();
        self.copy.extend_from_slice(datagram);
        self.copy.get_mut(SESSION)?.copy_from_slice(session.as_bytes());
        self.copy.get_mut(NUMBER)?.copy_from_slice(&first.value().to_be_bytes());
        let numbered = Downstream::parse(&self.copy).ok()?;
        Some((&self.copy, numbered))
    }
}
