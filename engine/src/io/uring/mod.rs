//! Linux io_uring: datagrams arrive by multishot receives into buffers provided beforehand, and leave in batches, one
//! call into the kernel for all. An idle poll reads two words of memory and calls nobody.
//!
//! A lone datagram does not take the ring's way, which is the longer one (a request, deferred work, a second look at
//! the empty socket, a completion; each some 100 ns). For it the ring is the doorbell: when the kernel says that it
//! has work for us, the endpoint where a datagram is likely (`guess`) is asked by a plain call, and the ring's work is
//! done in the next poll, after the datagram was dealt with. What is sent alone leaves by a plain call as well.
//!
//! # Soundness
//! The kernel writes receive buffers and reads send slots while our calls return. Three rules keep that sound:
//! - That memory is reached by pointer only (`region`). A reference to a buffer exists only while we have its token
//!   (`receive::Buffer`: not `Copy`, made from a completion, consumed by giving the buffer back); a reference to a
//!   send slot only while no message names it.
//! - Nothing is unmapped while a request is in flight: dropping the driver cancels all and waits for the last
//!   completion. On another thread than the ring's, or when the kernel does not answer, it closes the ring and
//!   waits for the kernel to let go of it. If even that does not happen, the memory is given up, not unmapped.
//! - Each completion is popped once, and a buffer's token is made nowhere else.
#![allow(unsafe_code)]

mod guess;
pub(in crate::io) mod option;
mod receive;
mod region;
mod ring;
mod send;

use std::collections::VecDeque;
use std::io;
use std::mem::ManuallyDrop;
use std::net::SocketAddrV4;
use std::num::NonZeroUsize;
use std::os::fd::AsRawFd;

use io_uring::types::Fixed;
use io_uring::{cqueue, opcode};
use socket2::Socket;
use tracing::warn;

use self::guess::Guess;
use self::receive::{Buffer, ReceiveBuffers};
use self::ring::Ring;
use self::send::SendQueue;
use super::drops::DropsTurn;
use super::warm::Warmth;
use super::{
    Busy, Destination, Driver, DriverConfig, DriverCounters, EndpointId, EndpointSpec, Received,
    check_destinations, socket,
};
use crate::limits::MAX_ENDPOINTS;
use crate::time::Nanos;

/// What a completion is of: the upper half of its user data; the lower half is an index.
const KIND: u64 = !0xffff_ffff;
const RECEIVE: u64 = 1 << 32;
const SEND: u64 = 2 << 32;
/// So many messages at most leave by a plain call each: a datagram for two lines.
const FEW_MESSAGES: usize = 2;

/// The io_uring driver. It belongs to the thread that polls, transmits or flushes first; it may be made, and its
/// endpoints opened, on another. It should be dropped on its thread or after that thread has ended.
pub struct UringDriver {
    ring: ManuallyDrop<Ring>,
    receive: ManuallyDrop<ReceiveBuffers>,
    send: ManuallyDrop<SendQueue>,
    endpoints: Vec<Endpoint>,
    /// Buffers filled by the kernel and not yet handed out, in order.
    inbox: VecDeque<Arrival>,
    /// Endpoints that receive.
    receiving: usize,
    /// Those of them without a receive in flight.
    unarmed: Vec<u16>,
    guess: Guess,
    /// A datagram was received by a plain call, and the ring has not been told.
    owes_ring: bool,
    max_datagram_bytes: usize,
    gro: bool,
    drops: DropsTurn,
    warmth: Option<Warmth>,
    counters: DriverCounters,
    /// Why the driver cannot go on.
    failure: Option<io::Error>,
}

struct Endpoint {
    /// The ring has its own hold of the socket; this one is for plain calls, and keeps its group memberships until we
    /// are dropped.
    socket: Socket,
    local: SocketAddrV4,
    only_to: Option<SocketAddrV4>,
    /// The socket's count of drops when it told us last.
    dropped: u32,
}

impl Endpoint {
    /// The socket has dropped so many since it was opened, modulo 2^32. A datagram tells what was so when it came,
    /// which may be less than is known.
    fn count_dropped(&mut self, dropped: u32, counters: &mut DriverCounters) {
        let more = dropped.wrapping_sub(self.dropped);
        if more.cast_signed() > 0 {
            counters.kernel_dropped_datagrams += u64::from(more);
            self.dropped = dropped;
        }
    }
}

