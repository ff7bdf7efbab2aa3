use seqcast_wire::Session;
use seqcast_wire::repl::{Origin, Refuse};

use super::member::Member;
use crate::time::Nanos;

/// Answers datagrams of older epochs with the epoch promised; not every one, so that answers cost no more than what
/// they answer.
#[derive(Debug)]
pub struct Refusals {
    session: Session,
    me: Member,
    interval: Nanos,
    due: Nanos,
}

impl Refusals {
    /// Answers once in `interval` at most.
    pub fn new(me: Member, session: Session, interval: Nanos) -> Refusals {
        Refusals { session, me, interval, due: Nanos::ZERO }
    }

    /// Writes the answer to a datagram of an epoch below `promised` into `buffer` and gives its length; 0 when none is
    /// due.
    pub fn answer(&mut self, now: Nanos, promised: u64, buffer: &mut [u8]) -> usize {
        if now < self.due {
            return 0;
        }
        let len = self.resign(promised, buffer);
        if len > 0 {
            self.due = now + self.interval;
        }
        len
    }

    /// Writes the last word of a primary that leads no longer, since `promised` is somebody else's.
    pub fn resign(&self, promised: u64, buffer: &mut [u8]) -> usize {
        let origin = Origin {
            session: self.session,
            epoch: promised,
            node: self.me.node.0,
            incarnation: self.me.incarnation,
        };
        Refuse { origin }.emit(buffer, crc32c::crc32c)
    }
}

#[cfg(test)]
mod tests {
    use seqcast_wire::repl::{Datagram, HEADER_BYTES};

    use super::*;
    use crate::replica::NodeId;

    #[test]
    fn refuses_now_and_then() {
        let session = Session::from_wire(*b"SESSION001");
        let me = Member { node: NodeId(3), incarnation: 33 };
        let mut refusals = Refusals::new(me, session, Nanos(10));
        let mut buffer = [0; HEADER_BYTES];
        assert_eq!(refusals.answer(Nanos(5), 8, &mut buffer[1..]), 0, "too short a buffer");
        assert_eq!(refusals.answer(Nanos(5), 8, &mut buffer), HEADER_BYTES);
        let origin = Origin { session, epoch: 8, node: 3, incarnation: 33 };
        let expected = Datagram::Refuse(Refuse { origin });
        assert_eq!(Datagram::parse(&buffer, crc32c::crc32c), Ok(expected));
        assert_eq!(refusals.answer(Nanos(14), 8, &mut buffer), 0);
        assert_eq!(refusals.answer(Nanos(15), 9, &mut buffer), HEADER_BYTES);
    }
}
