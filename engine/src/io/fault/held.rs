//! Datagrams held back, ordered by the time they leave; fixed memory.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddrV4;

use super::super::EndpointId;
use crate::limits::MAX_ENDPOINTS;
use crate::time::Nanos;

/// A datagram held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Held {
    pub(super) at: Nanos,
    pub(super) endpoint: EndpointId,
    /// Sender or receiver.
    pub(super) address: SocketAddrV4,
    /// What comes later at its endpoint must not overtake it.
    pub(super) in_order: bool,
}

/// The store: a slot for each datagram and a heap of (time, order of coming, slot).
pub(super) struct HeldStore {
    bytes: Vec<u8>,
    slot_bytes: usize,
    held: Vec<(Held, usize)>,
    free: Vec<u32>,
    heap: BinaryHeap<Reverse<(Nanos, u64, u32)>>,
    count: u64,
    /// Datagrams held in order, by endpoint.
    in_order: Vec<u32>,
}

impl HeldStore {
    pub(super) fn new(slots: usize, slot_bytes: usize) -> HeldStore {
        let nothing = Held {
            at: Nanos::ZERO,
            endpoint: EndpointId(0),
            address: SocketAddrV4::new(std::net::Ipv4Addr::UNSPECIFIED, 0),
            in_order: false,
        };
        HeldStore {
            bytes: vec![0; slots * slot_bytes],
            slot_bytes,
            held: vec![(nothing, 0); slots],
            free: (0..slots as u32).rev().collect(),
            heap: BinaryHeap::with_capacity(slots),
            count: 0,
            in_order: vec![0; MAX_ENDPOINTS],
        }
    }

    /// Keeps a copy; false when there is no room.
    pub(super) fn hold(&mut self, held: Held, bytes: &[u8]) -> bool {
        if bytes.len() > self.slot_bytes {
            return false;
        }
        let Some(slot) = self.free.pop() else { return false };
        self.bytes[slot as usize * self.slot_bytes..][..bytes.len()].copy_from_slice(bytes);
        self.held[slot as usize] = (held, bytes.len());
        self.heap.push(Reverse((held.at, self.count, slot)));
        self.count += 1;
        self.in_order[usize::from(held.endpoint.0)] += u32::from(held.in_order);
        true
    }

    /// The first that is due, oldest first among equals.
    pub(super) fn first_due(&self, now: Nanos) -> Option<(Held, &[u8])> {
        let Reverse((at, _, slot)) = *self.heap.peek()?;
        if at > now {
            return None;
        }
        let (held, len) = self.held[slot as usize];
        Some((held, &self.bytes[slot as usize * self.slot_bytes..][..len]))
    }

    /// Forgets what [`HeldStore::first_due`] gave.
    pub(super) fn remove_first(&mut self) {
        if let Some(Reverse((_, _, slot))) = self.heap.pop() {
            let held = self.held[slot as usize].0;
            self.in_order[usize::from(held.endpoint.0)] -= u32::from(held.in_order);
            self.free.push(slot);
        }
    }

    /// Whether something of `endpoint` is held in order.
    pub(super) fn any_in_order(&self, endpoint: EndpointId) -> bool {
        self.in_order[usize::from(endpoint.0)] > 0
    }
}