struct Arrival {
    endpoint: EndpointId,
    buffer: Buffer,
    len: usize,
}

impl UringDriver {
    /// Makes the ring and takes the memory that `config` asks for.
    ///
    /// # Errors
    /// What [`DriverConfig::validate`] finds, or why the kernel lets us have no ring.
    pub fn new(config: &DriverConfig) -> io::Result<UringDriver> {
        config.validate()?;
        let messages = SendQueue::messages(config);
        let completions = config.receive_buffers + messages + MAX_ENDPOINTS;
        let ring = Ring::new(messages + MAX_ENDPOINTS, completions)?;
        let send = SendQueue::new(config)?;
        let receive =
            ReceiveBuffers::new(&ring, config.receive_buffers, config.max_datagram_bytes, config.gro)?;
        Ok(UringDriver {
            ring: ManuallyDrop::new(ring),
            receive: ManuallyDrop::new(receive),
            send: ManuallyDrop::new(send),
            endpoints: Vec::with_capacity(MAX_ENDPOINTS),
            inbox: VecDeque::with_capacity(config.receive_buffers),
            receiving: 0,
            unarmed: Vec::with_capacity(MAX_ENDPOINTS),
            guess: Guess::default(),
            owes_ring: false,
            max_datagram_bytes: config.max_datagram_bytes,
            gro: config.gro,
            drops: DropsTurn::default(),
            warmth: Warmth::new(config.keep_warm)?,
            counters: DriverCounters::default(),
            failure: None,
        })
    }

    /// Takes what the kernel has completed: arrivals into the inbox, send slots back.
    fn reap(&mut self) {
        while let Some(entry) = self.ring.pop() {
            let index = entry.user_data() as u16;
            match entry.user_data() & KIND {
                RECEIVE => self.on_receive(index, &entry),
                SEND => self.send.complete(index, entry.result(), &mut self.counters),
                _ => {}
            }
        }
    }

    fn on_receive(&mut self, index: u16, entry: &cqueue::Entry) {
        if let Some(id) = cqueue::buffer_select(entry.flags()) {
            // SAFETY: the completion was popped just now, and this is the only place that takes its buffer.
            let buffer = unsafe { self.receive.take(id) };
            let len = entry.result().max(0) as usize;
            self.inbox.push_back(Arrival { endpoint: EndpointId(index), buffer, len });
        }
        if !cqueue::more(entry.flags()) {
            self.unarmed.push(index);
            self.counters.rearms += 1;
        }
        if entry.result() < 0 {
            self.on_receive_error(index, &io::Error::from_raw_os_error(-entry.result()));
        }
    }

    fn on_receive_error(&mut self, index: u16, error: &io::Error) {
        if !socket::is_passing(error) {
            let local = self.endpoints[usize::from(index)].local;
            let text = format!("cannot receive at {local}: {error}");
            self.failure = Some(io::Error::new(error.kind(), text));
        }
    }

    /// The kernel says that it has work, which most likely is a datagram: receives it by a plain call where it is
    /// likely to be. The ring's own work is still to be done then.
    fn receive_directly<F: FnMut(Received<'_>)>(&mut self, on_datagram: &mut F) -> usize {
        let Some(index) = self.guess.endpoint() else { return 0 };
        debug_assert!(self.inbox.is_empty(), "what is in the inbox is older");
        match self.receive.receive_at(&self.endpoints[usize::from(index)].socket) {
            Ok((buffer, len)) => {
                let arrival = Arrival { endpoint: EndpointId(index), buffer, len };
                let delivered = self.hand_out(&arrival, on_datagram);
                self.receive.put_back(arrival.buffer);
                self.guess.learn(index);
                self.owes_ring = true;
                delivered
            }
            Err(error) => {
                self.on_receive_error(index, &error);
                0
            }
        }
    }

