//! Linux AF_XDP: datagrams go past the kernel's network stack, straight between an interface and memory of ours. An idle
//! poll reads one word of memory for each queue of the interface and calls nobody.
//!
//! | part | what |
//! |---|---|
//! | `program` | picks our datagrams out of the interface's traffic; all else goes on to the kernel |
//! | `port` | an interface, shared by all drivers of this process that have endpoints on it |
//! | `lane` | one queue of it: memory, the rings that the drivers share, each driver's own socket |
//! | `ring` | a ring between kernel and us |
//! | `neighbours`, `netlink` | which Ethernet address leads to a host |
//! | `sys` | calls |
//!
//! # Two ways
//! Every endpoint also has a plain socket, that of a [`UdpDriver`]: it joins groups, so that IGMP and switches know; it
//! reserves the port; and it carries what cannot go past the kernel:
//! - what arrives there: fragments (the kernel puts them together), packets with IP options or tags, what comes over
//!   another interface or from this host. Such a socket is asked every 20 µs in turn, and at every poll as long
//!   as something comes.
//! - what is sent there: to hosts whose Ethernet address is not known yet (the kernel asks for it meanwhile), that are
//!   behind another interface or on this host, to groups with a time to live of 0; and datagrams longer than the
//!   interface's MTU.
//!
//! So a driver always does what the others do, and [`DriverCounters::bypass_received_datagrams`] beside
//! `received_datagrams` tells how much of it took the short way. An endpoint whose interface has no AF_XDP for us
//! (loopback, missing privileges, a foreign program on it) has its socket only: the driver says so and goes on.
//!
//! # What is different
//! - What leaves here is not looped back to this host: local subscribers of a group do not hear it.
//! - What is taken from an interface is taken from this host's other processes too: two processes that want the same
//!   line must not both be behind one interface with a bypass. Endpoints of one process may: their lines are then left
//!   to the kernel, which gives each a copy.
//! - Behind the receive ring stands no socket buffer: [`DriverConfig::receive_buffers`] datagrams (at least 1,024) may
//!   wait, and what comes on top is dropped and counted.
//!
//! # Queues
//! A driver has a socket at every receive queue of the interface (up to 32), so that it does not matter where the interface
//! puts a flow. A poll asks every queue and the memory is pinned for each: `ethtool -L <interface> combined 1` keeps
//! both small, and an `ethtool -N` rule can bring a line to a queue of its choice.
//!
//! # Soundness
//! The kernel reads and writes frames while our calls return:
//! - A frame is reached through its token only (`lane::Frame`: neither `Copy` nor `Clone`). A token is made when the kernel
//!   has given the frame up (an entry of the receive or the completion ring, each read once) and ends when it is given
//!   to the kernel (an entry of the fill or the transmit ring).
//! - The kernel holds the pages of the memory by itself: unmapping them, whenever, takes nothing from it.
//! - An index of a ring is written by one side only: each ring has one owner, the two shared ones are behind a lock.
#![allow(unsafe_code)]

mod lane;
mod neighbours;
mod netlink;
mod port;
mod program;
mod ring;
mod sys;

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use seqcast_wire::net::{FRAME_HEADER_BYTES, Hop, Sum, UdpDatagram, multicast_address};
use tracing::warn;

use self::lane::Frame;
use self::neighbours::Neighbours;
use self::port::{Port, Share};
use self::program::{Program, ProgramOptions};
use super::drops::DropsTurn;
use super::udp::UdpDriver;
use super::{
    Bind, Busy, Destination, Driver, DriverConfig, DriverCounters, EndpointId, EndpointSpec,
    MAX_DESTINATIONS, Received, XdpMode, check_destinations,
};
use crate::limits::MAX_ENDPOINTS;
use crate::time::Nanos;

/// How often one of the sockets beside the bypass is asked; the page above tells it too.
const LOOK_EVERY: Nanos = Nanos::from_micros(20);
/// How long a socket that had something is asked at every poll.
const WARM_FOR: Nanos = Nanos::from_millis(2);
/// Time to live of datagrams to hosts.
const TTL: u8 = 64;

