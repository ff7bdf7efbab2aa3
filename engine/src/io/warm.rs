//! Keeps the kernel's way of a datagram in the processor's caches.
//!
//! A thread that polls and does not send for a few milliseconds finds all that a send takes in the kernel evicted: its
//! next datagram leaves some 30 µs later than usual. Who asks for gaps and who fills them sends just so. A datagram to
//! ourselves, over the loopback interface and a socket of our own, goes the same way and reaches nobody.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use crate::time::Nanos;

/// As long as a request.
const BYTES: usize = 20;

/// Sends to itself when nothing else was sent for a while.
#[derive(Debug)]
pub(super) struct Warmth {
    socket: UdpSocket,
    local: SocketAddr,
    every: Nanos,
    due: Nanos,
}

impl Warmth {
    /// One that sends when nothing was sent for `every`; none for a time of zero.
    ///
    /// # Errors
    /// No socket could be had.
    pub(super) fn new(every: Nanos) -> io::Result<Option<Warmth>> {
        if every == Nanos::ZERO {
            return Ok(None);
        }
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        let local = socket.local_addr()?;
        Ok(Some(Warmth { socket, local, every, due: Nanos::ZERO }))
    }

    /// Call once per duty cycle; `is_sending`: whether it sends anyway.
    #[inline]
    pub(super) fn poll(&mut self, now: Nanos, is_sending: bool) {
        if is_sending {
            self.due = now + self.every;
        } else if now >= self.due {
            self.send(now);
        }
    }

    #[cold]
    fn send(&mut self, now: Nanos) {
        self.due = now + self.every;
        let mut bytes = [0; BYTES];
        // Not connected, as who answers many is not: the look at the routes is part of the way. What fails is tried again.
        let _ = self.socket.send_to(&bytes, self.local);
        let _ = self.socket.recv_from(&mut bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_sends_goes_to_itself_and_only_when_nothing_else_is_sent() {
        assert!(Warmth::new(Nanos::ZERO).unwrap().is_none());
        let mut warmth = Warmth::new(Nanos::from_micros(200)).unwrap().unwrap();
        let mut dues = Vec::new();
        for (micros, is_sending) in
            [(1_000, false), (1_100, false), (1_200, true), (1_300, false), (1_400, false)]
        {
            warmth.poll(Nanos::from_micros(micros), is_sending);
            dues.push(warmth.due);
        }
        assert_eq!(dues, [1_200, 1_200, 1_400, 1_400, 1_600].map(Nanos::from_micros));
        assert!(warmth.local.ip().is_loopback());
        assert!(warmth.socket.recv_from(&mut [0; BYTES]).is_err(), "nothing is left in the socket");
    }
}