    /// Lets the kernel do its work and take what is queued for it, and takes what it has completed.
    fn enter(&mut self) -> io::Result<()> {
        let is_idle = self.inbox.is_empty();
        self.ring.enter()?;
        self.reap();
        // What follows a datagram that was received directly says nothing about where the next one will come.
        if !std::mem::take(&mut self.owes_ring)
            && is_idle
            && let Some(first) = self.inbox.front()
        {
            self.guess.learn(first.endpoint.0);
        }
        Ok(())
    }

    /// Starts a receive at every endpoint that has none, once there are buffers for it.
    fn arm(&mut self) {
        while self.receive.any_provided() {
            let Some(index) = self.unarmed.pop() else { return };
            let entry = self.receive.entry(u32::from(index)).user_data(RECEIVE | u64::from(index));
            // SAFETY: the entry points to the header in the receive memory, which the kernel only reads and which,
            // like the buffers, is unmapped only when nothing is in flight.
            if !unsafe { self.ring.push(&entry) } {
                self.unarmed.push(index);
                return;
            }
        }
    }

    /// Sends a few messages by plain calls, unless older ones are in flight. Those that find no room are left ready.
    fn send_directly(&mut self) {
        if self.send.ready() > FEW_MESSAGES || self.send.in_flight() > 0 {
            return;
        }
        let (endpoints, counters) = (&self.endpoints, &mut self.counters);
        while self.send.send_next(|endpoint| endpoints[usize::from(endpoint.0)].socket.as_raw_fd(), counters)
        {
        }
    }

    /// Queues all messages that are ready; what finds no room in the submission queue stays ready.
    fn submit(&mut self) {
        while let Some((index, endpoint, header)) = self.send.next_ready() {
            let entry = opcode::SendMsg::new(Fixed(u32::from(endpoint.0)), header)
                .build()
                .user_data(SEND | u64::from(index));
            // SAFETY: message and slots lie in the send memory, are not written while the message is in flight
            // (`SendQueue` hands out free slots only), and are unmapped only when nothing is in flight.
            if !unsafe { self.ring.push(&entry) } {
                self.send.put_back(index);
                return;
            }
        }
    }

    /// Hands out the inbox, up to about `limit` datagrams, and gives each buffer back.
    fn deliver<F: FnMut(Received<'_>)>(&mut self, limit: usize, on_datagram: &mut F) -> usize {
        let mut delivered = 0;
        while delivered < limit {
            let Some(arrival) = self.inbox.pop_front() else { break };
            delivered += self.hand_out(&arrival, on_datagram);
            self.receive.give_back(arrival.buffer);
        }
        delivered
    }

    fn hand_out<F: FnMut(Received<'_>)>(&mut self, arrival: &Arrival, on_datagram: &mut F) -> usize {
        let Some(datagram) = self.receive.datagram(&arrival.buffer, arrival.len) else {
            self.counters.truncated_datagrams += 1;
            return 0;
        };
        let (endpoint, counters) = (arrival.endpoint, &mut self.counters);
        if let Some(dropped) = datagram.dropped {
            self.endpoints[usize::from(endpoint.0)].count_dropped(dropped, counters);
        }
        if datagram.truncated {
            counters.truncated_datagrams += 1;
            return 0;
        }
        // Without receive offload there is one piece: all there is, even if that is nothing.
        let segment_bytes = datagram.segment_bytes.map_or(usize::MAX, NonZeroUsize::get);
        let mut rest = datagram.payload;
        let mut delivered = 0;
        loop {
            let (bytes, more) = rest.split_at(rest.len().min(segment_bytes));
            // Buffers for runs are longer than the longest datagram asked for.
            if bytes.len() > self.max_datagram_bytes {
                counters.truncated_datagrams += 1;
            } else {
                counters.received_datagrams += 1;
                counters.received_bytes += bytes.len() as u64;
                delivered += 1;
                on_datagram(Received { endpoint, from: datagram.from, bytes });
            }
            if more.is_empty() {
                return delivered;
            }
            rest = more;
        }
    }

    /// What a plain call receives may come without the count of drops.
    fn ask_for_drops(&mut self, now: Nanos) {
        let Some(turn) = self.drops.take(now, self.endpoints.len()) else { return };
        let endpoint = &mut self.endpoints[turn];
        if let Ok(dropped) = option::dropped_datagrams(&endpoint.socket) {
            endpoint.count_dropped(dropped, &mut self.counters);
        }
    }