/// The AF_XDP driver. Endpoints are opened in the network namespace of the thread that opens them.
pub struct XdpDriver {
    /// The kernel's way; its endpoints have the same numbers.
    sockets: UdpDriver,
    endpoints: Vec<Endpoint>,
    ports: Vec<Arc<Port>>,
    /// What this driver has at each of `ports`.
    attachments: Vec<Attachment>,
    config: DriverConfig,
    /// Endpoints that have their socket only, and receive.
    only_sockets: Vec<EndpointId>,
    /// Where datagrams are written that may turn out too long for a frame.
    scratch: Vec<u8>,
    /// The way to each destination of one transmit, none for the kernel's.
    ways: Vec<Option<Way>>,
    /// The destinations that take the kernel's.
    detour: Vec<Destination>,
    /// The socket that is asked next.
    turn: usize,
    next_look: Nanos,
    /// No socket is warm after that.
    any_warm_until: Nanos,
    drops: DropsTurn,
    counters: DriverCounters,
}

struct Endpoint {
    local: SocketAddrV4,
    /// Index of the attachment that carries it, unless the kernel does.
    attachment: Option<usize>,
    multicast_ttl: u8,
    only_to: Option<SocketAddrV4>,
    /// Only datagrams of this sender.
    source: Option<Ipv4Addr>,
    /// Its socket is asked at every poll until then.
    warm_until: Nanos,
}

/// How a datagram gets past the kernel: by which attachment, to which station.
#[derive(Clone, Copy)]
struct Way {
    at: usize,
    hop: Hop,
}

/// What this driver has at one interface.
struct Attachment {
    share: Share,
    neighbours: Neighbours,
    /// Endpoints by destination, sorted.
    here: Vec<(SocketAddrV4, EndpointId)>,
}

impl XdpDriver {
    /// Takes the memory of the kernel's way; interfaces are bypassed as endpoints are opened.
    ///
    /// # Errors
    /// What [`DriverConfig::validate`] finds, or why this process may not use AF_XDP at all.
    pub fn new(config: &DriverConfig) -> io::Result<XdpDriver> {
        let sockets = UdpDriver::new(config)?;
        probe()?;
        Ok(XdpDriver {
            sockets,
            endpoints: Vec::with_capacity(MAX_ENDPOINTS),
            ports: Vec::new(),
            attachments: Vec::new(),
            config: config.clone(),
            only_sockets: Vec::with_capacity(MAX_ENDPOINTS),
            scratch: vec![0; config.max_datagram_bytes],
            ways: Vec::with_capacity(MAX_DESTINATIONS),
            detour: Vec::with_capacity(MAX_DESTINATIONS),
            turn: 0,
            next_look: Nanos::ZERO,
            any_warm_until: Nanos::ZERO,
            drops: DropsTurn::default(),
            counters: DriverCounters::default(),
        })
    }

    /// What each interface is bypassed by: name, mode, copies, queues; empty when all is the kernel's.
    pub fn describe(&self) -> Vec<String> {
        self.ports.iter().map(|port| port.to_string()).collect()
    }

    /// Has frames from an endpoint, and for it if it receives, go past the kernel.
    fn bypass(&mut self, bind: &Bind, endpoint: EndpointId, local: SocketAddrV4) -> io::Result<usize> {
        let address = match bind {
            Bind::Line { group, interface, .. } if group.ip().is_multicast() => *interface,
            _ => *local.ip(),
        };
        let port = Port::at(address, &self.config)?;
        let at = match self.ports.iter().position(|known| Arc::ptr_eq(known, &port)) {
            Some(at) => at,
            None => {
                let neighbours = Neighbours::new(port.interface())?;
                let share = port.share()?;
                self.attachments.push(Attachment { share, neighbours, here: Vec::new() });
                self.ports.push(port);
                self.ports.len() - 1
            }
        };
        if bind.only_sends() {
            return Ok(at);
        }
        let Attachment { share, here, .. } = &mut self.attachments[at];
        if !self.ports[at].take(local, share)? {
            warn!(%local, "several endpoints of this process want it: the kernel serves them all, without a bypass");
        }
        here.push((local, endpoint));
        here.sort_unstable();
        Ok(at)
    }

    /// Asks the sockets beside the bypass: those that are alone at every call, the others in turn or while warm.
    fn look<F: FnMut(Received<'_>)>(
        &mut self,
        now: Nanos,
        limit: usize,
        on_datagram: &mut F,
    ) -> io::Result<usize> {
        let mut received = 0;
        for &endpoint in &self.only_sockets {
            received += self.sockets.poll_endpoint(now, endpoint, limit - received, on_datagram)?;
        }
        if now >= self.next_look && !self.endpoints.is_empty() {
            self.next_look = now + LOOK_EVERY;
            self.turn = (self.turn + 1) % self.endpoints.len();
            received += self.look_at(self.turn, now, limit - received, on_datagram)?;
        }
        if now < self.any_warm_until {
            for index in 0..self.endpoints.len() {
                if now < self.endpoints[index].warm_until {
                    received += self.look_at(index, now, limit - received, on_datagram)?;
                }
            }
        }
        Ok(received)
    }

