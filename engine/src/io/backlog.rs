//! Datagrams that a socket had no room for: kept in order, tried again later. Fixed memory.

use std::collections::VecDeque;

use super::{Destination, MAX_DESTINATIONS};
use crate::limits::MAX_ENDPOINTS;

/// What became of an attempt to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// The kernel has it, or refused it for good.
    Done,
    /// The socket's buffer is full.
    Full,
}

/// A bounded queue of datagrams, each stored once however many destinations wait for it.
pub(super) struct Backlog {
    bytes: Vec<u8>,
    slot_bytes: usize,
    /// Destinations that still wait for each slot.
    waiting: Vec<u16>,
    free: Vec<u16>,
    queue: VecDeque<Queued>,
    /// Datagrams waiting at each endpoint.
    queued_at: Vec<u32>,
    /// Endpoints found full while draining.
    blocked: Vec<bool>,
}

#[derive(Clone, Copy)]
struct Queued {
    slot: u16,
    len: usize,
    to: Destination,
}

impl Backlog {
    pub(super) fn new(slots: usize, slot_bytes: usize) -> Backlog {
        let slots = u16::try_from(slots).unwrap_or(u16::MAX);
        Backlog {
            bytes: vec![0; usize::from(slots) * slot_bytes],
            slot_bytes,
            waiting: vec![0; usize::from(slots)],
            free: (0..slots).rev().collect(),
            queue: VecDeque::with_capacity(2 * usize::from(slots) + MAX_DESTINATIONS),
            queued_at: vec![0; MAX_ENDPOINTS],
            blocked: vec![false; MAX_ENDPOINTS],
        }
    }

    /// Room for one more datagram to `destinations` receivers?
    pub(super) fn has_room(&self, destinations: usize) -> bool {
        !self.free.is_empty() && self.queue.capacity() - self.queue.len() >= destinations
    }

    /// The memory that the next datagram is written into. Call only when [`Backlog::has_room`].
    pub(super) fn next_slot(&mut self) -> &mut [u8] {
        let slot = usize::from(*self.free.last().expect("asked for room first"));
        &mut self.bytes[slot * self.slot_bytes..][..self.slot_bytes]
    }

    /// Sends the `len` bytes in the next slot to each of `to`; keeps them for those that are [`Attempt::Full`] and
    /// for those whose endpoint has older datagrams waiting here.
    pub(super) fn send<F>(&mut self, to: &[Destination], len: usize, mut attempt: F)
    where
        F: FnMut(Destination, &[u8]) -> Attempt,
    {
        let slot = *self.free.last().expect("asked for room first");
        let from = usize::from(slot) * self.slot_bytes;
        for &destination in to {
            let waits = self.queued_at[usize::from(destination.endpoint.0)] > 0;
            if waits || attempt(destination, &self.bytes[from..][..len]) == Attempt::Full {
                self.queue.push_back(Queued { slot, len, to: destination });
                self.queued_at[usize::from(destination.endpoint.0)] += 1;
                self.waiting[usize::from(slot)] += 1;
            }
        }
        if self.waiting[usize::from(slot)] > 0 {
            self.free.pop();
        }
    }

    /// Tries every waiting datagram once, in order per endpoint.
    pub(super) fn drain<F: FnMut(Destination, &[u8]) -> Attempt>(&mut self, mut attempt: F) {
        self.blocked.fill(false);
        for _ in 0..self.queue.len() {
            let Some(queued) = self.queue.pop_front() else { break };
            let from = usize::from(queued.slot) * self.slot_bytes;
            let bytes = &self.bytes[from..][..queued.len];
            let endpoint = usize::from(queued.to.endpoint.0);
            // Once an endpoint is full, what waits behind must not overtake.
            if self.blocked[endpoint] || attempt(queued.to, bytes) == Attempt::Full {
                self.blocked[endpoint] = true;
                self.queue.push_back(queued);
                continue;
            }
            self.queued_at[endpoint] -= 1;
            let waiting = &mut self.waiting[usize::from(queued.slot)];
            *waiting -= 1;
            if *waiting == 0 {
                self.free.push(queued.slot);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV4};

    use super::super::EndpointId;
    use super::*;

    fn to(endpoint: u16) -> Destination {
        Destination { endpoint: EndpointId(endpoint), to: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1) }
    }

    fn put(backlog: &mut Backlog, byte: u8, to: &[Destination], full: &[u16], sent: &mut Vec<(u16, u8)>) {
        backlog.next_slot()[0] = byte;
        backlog.send(to, 1, |destination, bytes| record(destination, bytes, full, sent));
    }

    fn record(to: Destination, bytes: &[u8], full: &[u16], sent: &mut Vec<(u16, u8)>) -> Attempt {
        if full.contains(&to.endpoint.0) {
            return Attempt::Full;
        }
        sent.push((to.endpoint.0, bytes[0]));
        Attempt::Done
    }

    #[test]
    fn a_full_socket_keeps_its_datagrams_in_order_and_holds_up_no_other() {
        let mut backlog = Backlog::new(3, 4);
        let mut sent = Vec::new();
        put(&mut backlog, 1, &[to(0), to(1)], &[0], &mut sent);
        // Endpoint 0 would take this one, but an older datagram waits there.
        put(&mut backlog, 2, &[to(0), to(1)], &[], &mut sent);
        assert_eq!(sent, [(1, 1), (1, 2)]);
        put(&mut backlog, 3, &[to(2)], &[], &mut sent);
        assert!(backlog.has_room(1), "what was sent at once takes no slot");

        sent.clear();
        backlog.drain(|to, bytes| record(to, bytes, &[0], &mut sent));
        assert_eq!(sent, []);
        backlog.drain(|to, bytes| record(to, bytes, &[], &mut sent));
        assert_eq!(sent, [(0, 1), (0, 2)]);
        assert_eq!(backlog.free.len(), 3);
    }

    #[test]
    fn room_ends_when_every_slot_waits_and_comes_back() {
        let mut backlog = Backlog::new(2, 4);
        let mut sent = Vec::new();
        put(&mut backlog, 1, &[to(0)], &[0], &mut sent);
        put(&mut backlog, 2, &[to(0), to(1)], &[0, 1], &mut sent);
        assert!(!backlog.has_room(1));
        // The first leaves; the second still waits at endpoint 1.
        backlog.drain(|to, bytes| record(to, bytes, &[1], &mut sent));
        assert_eq!(sent, [(0, 1), (0, 2)]);
        assert!(backlog.has_room(1));
        put(&mut backlog, 3, &[to(1)], &[], &mut sent);
        assert!(!backlog.has_room(1), "behind the one that waits at endpoint 1");
        backlog.drain(|to, bytes| record(to, bytes, &[], &mut sent));
        assert_eq!(sent, [(0, 1), (0, 2), (1, 2), (1, 3)]);
    }

    #[test]
    fn destinations_are_bounded_too() {
        let backlog = Backlog::new(1, 4);
        assert!(backlog.has_room(MAX_DESTINATIONS));
        assert!(!backlog.has_room(backlog.queue.capacity() + 1));
    }
}
