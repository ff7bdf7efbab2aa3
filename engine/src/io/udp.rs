//! Plain non-blocking sockets: one call per datagram, on any system that has sockets.
//!
//! On a thread that polls one or two sockets this is the driver with the lowest latency; with more, `uring` asks the
//! kernel less often.

use std::io;
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};

use super::backlog::{Attempt, Backlog};
use super::drops::DropsTurn;
use super::warm::Warmth;
use super::{
    Busy, Destination, Driver, DriverConfig, DriverCounters, EndpointId, EndpointSpec, Received,
    check_destinations, socket,
};
use crate::limits::MAX_ENDPOINTS;
use crate::time::Nanos;

/// Datagrams taken from one endpoint at most before the next has its turn.
const TURN: usize = 32;

/// The portable driver. Datagrams leave at once, inside [`Driver::transmit`]; only what a socket has no room for waits
/// for [`Driver::flush`].
pub struct UdpDriver {
    endpoints: Vec<Endpoint>,
    /// One byte longer than the longest datagram, so that a longer one shows.
    buffer: Vec<u8>,
    backlog: Backlog,
    /// Endpoints that receive.
    receiving: Vec<u16>,
    /// The one of them whose turn is first at the next poll.
    turn: usize,
    drops: DropsTurn,
    warmth: Option<Warmth>,
    /// Datagrams sent before the last flush.
    flushed_datagrams: u64,
    counters: DriverCounters,
}

struct Endpoint {
    socket: UdpSocket,
    local: SocketAddrV4,
    /// What the kernel said at last; only Linux says.
    dropped: u32,
    is_connected: bool,
    only_to: Option<SocketAddrV4>,
    /// Datagrams taken in its next turn: one, so that a lone datagram is dealt with before anybody looks for another,
    /// and twice as many after each turn that left some behind.
    turn: usize,
}

impl UdpDriver {
    /// Takes the memory that `config` asks for.
    ///
    /// # Errors
    /// What [`DriverConfig::validate`] finds.
    pub fn new(config: &DriverConfig) -> io::Result<UdpDriver> {
        config.validate()?;
        Ok(UdpDriver {
            endpoints: Vec::new(),
            buffer: vec![0; config.max_datagram_bytes + 1],
            backlog: Backlog::new(config.send_slots, config.max_datagram_bytes),
            receiving: Vec::with_capacity(MAX_ENDPOINTS),
            turn: 0,
            drops: DropsTurn::default(),
            warmth: Warmth::new(config.keep_warm)?,
            flushed_datagrams: 0,
            counters: DriverCounters::default(),
        })
    }

    /// Polls one endpoint.
    #[cfg(all(target_os = "linux", feature = "xdp"))]
    pub(super) fn poll_endpoint<F: FnMut(Received<'_>)>(
        &mut self,
        now: Nanos,
        endpoint: EndpointId,
        limit: usize,
        on_datagram: &mut F,
    ) -> io::Result<usize> {
        self.ask_for_drops(now);
        let before = self.counters.received_datagrams;
        self.receive(usize::from(endpoint.0), limit, on_datagram)?;
        Ok((self.counters.received_datagrams - before) as usize)
    }

    /// Whether a datagram to `destinations` receivers would not be refused as [`Busy`].
    #[cfg(all(target_os = "linux", feature = "xdp"))]
    pub(super) fn has_room(&self, destinations: usize) -> bool {
        self.backlog.has_room(destinations)
    }

    /// Receives at one endpoint until it is empty, or its turn or `limit` is over.
    fn receive<F: FnMut(Received<'_>)>(
        &mut self,
        index: usize,
        limit: usize,
        on_datagram: &mut F,
    ) -> io::Result<usize> {
        let endpoint = &mut self.endpoints[index];
        let limit = endpoint.turn.min(limit);
        endpoint.turn = TURN.min(2 * endpoint.turn);
        let max_bytes = self.buffer.len() - 1;
        let mut received = 0;
        while received < limit {
            let (len, from) = match endpoint.socket.recv_from(&mut self.buffer) {
                Ok((len, SocketAddr::V4(from))) => (len, from),
                Ok((_, SocketAddr::V6(_))) => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    endpoint.turn = 1;
                    break;
                }
                Err(error) if socket::is_passing(&error) => {
                    received += 1;
                    continue;
                }
                Err(error) => {
                    let text = format!("cannot receive at {}: {error}", endpoint.local);
                    return Err(io::Error::new(error.kind(), text));
                }
            };
            received += 1;
            if len > max_bytes {
                self.counters.truncated_datagrams += 1;
                continue;
            }
            self.counters.received_datagrams += 1;
            self.counters.received_bytes += len as u64;
            on_datagram(Received { endpoint: EndpointId(index as u16), from, bytes: &self.buffer[..len] });
        }
        Ok(received)
    }

    /// Asks one endpoint, in turn, how many datagrams the kernel dropped there: one call, now and then.
    fn ask_for_drops(&mut self, now: Nanos) {
        let Some(turn) = self.drops.take(now, self.endpoints.len()) else { return };
        let endpoint = &mut self.endpoints[turn];
        if let Some(dropped) = dropped_datagrams(&endpoint.socket) {
            self.counters.kernel_dropped_datagrams += u64::from(dropped.wrapping_sub(endpoint.dropped));
            endpoint.dropped = dropped;
        }
    }
}

