//! The simulated network: sockets, links with all their faults, and the driver that agents see of it.
//!
//! A datagram's fate is drawn when it is sent, from the state of the link between the two nodes at that moment; what was
//! on its way when a partition began still arrives. Addresses are resolved on arrival, so a restarted process gets what
//! was sent to the one before.

mod driver;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

pub(super) use driver::SimDriver;

use super::dice::Dice;
use super::fault::{FaultClass, Injected};
use super::trace::{Event, Trace};
use crate::io::Bind;
use crate::time::Nanos;

/// What a datagram costs in a receive buffer beside its bytes, as a kernel counts.
const OVERHEAD_BYTES: usize = 256;
/// Ports given to whom any port will do.
const EPHEMERAL: u16 = 40_000;
/// Chances per million that a datagram is altered, where datagrams are.
const ALTERED: u32 = 20_000;
/// How long a node takes to reach itself.
const LOOPBACK: Nanos = Nanos::from_micros(3);

/// The state of a link in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) latency: Nanos,
    /// At most this is added to `latency`; it does not reorder.
    pub(super) jitter: Nanos,
    /// Chances per million.
    pub(super) loss: u32,
    /// As `loss`, where the other direction loses less.
    pub(super) asymmetric_loss: u32,
    pub(super) duplicate: u32,
    pub(super) reorder: u32,
    /// How long a reordered datagram is held back.
    pub(super) reorder_by: Nanos,
    /// Beyond the usual.
    pub(super) extra_latency: Nanos,
    /// Of datagrams that are checked for it.
    pub(super) corruption: u32,
    /// Nothing passes.
    pub(super) cut: Option<FaultClass>,
}

/// The network.
pub(super) struct Net {
    dice: Dice,
    nodes: usize,
    /// From node to node.
    links: Vec<Link>,
    /// When the last datagram in order arrives.
    floors: Vec<Nanos>,
    /// Chances per million, for each line of each feed.
    line_loss: Vec<(SocketAddrV4, u32)>,
    /// Chances per million that a node's driver has no room.
    busy: Vec<u32>,
    hosts: Vec<Host>,
    flight: BinaryHeap<Reverse<Flight>>,
    serial: u64,
    /// Most that a socket's receive buffer gets, as a system's limit.
    max_receive_bytes: usize,
    /// Chances per million that a datagram is altered.
    altered: u32,
}

#[derive(Default)]
struct Host {
    sockets: Vec<Socket>,
    next_port: u16,
    next_id: u64,
}

struct Socket {
    id: u64,
    local: SocketAddrV4,
    /// Joined, and only for datagrams of that sender.
    group: Option<(SocketAddrV4, Option<Ipv4Addr>)>,
    queue: VecDeque<Datagram>,
    queued_bytes: usize,
    room_bytes: usize,
}

/// What a socket holds.
struct Datagram {
    from: SocketAddrV4,
    bytes: Arc<[u8]>,
}

/// A datagram on its way to one node.
struct Flight {
    at: Nanos,
    serial: u64,
    node: usize,
    from: SocketAddrV4,
    to: SocketAddrV4,
    bytes: Arc<[u8]>,
}

impl PartialEq for Flight {
    fn eq(&self, other: &Flight) -> bool {
        self.serial == other.serial
    }
}

impl Eq for Flight {}

impl PartialOrd for Flight {
    fn partial_cmp(&self, other: &Flight) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Flight {
    fn cmp(&self, other: &Flight) -> std::cmp::Ordering {
        (self.at, self.serial).cmp(&(other.at, other.serial))
    }
}

/// What a call of the network may note.
pub(super) struct Notes<'a> {
    pub(super) now: Nanos,
    pub(super) trace: &'a mut Trace,
    pub(super) injected: &'a mut Injected,
}

impl Notes<'_> {
    pub(super) fn fault(&mut self, class: FaultClass, node: usize, other: usize) {
        self.injected.add(class);
        self.trace.event(self.now, Event::Fault { class, node, other });
    }
}

/// The address of a node.
pub(super) fn address(node: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, node as u8 + 1)
}

fn node_of(address: Ipv4Addr, nodes: usize) -> Option<usize> {
    let [a, b, c, d] = address.octets();
    let node = usize::from(d).checked_sub(1)?;
    ([a, b, c] == [10, 0, 0] && node < nodes).then_some(node)
}

