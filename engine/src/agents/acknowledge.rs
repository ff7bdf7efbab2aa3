//! What a publisher is told: how much of its feed has arrived, and how much of that is committed.

use std::collections::VecDeque;
use std::net::SocketAddrV4;

use seqcast_wire::{SeqNo, Session, ack::Ack};

use crate::time::Nanos;

/// Points remembered between numbered and committed; beyond them the last one moves on, and what is told lags a little.
const POINTS: usize = 64;
/// At most this often, however much is committed.
const INTERVAL: Nanos = Nanos::from_micros(50);
/// At least this often, so that a publisher that missed one or has just started learns it.
const REPEAT: Nanos = Nanos::from_millis(20);

/// The acknowledgements of one source.
#[derive(Debug)]
pub(super) struct Acknowledger {
    /// Where to send them.
    pub(super) to: SocketAddrV4,
    /// (everything in the total order below this, everything of the source below that): oldest first.
    points: VecDeque<(SeqNo, SeqNo)>,
    committed: SeqNo,
    received: SeqNo,
    told: (SeqNo, SeqNo),
    told_at: Nanos,
}

impl Acknowledger {
    pub(super) fn new(to: SocketAddrV4) -> Acknowledger {
        Acknowledger {
            to,
            points: VecDeque::with_capacity(POINTS),
            committed: SeqNo::FIRST,
            received: SeqNo::FIRST,
            told: (SeqNo::FIRST, SeqNo::FIRST),
            told_at: Nanos::ZERO,
        }
    }

    /// A new session of the source: its numbers start anew.
    pub(super) fn restart(&mut self, received: SeqNo) {
        self.points.clear();
        self.committed = SeqNo::FIRST;
        self.received = received;
        self.told_at = Nanos::ZERO;
    }

    /// Everything of the source below `received` is numbered, in a total order that goes up to `next`.
    pub(super) fn on_numbered(&mut self, next: SeqNo, received: SeqNo) {
        if self.points.back().is_some_and(|&(_, last)| last == received) {
            return;
        }
        self.received = received;
        if self.points.len() == POINTS {
            self.points.pop_back();
        }
        self.points.push_back((next, received));
    }

    /// Everything in the total order below `committed` is committed.
    pub(super) fn on_committed(&mut self, committed: SeqNo) {
        while let Some(&(next, received)) = self.points.front()
            && next <= committed
        {
            self.committed = received;
            self.points.pop_front();
        }
    }

    /// The acknowledgement to send now, if one is due.
    pub(super) fn poll(&mut self, now: Nanos, session: Session, epoch: u64) -> Option<Ack> {
        let tell = (self.committed, self.received);
        let wait = if tell == self.told { REPEAT } else { INTERVAL };
        if now < self.told_at + wait && self.told_at > Nanos::ZERO {
            return None;
        }
        self.told = tell;
        self.told_at = now;
        Some(Ack { session, epoch, committed: self.committed, received: self.received })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seq(value: u64) -> SeqNo {
        SeqNo::new(value).unwrap()
    }

    fn acknowledger() -> Acknowledger {
        Acknowledger::new("127.0.0.1:1".parse().unwrap())
    }

    #[test]
    fn what_is_numbered_but_not_committed_is_told_as_received_only() {
        let mut acknowledger = acknowledger();
        acknowledger.on_numbered(seq(11), seq(6));
        acknowledger.on_numbered(seq(21), seq(9));
        acknowledger.on_committed(seq(15));
        let ack = acknowledger.poll(Nanos(1), Session::BLANK, 3).unwrap();
        assert_eq!((ack.committed, ack.received, ack.epoch), (seq(6), seq(9), 3));
    }

    #[test]
    fn never_tells_more_than_is_committed_when_points_run_out() {
        let mut acknowledger = acknowledger();
        for at in 1..=500 {
            acknowledger.on_numbered(seq(at * 10), seq(at + 1));
        }
        for committed in 1..=5_000 {
            acknowledger.on_committed(seq(committed));
            assert!(acknowledger.committed <= seq(committed / 10 + 1));
        }
        assert_eq!(acknowledger.committed, seq(501));
    }

    #[test]
    fn tells_changes_soon_and_the_same_again_later() {
        let mut acknowledger = acknowledger();
        assert!(acknowledger.poll(Nanos(1), Session::BLANK, 1).is_some());
        assert!(acknowledger.poll(Nanos(2), Session::BLANK, 1).is_none());
        assert!(acknowledger.poll(Nanos(1) + REPEAT, Session::BLANK, 1).is_some());
        acknowledger.on_numbered(seq(5), seq(5));
        assert!(acknowledger.poll(Nanos(2) + REPEAT, Session::BLANK, 1).is_none());
        assert!(acknowledger.poll(Nanos(2) + REPEAT + INTERVAL, Session::BLANK, 1).is_some());
    }
}