    fn check(&mut self) -> io::Result<()> {
        self.failure.take().map_or(Ok(()), Err)
    }
}

impl Driver for UringDriver {
    fn open(&mut self, spec: &EndpointSpec) -> io::Result<EndpointId> {
        let index = self.endpoints.len();
        if index == MAX_ENDPOINTS {
            return Err(io::Error::other(format!("a driver has at most {MAX_ENDPOINTS} endpoints")));
        }
        let socket = socket::open(spec)?;
        option::report_drops(&socket)?;
        if self.gro {
            option::receive_offload(&socket)?;
        }
        let local = socket::local_addr(&socket)?;
        self.ring.register_file(index as u32, socket.as_raw_fd())?;
        let endpoint = EndpointId(index as u16);
        if socket::is_connected(&socket) {
            self.send.set_connected(endpoint);
        }
        if !spec.bind.only_sends() {
            self.unarmed.push(endpoint.0);
            self.receiving += 1;
        }
        self.endpoints.push(Endpoint { socket, local, only_to: spec.bind.only_to(), dropped: 0 });
        Ok(endpoint)
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
        self.ring.enable()?;
        self.ask_for_drops(now);
        self.reap();
        let mut delivered = self.deliver(limit, &mut on_datagram);
        self.arm();
        if limit > 0 && delivered == 0 && !self.owes_ring && self.ring.has_work() {
            delivered = self.receive_directly(&mut on_datagram);
            if self.owes_ring {
                return Ok(delivered);
            }
        }
        while delivered < limit && self.ring.wants_enter() {
            self.enter()?;
            let more = self.deliver(limit - delivered, &mut on_datagram);
            self.arm();
            delivered += more;
            if more == 0 {
                break;
            }
        }
        self.check()?;
        Ok(delivered)
    }

    fn transmit<F: FnOnce(&mut [u8]) -> usize>(
        &mut self,
        to: &[Destination],
        max_bytes: usize,
        fill: F,
    ) -> Result<usize, Busy> {
        check_destinations(to, |endpoint| self.endpoints[usize::from(endpoint.0)].only_to);
        if !self.send.has_room(to.len()) {
            self.counters.busy += 1;
            return Err(Busy);
        }
        let slot = self.send.next_slot();
        let room = max_bytes.min(slot.len());
        let len = fill(&mut slot[..room]);
        assert!(len <= room, "a datagram longer than the memory lent");
        if len > 0 {
            self.send.queue(to, len);
        }
        Ok(len)
    }

    fn flush(&mut self, now: Nanos) -> io::Result<()> {
        self.ring.enable()?;
        self.reap();
        if let Some(warmth) = &mut self.warmth {
            warmth.poll(now, self.send.ready() > 0);
        }
        self.send_directly();
        self.submit();
        // Work that the kernel has for us is for the next poll.
        if self.ring.has_entries() {
            self.enter()?;
        }
        self.check()
    }

    fn counters(&self) -> DriverCounters {
        self.counters
    }

    fn name(&self) -> &'static str {
        "uring"
    }
}

impl Drop for UringDriver {
    fn drop(&mut self) {
        // SAFETY: the ring is not used after; `self` is being dropped.
        let ring = unsafe { ManuallyDrop::take(&mut self.ring) };
        let mut armed = self.receiving - self.unarmed.len();
        let (send, counters) = (&mut self.send, &mut self.counters);
        let let_go = ring.close(|completion| {
            if let Some(entry) = completion {
                match entry.user_data() & KIND {
                    RECEIVE => armed -= usize::from(!cqueue::more(entry.flags())),
                    SEND => send.complete(entry.user_data() as u16, entry.result(), counters),
                    _ => {}
                }
            }
            armed == 0 && send.in_flight() == 0
        });
        if let_go {
            // SAFETY: nothing is in flight, so that the kernel touches neither region again; both are not used after.
            unsafe {
                ManuallyDrop::drop(&mut self.receive);
                ManuallyDrop::drop(&mut self.send);
            }
        } else {
            warn!(
                "io_uring did not end: its buffers stay mapped (was the driver dropped on its own thread?)"
            );
        }
    }
}
