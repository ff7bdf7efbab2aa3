//! What is on its way: the accounting behind the window.

use std::collections::VecDeque;

use seqcast_wire::repl::Reach;

/// Datagrams that are told apart. More are counted with the last one: the window then opens in larger steps.
const DATAGRAMS: usize = 1 << 10;

/// Bytes sent and not acknowledged. Allocates when made and never again.
#[derive(Debug)]
pub(super) struct Flight {
    /// Where each datagram ends, and bytes sent up to there since the beginning.
    sent: VecDeque<(Reach, u64)>,
    sent_bytes: u64,
    acked_bytes: u64,
}

impl Flight {
    pub(super) fn new() -> Flight {
        Flight { sent: VecDeque::with_capacity(DATAGRAMS), sent_bytes: 0, acked_bytes: 0 }
    }

    /// Bytes on their way.
    pub(super) fn bytes(&self) -> usize {
        (self.sent_bytes - self.acked_bytes) as usize
    }

    /// `len` bytes went out; everything up to `to` was sent with them.
    pub(super) fn on_sent(&mut self, to: Reach, len: usize) {
        self.sent_bytes += len as u64;
        if self.sent.len() == DATAGRAMS {
            self.sent.pop_back();
        }
        self.sent.push_back((to, self.sent_bytes));
    }

    /// Everything up to `to` arrived.
    pub(super) fn on_acked(&mut self, to: Reach) {
        while let Some(&(_, bytes)) = self.sent.front().filter(|(end, _)| *end <= to) {
            self.acked_bytes = bytes;
            self.sent.pop_front();
        }
    }

    /// Nothing is on its way any more.
    pub(super) fn clear(&mut self) {
        self.sent.clear();
        self.acked_bytes = self.sent_bytes;
    }
}

#[cfg(test)]
mod tests {
    use seqcast_wire::SeqNo;

    use super::*;

    fn to(next: u64) -> Reach {
        Reach::to(SeqNo::new(next).unwrap())
    }

    #[test]
    fn bytes_come_free_by_whole_datagrams() {
        let mut flight = Flight::new();
        flight.on_sent(to(3), 100);
        flight.on_sent(to(5), 50);
        flight.on_sent(Reach { ended: true, ..to(5) }, 7);
        flight.on_acked(to(2));
        assert_eq!(flight.bytes(), 157);
        flight.on_acked(to(4));
        assert_eq!(flight.bytes(), 57);
        flight.on_acked(to(5));
        assert_eq!(flight.bytes(), 7, "the end of the session is still on its way");
        flight.clear();
        assert_eq!(flight.bytes(), 0);
    }

    #[test]
    fn more_datagrams_than_are_told_apart_come_free_together() {
        let mut flight = Flight::new();
        let capacity = flight.sent.capacity();
        for n in 2..DATAGRAMS as u64 + 12 {
            flight.on_sent(to(n), 10);
        }
        assert_eq!(flight.bytes(), 10 * (DATAGRAMS + 10));
        flight.on_acked(to(DATAGRAMS as u64 + 10));
        assert_eq!(flight.bytes(), 110, "the last eleven are counted as one");
        flight.on_acked(to(DATAGRAMS as u64 + 11));
        assert_eq!((flight.bytes(), flight.sent.capacity()), (0, capacity));
    }
}