    /// Asks the socket of an endpoint that is bypassed.
    fn look_at<F: FnMut(Received<'_>)>(
        &mut self,
        index: usize,
        now: Nanos,
        limit: usize,
        on_datagram: &mut F,
    ) -> io::Result<usize> {
        let Endpoint { attachment, only_to, .. } = self.endpoints[index];
        if attachment.is_none() || only_to.is_some() {
            return Ok(0);
        }
        let received = self.sockets.poll_endpoint(now, EndpointId(index as u16), limit, on_datagram)?;
        if received > 0 {
            self.any_warm_until = now + WARM_FOR;
            self.endpoints[index].warm_until = self.any_warm_until;
        }
        Ok(received)
    }

    /// Asks one queue, in turn, what the kernel dropped there.
    fn ask_for_drops(&mut self, now: Nanos) {
        let queues = self.attachments.iter().map(|attachment| attachment.share.sockets.len()).sum();
        let Some(turn) = self.drops.take(now, queues) else { return };
        let mut sockets: usize = 0;
        for Attachment { share, .. } in &mut self.attachments {
            if let Some(socket) = turn.checked_sub(sockets).and_then(|at| share.sockets.get_mut(at)) {
                let counted = socket.newly_counted();
                self.counters.kernel_dropped_datagrams += counted.dropped;
                self.counters.send_errors += counted.refused;
            }
            sockets += share.sockets.len();
        }
    }

    /// Room for a datagram to `to`, whichever way it goes?
    fn has_room(&self, to: &[Destination]) -> bool {
        // A stuck interface holds up no other: its datagrams take the kernel's way.
        let frames = |attachment: &Attachment| {
            attachment.share.sender.is_stuck() || attachment.share.sender.free() >= to.len()
        };
        self.sockets.has_room(to.len()) && self.attachments.iter().all(frames)
    }

    /// Finds the way to each of `to`, and gives the first that goes past the kernel.
    fn find_ways(&mut self, to: &[Destination]) -> Option<Way> {
        self.ways.clear();
        for destination in to {
            let endpoint = &self.endpoints[usize::from(destination.endpoint.0)];
            let way = endpoint.attachment.and_then(|at| {
                let hop = self.attachments[at].hop(endpoint, *destination.to.ip())?;
                Some(Way { at, hop: Hop { source: self.ports[at].ethernet(), ..hop } })
            });
            self.ways.push(way);
        }
        self.ways.iter().copied().flatten().next()
    }

    /// Has `fill` write a datagram, into a frame of attachment `at` where it surely fits one. `None` when there is none,
    /// or it was too long and has left by the sockets.
    fn fill_frame<F: FnOnce(&mut [u8]) -> usize>(
        &mut self,
        at: usize,
        to: &[Destination],
        room: usize,
        fill: F,
    ) -> (usize, Option<Frame>) {
        let Attachment { share, .. } = &mut self.attachments[at];
        let lane = &self.ports[at].lanes()[share.sends_at];
        let mut frame = share.sender.take().expect("asked for room first");
        let body = &mut lane.bytes_mut(&mut frame)[FRAME_HEADER_BYTES..];
        let direct = room <= body.len();
        let lent = if direct { &mut body[..room] } else { &mut self.scratch[..room] };
        let len = fill(lent);
        assert!(len <= room, "a datagram longer than the memory lent");
        if len > 0 && (direct || len <= body.len()) {
            if !direct {
                body[..len].copy_from_slice(&self.scratch[..len]);
            }
            return (len, Some(frame));
        }
        share.sender.put_back(frame);
        if len > 0 {
            detour(&mut self.sockets, to, &self.scratch[..len]);
        }
        (len, None)
    }

