//! What all parts of a world share: its time, its network, its record of what happened, its referee.
//!
//! One thread runs everything; the lock is there because drivers and applications must be able to move between threads,
//! and is never contended.

use std::net::SocketAddrV4;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::coordinator::Register;
use super::fault::{FaultClass, Injected};
use super::net::{Net, Notes};
use super::referee::Referee;
use super::trace::{Event, Trace};
use crate::time::Nanos;

/// A handle on what is shared.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Mutex<Inner>>);

/// What is shared.
pub(crate) struct Inner {
    /// The world's time, which no node knows.
    pub(super) now: Nanos,
    pub(super) injected: Injected,
    pub(super) trace: Trace,
    pub(super) referee: Referee,
    pub(super) register: Register,
    net: Net,
}

impl Shared {
    pub(super) fn new(net: Net, register: Register, trace: Trace, referee: Referee) -> Shared {
        let injected = Injected::default();
        Shared(Arc::new(Mutex::new(Inner { now: Nanos::ZERO, injected, trace, referee, register, net })))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        // An agent that panicked ends the run; what it left is still reported.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    pub(super) fn net(&mut self) -> (&mut Net, Notes<'_>) {
        let notes = Notes { now: self.now, trace: &mut self.trace, injected: &mut self.injected };
        (&mut self.net, notes)
    }

    pub(super) fn event(&mut self, event: Event<'_>) {
        self.trace.event(self.now, event);
    }

    pub(super) fn fault(&mut self, class: FaultClass, node: usize, other: usize) {
        self.net().1.fault(class, node, other);
    }

    /// The referee, and where it notes what it saw.
    pub(super) fn referee(&mut self) -> (&mut Referee, Notes<'_>) {
        let notes = Notes { now: self.now, trace: &mut self.trace, injected: &mut self.injected };
        (&mut self.referee, notes)
    }

    /// Whether a node's driver has no room just now.
    pub(super) fn refuses_send(&mut self, node: usize) -> bool {
        let refuses = self.net.is_busy(node);
        if refuses {
            self.fault(FaultClass::Busy, node, node);
        }
        refuses
    }

    /// `agent` of `node` sends a datagram.
    pub(super) fn send(
        &mut self,
        node: usize,
        agent: &str,
        from: SocketAddrV4,
        to: SocketAddrV4,
        bytes: &Arc<[u8]>,
    ) {
        self.event(Event::Sent { node, agent, to, bytes: bytes.len() });
        let (net, mut notes) = self.net();
        // Only the stream carries check sums that find what a network does to it.
        net.send((node, from), to, bytes, agent == "replica", &mut notes);
    }

    /// `agent` of `node` has sent a datagram, whether it arrives or not: what it says must be true.
    pub(super) fn said(&mut self, node: usize, agent: &str, bytes: &[u8]) {
        let (referee, mut notes) = self.referee();
        referee.on_said(node, agent, bytes, &mut notes);
    }
}
