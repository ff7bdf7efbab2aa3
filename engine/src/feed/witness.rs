//! What a single datagram may not do alone.
//!
//! MoldUDP64 has no authentication: whoever reaches the group can send one datagram with any number or session. Such
//! a datagram must not make the receiver jump ahead, give real messages up as lost, end the session or change it. A
//! second datagram that agrees is taken as confirmation: of another line, or of the same line and not a mere copy.
//! A short jump is acted on at once, because a loss looks the same, but only by asking; when nothing confirms it for as
//! long as a feed may be silent, it is taken back.

use seqcast_wire::mold::{Downstream, Kind};
use seqcast_wire::{SeqNo, Session};

use super::line::LineId;

/// A datagram far ahead of everything seen.
#[derive(Clone, Copy, Debug)]
struct Jump {
    line: LineId,
    first: SeqNo,
    next: SeqNo,
}

/// Remembers what was claimed once.
#[derive(Debug)]
pub(super) struct Witness {
    /// Highest number told of, and the highest that at least two datagrams told of.
    top: SeqNo,
    confirmed: SeqNo,
    jump: Option<Jump>,
    session: Option<Session>,
    /// Nobody can forge: what is told once is so.
    trusting: bool,
}

impl Witness {
    /// A witness who takes for granted that everything below `start` was sent.
    pub(super) fn new(start: SeqNo) -> Witness {
        Witness { top: start, confirmed: start, jump: None, session: None, trusting: false }
    }

    /// Forgets what was told, and takes for granted that everything below `start` was sent.
    pub(super) fn restart(&mut self, start: SeqNo) {
        *self = Witness::new(start).trusting(self.trusting);
    }

    /// Believes every datagram, if `trusting`.
    pub(super) fn trusting(mut self, trusting: bool) -> Witness {
        self.trusting = trusting;
        self
    }

    /// Notes that a datagram told that everything below `next` was sent.
    #[inline]
    pub(super) fn on_next(&mut self, next: SeqNo) {
        if self.trusting {
            self.on_proof(next);
        } else if next >= self.top {
            self.confirmed = self.top;
            self.top = next;
        } else if next > self.confirmed {
            self.confirmed = next;
        }
    }

    /// Notes that somebody who cannot be mistaken, such as a rewind server with the message in hand, tells so.
    pub(super) fn on_proof(&mut self, next: SeqNo) {
        self.confirmed = self.confirmed.max(next);
        self.top = self.top.max(next);
    }

    /// Everything below this was sent, at least two datagrams say.
    pub(super) fn confirmed(&self) -> SeqNo {
        self.confirmed
    }

    /// Judges a datagram that is more than `limit` ahead: `true` when an earlier one agrees with it to within `limit`.
    pub(super) fn confirms_jump(&mut self, line: LineId, datagram: &Downstream<'_>, limit: u64) -> bool {
        let (first, next) = (datagram.first(), datagram.next());
        let confirmed = self.jump.is_some_and(|jump| {
            let is_copy = jump.line == line && jump.first == first && jump.next == next;
            let is_near = first.since(jump.next) <= limit && jump.first.since(next) <= limit;
            // Heartbeats are repeated with the same number: a second one is no copy.
            is_near && (!is_copy || datagram.kind() == Kind::Heartbeat)
        });
        self.jump = if confirmed { None } else { Some(Jump { line, first, next }) };
        confirmed || self.trusting
    }

    /// Judges a datagram of another session: `true` when the one before was of that session too.
    pub(super) fn confirms_session(&mut self, session: Session) -> bool {
        self.session.replace(session) == Some(session)
    }
}

#[cfg(test)]
mod tests {
    use seqcast_wire::mold::{Packer, emit_heartbeat};

    use super::*;

    const A: LineId = LineId(0);
    const B: LineId = LineId(1);

    fn seq(value: u64) -> SeqNo {
        SeqNo::new(value).unwrap()
    }

    fn jumps(witness: &mut Witness, line: LineId, first: u64, messages: usize) -> bool {
        let mut buffer = [0; 100];
        let len = if messages == 0 {
            emit_heartbeat(&mut buffer, Session::BLANK, seq(first))
        } else {
            let mut packer = Packer::new(&mut buffer, Session::BLANK, seq(first)).unwrap();
            (0..messages).for_each(|_| assert!(packer.try_push(b"m")));
            packer.finish()
        };
        witness.confirms_jump(line, &Downstream::parse(&buffer[..len]).unwrap(), 100)
    }

    #[test]
    fn a_jump_takes_two_that_agree() {
        let mut witness = Witness::new(SeqNo::FIRST);
        assert!(!jumps(&mut witness, A, 5_000, 2));
        assert!(!jumps(&mut witness, A, 5_000, 2), "a copy proves nothing");
        assert!(jumps(&mut witness, B, 5_000, 2), "the other line does");
        assert!(!jumps(&mut witness, A, 5_000, 2));
        assert!(!jumps(&mut witness, B, 9_000, 2), "another place");
        assert!(jumps(&mut witness, A, 9_050, 2), "near enough");
        assert!(!jumps(&mut witness, A, 70_000, 0));
        assert!(jumps(&mut witness, A, 70_000, 0), "heartbeats are repeated");
    }

    #[test]
    fn what_two_told_is_confirmed() {
        let mut witness = Witness::new(seq(10));
        assert_eq!(witness.confirmed(), seq(10));
        witness.on_next(seq(5_000));
        assert_eq!(witness.confirmed(), seq(10));
        witness.on_next(seq(12));
        assert_eq!(witness.confirmed(), seq(12));
        witness.on_next(seq(11));
        assert_eq!(witness.confirmed(), seq(12));
        witness.on_next(seq(5_000));
        assert_eq!(witness.confirmed(), seq(5_000));
        witness.on_proof(seq(6_000));
        assert_eq!(witness.confirmed(), seq(6_000));
    }
}