    /// Sends the datagram of `len` bytes in `frame`, one of attachment `home`, to each of `to`, by the ways found.
    fn send(&mut self, to: &[Destination], len: usize, home: usize, mut frame: Frame) {
        let home_lane = &self.ports[home].lanes()[self.attachments[home].share.sends_at];
        let payload = &home_lane.bytes(&frame)[FRAME_HEADER_BYTES..][..len];
        let sum = self.config.xdp.checksums.then(|| Sum::of(payload));
        let mut at_home = None;
        self.detour.clear();
        for (destination, way) in to.iter().zip(&self.ways) {
            let Some(way) = way.filter(|way| len <= self.ports[way.at].max_payload_bytes()) else {
                self.detour.push(*destination);
                continue;
            };
            self.counters.bypass_sent_datagrams += 1;
            self.counters.sent_bytes += len as u64;
            let source = self.endpoints[usize::from(destination.endpoint.0)].local;
            let headers = UdpDatagram { source, destination: destination.to, payload };
            if way.at == home && at_home.is_none() {
                let mut bytes = [0; FRAME_HEADER_BYTES];
                headers.emit_headers_for(&way.hop, sum, &mut bytes);
                at_home = Some(bytes);
                continue;
            }
            let Attachment { share, .. } = &mut self.attachments[way.at];
            let lane = &self.ports[way.at].lanes()[share.sends_at];
            let mut copy = share.sender.take().expect("asked for room first");
            let (head, body) = lane.bytes_mut(&mut copy).split_at_mut(FRAME_HEADER_BYTES);
            headers.emit_headers_for(&way.hop, sum, head);
            body[..len].copy_from_slice(payload);
            share.sender.send(lane, copy, FRAME_HEADER_BYTES + len);
        }
        if !self.detour.is_empty() {
            detour(&mut self.sockets, &self.detour, payload);
        }
        let sender = &mut self.attachments[home].share.sender;
        match at_home {
            Some(headers) => {
                home_lane.bytes_mut(&mut frame)[..FRAME_HEADER_BYTES].copy_from_slice(&headers);
                sender.send(home_lane, frame, FRAME_HEADER_BYTES + len);
            }
            None => sender.put_back(frame),
        }
    }
}

/// Sends by the sockets; they were asked for room before.
fn detour(sockets: &mut UdpDriver, to: &[Destination], payload: &[u8]) {
    let sent = sockets.transmit(to, payload.len(), |buffer| {
        buffer.copy_from_slice(payload);
        payload.len()
    });
    debug_assert_eq!(sent, Ok(payload.len()));
}

impl Attachment {
    /// The next station towards `to`, but for our own address; none when the kernel is to find it.
    #[inline]
    fn hop(&mut self, endpoint: &Endpoint, to: Ipv4Addr) -> Option<Hop> {
        if self.share.sender.is_stuck() {
            return None;
        }
        let source = [0; 6];
        if to.is_multicast() {
            let ttl = endpoint.multicast_ttl;
            return (ttl > 0).then(|| Hop { source, destination: multicast_address(to), ttl });
        }
        let destination = self.neighbours.find(*endpoint.local.ip(), to)?;
        Some(Hop { source, destination, ttl: TTL })
    }
}

/// Whether this process may use AF_XDP and load programs: an error that says what it lacks.
fn probe() -> io::Result<()> {
    lane::probe()?;
    Program::load(ProgramOptions { max_frame_bytes: 1_514, pass_unfinished: true }, 1).map(|_| ())
}

impl Driver for XdpDriver {
    fn open(&mut self, spec: &EndpointSpec) -> io::Result<EndpointId> {
        let id = self.sockets.open(spec)?;
        let local = self.sockets.local_addr(id);
        let attachment = match self.bypass(&spec.bind, id, local) {
            Ok(at) => Some(at),
            Err(cause) => {
                warn!(%local, %cause, "no XDP here: served by a plain socket");
                if !spec.bind.only_sends() {
                    self.only_sockets.push(id);
                }
                None
            }
        };
        let (multicast_ttl, source) = match spec.bind {
            Bind::Line { source, .. } => (0, source),
            Bind::Local { multicast_ttl, .. } | Bind::Sender { multicast_ttl, .. } => (multicast_ttl, None),
        };
        let (only_to, warm_until) = (spec.bind.only_to(), Nanos::ZERO);
        self.endpoints.push(Endpoint { local, attachment, multicast_ttl, only_to, source, warm_until });
        Ok(id)
    }

    fn local_addr(&self, endpoint: EndpointId) -> SocketAddrV4 {
        self.endpoints[usize::from(endpoint.0)].local
    }