impl Net {
    pub(super) fn new(nodes: usize, dice: Dice, max_receive_bytes: usize) -> Net {
        let mut hosts = Vec::new();
        hosts.resize_with(nodes, || Host { next_port: EPHEMERAL, ..Host::default() });
        Net {
            dice,
            nodes,
            links: vec![Link::default(); nodes * nodes],
            floors: vec![Nanos::ZERO; nodes * nodes],
            line_loss: Vec::new(),
            busy: vec![0; nodes],
            hosts,
            flight: BinaryHeap::new(),
            serial: 0,
            max_receive_bytes,
            altered: 0,
        }
    }

    /// Alters what some datagrams say.
    pub(super) fn alter(&mut self, alters: bool) {
        self.altered = if alters { ALTERED } else { 0 };
    }

    /// The link from one node to another, to change it.
    pub(super) fn link_mut(&mut self, from: usize, to: usize) -> &mut Link {
        &mut self.links[from * self.nodes + to]
    }

    /// Paths have changed: what is sent from now on may overtake what was sent before.
    pub(super) fn reroute(&mut self) {
        self.floors.fill(Nanos::ZERO);
    }

    /// Sets what each line loses for all its receivers.
    pub(super) fn lose_on_lines(&mut self, line_loss: Vec<(SocketAddrV4, u32)>) {
        self.line_loss = line_loss;
    }

    /// Sets how often a node's driver has no room.
    pub(super) fn keep_busy(&mut self, node: usize, chances: u32) {
        self.busy[node] = chances;
    }

    pub(super) fn is_busy(&mut self, node: usize) -> bool {
        let chances = self.busy[node];
        self.dice.per_million(chances)
    }

    /// Opens a socket of `node`; gives its number there and its address.
    fn bind(
        &mut self,
        node: usize,
        bind: &Bind,
        receive_bytes: usize,
    ) -> Result<(u64, SocketAddrV4), String> {
        let own = address(node);
        let host = &mut self.hosts[node];
        let (local, group) = match *bind {
            Bind::Line { group, source, .. } if group.ip().is_multicast() => (group, Some((group, source))),
            Bind::Line { group, .. } => (group, None),
            Bind::Local { local, .. } | Bind::Sender { local, .. } => {
                let ip = if local.ip().is_unspecified() { own } else { *local.ip() };
                let port = match local.port() {
                    0 => {
                        host.next_port += 1;
                        host.next_port
                    }
                    port => port,
                };
                (SocketAddrV4::new(ip, port), None)
            }
        };
        if group.is_none() {
            if *local.ip() != own {
                return Err(format!("cannot bind {local}: not an address of node {node}"));
            }
            if host.sockets.iter().any(|socket| socket.group.is_none() && socket.local == local) {
                return Err(format!("cannot bind {local}: address in use"));
            }
        }
        host.next_id += 1;
        let id = host.next_id;
        let room_bytes = receive_bytes.min(self.max_receive_bytes);
        host.sockets.push(Socket { id, local, group, queue: VecDeque::new(), queued_bytes: 0, room_bytes });
        Ok((id, local))
    }

    fn close(&mut self, node: usize, sockets: &[u64]) {
        self.hosts[node].sockets.retain(|socket| !sockets.contains(&socket.id));
    }

    /// Takes a datagram to wherever it may go.
    pub(super) fn send(
        &mut self,
        from: (usize, SocketAddrV4),
        to: SocketAddrV4,
        bytes: &Arc<[u8]>,
        is_checked: bool,
        notes: &mut Notes<'_>,
    ) {
        if !to.ip().is_multicast() {
            if let Some(node) = node_of(*to.ip(), self.nodes) {
                self.carry(from, node, to, bytes, is_checked, notes);
            }
            return;
        }
        let lost = self.line_loss.iter().find(|(line, _)| *line == to).map_or(0, |&(_, chances)| chances);
        if self.dice.per_million(lost) {
            return notes.fault(FaultClass::LineLoss, from.0, from.0);
        }
        for node in 0..self.nodes {
            let joined = |socket: &Socket| {
                socket.group.is_some_and(|(group, source)| {
                    group == to && source.is_none_or(|source| source == *from.1.ip())
                })
            };
            if self.hosts[node].sockets.iter().any(joined) {
                self.carry(from, node, to, bytes, is_checked, notes);
            }
        }
    }