impl Driver for UdpDriver {
    fn open(&mut self, spec: &EndpointSpec) -> io::Result<EndpointId> {
        if self.endpoints.len() == MAX_ENDPOINTS {
            return Err(io::Error::other(format!("a driver has at most {MAX_ENDPOINTS} endpoints")));
        }
        let socket = socket::open(spec)?;
        socket.set_nonblocking(true)?;
        let local = socket::local_addr(&socket)?;
        let index = self.endpoints.len() as u16;
        if !spec.bind.only_sends() {
            self.receiving.push(index);
        }
        let is_connected = socket::is_connected(&socket);
        let only_to = spec.bind.only_to();
        self.endpoints.push(Endpoint {
            socket: socket.into(),
            local,
            dropped: 0,
            is_connected,
            only_to,
            turn: 1,
        });
        Ok(EndpointId(index))
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
        self.ask_for_drops(now);
        let before = self.counters.received_datagrams;
        let mut received = 0;
        for _ in 0..self.receiving.len() {
            if received >= limit {
                break;
            }
            self.turn = (self.turn + 1) % self.receiving.len();
            let index = usize::from(self.receiving[self.turn]);
            received += self.receive(index, limit - received, &mut on_datagram)?;
        }
        Ok((self.counters.received_datagrams - before) as usize)
    }

    fn transmit<F: FnOnce(&mut [u8]) -> usize>(
        &mut self,
        to: &[Destination],
        max_bytes: usize,
        fill: F,
    ) -> Result<usize, Busy> {
        check_destinations(to, |endpoint| self.endpoints[usize::from(endpoint.0)].only_to);
        if !self.backlog.has_room(to.len()) {
            self.counters.busy += 1;
            return Err(Busy);
        }
        let slot = self.backlog.next_slot();
        let room = max_bytes.min(slot.len());
        let len = fill(&mut slot[..room]);
        assert!(len <= room, "a datagram longer than the memory lent");
        if len > 0 {
            let (endpoints, counters) = (&self.endpoints, &mut self.counters);
            self.backlog.send(to, len, |to, bytes| attempt(endpoints, counters, to, bytes));
        }
        Ok(len)
    }

    fn flush(&mut self, now: Nanos) -> io::Result<()> {
        let sent = self.counters.sent_datagrams;
        if let Some(warmth) = &mut self.warmth {
            warmth.poll(now, sent > self.flushed_datagrams);
        }
        self.flushed_datagrams = sent;
        let (endpoints, counters) = (&self.endpoints, &mut self.counters);
        self.backlog.drain(|to, bytes| attempt(endpoints, counters, to, bytes));
        Ok(())
    }

    fn counters(&self) -> DriverCounters {
        self.counters
    }

    fn name(&self) -> &'static str {
        "udp"
    }
}

fn attempt(endpoints: &[Endpoint], counters: &mut DriverCounters, to: Destination, bytes: &[u8]) -> Attempt {
    let Endpoint { socket, is_connected, .. } = &endpoints[usize::from(to.endpoint.0)];
    match if *is_connected { socket.send(bytes) } else { socket.send_to(bytes, to.to) } {
        Ok(len) => {
            counters.sent_datagrams += 1;
            counters.sent_bytes += len as u64;
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Attempt::Full,
        Err(_) => counters.send_errors += 1,
    }
    Attempt::Done
}

#[cfg(target_os = "linux")]
fn dropped_datagrams(socket: &UdpSocket) -> Option<u32> {
    super::uring::option::dropped_datagrams(socket).ok()
}

#[cfg(not(target_os = "linux"))]
fn dropped_datagrams(_: &UdpSocket) -> Option<u32> {
    None
}