    fn poll_rx<F: FnMut(Received<'_>)>(
        &mut self,
        now: Nanos,
        limit: usize,
        mut on_datagram: F,
    ) -> io::Result<usize> {
        let mut given = 0;
        let XdpDriver { ports, attachments, endpoints, config, counters, .. } = self;
        for (port, attachment) in ports.iter().zip(attachments) {
            let Attachment { share, here, .. } = attachment;
            for (lane, socket) in port.lanes().iter().zip(&mut share.sockets) {
                socket.receive(lane, limit - given, |frame| {
                    let arrived = Arrived { here, endpoints, config, counters };
                    if let Some(received) = arrived.accept(frame) {
                        given += 1;
                        on_datagram(received);
                    }
                });
            }
        }
        self.ask_for_drops(now);
        if given < limit {
            given += self.look(now, limit - given, &mut on_datagram)?;
        }
        Ok(given)
    }

    fn transmit<F: FnOnce(&mut [u8]) -> usize>(
        &mut self,
        to: &[Destination],
        max_bytes: usize,
        fill: F,
    ) -> Result<usize, Busy> {
        check_destinations(to, |endpoint| self.endpoints[usize::from(endpoint.0)].only_to);
        if !self.has_room(to) {
            self.counters.busy += 1;
            return Err(Busy);
        }
        let Some(home) = self.find_ways(to) else { return self.sockets.transmit(to, max_bytes, fill) };
        let room = max_bytes.min(self.config.max_datagram_bytes);
        let (len, frame) = self.fill_frame(home.at, to, room, fill);
        if let Some(frame) = frame {
            self.send(to, len, home.at, frame);
        }
        Ok(len)
    }

    fn flush(&mut self, now: Nanos) -> io::Result<()> {
        for (port, attachment) in self.ports.iter().zip(&mut self.attachments) {
            let Attachment { share, neighbours, .. } = attachment;
            let lane = &port.lanes()[share.sends_at];
            share.sender.flush(lane, share.sockets[share.sends_at].socket());
            neighbours.tick(now);
        }
        self.sockets.flush(now)
    }

    fn counters(&self) -> DriverCounters {
        let mut counters = self.sockets.counters();
        let past = &self.counters;
        counters.received_datagrams += past.bypass_received_datagrams;
        counters.bypass_received_datagrams = past.bypass_received_datagrams;
        counters.received_bytes += past.received_bytes;
        counters.truncated_datagrams += past.truncated_datagrams;
        counters.kernel_dropped_datagrams += past.kernel_dropped_datagrams;
        counters.malformed_frames += past.malformed_frames;
        counters.sent_datagrams += past.bypass_sent_datagrams;
        counters.bypass_sent_datagrams = past.bypass_sent_datagrams;
        counters.sent_bytes += past.sent_bytes;
        counters.send_errors += past.send_errors;
        counters.busy += past.busy;
        counters
    }

    fn name(&self) -> &'static str {
        "xdp"
    }
}

/// What it takes to judge a frame.
struct Arrived<'a> {
    here: &'a [(SocketAddrV4, EndpointId)],
    endpoints: &'a [Endpoint],
    config: &'a DriverConfig,
    counters: &'a mut DriverCounters,
}

impl Arrived<'_> {
    /// The datagram in a frame, when it is sound, for one of our endpoints and not too long.
    #[inline]
    fn accept<'f>(self, frame: &'f [u8]) -> Option<Received<'f>> {
        let Ok(datagram) = UdpDatagram::receive(frame, self.config.xdp.checksums) else {
            self.counters.malformed_frames += 1;
            return None;
        };
        let at = self.here.partition_point(|(local, _)| *local < datagram.destination);
        let &(local, endpoint) = self.here.get(at)?;
        let wanted = self.endpoints[usize::from(endpoint.0)].source;
        if local != datagram.destination || wanted.is_some_and(|source| source != *datagram.source.ip()) {
            return None;
        }
        if datagram.payload.len() > self.config.max_datagram_bytes {
            self.counters.truncated_datagrams += 1;
            return None;
        }
        self.counters.bypass_received_datagrams += 1;
        self.counters.received_bytes += datagram.payload.len() as u64;
        Some(Received { endpoint, from: datagram.source, bytes: datagram.payload })
    }
}

impl Drop for XdpDriver {
    fn drop(&mut self) {
        for (port, attachment) in self.ports.iter().zip(self.attachments.drain(..)) {
            for (destination, _) in attachment.here {
                port.leave(destination);
            }
            port.park(attachment.share);
        }
    }
}