    /// Draws the fate of a datagram on one link.
    fn carry(
        &mut self,
        (source, from): (usize, SocketAddrV4),
        node: usize,
        to: SocketAddrV4,
        bytes: &Arc<[u8]>,
        is_checked: bool,
        notes: &mut Notes<'_>,
    ) {
        if node == source {
            return self.fly(notes.now + LOOPBACK, node, from, to, bytes);
        }
        let at = source * self.nodes + node;
        let link = self.links[at];
        if let Some(class) = link.cut {
            return notes.fault(class, source, node);
        }
        if self.dice.per_million(link.loss) {
            return notes.fault(FaultClass::Loss, source, node);
        }
        if self.dice.per_million(link.asymmetric_loss) {
            return notes.fault(FaultClass::AsymmetricLoss, source, node);
        }
        let copies = if self.dice.per_million(link.duplicate) {
            notes.fault(FaultClass::Duplicate, source, node);
            2
        } else {
            1
        };
        if link.extra_latency > Nanos::ZERO {
            notes.injected.add(FaultClass::Latency);
        }
        let mut bytes = Arc::clone(bytes);
        if is_checked && self.dice.per_million(link.corruption) {
            notes.fault(FaultClass::Corruption, source, node);
            self.turn_over(&mut bytes);
        }
        for _ in 0..copies {
            let jitter = Nanos(self.dice.below(link.jitter.0 + 1));
            let mut arrival = notes.now + link.latency + link.extra_latency + jitter;
            if self.dice.per_million(link.reorder) {
                notes.fault(FaultClass::Reorder, source, node);
                arrival = arrival + link.reorder_by;
            } else {
                arrival = arrival.max(self.floors[at]);
                self.floors[at] = arrival;
            }
            self.fly(arrival, node, from, to, &bytes);
        }
    }

    /// Turns over a bit or two.
    fn turn_over(&mut self, bytes: &mut Arc<[u8]>) {
        let bytes = Arc::make_mut(bytes);
        for _ in 0..=self.dice.below(2) {
            let at = self.dice.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << self.dice.below(8);
        }
    }

    fn fly(&mut self, at: Nanos, node: usize, from: SocketAddrV4, to: SocketAddrV4, bytes: &Arc<[u8]>) {
        self.serial += 1;
        let serial = self.serial;
        let mut bytes = Arc::clone(bytes);
        if self.dice.per_million(self.altered)
            && let Some(last) = Arc::make_mut(&mut bytes).last_mut()
        {
            *last ^= 1;
        }
        self.flight.push(Reverse(Flight { at, serial, node, from, to, bytes }));
    }

    /// Puts everything that has arrived by now into its sockets.
    #[inline]
    pub(super) fn arrive(&mut self, notes: &mut Notes<'_>) {
        while let Some(Reverse(first)) = self.flight.peek()
            && first.at <= notes.now
            && let Some(Reverse(flight)) = self.flight.pop()
        {
            self.deliver(&flight, notes);
        }
    }

    fn deliver(&mut self, flight: &Flight, notes: &mut Notes<'_>) {
        let Flight { node, from, to, .. } = *flight;
        for socket in &mut self.hosts[node].sockets {
            let is_for_it = match socket.group {
                Some((group, source)) => group == to && source.is_none_or(|source| source == *from.ip()),
                None => socket.local == to,
            };
            if !is_for_it {
                continue;
            }
            let cost = flight.bytes.len() + OVERHEAD_BYTES;
            if socket.queued_bytes + cost > socket.room_bytes {
                notes.fault(FaultClass::Overflow, node, node);
                continue;
            }
            socket.queued_bytes += cost;
            socket.queue.push_back(Datagram { from, bytes: Arc::clone(&flight.bytes) });
            notes.trace.event(flight.at, Event::Arrived { node, to, bytes: flight.bytes.len() });
        }
    }

    /// The next datagram of a socket.
    fn receive(&mut self, node: usize, id: u64) -> Option<Datagram> {
        let socket = self.hosts[node].sockets.iter_mut().find(|socket| socket.id == id)?;
        let datagram = socket.queue.pop_front()?;
        socket.queued_bytes -= datagram.bytes.len() + OVERHEAD_BYTES;
        Some(datagram)
    }
}
