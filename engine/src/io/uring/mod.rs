//! Linux io_uring: datagrams arrive by multishot receives into buffers provided beforehand, and leave in batches, one
//! call into the kernel for all. An idle poll reads two words of memory and calls nobody.
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

use self::receive::{Buffer, ReceiveBuffers};
use self::ring::Ring;
use self::send::SendQueue;
use super::{
    Busy, Destination, Driver, DriverConfig, DriverCounters, EndpointId, EndpointSpec, MAX_DESTINATIONS,
    Received, socket,
};
use crate::limits::MAX_ENDPOINTS;
use crate::time::Nanos;

/// What a completion is of: the upper half of its user data; the lower half is an index.
const KIND: u64 = !0xffff_ffff;
const RECEIVE: u64 = 1 << 32;
const SEND: u64 = 2 << 32;

/// The io_uring driver. It belongs to the thread that polls, transmits or flushes first; it may be made, and its
/// endpoints opened, on another. It should be dropped on its thread or after that thread has ended.
pub struct UringDriver {
    ring: ManuallyDrop<Ring>,
    receive: ManuallyDrop<ReceiveBuffers>,
    send: ManuallyDrop<SendQueue>,
    endpoints: Vec<Endpoint>,
    /// Buffers filled by the kernel and not yet handed out, in order.
    inbox: VecDeque<Arrival>,
    /// Endpoints without a receive in flight.
    unarmed: Vec<u16>,
    max_datagram_bytes: usize,
    gro: bool,
    counters: DriverCounters,
    /// Why the driver cannot go on.
    failure: Option<io::Error>,
}

struct Endpoint {
    /// The ring has its own hold of the socket; this one keeps its group memberships until we are dropped.
    _socket: Socket,
    local: SocketAddrV4,
    /// The socket's count of drops when it told us last.
    dropped: u32,
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
            unarmed: Vec::with_capacity(MAX_ENDPOINTS),
            max_datagram_bytes: config.max_datagram_bytes,
            gro: config.gro,
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
            let error = io::Error::from_raw_os_error(-entry.result());
            if !socket::is_passing(&error) {
                let local = self.endpoints[usize::from(index)].local;
                let text = format!("cannot receive at {local}: {error}");
                self.failure = Some(io::Error::new(error.kind(), text));
            }
        }
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
            let known = &mut self.endpoints[usize::from(endpoint.0)].dropped;
            counters.kernel_dropped_datagrams += u64::from(dropped.wrapping_sub(*known));
            *known = dropped;
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
        self.endpoints.push(Endpoint { _socket: socket, local, dropped: 0 });
        self.unarmed.push(index as u16);
        Ok(EndpointId(index as u16))
    }

    fn local_addr(&self, endpoint: EndpointId) -> SocketAddrV4 {
        self.endpoints[usize::from(endpoint.0)].local
    }

    fn poll_rx<F: FnMut(Received<'_>)>(
        &mut self,
        _now: Nanos,
        limit: usize,
        mut on_datagram: F,
    ) -> io::Result<usize> {
        self.ring.enable()?;
        self.reap();
        let mut delivered = self.deliver(limit, &mut on_datagram);
        self.arm();
        while delivered < limit && self.ring.wants_enter() {
            self.ring.enter()?;
            self.reap();
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
        assert!(to.len() <= MAX_DESTINATIONS, "at most {MAX_DESTINATIONS} destinations");
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

    fn flush(&mut self, _now: Nanos) -> io::Result<()> {
        self.ring.enable()?;
        self.reap();
        self.submit();
        if self.ring.wants_enter() {
            self.ring.enter()?;
            self.reap();
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
        let mut armed = self.endpoints.len() - self.unarmed.len();
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
